"""Golden clips: generators give the clips of before, to a grey level in the mean and 1e-3 pixels.

To change the clips on purpose, raise `version` in configs/benchmark/*_val.yaml, then write
tests/golden/clips.npz again: `PYTHONPATH=. python tests/data/synthetic/test_golden_clips.py`.
"""

import os
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from test_scenes3d import RENDERS

from cotracker.config.instantiate import instantiate
from cotracker.data.heldout import HeldOut
from cotracker.data.synthetic.scenes3d import Scenes3D
from cotracker.data.synthetic.sprites import Sprites
from cotracker.types import Clip

CONFIGS = Path(__file__).parents[3] / "configs"
FILE = Path(__file__).parents[2] / "golden" / "clips.npz"
GREY_LEVELS = 1.0  # mean difference of pixels
PIXELS = 1e-3  # largest difference of tracks
SHARE = 0.01  # of the visible flags may differ
SMALL = {"frames": 8, "height": 64, "width": 80, "points": 24}
GENERATORS = {"sprites": Sprites(**SMALL), "scenes3d": Scenes3D(**SMALL, sampled=512)}
CLIPS = {"sprites_val": (1, 4), "scenes3d_val": (0, 2), "sprites": (0, 1, 2), "scenes3d": (0, 1)}
by_osmesa = pytest.mark.skipif(
    os.environ.get("MUJOCO_GL", "osmesa") != "osmesa",  # set by test_scenes3d, which has rendered
    reason="a GPU filters textures otherwise, by more than a grey level in the mean",
)
CASES = [
    pytest.param(name, k, marks=[*RENDERS, by_osmesa] if name.startswith("scenes3d") else [])
    for name, numbers in CLIPS.items()
    for k in numbers
]
ADVICE = (
    "if you changed the clips on purpose, raise `version` in configs/benchmark/*_val.yaml and run "
    "`PYTHONPATH=. python tests/data/synthetic/test_golden_clips.py`"
)


@cache
def held_out(name: str) -> HeldOut:
    """The clips of a held-out benchmark as its config describes them, without a cache."""
    words = [f"benchmark={name}", "benchmark.clips.cache=null", "tracker=static"]
    with initialize_config_dir(str(CONFIGS), version_base=None):
        return instantiate(compose("evaluate", overrides=words).benchmark.clips, "clips")


def sample(name: str, k: int) -> Clip:
    """Clip k of a benchmark, or of a generator with its defaults."""
    if name in GENERATORS:
        return GENERATORS[name].clip(np.random.default_rng(k))
    return held_out(name)[k]


def summarise(name: str, clip: Clip) -> dict[str, np.ndarray]:
    """What is stored of a clip: tracks T N 2, visible T N, some pixels t 3 h w of some frames."""
    step, every = (2, 2) if name in GENERATORS else (8, 6)
    pixels = clip.video[::every, :, ::step, ::step]
    arrays = {"tracks": clip.tracks, "visible": clip.visible, "pixels": pixels}
    return {key: value.numpy() for key, value in arrays.items()}


@pytest.mark.slow
@pytest.mark.parametrize("name, k", CASES)
def test_a_clip_is_as_before(name, k):
    found = summarise(name, sample(name, k))
    with np.load(FILE) as file:
        golden = {key: file[f"{name}.{k}.{key}"] for key in found}
    for key, value in found.items():
        assert value.shape == golden[key].shape
    grey = np.abs(found["pixels"].astype(int) - golden["pixels"]).mean()
    assert grey < GREY_LEVELS, f"the pixels of {name} {k} differ by {grey:.2f} levels: {ADVICE}"
    far = np.abs(found["tracks"] - golden["tracks"]).max()
    assert far < PIXELS, f"the tracks of {name} {k} differ by {far:.4f} pixels: {ADVICE}"
    share = (found["visible"] != golden["visible"]).mean()
    assert share <= SHARE, f"{share:.1%} of the visible flags of {name} {k} differ: {ADVICE}"


@pytest.mark.parametrize("name", ["sprites_val", "scenes3d_val"])
def test_the_golden_clips_are_of_the_version_that_the_config_names(name):
    with np.load(FILE) as file:
        assert held_out(name).identity["version"] == int(file[f"{name}.version"]), ADVICE


def write() -> None:
    """Writes all golden clips."""
    held = [name for name in CLIPS if name not in GENERATORS]
    arrays = {f"{name}.version": np.array(held_out(name).identity["version"]) for name in held}
    for name, numbers in CLIPS.items():
        for k in numbers:
            for key, value in summarise(name, sample(name, k)).items():
                arrays[f"{name}.{k}.{key}"] = value
    np.savez_compressed(FILE, **arrays)


if __name__ == "__main__":
    write()
