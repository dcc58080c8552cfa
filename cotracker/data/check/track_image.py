"""Do tracks follow the image? Patches are compared along the tracks, and along what may have been meant instead."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np

POINTS = 128  # looked at in a clip, drawn at random
RADIUS = 3  # of a patch, pixels
BLUR = 1.0  # of the frames before patches are cut, against noise and compression
FLAT = 4.0  # grey levels; a patch of less deviation shows nothing
GAPS = (1, 4)  # frames between the two patches of a pair
ASIDE = 5.0  # pixels from a track to where its patch must fit worse
DISTINCT = 0.6  # correlation with the patch aside, below which the two can be told apart
MARGIN = 0.02  # of correlation, from which on one of two tracks fits better
PAIRS = 60  # the least that anything is said about

# Measured on good and on spoilt clips: see datasets/README.md.
FOLLOWING = 0.64  # share of pairs that fit better on the track than aside; good clips have 0.7 to 1, chance gives 0.5
SURELY = 0.72  # that share for a reading to be an explanation
DOUBTFUL = 0.82  # that share below which all explanations are tried
PREFERRED = 0.6  # share of pairs that fit another reading better, less 1 / sqrt(points); good clips have 0.3 or less
OUTSIDE = 0.02  # share of visible places beyond the frame

_OFFSETS = (
    np.stack(np.meshgrid(*2 * [np.arange(-RADIUS, RADIUS + 1)]), -1)
    .reshape(-1, 2)
    .astype(np.float32)
)
_SIDES = ASIDE * np.array([(1, 0), (0, 1), (-1, 0), (0, -1)], np.float32)


@dataclass(frozen=True)
class Judgement:
    """What the image says of tracks: kind and says of the fault, None where there is none.

    followed: the share of pairs that fit the track better than aside; None: too little texture to judge by.
    """

    kind: str | None
    says: str | None
    followed: float | None


@dataclass(frozen=True)
class _View:
    """Tracks T N 2 with their patches T N K, of mean 0 and length 1; shown T N: within the frame, and not flat."""

    tracks: np.ndarray
    patches: np.ndarray
    shown: np.ndarray


def grey(frame: np.ndarray) -> np.ndarray:
    """A frame H W 3 uint8 RGB as `judge` wants it: H W uint16, slightly blurred."""
    lightness = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY).astype(np.uint16) * 256
    return cv2.GaussianBlur(lightness, (0, 0), BLUR)


def judge(
    frames: np.ndarray, tracks: np.ndarray, visible: np.ndarray, valid: np.ndarray
) -> Judgement:
    """The Judgement of tracks T N 2 (pixels), visible T N and valid T N over frames T H W made by `grey`.

    Kinds: visibility (inverted), time (shifted by frames), place (swapped, mirrored, shifted, scaled), outside, follow.
    """
    size = frames.shape[1:]
    chosen = np.random.default_rng(0).permutation(tracks.shape[1])[:POINTS]
    tracks, seen = tracks[:, chosen], (visible & valid)[:, chosen]
    if len(frames) < 2 or not len(chosen):
        return Judgement(None, None, None)
    own = _view(frames, tracks, valid[:, chosen])
    (followed, pairs), (hidden_followed, hidden_pairs) = _followed(frames, own, [seen, ~seen])
    lost = _beyond(tracks, size)[seen].mean() if seen.any() else 0.0
    known = followed if pairs >= PAIRS else None
    if (
        hidden_pairs >= PAIRS
        and hidden_followed > SURELY
        and (known is None or followed < hidden_followed - 0.15)
    ):
        return Judgement("visibility", _inverted(hidden_followed, followed, pairs), known)
    doubtful = lost > OUTSIDE or (known is not None and followed < DOUBTFUL)
    best = _explained(frames, own, seen, READINGS if doubtful else READINGS[:2])
    if best is not None:
        return Judgement(*best, known)
    if known is not None and followed < FOLLOWING:
        says = f"its tracks do not follow the image: only {followed:.0%} of the patches fit them better than aside"
        return Judgement(
            "follow",
            f"{says}, where chance gives 50%; take the frames and tracks of one clip",
            known,
        )
    if lost > OUTSIDE:
        says = (
            f"{lost:.0%} of the places it calls visible lie outside the {size[1]}x{size[0]} frames"
        )
        return Judgement(
            "outside",
            f"{says}: visible must be False there, or the tracks are of another size",
            known,
        )
    return Judgement(None, None, known)


def _inverted(hidden: float, seen: float, pairs: int) -> str:
    other = (
        f"only {seen:.0%} of those it calls visible"
        if pairs >= PAIRS
        else "it calls hardly any visible"
    )
    return f"its visibility is inverted: {hidden:.0%} of the patches it calls hidden follow the image, {other}"


def _view(frames: np.ndarray, tracks: np.ndarray, known: np.ndarray) -> _View:
    patches = np.empty((*tracks.shape[:2], len(_OFFSETS)), np.float32)
    for frame, xy, into in zip(frames, tracks.astype(np.float32), patches):
        places = np.clip(xy[:, None] + _OFFSETS, -RADIUS, max(frames.shape) + RADIUS)
        into[:] = cv2.remap(frame, places, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    patches -= patches.mean(-1, keepdims=True)
    length = np.linalg.norm(patches, axis=-1)
    textured = length > FLAT * 256 * len(_OFFSETS) ** 0.5
    within = ~_beyond(tracks, frames.shape[1:], 0.0)
    return _View(tracks, patches / np.maximum(length, 1)[..., None], known & textured & within)


def _beyond(tracks: np.ndarray, size: tuple[int, int], slack: float = 1.0) -> np.ndarray:
    """Bool T N: outside the frame by more than `slack` pixels."""
    return ((tracks < -slack) | (tracks > np.array(size[::-1]) - 1 + slack)).any(-1)


def _paired(flags: np.ndarray, gap: int) -> np.ndarray:
    return flags[:-gap] & flags[gap:]


def _along(one: np.ndarray, other: np.ndarray, gap: int) -> np.ndarray:
    """Correlation T-gap N of the patches `one` with those of `other`, `gap` frames later."""
    return np.einsum("tnk,tnk->tn", one[:-gap], other[gap:])


def _followed(frames: np.ndarray, own: _View, seen: list[np.ndarray]) -> list[tuple[float, int]]:
    """Share and number of pairs, for each choice T N, whose patch fits the track better than a place aside.

    Only pairs whose patch looks different aside in its own frame count: the others could not tell.
    """
    gap = min(max(GAPS), len(frames) - 1)
    aside = [_view(frames, own.tracks + side, own.shown).patches for side in _SIDES]
    fits = np.stack(
        [_along(own.patches, own.patches, gap) > _along(own.patches, there, gap) for there in aside]
    )
    alike = np.stack([np.einsum("tnk,tnk->tn", own.patches, there) for there in aside])
    told = [(alike[:, :-gap] < DISTINCT) & _paired(own.shown & choice, gap) for choice in seen]
    return [(float(fits[one].mean()) if one.any() else 0.0, int(one.sum())) for one in told]


Read = Callable[[np.ndarray, np.ndarray, tuple[int, int]], tuple[np.ndarray, np.ndarray]]


def _later(
    frames: int, tracks: np.ndarray, seen: np.ndarray, size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """What is said of frame k read as said of frame k + frames."""
    moved, known = np.roll(tracks, frames, 0), np.roll(seen, frames, 0)
    known[slice(None, frames) if frames > 0 else slice(frames, None)] = False
    return moved, known


def _moved(
    shift: tuple[float, float],
    scale: float,
    tracks: np.ndarray,
    seen: np.ndarray,
    size: tuple[int, int],
):
    return scale * tracks + np.multiply(shift, size[::-1]), seen


def _time(frames: int) -> tuple[str, str, Read]:
    there = f"k{frames:+d}".replace("k", "k ").replace("+", "+ ").replace("-", "- ")
    says = f"its tracks are shifted in time: what it says of frame k fits frame {there}"
    return "time", says, partial(_later, frames)


def _place(says: str, read: Read) -> tuple[str, str, Read]:
    return "place", says, read


# Kind, sentence and the reading of what may have been meant; the first two are tried for every clip.
READINGS = [
    *(_time(frames) for frames in (1, -1, 2, -2, 3, -3)),
    (
        "time",
        "its tracks run backwards: they fit the frames in reverse order",
        lambda t, s, size: (t[::-1], s[::-1]),
    ),
    _place(
        "its axes are swapped: coords holds (y, x) and should hold (x, y)",
        lambda t, s, size: (t[..., ::-1], s),
    ),
    _place(
        "its tracks are mirrored: x counts from the right side of the frames",
        lambda t, s, size: ([size[1] - 1, 0] + t * [-1, 1], s),
    ),
    _place(
        "its tracks are upside down: y counts from the bottom of the frames",
        lambda t, s, size: ([0, size[0] - 1] + t * [1, -1], s),
    ),
    *(
        _place(f"its tracks are shifted by half a frame in {axes}", partial(_moved, shift, 1.0))
        for axes, shifts in (
            ("x", ((0.5, 0), (-0.5, 0))),
            ("y", ((0, 0.5), (0, -0.5))),
            ("x and y", ((0.5, 0.5), (-0.5, -0.5), (0.5, -0.5), (-0.5, 0.5))),
        )
        for shift in shifts
    ),
    _place("its tracks are of frames of half the size", partial(_moved, (0, 0), 2.0)),
    _place("its tracks are of frames of twice the size", partial(_moved, (0, 0), 0.5)),
]


def _explained(
    frames: np.ndarray, own: _View, seen: np.ndarray, readings: list
) -> tuple[str, str] | None:
    """Kind and sentence of the reading that fits the image clearly better than the tracks as they stand, if any."""
    best = None
    for kind, says, read in readings:
        tracks, known = read(own.tracks, seen, frames.shape[1:])
        score = _preference(own, seen, _view(frames, tracks, known))
        if score > (best or (PREFERRED,))[0]:
            best = (score, kind, says, read)
    if best is None:
        return None
    if readings is not READINGS:
        return _explained(frames, own, seen, READINGS)  # perhaps by more than one frame
    tracks, known = best[3](own.tracks, seen, frames.shape[1:])
    followed, pairs = _followed(frames, _view(frames, tracks, known), [known])[0]
    return best[1:3] if pairs >= PAIRS and followed > SURELY else None


def _preference(own: _View, seen: np.ndarray, other: _View) -> float:
    """Share of pairs that fit `other` better, of those fitting one better; less 1 / sqrt(points), as points vary."""
    better, count, points = 0, 0, np.zeros(seen.shape[1], bool)
    for gap in GAPS:
        if gap < len(seen):
            more = _along(other.patches, other.patches, gap) - _along(own.patches, own.patches, gap)
            told = _paired(own.shown & seen & other.shown, gap) & (np.abs(more) > MARGIN)
            better, count = better + (more > 0)[told].sum(), count + told.sum()
            points |= told.any(0)
    return better / count - points.sum() ** -0.5 if count >= PAIRS else -1.0
