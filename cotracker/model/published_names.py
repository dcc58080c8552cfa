"""The names of the parameters in published files of CoTracker 1, 2 and 3, and ours."""

import re

import torch
from torch import Tensor

TABLES = ("time_emb", "pos_emb")
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
    (r"^updateformer\.space_blocks\.", "transformer.group."),
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
    (r"\.attn\.qkv\.", ".attention.qkv."),
    (r"\.attn\.proj\.", ".attention.out."),
    (r"\.cross_attn\.to_(q|kv)\.", r".attention.\1."),
    (r"\.attn\.to_(q|kv)\.", r".attention.\1."),
    (r"\.(?:cross_)?attn\.to_out\.", ".attention.out."),
    (r"\.mlp\.fc1\.", ".expand."),
    (r"\.mlp\.fc2\.", ".contract."),
    (r"^norm\.", "feature_norm."),
    (r"^(?:track_feat|ffeat)_updater\.0\.", "feature_update."),
    (r"^vis_predictor\.0\.", "visibility."),
]


def rename_published(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Our state dict of a published one; an unknown name is marked, so that it is none of ours.

    Queries, keys and values of self-attention become one matrix, as do the heads of positions and
    of visibility and confidence.
    """
    ours = {}
    for name, value in state.items():
        if name.removeprefix("module.") in TABLES:
            continue
        name = name.removeprefix("module.")
        renamed = our_name(name)
        ours[f"{name} (no published name)" if renamed == name else renamed] = value
    for kind in ("weight", "bias"):
        for name in [name for name in ours if _is_self_attention(name, f".q.{kind}")]:
            key = name.removesuffix(f"q.{kind}")
            _join(ours, name, f"{key}kv.{kind}", f"{key}qkv.{kind}")
        head = f"transformer.head.{kind}"
        _join(ours, head, f"updateformer.vis_conf_head.{kind} (no published name)", head)
    tracks = ours.get("transformer.virtual_tracks")
    if tracks is not None and tracks.ndim == 4:
        ours["transformer.virtual_tracks"] = tracks[0, :, 0]  # 1 V 1 D
    return ours


def table_frames(state: dict[str, Tensor]) -> int | None:
    """The frames of the table of a published state dict; None of CoTracker 1."""
    tables = [value for name, value in state.items() if name.removeprefix("module.") == "time_emb"]
    return tables[0].shape[1] if tables else None


def our_name(published: str) -> str:
    """Our name of a published one; an unknown one comes back as it is."""
    for pattern, replacement in NAMES:
        published = re.sub(pattern, replacement, published)
    return published


def _join(ours: dict[str, Tensor], first: str, second: str, joined: str) -> None:
    """One tensor in the place of two, where both are there and fit."""
    pair = [ours.get(first), ours.get(second)]
    if any(part is None or part.ndim == 0 for part in pair):
        return
    if pair[0].shape[1:] == pair[1].shape[1:]:
        del ours[first], ours[second]
        ours[joined] = torch.cat(pair)


def _is_self_attention(name: str, end: str) -> bool:
    return name.endswith(f".attention{end}") and (".time." in name or ".virtual." in name)
