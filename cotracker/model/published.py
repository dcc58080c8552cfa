"""The published files of CoTracker 1, 2 and 3: which network a file holds, and how it tracks.

Keys and shapes tell the network.  Its tables of frames and positions are sines of a formula, which
we compute; the length of the table of frames tells the window.  CoTracker 1 has no tables, so that
stride and window come from the file's name or from who asks.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cotracker.model.cotracker import CoTracker
from cotracker.model.cotracker2 import V2_COMPAT
from cotracker.model.cotracker3 import OFFLINE, V3_COMPAT, CoTracker3
from cotracker.model.published_names import rename_published, table_frames
from cotracker.model.v1_compat import V1_COMPAT
from cotracker.model.windowed import WindowedNetwork

LICENCE = "CC-BY-NC 4.0"
WRAPPED = ("model", "state_dict", "model_state_dict")  # where training programs keep the weights
LONGEST_LINE = 100  # of a message: a file may give its tensors any name
TRAINED = ("scaled", "baseline")  # CoTracker 3: with real videos, or on Kubric alone


@dataclass(frozen=True)
class Layout:
    """One of the published networks.

    name: as people call it.
    build: (stride, window) -> the network; a window of None sees clips as a whole.
    card: how its trackers decide what is visible, and the like.
    """

    name: str
    build: Callable[[int, int | None], WindowedNetwork]
    card: dict


@dataclass(frozen=True)
class Published:
    """A published network with its weights, in evaluation mode.

    card: the beginning of its card.
    why: what was taken it for, and why, in one line.
    """

    model: WindowedNetwork
    card: dict
    why: str


def _build_v3(stride: int, window: int | None) -> CoTracker3:
    if window is None:
        return CoTracker3(stride=stride, attend_inactive=True, **OFFLINE)
    return CoTracker3(stride=stride, window=window, **V3_COMPAT)


LAYOUTS = (
    Layout(
        "CoTracker 1",
        lambda stride, window: CoTracker(stride=stride, window=window, **V1_COMPAT),
        {"threshold": 0.9, "v1_compat": True},
    ),
    Layout(
        "CoTracker 2",
        lambda stride, window: CoTracker(stride=stride, window=window, **V2_COMPAT),
        {"threshold": 0.9, "v1_compat": False},
    ),
    Layout(
        "CoTracker 3",
        _build_v3,
        {
            "threshold": 0.6,
            "visible_by": "visibility_x_confidence",
            "confidence_px": 12.0,
            "v1_compat": False,
        },
    ),
)
V1, V2, V3 = LAYOUTS


def open_published(
    state: dict,
    name: str,
    stride: int | None = None,
    window: int | None = None,
    trained: str | None = None,
) -> Published:
    """What a published state dict from a file of this name holds, perhaps inside one of WRAPPED.

    stride, window, trained: where the file's tensors and its name do not tell.
    ValueError: it is none of the known, listing what differs, or what nothing tells.
    """
    state = unwrap(state)
    layout = recognise(state)
    told = re.search(r"stride_(\d+)_wind_(\d+)", name)
    frames = table_frames(state)
    card = layout.card | {"source": name, "licence": LICENCE}
    if layout is V1:
        if told:
            stride, window, why = int(told[1]), int(told[2]), f"by its name, {name}"
        elif stride is None or window is None:
            raise ValueError(
                "the weights of CoTracker 1 do not tell stride and window: keep the published "
                "file name, such as cotracker_stride_4_wind_8.pth, or pass both"
            )
        else:
            why = "as asked"
    else:
        stride, why = 4, f"by its table of {frames} frames"
        window = None if layout is V3 and frames == OFFLINE["time_table"] else frames
    if layout is V3:
        card["trained"] = next((kind for kind in TRAINED if kind in name.lower()), trained)
        why += f"; {card['trained'] or 'scaled or baseline is not known'}"
    model = layout.build(stride, window)
    model.load_state_dict(rename_published(state))
    sees = "sees clips as a whole" if window is None else f"window {window}"
    return Published(model.eval(), card, f"{layout.name}, stride {stride}, {sees}: {why}")


def unwrap(state: object) -> dict[str, Tensor]:
    """The state dict itself, of finite tensors; ValueError where there is none."""
    for key in WRAPPED:
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
            break
    tensors = isinstance(state, dict) and all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in state.items()
    )
    if not state or not tensors:
        raise ValueError(
            f"it holds no state dict, neither at its top nor under {', '.join(WRAPPED)}"
        )
    if not all(torch.isfinite(value).all() for value in state.values()):
        raise ValueError("some weights are NaN or infinite: the file is damaged")
    return state


def recognise(state: dict[str, Tensor]) -> Layout:
    """The Layout of a published state dict; ValueError lists what differs from the nearest.

    That list has at most 12 lines.
    """
    ours = rename_published(state)
    differences = []
    for layout in LAYOUTS:
        with torch.device("meta"):
            expected = layout.build(4, 8).state_dict()
        groups = list_differences(expected, ours)
        if not any(groups):
            return layout
        differences.append((sum(map(len, groups)), layout.name, groups))
    _, name, groups = min(differences, key=lambda one: one[0])
    raise ValueError(
        f"these are no published weights; the nearest are those of {name}:\n{shorten(groups)}"
    )


def list_differences(
    expected: dict[str, Tensor], tensors: dict[str, Tensor]
) -> tuple[list[str], list[str], list[str]]:
    """Lines for each missing, each unknown and each misshapen tensor."""
    missing = [
        f"  missing  {name} {tuple(value.shape)}"
        for name, value in expected.items()
        if name not in tensors
    ]
    unknown = [
        f"  unknown  {name} {tuple(value.shape)}"
        for name, value in tensors.items()
        if name not in expected
    ]
    shapes = [
        f"  shape    {name} is {tuple(tensors[name].shape)}, the model has {tuple(value.shape)}"
        for name, value in expected.items()
        if name in tensors and tensors[name].shape != value.shape
    ]
    return missing, unknown, shapes


def shorten(groups: Sequence[list[str]]) -> str:
    """The first lines of each group, and how many follow: at most 11."""
    lines = []
    for group, most in zip(groups, (3, 3, 2)):
        lines += [line[:LONGEST_LINE] for line in group[:most]]
        lines += [f"  … and {len(group) - most} more"] if len(group) > most else []
    return "\n".join(lines)
