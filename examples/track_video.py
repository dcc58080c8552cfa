"""Tracks a grid of points through a video and draws them: VIDEO OUT.mp4."""

import sys

import cotracker
from cotracker.data.video import write_video
from cotracker.visualize import overlay

if len(sys.argv) != 3:
    sys.exit(__doc__)
source, target = sys.argv[1:]
tracker = cotracker.load_tracker()
video = cotracker.open_video(source)
tracks = tracker(video, grid=8)
size = tuple(video.shape[-2:])
frames = write_video(target, overlay(video, tracks), video.fps, size)
seen = tracks.visible.float().mean()
print(f"{target}: {frames} frames, {tracks.xy.shape[2]} points, seen {seen:.0%} of the time")
