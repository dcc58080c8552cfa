"""What the formats share: one clip, its points' names, whose they are, and back to Tracks."""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from cotracker.files import replace_file
from cotracker.tracks import Tracks

MOST_NUMBERS = 2**28  # frames x points of a file; a wrong frame number would ask for more


def one_clip(tracks: Tracks) -> Tracks:
    """The one clip of tracks, without padded points; ValueError where there are several."""
    if len(tracks) != 1:
        raise ValueError(f"a file holds one clip, and these are {len(tracks)}: write tracks[k]")
    return tracks[0]


def point_individuals(tracks: Tracks) -> list[str] | None:
    """Whose each point is: the individuals, or names of their ids, or None where none are."""
    if tracks.individuals is not None:
        return list(tracks.individuals)
    if tracks.ids is None or not tracks.ids.any():
        return None
    return [f"object{number}" if number else "single" for number in tracks.ids[0].tolist()]


def point_names(tracks: Tracks) -> list[str]:
    """The points' names, or point0, point1, … where they have none.

    ValueError where two points of one individual have the same name.
    """
    count = tracks.xy.shape[2]
    names = list(tracks.names or (f"point{n}" for n in range(count)))
    owners = point_individuals(tracks) or [""] * count
    seen: set[tuple[str, str]] = set()
    for pair in zip(owners, names):
        if pair in seen:
            raise ValueError(f"two points are named {pair[1]}: give each a name of its own")
        seen.add(pair)
    return names


def frame_times(tracks: Tracks) -> list[float] | None:
    """The seconds of the frames: their own, or from 0 on by fps, or None."""
    if tracks.seconds is not None:
        return tracks.seconds.tolist()
    if tracks.fps is None:
        return None
    return [frame / tracks.fps for frame in range(tracks.xy.shape[1])]


def joined_names(tracks: Tracks) -> list[str]:
    """One text a point: its name, behind its individual and a slash where it has one.

    A slash within either is written %2F, so that `split_names` tells them apart.
    """
    names, owners = point_names(tracks), point_individuals(tracks)
    parts = [names] if owners is None else [owners, names]
    return ["/".join(part.replace("%", "%25").replace("/", "%2F") for part in one)
            for one in zip(*parts)]  # fmt: skip


def split_names(texts: Sequence[str]) -> tuple[list[str], list[str] | None]:
    """The names, and the individuals where every text has one."""
    parts = [
        [part.replace("%2F", "/").replace("%25", "%") for part in text.split("/", 1)]
        for text in texts
    ]
    owned = bool(parts) and all(len(one) == 2 for one in parts)
    if not owned:
        return ["/".join(one) for one in parts], None
    return [name for _, name in parts], [owner for owner, _ in parts]


def number_repeated(pairs: list[tuple[int, str]], path: Path) -> list[str]:
    """The owner of each pair (frame, owner); one that a frame has several times is numbered.

    ValueError where such an owner is in other frames too, as nothing says who is who there.
    """
    counts, numbers, owners = Counter(pairs), Counter(), []
    repeated = {owner: frame for (frame, owner), count in counts.items() if count > 1}
    for frame, owner in pairs:
        if owner in repeated:
            if frame != repeated[owner]:
                raise ValueError(
                    f"{path} has several of {owner} in frame {repeated[owner]}, and some in frame "
                    f"{frame}: give each a track, which says who is who"
                )
            numbers[owner] += 1
            owner = f"{owner}{numbers[owner]}"
        owners.append(owner)
    return owners


def make_tracks(
    xy: np.ndarray,
    visible: np.ndarray | None = None,
    visibility: np.ndarray | None = None,
    confidence: np.ndarray | None = None,
    names: Sequence[str] | None = None,
    individuals: Sequence[str] | None = None,
    size: tuple[int, int] | None = None,
    fps: float | None = None,
) -> Tracks:
    """Tracks of one clip from arrays T N 2 and T N; NaN is a place that nobody knows.

    visible: None: wherever a place is known.
    visibility: None: 1 where visible, else 0; NaN becomes 0.
    """
    known = np.isfinite(xy).all(axis=-1)
    visible = known if visible is None else np.asarray(visible, bool) & known
    visibility = visible if visibility is None else np.nan_to_num(visibility).clip(0, 1)
    return Tracks(
        _tensor(np.where(known[..., None], xy, np.nan)),
        _tensor(visibility),
        torch.from_numpy(visible.copy())[None],
        confidence=None if confidence is None else _tensor(confidence),
        names=None if names is None else tuple(names),
        individuals=None if individuals is None else tuple(individuals),
        size=size,
        fps=fps,
    )


def shortest(values: torch.Tensor) -> list[float | None]:
    """The shortest numbers that are these float32 numbers, and None for NaN."""
    numbers = values.float().cpu().numpy()
    return [float(str(one)) if math.isfinite(one) else None for one in numbers]


def empty_places(frames: int, points: int, path: str | Path) -> np.ndarray:
    """NaN of shape T N 2; ValueError where a file's frame numbers ask for too many."""
    if frames * max(points, 1) > MOST_NUMBERS:
        raise ValueError(f"{path} has frame numbers up to {frames - 1}: they are too large to hold")
    return np.full((frames, points, 2), np.nan, np.float32)


def write_through(path: Path, write: Callable[[str], object]) -> Path:
    """The path of the file that a library's `write(name)` made, atomically."""
    with replace_file(path) as file:
        write(file.name)
    return path


def need(extra: str, package: str, error: ImportError) -> ValueError:
    """The error of one sentence about an optional package."""
    return ValueError(f"this format needs {package}: pip install 'cotracker[{extra}]' ({error})")


def _tensor(values: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, np.float32))[None]
