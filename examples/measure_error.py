"""Measures the tracker on a clip that is made with its truth; needs no file."""

import numpy as np

import cotracker
from cotracker.benchmarks.metrics import tapvid
from cotracker.benchmarks.protocols import first
from cotracker.data.synthetic.sprites import Sprites

clip = Sprites(frames=12, height=96, width=128, points=16).clip(np.random.default_rng(7))
targets = first(clip)
tracker = cotracker.load_tracker(resolution=(192, 256))
tracks = tracker(clip.video[None], targets.queries)
for name in ("aj", "delta_avg", "oa"):
    print(f"{name}: {tapvid(tracks, targets, clip)[name]:.1f}")
