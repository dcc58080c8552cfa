"""The settings of a tracker: their ranges, the chain they build, and what a result records."""

import dataclasses
import inspect

import pytest
import yaml
from sliding import MODEL
from small_networks import tiny

import cotracker
from cotracker import checkpoint
from cotracker.baselines.lucas_kanade import LucasKanade
from cotracker.trackers.build import build_chain, build_tracker
from cotracker.trackers.cotracker import CoTrackerPredictor
from cotracker.trackers.flip_tta import HorizontalFlipTTA
from cotracker.trackers.options import TrackerOptions
from cotracker.trackers.resized import Resized
from cotracker.trackers.wrappers import Bidirectional, OneByOne, Supported


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"iters": 0}, "iters must be a whole number from 1 to 1000, not 0"),
        ({"resolution": 384}, "resolution must be two whole numbers from 32 to 4096, not 384"),
        ({"support_grid": True}, "support_grid must be a whole number from 0 to 64, not True"),
        ({"local_support_grid": 65}, "local_support_grid must be a whole number from 0 to 64"),
        ({"single_point": 1}, "single_point must be true or false, not 1"),
        ({"threshold": -0.1}, "threshold must be a number from 0 to 1, not -0.1"),
        ({"threshold": 1}, "threshold must be below 1"),
        ({"v1_compat": "yes"}, "v1_compat must be true or false, not yes"),
        ({"window": 1}, "window must be a whole number of at least 2, not 1"),
        ({"precision": "half"}, "precision must be auto, float32 or bfloat16, not half"),
        ({"cuda_graphs": 1}, "cuda_graphs must be true or false, not 1"),
        ({"flip_tta": None}, "flip_tta must be true or false, not None"),
        ({"direction": "up"}, "direction must be forward, backward or both, not up"),
        ({"keep_aspect": 1}, "keep_aspect must be true or false, not 1"),
        ({"points_at_once": 0}, "points_at_once must be a whole number of at least 1, not 0"),
        ({"feature_memory": -1}, "feature_memory must be a number of at least 0, not -1"),
    ],
)
def test_bad_settings_are_refused_in_one_sentence(settings, message):
    with pytest.raises(ValueError, match=message):
        TrackerOptions(**settings)


def test_resolutions_of_classical_trackers_are_checked():
    with pytest.raises(ValueError, match="resolution must be two whole numbers"):
        LucasKanade((0, 0))


def test_settings_at_their_limits_are_taken():
    options = TrackerOptions(resolution=[32, 4096], local_support_grid=64, threshold=0)
    assert options.resolution == (32, 4096)
    chain = build_chain(MODEL, options)
    assert isinstance(chain, Resized) and chain.size == (32, 4096)
    assert chain.tracker.local_support_grid == 64


@pytest.mark.parametrize(
    "settings, kinds",
    [
        ({"resolution": None, "support_grid": 0}, [CoTrackerPredictor]),
        ({}, [Resized, Supported, CoTrackerPredictor]),
        (
            {"flip_tta": True, "single_point": True},
            [HorizontalFlipTTA, Resized, OneByOne, Supported, CoTrackerPredictor],
        ),
    ],
)
def test_the_options_choose_the_wrappers(settings, kinds):
    chain = build_chain(MODEL, TrackerOptions(**settings))
    found = [type(chain)]
    while found[-1] is not CoTrackerPredictor:
        chain = chain.tracker
        found.append(type(chain))
    assert found == kinds


def test_load_tracker_and_the_config_have_the_fields_of_the_options(pytestconfig):
    fields = {field.name: field.default for field in dataclasses.fields(TrackerOptions)}
    parameters = inspect.signature(cotracker.load_tracker).parameters
    defaults = {name: one.default for name, one in parameters.items() if name != "name_or_path"}
    assert defaults == fields
    config = yaml.safe_load((pytestconfig.rootpath / "configs/tracker/cotracker.yaml").read_text())
    assert set(config) == {"name", "_target_", *parameters}
    settings = {name: config[name] for name in fields}
    paper = TrackerOptions(
        single_point=True, local_support_grid=6, direction="forward", points_at_once=None
    )
    assert TrackerOptions(**settings) == paper


@pytest.mark.parametrize("says", [None, True, False])
@pytest.mark.parametrize("asked", [None, True, False])
def test_v1_compat_is_as_the_card_says_unless_it_is_set(tmp_path, says, asked):
    path = tmp_path / "tiny.safetensors"
    checkpoint.save(path, tiny(), {} if says is None else {"v1_compat": says})
    described = build_tracker(path, TrackerOptions(v1_compat=asked, device="cpu")).describe()
    expected = bool(says) if asked is None else asked
    assert described["v1_compat"] is described["v1_resize"] is expected
    assert described["support"]["local_grid_centred"] is not expected


def test_the_chain_describes_all_that_a_result_must_record():
    options = TrackerOptions(single_point=True, local_support_grid=6, threshold=0.7)
    tracker = Bidirectional(build_chain(MODEL, options, identity={"name": "x", "hash": "y"}))
    assert tracker.describe() == {
        "tracker": "cotracker",
        "iters": 6,
        "window": 8,
        "stride": 4,
        "threshold": 0.7,
        "points": "single",
        "direction": "both",
        "v1_compat": False,
        "checkpoint": {"name": "x", "hash": "y"},
        "support": {
            "support_grid": 6,
            "local_support_grid": 6,
            "local_box": 50,
            "local_grid_centred": True,
        },
        "resolution": [384, 512],
        "v1_resize": False,
    }
