"""Do tracks follow the image? Patches are compared along the tracks, and along other readings."""

from dataclasses import dataclass

import cv2
import numpy as np

from cotracker.data.check.readings import READINGS, Reading

MAX_POINTS = 128  # of a clip, sampled
RADIUS = 3  # of a patch, pixels
BLUR = 1.0  # of the frames before patches are cut, against noise and compression
FLAT = 4.0  # grey levels; a patch of less deviation has no texture
GAPS = (1, 4)  # frames between the two patches of a pair
ASIDE = 5.0  # pixels from a track to where its patch must fit worse
DISTINCT = 0.6  # correlation with the patch aside, below which the two can be told apart
MARGIN = 0.02  # of correlation, from which on one of two tracks fits better
MIN_PAIRS = 60  # for any judgement

# Measured on good and on spoilt clips: see docs/notes/data_check.md.
# "Followed" is the share of pairs that fit better on the track than aside.
FOLLOWING = 0.64  # good clips have 0.7 to 1, chance gives 0.5
SURE = 0.72  # followed by a reading that explains the tracks
DOUBTFUL = 0.82  # followed by tracks for which all readings are tried
PREFERRED = 0.6  # share of pairs that prefer another reading, less 1 / sqrt(points); good: < 0.3
MAX_OUTSIDE = 0.02  # share of visible positions beyond the frame
HIDDEN_LEAD = 0.15  # by which hidden positions are followed more than visible ones if inverted

_SIDE = np.arange(-RADIUS, RADIUS + 1, dtype=np.float32)
_OFFSETS = np.stack(np.meshgrid(_SIDE, _SIDE), -1).reshape(-1, 2)
_ASIDE = ASIDE * np.array([(1, 0), (0, 1), (-1, 0), (0, -1)], np.float32)


@dataclass(frozen=True)
class Judgement:
    """What the image contradicts in tracks: kind and message of the fault, or None and None.

    followed: the share of pairs that fit the track better than aside; None: too little texture.
    """

    kind: str | None
    message: str | None
    followed: float | None


@dataclass(frozen=True)
class _Patches:
    """Tracks T N 2 with their patches T N K, of mean 0 and length 1.

    textured T N: within the frame, valid and not flat.
    """

    tracks: np.ndarray
    patches: np.ndarray
    textured: np.ndarray


def to_grey(frame: np.ndarray) -> np.ndarray:
    """A frame H W 3 uint8 RGB as `judge` takes it: H W uint16, slightly blurred."""
    lightness = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY).astype(np.uint16) * 256
    return cv2.GaussianBlur(lightness, (0, 0), BLUR)


def judge(
    frames: np.ndarray, tracks: np.ndarray, visible: np.ndarray, valid: np.ndarray
) -> Judgement:
    """The Judgement of tracks T N 2 (pixels), visible T N and valid T N over grey frames T H W.

    Kinds: visibility (inverted), time (shifted by frames), place (swapped, mirrored, shifted,
    scaled), outside, follow.
    """
    chosen = np.random.default_rng(0).permutation(tracks.shape[1])[:MAX_POINTS]
    tracks = tracks[:, chosen]
    seen = (visible & valid)[:, chosen]
    if len(frames) < 2 or not len(chosen):
        return Judgement(None, None, None)
    own = _cut_patches(frames, tracks, valid[:, chosen])
    on_seen, on_hidden = _measure_followed(frames, own, [seen, ~seen])
    followed = on_seen[0] if on_seen[1] >= MIN_PAIRS else None
    if _is_inverted(on_seen, on_hidden):
        return Judgement("visibility", _describe_inverted(on_seen, on_hidden), followed)
    outside = _is_outside(tracks, frames.shape[1:])[seen].mean() if seen.any() else 0.0
    doubtful = outside > MAX_OUTSIDE or (followed is not None and followed < DOUBTFUL)
    reading = _find_reading(frames, own, seen, READINGS if doubtful else READINGS[:2])
    if reading is not None:
        return Judgement(*reading, followed)
    return _judge_plain(followed, outside, frames.shape[1:])


def _judge_plain(followed: float | None, outside: float, size: tuple[int, int]) -> Judgement:
    """The Judgement of tracks that no other reading explains."""
    if followed is not None and followed < FOLLOWING:
        message = (
            f"its tracks do not follow the image: only {followed:.0%} of the patches fit them "
            "better than aside, where chance gives 50%; take the frames and tracks of one clip"
        )
        return Judgement("follow", message, followed)
    if outside > MAX_OUTSIDE:
        message = (
            f"{outside:.0%} of the places it calls visible lie outside the {size[1]}x{size[0]} "
            "frames: visible must be False there, or the tracks are of another size"
        )
        return Judgement("outside", message, followed)
    return Judgement(None, None, followed)


