"""One later window trained by itself, as if the windows before it had been tracked, with errors (section 3.2).

Unrolling a long clip (section 3.3) shows the network what it inherits, but costs every frame's features. Here only the
query's frame and one window are encoded, however far apart, and the tracks handed over are the truth put off by errors
of all sizes: so a network learns to find its way back to what was asked for, instead of carrying errors on. Some can be
put off as real tracks are lost: from some frame on they go with another point that is near, of a limb's background or
of what hides it.
"""

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor

from cotracker.model.cotracker import CoTracker
from cotracker.model.windows import Estimate, WindowState
from cotracker.types import Clip

NEAR = 40.0  # pixels of a frame 512 wide: from so far a point takes another with it


def drawn_window(
    clip: Clip, window: int, errors: tuple[float, float], rng: Generator, astray: float = 0.0
) -> tuple[list[int], tuple[Tensor, Tensor]]:
    """Frames drawn from `rng`, that of the queries and then a later window's, and what that window is handed.

    Handed over are tracks B S N 2 and visibility logits B S N of the window half a window earlier.
    clip: collated, of at least 1.5 windows.  errors: least and greatest of what is handed over, in pixels of a frame
    512 wide, log-uniform.  astray: share of the points that go with another, where one is near (`led_astray`).
    """
    half = window // 2
    start = int(rng.integers(half, clip.video.shape[1] - window + 1))
    asked_at = int(rng.integers(0, start))
    before = slice(start - half, start + half)
    scale, tracks, visible = (
        clip.video.shape[-1] / 512,
        clip.tracks[:, before],
        clip.visible[:, before],
    )
    if astray:
        tracks, visible = led_astray(clip, before, NEAR * scale, astray, rng)
    tracks = _put_off(tracks, scale, errors, rng)
    return [asked_at, *range(start, start + window)], (tracks, _put_in_doubt(visible, rng))


def later_window(
    model: CoTracker, clip: Clip, maps: list[Tensor], handed: tuple[Tensor, Tensor], iters: int
) -> tuple[Estimate, WindowState]:
    """The Estimate of such a window, which starts at frame 1 of the clip, and the WindowState that it was given.

    clip: those frames alone.  maps: theirs.  All points visible in frame 0, the queries' own, are asked for.
    """
    point_mask, where = clip.visible[:, 0] & clip.valid[:, 0], clip.tracks[:, 0].nan_to_num(0)
    queries = torch.cat([torch.zeros_like(where[..., :1]), where], dim=-1)
    track_feat = model.sample_track_feat([level[:, :1] for level in maps], queries, point_mask)
    tracks, logits = handed
    state = model.begin(queries, point_mask)
    state = state._replace(track_feat=track_feat, tracks=tracks, logits=logits, start=1)
    _, estimate = model.step(state, [level[:, 1:] for level in maps], iters)
    return estimate, state


def led_astray(
    clip: Clip, window: slice, near: float, share: float, rng: Generator
) -> tuple[Tensor, Tensor]:
    """Tracks B S N 2 and visibility B S N in a window, where a share of the points have left their surface.

    Each of those, from a frame on that is drawn from the window and as many frames before it, moves as, and is seen as,
    a point does that was visible at most `near` pixels away in that frame. Points that have none go on by themselves.
    """
    batch, points = clip.tracks.shape[0], clip.tracks.shape[2]
    known, device = clip.visible & clip.valid, clip.tracks.device
    begin, stop = max(0, 2 * window.start - window.stop), window.stop - 1
    left = torch.from_numpy(rng.integers(begin, stop, (batch, points))).to(device)
    clips, own = torch.arange(batch, device=device)[:, None], torch.arange(points, device=device)
    places = clip.tracks[clips, left]  # B N N 2: where all are when the first index's point leaves
    at = places[clips, own, own]
    close = (places - at[:, :, None]).norm(dim=-1) <= near
    close &= known[clips, left] & clip.valid[:, window].all(dim=1)[:, None] & (own != own[:, None])
    close &= clip.valid[clips, left, own][..., None]
    order = torch.from_numpy(rng.random((batch, points, points)) + 1).to(device)
    other = (order * close).argmax(dim=-1)
    leaves = close.any(dim=-1) & torch.from_numpy(rng.random((batch, points)) < share).to(device)
    frame = torch.arange(window.start, window.stop, device=device)[:, None]
    gone = leaves[:, None] & (frame > left[:, None])  # B S N
    there = clips[..., None], frame, other[:, None]
    moved = at[:, None] + clip.tracks[there] - places[clips, own, other][:, None]
    tracks = torch.where(gone[..., None], moved, clip.tracks[:, window])
    return tracks, torch.where(gone, clip.visible[there], clip.visible[:, window])


def _put_off(tracks: Tensor, scale: float, errors: tuple[float, float], rng: Generator) -> Tensor:
    """Tracks B S N 2 with errors: an offset a point, a third as much that grows over time, a tenth as jitter."""
    batch, window, points, _ = tracks.shape
    size = scale * np.exp(rng.uniform(*np.log(errors), (batch, 1, points, 1)))
    steady, growing = rng.standard_normal((2, batch, 1, points, 2)) / np.sqrt(2)
    jitter = rng.standard_normal(tracks.shape)
    time = np.linspace(-1, 1, window)[:, None, None]
    error = size * (steady + growing * time / 3 + jitter / 10)
    return tracks.nan_to_num(0) + torch.from_numpy(error.astype(np.float32)).to(tracks.device)


def _put_in_doubt(visible: Tensor, rng: Generator) -> Tensor:
    """Visibility logits B S N as a window hands them over: of any size, one in ten wrong."""
    sure = np.abs(rng.normal(3, 2, visible.shape)) * np.where(
        rng.random(visible.shape) < 0.1, -1, 1
    )
    return torch.where(visible, 1.0, -1.0) * torch.from_numpy(sure.astype(np.float32)).to(
        visible.device
    )
