"""Names that scripts, notebooks, configs and files hold. A rename edits this test, on purpose."""

import importlib
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import get_object

from cotracker import checkpoint
from cotracker.baselines.registry import CLASSICAL, FITTED, LEARNED
from cotracker.benchmarks.results import make_heading
from cotracker.config.instantiate import build_benchmark, instantiate
from cotracker.types import Tracks

ROOT = Path(__file__).parents[1]
IMPORTED = """
cotracker.load_tracker cotracker.__version__ cotracker.cli.main cotracker.data.video.open_video
cotracker.checkpoint.load_model cotracker.checkpoint.read_card cotracker.checkpoint.find
cotracker.types.Clip cotracker.types.Tracks cotracker.visualize.overlay
""".split()
TARGETS = """
cotracker.model.cotracker.CoTracker cotracker.model.cotracker3.CoTracker3 cotracker.model.pips.PIPs
cotracker.model.raft.RAFT
cotracker.training.config.ObjectiveConfig
cotracker.load_tracker cotracker.pseudo.PseudoLabels cotracker.pseudo.Trust
cotracker.data.stream.Mixture cotracker.data.stream.Augmented cotracker.data.kubric.Kubric
cotracker.data.augment.AugmentConfig cotracker.data.augment.no_augmentation
cotracker.data.synthetic.sprites.Sprites cotracker.data.synthetic.scenes3d.Scenes3D
cotracker.data.heldout.HeldOut cotracker.data.tapvid.TapVid cotracker.data.badja.BADJA
cotracker.data.fastcapture.FastCapture cotracker.data.labelled.LabelledClips
cotracker.data.labelled.LabelledVideos cotracker.data.augment.spatial.Roll
cotracker.baselines.predictions.Predictions
""".split()
TARGETS += [f"cotracker.baselines.{place}" for place in (CLASSICAL | LEARNED | FITTED).values()]
FUNCTIONS = """
cotracker.benchmarks.protocols.first cotracker.benchmarks.protocols.strided
cotracker.benchmarks.protocols.from_first_frame cotracker.benchmarks.metrics.tapvid
cotracker.benchmarks.metrics.badja cotracker.benchmarks.metrics.within_pixels
cotracker.benchmarks.breakdown.by_motion_and_occlusion
""".split()
PROGRAMS = """
train.py evaluate.py scripts/demo.py scripts/generate.py scripts/download.py
scripts/convert_weights.py scripts/convert_kubric.py
""".split()


@pytest.mark.parametrize("name", IMPORTED)
def test_what_users_import_is_there(name):
    module, _, attribute = name.rpartition(".")
    assert getattr(importlib.import_module(module), attribute) is not None


@pytest.mark.parametrize("name", TARGETS + FUNCTIONS)
def test_what_configs_name_is_there(name):
    """A resumed run compares its settings with `_target_`, and manifests of clips hold it."""
    assert callable(get_object(name))


@pytest.mark.parametrize(
    "key, names", [("_target_", TARGETS), ("protocol|metric|breakdown", FUNCTIONS)]
)
def test_the_lists_here_are_all_that_configs_name(key, names):
    texts = [path.read_text() for path in ROOT.glob("configs/**/*.yaml")]
    found = {
        name for text in texts for name in re.findall(rf"\b(?:{key}): (cotracker\.[\w.]+)", text)
    }
    assert found == set(names)


def test_the_console_script():
    scripts = metadata.entry_points(group="console_scripts", name="cotracker")
    assert {one.value for one in scripts} == {"cotracker.cli:main"}


@pytest.mark.slow
@pytest.mark.parametrize("program", PROGRAMS)
def test_the_programs_say_how_they_are_called(program):
    done = subprocess.run(
        [sys.executable, ROOT / program, "--help"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0 and len(done.stdout) > 200, done.stderr[-2000:]


def test_names_in_a_checkpoints_card():
    card = checkpoint.read_card(checkpoint.find("generation2"))
    named = {
        "network",
        "threshold",
        "confidence_px",
        "confidence_fit",
        "reliability",
        "metrics",
        "format",
        "model",
        "parameters",
        "hash",
        "training",
        "steps",
        "data",
        "licence",
        "init_from",
    }
    assert named <= set(card)
    assert card["format"] == 2


def test_names_in_results():
    with initialize_config_dir(str(ROOT / "configs"), version_base=None):
        config = compose("evaluate", overrides=["benchmark=sprites_val", "tracker.device=cpu"])
    found = make_heading(
        "cotracker", instantiate(config.tracker, "tracker"), build_benchmark(config.benchmark)
    )
    assert len(found["protocol"].pop("clips")) == 12  # a hash
    assert found["protocol"] == {
        "queries": "first",
        "metric": "tapvid",
        "iters": 6,
        "window": 16,
        "stride": 4,
        "threshold": 0.3,
        "points": "single",
        "direction": "forward",
        "v1_compat": False,
        "confidence_px": 12.0,
        "confidence_fit": [1.0607, -0.6297],
        "support": {
            "support_grid": 6,
            "local_support_grid": 6,
            "local_box": 50,
            "local_grid_centred": True,
        },
        "resolution": [384, 512],
        "v1_resize": False,
    }
    assert set(found["checkpoint"]) == {"name", "hash"}
    assert (found["benchmark"], found["tracker"], len(found)) == ("sprites_val", "cotracker", 4)


def test_names_in_a_tracks_file(tmp_path):
    places = torch.zeros(1, 4, 2, 2)
    tracks = Tracks(
        places,
        places[..., 0],
        places[..., 0] > 0,
        queries=torch.zeros(1, 2, 3),
        fps=25.0,
        size=(48, 64),
    )
    tracks.save(tmp_path / "tracks.npz")
    names = {"xy", "visibility", "visible", "queries", "fps", "size", "format"}
    with np.load(tmp_path / "tracks.npz") as file:
        assert set(file) == names