def _is_inverted(on_seen: tuple[float, int], on_hidden: tuple[float, int]) -> bool:
    if on_hidden[1] < MIN_PAIRS or on_hidden[0] <= SURE:
        return False
    return on_seen[1] < MIN_PAIRS or on_seen[0] < on_hidden[0] - HIDDEN_LEAD


def _describe_inverted(on_seen: tuple[float, int], on_hidden: tuple[float, int]) -> str:
    other = "it calls hardly any visible"
    if on_seen[1] >= MIN_PAIRS:
        other = f"only {on_seen[0]:.0%} of those it calls visible"
    return (
        f"its visibility is inverted: {on_hidden[0]:.0%} of the patches it calls hidden follow the "
        f"image, {other}"
    )


def _cut_patches(frames: np.ndarray, tracks: np.ndarray, valid: np.ndarray) -> _Patches:
    patches = np.empty((*tracks.shape[:2], len(_OFFSETS)), np.float32)
    for frame, xy, into in zip(frames, tracks.astype(np.float32), patches):
        at = np.clip(xy[:, None] + _OFFSETS, -RADIUS, max(frames.shape) + RADIUS)
        into[:] = cv2.remap(frame, at, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    patches -= patches.mean(-1, keepdims=True)
    length = np.linalg.norm(patches, axis=-1)
    textured = length > FLAT * 256 * len(_OFFSETS) ** 0.5
    within = ~_is_outside(tracks, frames.shape[1:], 0.0)
    return _Patches(tracks, patches / np.maximum(length, 1)[..., None], valid & textured & within)


def _is_outside(tracks: np.ndarray, size: tuple[int, int], slack: float = 1.0) -> np.ndarray:
    """Bool T N: outside the frame by more than `slack` pixels."""
    return ((tracks < -slack) | (tracks > np.array(size[::-1]) - 1 + slack)).any(-1)


def _pair_flags(flags: np.ndarray, gap: int) -> np.ndarray:
    return flags[:-gap] & flags[gap:]


def _correlate(one: np.ndarray, other: np.ndarray, gap: int) -> np.ndarray:
    """Correlation T-gap N of the patches `one` with those of `other`, `gap` frames later."""
    return np.einsum("tnk,tnk->tn", one[:-gap], other[gap:])


def _measure_followed(
    frames: np.ndarray, own: _Patches, choices: list[np.ndarray]
) -> list[tuple[float, int]]:
    """Share and number of pairs, of each choice T N, that fit the track better than aside.

    Only pairs whose patch looks different aside in its own frame count.
    """
    gap = min(max(GAPS), len(frames) - 1)
    aside = [_cut_patches(frames, own.tracks + side, own.textured).patches for side in _ASIDE]
    on_track = _correlate(own.patches, own.patches, gap)
    fits = np.stack([on_track > _correlate(own.patches, patches, gap) for patches in aside])
    alike = np.stack([np.einsum("tnk,tnk->tn", own.patches, patches) for patches in aside])
    distinct = alike[:, :-gap] < DISTINCT
    counted = [distinct & _pair_flags(own.textured & choice, gap) for choice in choices]
    return [(float(fits[one].mean()) if one.any() else 0.0, int(one.sum())) for one in counted]


def _find_reading(
    frames: np.ndarray, own: _Patches, seen: np.ndarray, readings: list[Reading]
) -> tuple[str, str] | None:
    """Kind and message of the reading that fits clearly better than the tracks, if there is one."""
    best = None
    best_score = PREFERRED
    for reading in readings:
        tracks, known = reading[2](own.tracks, seen, frames.shape[1:])
        score = _measure_preference(own, seen, _cut_patches(frames, tracks, known))
        if score > best_score:
            best = reading
            best_score = score
    if best is None:
        return None
    if readings is not READINGS:
        return _find_reading(frames, own, seen, READINGS)  # perhaps by more than one frame
    kind, message, read = best
    tracks, known = read(own.tracks, seen, frames.shape[1:])
    patches = _cut_patches(frames, tracks, known)
    followed, pairs = _measure_followed(frames, patches, [known])[0]
    return (kind, message) if pairs >= MIN_PAIRS and followed > SURE else None


def _measure_preference(own: _Patches, seen: np.ndarray, other: _Patches) -> float:
    """Share of pairs that fit `other` better, of those that fit one better; less 1 / sqrt(points).

    -1: there are too few pairs.
    """
    better = 0
    count = 0
    points = np.zeros(seen.shape[1], bool)
    for gap in GAPS:
        if gap >= len(seen):
            continue
        gain = _correlate(other.patches, other.patches, gap)
        gain = gain - _correlate(own.patches, own.patches, gap)
        counted = _pair_flags(own.textured & seen & other.textured, gap) & (np.abs(gain) > MARGIN)
        better += (gain > 0)[counted].sum()
        count += counted.sum()
        points |= counted.any(0)
    return better / count - points.sum() ** -0.5 if count >= MIN_PAIRS else -1.0
