"""Published files, converted or loaded as they are: recognised, run as they were, or refused."""

import runpy
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from bombs import Bomb
from hydra import compose, initialize_config_dir
from parity import published_state, queries, stored, video

import cotracker
from cotracker import checkpoint
from cotracker.config.instantiate import instantiate
from cotracker.geometry import inside_frame
from cotracker.model.published import open_published
from cotracker.model.published_names import rename_published
from cotracker.trackers.build import build_tracker
from cotracker.trackers.options import TrackerOptions
from cotracker.trackers.visible import VisibleRule

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]

SCRIPT = Path(__file__).parents[2] / "scripts" / "convert_weights.py"
V1, V2, V3 = "cotracker_v1", "cotracker2", "cotracker3"
LAYOUTS = [  # folder, layout, the file's name, and what it says of itself
    (V1, "spec.json", "cotracker_stride_4_wind_8.pth", "CoTracker 1, stride 4, window 8"),
    (V1, "spec_stride4_wind12.json", "cotracker_stride_4_wind_12.pth",
     "CoTracker 1, stride 4, window 12"),
    (V1, "spec_stride8_wind16.json", "cotracker_stride_8_wind_16.pth",
     "CoTracker 1, stride 8, window 16"),
    (V2, "spec.json", "cotracker2.pth", "CoTracker 2, stride 4, window 8"),
    (V2, "spec_window16.json", "cotracker2v1.pth", "CoTracker 2, stride 4, window 16"),
    (f"{V3}_online", "spec.json", "scaled_online.pth", "CoTracker 3, stride 4, window 16"),
    (f"{V3}_offline", "spec.json", "baseline_offline.pth",
     "CoTracker 3, stride 4, sees clips as a whole"),
]  # fmt: skip
OURS = {"licence": "CC-BY-NC 4.0"}
RULES = {
    "CoTracker 1": OURS | {"threshold": 0.9, "v1_compat": True},
    "CoTracker 2": OURS | {"threshold": 0.9, "v1_compat": False},
    "CoTracker 3": OURS
    | {
        "threshold": 0.6,
        "visible_by": "visibility_x_confidence",
        "confidence_px": 12.0,
        "v1_compat": False,
    },
}


