"""Training on one late window by itself, as if the windows before it had been tracked, with errors.

Unrolling a long clip (section 3.3) shows the network the state that it inherits, but costs the
features of every frame. Here only the query's frame and one window are encoded, however far apart.
The initial tracks of that window are the true ones with noise of all sizes, so that a network
learns to find its way back to the queried point. Some tracks drift as real ones are lost: from some
frame on they follow another point nearby, of the background or of what occludes the point.
"""

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor

from cotracker.model.cotracker import CoTracker
from cotracker.model.windows import Estimate, WindowState
from cotracker.training.config import ObjectiveConfig
from cotracker.types import Clip

DRIFT_PX = 40.0  # at width 512: how near a point must be for another track to drift to it
REFERENCE_WIDTH = 512  # of the frame in whose pixels noise and drift are given
WRONG_VISIBILITY = 0.1  # share of the initial visibility logits with the wrong sign


def sample_late_window(
    clip: Clip, window: int, config: ObjectiveConfig, rng: Generator
) -> tuple[list[int], tuple[Tensor, Tensor]]:
    """The query's frame and then the frames of a later window, and that window's initial state.

    The state is tracks B S N 2 and visibility logits B S N of the window half a window earlier.
    clip: collated, of at least 1.5 windows.
    """
    half = window // 2
    start = int(rng.integers(half, clip.video.shape[1] - window + 1))
    query_frame = int(rng.integers(0, start))
    before = slice(start - half, start + half)
    scale = clip.video.shape[-1] / REFERENCE_WIDTH
    tracks, visible = clip.tracks[:, before], clip.visible[:, before]
    if config.drift_prob:
        tracks, visible = drift_tracks(clip, before, DRIFT_PX * scale, config.drift_prob, rng)
    tracks = perturb_tracks(tracks, config.init_noise_px, scale, rng)
    logits = perturb_visibility(visible, rng)
    return [query_frame, *range(start, start + window)], (tracks, logits)


def track_late_window(
    model: CoTracker, clip: Clip, maps: list[Tensor], initial: tuple[Tensor, Tensor]
) -> tuple[Estimate, WindowState]:
    """The Estimate of such a window, and the state that it began from.

    clip: the query's frame and the window's alone, so that the window starts at frame 1.
    maps: feature maps of those frames.
    Queries are all points visible in frame 0.
    """
    point_mask = clip.visible[:, 0] & clip.valid[:, 0]
    xy = clip.tracks[:, 0].nan_to_num(0)
    queries = torch.cat([torch.zeros_like(xy[..., :1]), xy], dim=-1)
    track_feat = model.sample_track_feat([level[:, :1] for level in maps], queries, point_mask)
    tracks, logits = initial
    state = model.begin(queries, point_mask)
    state = state._replace(track_feat=track_feat, tracks=tracks, logits=logits, start=1)
    _, estimate = model.step(state, [level[:, 1:] for level in maps])
    return estimate, state


def drift_tracks(
    clip: Clip, window: slice, radius: float, prob: float, rng: Generator
) -> tuple[Tensor, Tensor]:
    """Tracks B S N 2 and visibility B S N in a window, where a share of the tracks have drifted.

    From a frame on, sampled from the window and as many frames before it, each of those moves as a
    point that was visible at most `radius` pixels away in that frame, and is as visible as that
    point. Tracks without such a neighbour do not drift.
    """
    batch, points = clip.tracks.shape[0], clip.tracks.shape[2]
    visible, device = clip.visible & clip.valid, clip.tracks.device
    begin, stop = max(0, 2 * window.start - window.stop), window.stop - 1
    leaving = torch.from_numpy(rng.integers(begin, stop, (batch, points))).to(device)
    clips, own = torch.arange(batch, device=device)[:, None], torch.arange(points, device=device)
    positions = clip.tracks[clips, leaving]  # B N N 2: of all points when the first index's leaves
    at = positions[clips, own, own]
    near = (positions - at[:, :, None]).norm(dim=-1) <= radius
    near &= visible[clips, leaving] & clip.valid[:, window].all(dim=1)[:, None]
    near &= (own != own[:, None]) & clip.valid[clips, leaving, own][..., None]
    order = torch.from_numpy(rng.random((batch, points, points)) + 1).to(device)
    other = (order * near).argmax(dim=-1)
    drifts = near.any(dim=-1) & torch.from_numpy(rng.random((batch, points)) < prob).to(device)
    frame = torch.arange(window.start, window.stop, device=device)[:, None]
    drifted = drifts[:, None] & (frame > leaving[:, None])  # B S N
    there = clips[..., None], frame, other[:, None]
    moved = at[:, None] + clip.tracks[there] - positions[clips, own, other][:, None]
    tracks = torch.where(drifted[..., None], moved, clip.tracks[:, window])
    return tracks, torch.where(drifted, clip.visible[there], clip.visible[:, window])


def perturb_tracks(
    tracks: Tensor, noise_px: tuple[float, float], scale: float, rng: Generator
) -> Tensor:
    """Tracks B S N 2 with noise whose size, log-uniform in pixels times scale, differs by point.

    Each point has an offset, a third as much that grows over time, and a tenth as much jitter.
    """
    batch, window, points, _ = tracks.shape
    size = scale * np.exp(rng.uniform(*np.log(noise_px), (batch, 1, points, 1)))
    steady, growing = rng.standard_normal((2, batch, 1, points, 2)) / np.sqrt(2)
    jitter = rng.standard_normal(tracks.shape)
    time = np.linspace(-1, 1, window)[:, None, None]
    error = size * (steady + growing * time / 3 + jitter / 10)
    return tracks.nan_to_num(0) + torch.from_numpy(error.astype(np.float32)).to(tracks.device)


def perturb_visibility(visible: Tensor, rng: Generator) -> Tensor:
    """Visibility logits B S N as a window hands them on: of any size, one in ten wrong."""
    size = np.abs(rng.normal(3, 2, visible.shape))
    sign = np.where(rng.random(visible.shape) < WRONG_VISIBILITY, -1, 1)
    logits = torch.from_numpy((size * sign).astype(np.float32)).to(visible.device)
    return torch.where(visible, 1.0, -1.0) * logits
