"""Tracks that every format must carry: names, individuals, hidden points, places nobody knows."""

from dataclasses import replace

import numpy as np
import torch

from cotracker.tracks import Tracks


def named_tracks(points: int = 3, frames: int = 4, individuals: bool = True) -> Tracks:
    """Tracks of one clip: point 1 is hidden in frame 1, point 2 is nowhere in frame 2."""
    rng = np.random.default_rng(points * 100 + frames)
    xy = rng.uniform(0, 40, (frames, points, 2)).round(3).astype(np.float32)
    visible = np.ones((frames, points), bool)
    if points > 2 and frames > 2:
        visible[1, 1] = visible[2, 2] = False
        xy[2, 2] = np.nan
    score = np.where(visible, 0.875, 0.25).astype(np.float32)
    owners = ("fly a",) * (points - 1) + ("fly b",) * min(points, 1)
    names = [f"{'left' if n % 2 else 'right'} wing, {n}" for n in range(points)]
    return Tracks(
        torch.from_numpy(xy)[None],
        torch.from_numpy(score)[None],
        torch.from_numpy(visible)[None],
        names=tuple(names),
        individuals=owners if individuals else None,
        fps=25.0,
        size=(48, 64),
    )


def with_everything(tracks: Tracks) -> Tracks:
    """The tracks with confidence, ids, queries and seconds too."""
    points, frames = tracks.xy.shape[2], tracks.xy.shape[1]
    known = tracks.xy[:, :1].nan_to_num(5.0)
    return replace(
        tracks,
        confidence=tracks.visibility / 2,
        ids=torch.arange(points)[None],
        queries=torch.cat([known.new_zeros(1, points, 1), known[:, 0]], dim=-1),
        seconds=torch.arange(frames, dtype=torch.float64) / 25 + 0.5,
    )


def assert_same(ours: Tracks, theirs: Tracks, fields: tuple[str, ...], atol: float = 1e-4) -> None:
    """Fails unless the fields are equal, numbers within atol; places where both are NaN are."""
    for name in fields:
        one, two = getattr(ours, name), getattr(theirs, name)
        if isinstance(one, torch.Tensor):
            assert one.shape == two.shape and one.dtype == two.dtype, name
            np.testing.assert_allclose(one.numpy(), two.numpy(), atol=atol, rtol=0, err_msg=name)
        else:
            assert one == two, name


def gap_hidden(tracks: Tracks) -> Tracks:
    """The tracks of a format without a flag: no place where a point is not seen."""
    xy = torch.where(tracks.visible[..., None], tracks.xy, torch.nan)
    return replace(tracks, xy=xy)