@pytest.fixture
def convert(capsys, monkeypatch):
    """Runs the script as from the command line: exit code, stdout, stderr."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", [str(SCRIPT), *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            runpy.run_path(str(SCRIPT), run_name="__main__")
        return (end.value.code, *capsys.readouterr())

    return run


@pytest.fixture(scope="module")
def state():
    return published_state()


@pytest.mark.parametrize("folder, layout, name, says", LAYOUTS)
def test_a_published_layout_is_recognised_and_fits(folder, layout, name, says):
    state = published_state(layout, folder)
    found = open_published({f"module.{key}": value for key, value in state.items()}, name)
    assert found.why.startswith(f"{says}: by its ")
    card = RULES[says.partition(",")[0]] | {"source": name}
    if folder.startswith(V3):
        card["trained"] = name.partition("_")[0]
        assert found.why.endswith(card["trained"])
    assert found.card == card
    ours, theirs = found.model.state_dict(), rename_published(state)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], value) for key, value in theirs.items())


def test_a_file_of_cotracker3_is_used_as_it_is_or_converted(convert, tmp_path):
    """The same tracks, by the rule of the card; a warning of the licence, once."""
    file, out = tmp_path / "scaled_offline.pth", tmp_path / "out.safetensors"
    torch.save({"model": published_state(folder=f"{V3}_offline"), "step": 5}, file)
    asked, answers = queries(80, 112, rows=[0, 2, 5]), []
    code, said, complained = convert(file, out)
    assert code == 0 and complained == "" and said.splitlines()[0].endswith("frames; scaled")
    assert checkpoint.read_card(out)["trained"] == "scaled"
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("default")
        for path in (file, out):
            tracker = cotracker.load_tracker(path, iters=2, resolution=(96, 128), device="cpu")
            answers.append(tracker(video(7, 80, 112), asked))
    assert [one.category for one in told] == [checkpoint.LicenceWarning]
    one, other = answers
    assert torch.equal(one.xy, other.xy) and torch.equal(one.confidence, other.confidence)
    inside = inside_frame(one.xy, (80, 112))
    score = one.visibility * one.confidence
    assert torch.equal(one.visible[inside], score[inside] > 0.6) and inside.any()
    described = tracker.describe()
    assert described["visible_by"] == "visibility_x_confidence" and described["threshold"] == 0.6
    assert described["confidence_px"] == 12 and described["direction"] == "both"
    assert described["checkpoint"]["hash"] == checkpoint.read_card(out)["hash"]
    with pytest.warns(checkpoint.LicenceWarning):
        theirs = cotracker.load_tracker(
            file, threshold=0.9, visible_by="visibility", window=16, device="cpu"
        )
    described = theirs.describe()  # the rule of the published offline predictor, in chunks
    assert described["threshold"] == 0.9 and "visible_by" not in described
    assert described["window"] == 16


@pytest.mark.parametrize("options, says", [
    (["--stride", 8, "--window", 16], "CoTracker 1, stride 8, window 16: as asked"),
    (["--window", 12], None),
    ([], None),
])  # fmt: skip
def test_what_nothing_tells_is_asked_for(options, says, state, convert, tmp_path):
    file, out = tmp_path / "weights.pth", tmp_path / "out.safetensors"
    torch.save(state, file)
    result = convert(file, out, *options)
    if says is None:
        check_refused(result, tmp_path, "do not tell stride and window: keep the published file")
        return
    assert result[0] == 0 and says in result[1]
    config = checkpoint.read_card(out)["model"]
    assert (config["stride"], config["window"]) == (8, 16)


def test_how_cotracker3_was_trained_is_asked_for(convert, tmp_path):
    file = tmp_path / "weights.pth"
    torch.save(published_state(folder=f"{V3}_online"), file)
    result = convert(file, tmp_path / "out.safetensors")
    check_refused(result, tmp_path, "how it was trained: pass --trained scaled or baseline")


@pytest.mark.parametrize("key", [None, "model", "state_dict", "model_state_dict"])
def test_converted_weights_give_the_published_tracks(key, state, convert, tmp_path):
    wrapped = (
        {f"module.{name}": value for name, value in state.items()} if key == "model" else state
    )
    torch.save(
        wrapped if key is None else {key: wrapped, "total_steps": 3}, tmp_path / "weights.pth"
    )
    out = tmp_path / "out.safetensors"
    assert convert(tmp_path / "weights.pth", out, "--stride", 4, "--window", 8)[0] == 0
    with pytest.warns(checkpoint.LicenceWarning):
        tracker = cotracker.load_tracker(
            out,
            iters=4,
            resolution=None,
            support_grid=0,
            direction="forward",
            points_at_once=None,
            device="cpu",
        )
    assert tracker.rule == VisibleRule(0.9) and tracker.model.config.scrambled_flags
    tracks, golden = tracker(video(5), queries(rows=[0, 2, 5, 4])), stored("golden")
    np.testing.assert_allclose(tracks.xy.numpy(), golden["T5.tracks"], rtol=0, atol=3e-4)
    np.testing.assert_allclose(tracks.visibility.numpy(), golden["T5.vis"], rtol=0, atol=6e-5)


@pytest.mark.parametrize("v1_compat", [None, True, False])
def test_converted_weights_are_run_as_their_card_says(state, convert, tmp_path, v1_compat):
    """v1's stitching, resize and grids by default, as in evaluate.py; ours where one asks."""
    torch.save(state, tmp_path / "weights.pth")
    out = tmp_path / "out.safetensors"
    assert convert(tmp_path / "weights.pth", out, "--stride", 4, "--window", 8)[0] == 0
    with initialize_config_dir(str(ROOT / "configs"), version_base=None):
        config = compose("evaluate", [f"checkpoint={out}", "tracker.device=cpu"])
    config.tracker.v1_compat = v1_compat
    options = TrackerOptions(
        single_point=True,
        local_support_grid=6,
        v1_compat=v1_compat,
        direction="forward",
        points_at_once=None,
        device="cpu",
    )
    with pytest.warns(checkpoint.LicenceWarning):
        described = build_tracker(out, options).describe()
        assert described == instantiate(config.tracker, "tracker").describe()
    assert described["v1_compat"] == described["v1_resize"] == (v1_compat is not False)
    assert described["support"]["local_grid_centred"] == (v1_compat is False)
    assert described["threshold"] == 0.9 and described["points"] == "single"


