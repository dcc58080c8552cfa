"""The published files of CoTracker2 and 3: their names for our parameters, and networks of them."""

import re

import torch
from torch import Tensor

from cotracker.model.cotracker import CoTracker
from cotracker.model.cotracker2 import V2_COMPAT
from cotracker.model.cotracker3 import OFFLINE, V3_COMPAT, CoTracker3

TABLES = ("time_emb", "pos_emb")  # sines of a formula, which we compute
NAMES = [  # published -> ours, as regular expressions, applied in order
    (r"^fnet\.conv1\.", "encoder.stem."),
    (r"^fnet\.conv2\.", "encoder.fuse."),
    (r"^fnet\.conv3\.", "encoder.project."),
    (
        r"^fnet\.layer(\d)\.(\d)\.",
        lambda m: f"encoder.stages.{int(m[1]) - 1}.{m[2]}.",
    ),
    (r"\.downsample\.0\.", ".shortcut."),
    (r"^corr_mlp\.fc1\.", "correlation.expand."),
    (r"^corr_mlp\.fc2\.", "correlation.contract."),
    (r"^updateformer\.input_transform\.", "transformer.embed."),
    (r"^updateformer\.flow_head\.", "transformer.head."),
    (r"^updateformer\.virual_tracks$", "transformer.virtual_tracks"),
    (r"^updateformer\.time_blocks\.", "transformer.time."),
    (
        r"^updateformer\.space_virtual2point_blocks\.(\d)\.",
        r"transformer.group.\1.virtual_from_points.",
    ),
    (r"^updateformer\.space_virtual_blocks\.(\d)\.", r"transformer.group.\1.virtual."),
    (
        r"^updateformer\.space_point2virtual_blocks\.(\d)\.",
        r"transformer.group.\1.points_from_virtual.",
    ),
    (r"\.norm_context\.", ".context_norm."),
    (r"\.cross_attn\.to_(q|kv)\.", r".attention.\1."),
    (r"\.attn\.to_(q|kv)\.", r".attention.\1."),
    (r"\.(?:cross_)?attn\.to_out\.", ".attention.out."),
    (r"\.mlp\.fc1\.", ".expand."),
    (r"\.mlp\.fc2\.", ".contract."),
    (r"^norm\.", "feature_norm."),
    (r"^track_feat_updater\.0\.", "feature_update."),
    (r"^vis_predictor\.0\.", "visibility."),
]


def rename_published(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Our state dict of a published one of CoTracker2 or 3; unknown names come back as they are.

    Queries, keys and values of self-attention become one matrix, as do the heads of positions and
    of visibility and confidence.
    """
    ours = {our_name(name): value for name, value in state.items() if name not in TABLES}
    for kind in ("weight", "bias"):
        for name in [name for name in ours if _is_self_attention(name, f".q.{kind}")]:
            key = name.removesuffix(f"q.{kind}")
            parts = ours.pop(name), ours.pop(f"{key}kv.{kind}")
            ours[f"{key}qkv.{kind}"] = torch.cat(parts)
        told = ours.pop(f"updateformer.vis_conf_head.{kind}", None)
        if told is not None:
            name = f"transformer.head.{kind}"
            ours[name] = torch.cat([ours[name], told])
    tracks = ours.get("transformer.virtual_tracks")
    if tracks is not None:
        ours["transformer.virtual_tracks"] = tracks[0, :, 0]  # 1 V 1 D
    return ours


def build_published(state: dict[str, Tensor], window: int | None = None) -> CoTracker | CoTracker3:
    """The network of a published state dict of CoTracker2 or 3, with its weights.

    window: frames; None: those of the file's time table, or whole clips where CoTracker3's has 60.
    RuntimeError where names or shapes differ.
    """
    frames = state["time_emb"].shape[1]
    if "corr_mlp.fc1.weight" not in state:
        model = CoTracker(window=window or frames, **V2_COMPAT)
    elif frames == OFFLINE["time_table"]:
        model = CoTracker3(attend_inactive=True, **OFFLINE)
    else:
        model = CoTracker3(window=window or frames, **V3_COMPAT)
    model.load_state_dict(rename_published(state))
    return model.eval()


def our_name(published: str) -> str:
    """Our name of a published one of CoTracker2 or 3; an unknown one comes back as it is."""
    for pattern, replacement in NAMES:
        published = re.sub(pattern, replacement, published)
    return published


def _is_self_attention(name: str, end: str) -> bool:
    return name.endswith(f".attention{end}") and (".time." in name or ".virtual." in name)
