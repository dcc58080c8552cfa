"""Golden clips: what the generators draw stays what it was, to one grey level in the mean and 1e-3 pixels.

Where the clips change on purpose: raise `version` in configs/benchmark/*_val.yaml, then write tests/golden/clips.npz
anew by `PYTHONPATH=. python tests/data/synthetic/test_golden_clips.py`.
"""

import os
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from test_scenes3d import draws

from cotracker.config.instantiate import made
from cotracker.data.heldout import HeldOut
from cotracker.data.synthetic.scenes3d import Scenes3D
from cotracker.data.synthetic.sprites import Sprites
from cotracker.types import Clip

CONFIGS = Path(__file__).parents[3] / "configs"
FILE = Path(__file__).parents[2] / "golden" / "clips.npz"
GREY_LEVELS, PIXELS, SHARE = 1.0, 1e-3, 0.01  # of the mean over pixels, of every place, of the visible flags
SMALL = {"frames": 8, "height": 64, "width": 80, "points": 24}
GENERATORS = {"sprites": Sprites(**SMALL), "scenes3d": Scenes3D(**SMALL, sampled=512)}
CLIPS = {"sprites_val": (1, 4), "scenes3d_val": (0, 2), "sprites": (0, 1, 2), "scenes3d": (0, 1)}
by_osmesa = pytest.mark.skipif(
    os.environ.get("MUJOCO_GL", "osmesa") != "osmesa",  # test_scenes3d has drawn: the variable says by what
    reason="a GPU filters textures otherwise, by more than a grey level in the mean",
)
CASES = [
    pytest.param(name, k, marks=[draws, by_osmesa] if name.startswith("scenes3d") else [])
    for name, numbers in CLIPS.items()
    for k in numbers
]
ADVICE = (
    "raise `version` in configs/benchmark/*_val.yaml if you changed the clips on purpose, and write the golden ones "
    "anew by `PYTHONPATH=. python tests/data/synthetic/test_golden_clips.py`"
)


@cache
def held_out(name: str) -> HeldOut:
    """The clips of a drawn benchmark, as its config has them, drawn anew."""
    words = [f"benchmark={name}", "benchmark.clips.cache=null", "tracker=static"]
    with initialize_config_dir(str(CONFIGS), version_base=None):
        return made(compose("evaluate", overrides=words).benchmark.clips)


def drawn(name: str, k: int) -> Clip:
    """Clip k of a benchmark, or of a generator with its defaults."""
    return GENERATORS[name].clip(np.random.default_rng(k)) if name in GENERATORS else held_out(name)[k]


def kept(name: str, clip: Clip) -> dict[str, np.ndarray]:
    """What is stored of a clip: tracks T N 2, visible T N, some pixels t 3 h w of some frames."""
    step, every = (2, 2) if name in GENERATORS else (8, 6)
    pixels = clip.video[::every, :, ::step, ::step]
    return {"tracks": clip.tracks.numpy(), "visible": clip.visible.numpy(), "pixels": pixels.numpy()}


@pytest.mark.parametrize("name, k", CASES)
def test_a_clip_is_the_one_that_was_drawn_before(name, k):
    found = kept(name, drawn(name, k))
    with np.load(FILE) as file:
        golden = {key: file[f"{name}.{k}.{key}"] for key in found}
    assert {key: value.shape for key, value in found.items()} == {key: value.shape for key, value in golden.items()}
    grey = np.abs(found["pixels"].astype(int) - golden["pixels"]).mean()
    assert grey < GREY_LEVELS, f"the pixels of {name} {k} differ by {grey:.2f} grey levels in the mean: {ADVICE}"
    far = np.abs(found["tracks"] - golden["tracks"]).max()
    assert far < PIXELS, f"the tracks of {name} {k} differ by up to {far:.4f} pixels: {ADVICE}"
    share = (found["visible"] != golden["visible"]).mean()
    assert share <= SHARE, f"{share:.1%} of the visible flags of {name} {k} differ: {ADVICE}"


@pytest.mark.parametrize("name", ["sprites_val", "scenes3d_val"])
def test_the_golden_clips_are_of_the_version_that_the_config_names(name):
    with np.load(FILE) as file:
        assert held_out(name).made["version"] == int(file[f"{name}.version"]), f"write them anew: {ADVICE}"


def write() -> None:
    """Writes all golden clips anew."""
    arrays = {f"{name}.version": np.array(held_out(name).made["version"]) for name in CLIPS if name not in GENERATORS}
    for name, numbers in CLIPS.items():
        for k in numbers:
            arrays |= {f"{name}.{k}.{key}": value for key, value in kept(name, drawn(name, k)).items()}
    np.savez_compressed(FILE, **arrays)


if __name__ == "__main__":
    write()