def check_refused(result, folder, *words):
    code, said, complained = result
    assert code == 2 and said == "" and "Traceback" not in complained
    for word in words:
        assert word in complained
    assert not list(folder.glob("*.safetensors*"))


def test_other_weights_are_refused_with_what_differs_from_the_nearest(state, convert, tmp_path):
    changed = dict(state)
    changed["extra.weight"] = changed.pop("norm.bias")
    changed["encoder.stem.bias"] = changed["fnet.conv1.bias"]  # our own name is not a published one
    changed["vis_predictor.0.weight"] = torch.zeros(2, 128)
    file, out = tmp_path / "cotracker_stride_4_wind_8.pth", tmp_path / "out.safetensors"
    torch.save(changed, file)
    check_refused(
        convert(file, out),
        tmp_path,
        "wind_8.pth: these are no published weights; the nearest are those of CoTracker 1:",
        "missing  feature_norm.bias (128,)",
        "unknown  extra.weight (no published name) (128,)",
        "unknown  encoder.stem.bias (no published name) (64,)",
        "shape    visibility.weight is (2, 128), the model has (1, 128)",
    )


@pytest.mark.parametrize("folder", [V1, V2, f"{V3}_online"])
def test_the_list_of_what_differs_is_short_and_names_the_nearest(folder):
    state = published_state(folder=folder)
    cut = {key: value for key, value in state.items() if "time_blocks.1" not in key}
    cut |= {f"other.{n}": torch.zeros(n) for n in range(9)}
    cut |= {key: value[:-1] for key, value in cut.items() if "time_blocks.0" in key}
    with pytest.raises(ValueError) as refused:
        open_published(cut, "x.pth", 4, 8)
    lines = str(refused.value).splitlines()
    number = folder.removeprefix("cotracker").removeprefix("_v")[0]
    assert len(lines) <= 12 and lines[0].endswith(f"the nearest are those of CoTracker {number}:")


def test_what_is_no_state_dict_is_refused_in_one_sentence(state, convert, tmp_path):
    out, file = tmp_path / "out.safetensors", tmp_path / "weights.pth"
    check_refused(convert(file, out), tmp_path, "weights.pth: there is no such file")
    for content in ([1, 2], {}, {"model": {"a": 3}}, {"steps": 3}, {1: torch.zeros(2)}):
        torch.save(content, file)
        check_refused(convert(file, out), tmp_path, "holds no state dict")
    file.write_bytes(b"not a torch file")
    check_refused(
        convert(file, out), tmp_path, "weights.pth cannot be read as tensors and plain values"
    )
    torch.save(state | {"norm.bias": torch.full((128,), float("nan"))}, file)
    check_refused(convert(file, out), tmp_path, "NaN or infinite")
    torch.save(state, file)
    check_refused(
        convert(file, out, "--stride", 4, "--window", 7),
        tmp_path,
        "model.window must be an even number",
    )
    check_refused(convert(file, out, "--window", "x"), tmp_path, "invalid int value")
    check_refused(convert(file, tmp_path / "out.pth"), tmp_path, "must end in .safetensors")


def test_code_in_the_file_is_not_run(convert, tmp_path):
    torch.save({"model": Bomb(tmp_path / "victim")}, tmp_path / "weights.pth")
    check_refused(
        convert(tmp_path / "weights.pth", tmp_path / "out.safetensors"), tmp_path, "weights.pth"
    )
    assert not (tmp_path / "victim").exists()
