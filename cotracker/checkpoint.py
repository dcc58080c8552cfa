"""The only file that saves or loads weights: ours, and the published layouts."""

import re

PUBLISHED_NAMES = [  # published v1 name -> ours, as regular expressions
    (r"^fnet\.conv1\.", "encoder.stem."),
    (r"^fnet\.layer(\d)\.(\d)\.downsample\.0\.", lambda m: f"encoder.stages.{int(m[1]) - 1}.{m[2]}.shortcut."),
    (r"^fnet\.layer(\d)\.(\d)\.", lambda m: f"encoder.stages.{int(m[1]) - 1}.{m[2]}."),
    (r"^fnet\.conv2\.", "encoder.fuse."),
    (r"^fnet\.conv3\.", "encoder.project."),
    (r"^updateformer\.input_transform\.", "transformer.embed."),
    (r"^updateformer\.flow_head\.", "transformer.head."),
    (r"^updateformer\.time_blocks\.", "transformer.time."),
    (r"^updateformer\.space_blocks\.", "transformer.group."),
    (r"\.attn\.qkv\.", ".attention.qkv."),
    (r"\.attn\.proj\.", ".attention.out."),
    (r"\.mlp\.fc1\.", ".expand."),
    (r"\.mlp\.fc2\.", ".contract."),
    (r"^norm\.", "feature_norm."),
    (r"^ffeat_updater\.0\.", "feature_update."),
    (r"^vis_predictor\.0\.", "visibility."),
]


def our_name(published: str) -> str:
    """Our parameter name of a published v1 one."""
    for pattern, replacement in PUBLISHED_NAMES:
        published = re.sub(pattern, replacement, published)
    return published
