"""scripts/convert_weights.py: published layouts become checkpoints that give their numbers."""

import runpy
import sys
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
from cotracker.trackers.build import build_tracker
from cotracker.trackers.options import TrackerOptions

ROOT = Path(__file__).parents[2]

SCRIPT = Path(__file__).parents[2] / "scripts" / "convert_weights.py"
LAYOUTS = [("spec.json", "cotracker_stride_4_wind_8.pth", 4, 8),
           ("spec_stride4_wind12.json", "cotracker_stride_4_wind_12.pth", 4, 12),
           ("spec_stride8_wind16.json", "cotracker_stride_8_wind_16.pth", 8, 16)]  # fmt: skip


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


@pytest.mark.slow
@pytest.mark.parametrize("layout, name, stride, window", LAYOUTS)
def test_a_published_name_says_stride_and_window(layout, name, stride, window, convert, tmp_path):
    torch.save(published_state(layout), tmp_path / name)
    out = tmp_path / "out" / "converted.safetensors"
    code, said, complained = convert(tmp_path / name, out, "--stride", 2)
    assert code == 0 and complained == ""
    assert (
        f"stride {stride} and window {window}: from the file's name, {name} (not from --stride 2"
        in said
    )
    card = checkpoint.read_card(out)
    assert (card["model"]["stride"], card["model"]["window"]) == (stride, window)
    assert card["v1_compat"] is True and card["threshold"] == 0.9 and card["source"] == name
    assert card["licence"] == "CC-BY-NC 4.0 (published weights)" and "check" in card["licence_note"]
    loaded = checkpoint.load_model(out).state_dict()
    for key, value in published_state(layout).items():
        assert torch.equal(loaded[checkpoint.our_name(key)], value)


@pytest.mark.parametrize("options, expected, why", [
    ([], (4, 8), "from stride by default, window by default"),
    (["--stride", 8, "--window", 16], (8, 16), "from --stride 8, --window 16"),
    (["--window", 12], (4, 12), "from stride by default, --window 12"),
])  # fmt: skip
def test_otherwise_the_options_say(options, expected, why, state, convert, tmp_path):
    torch.save(state, tmp_path / "weights.pth")
    code, said, _ = convert(tmp_path / "weights.pth", tmp_path / "out.safetensors", *options)
    assert code == 0 and f"stride {expected[0]} and window {expected[1]}: {why}" in said
    config = checkpoint.read_card(tmp_path / "out.safetensors")["model"]
    assert (config["stride"], config["window"]) == expected


@pytest.mark.slow
@pytest.mark.parametrize("key", [None, "model", "state_dict", "model_state_dict"])
def test_converted_weights_give_the_published_tracks(key, state, convert, tmp_path):
    wrapped = (
        {f"module.{name}": value for name, value in state.items()} if key == "model" else state
    )
    torch.save(
        wrapped if key is None else {key: wrapped, "total_steps": 3}, tmp_path / "weights.pth"
    )
    out = tmp_path / "out.safetensors"
    assert convert(tmp_path / "weights.pth", out)[0] == 0
    tracker = cotracker.load_tracker(out, iters=4, resolution=None, support_grid=0, device="cpu")
    assert tracker.threshold == 0.9 and tracker.model.config.scrambled_flags
    tracks, golden = tracker(video(5), queries(rows=[0, 2, 5, 4])), stored("golden")
    np.testing.assert_allclose(tracks.xy.numpy(), golden["T5.tracks"], rtol=0, atol=3e-4)
    np.testing.assert_allclose(tracks.visibility.numpy(), golden["T5.vis"], rtol=0, atol=6e-5)


@pytest.mark.slow
@pytest.mark.parametrize("v1_compat", [None, True, False])
def test_converted_weights_are_run_as_their_card_says(state, convert, tmp_path, v1_compat):
    """v1's stitching, resize and grids by default, as in evaluate.py; ours where one asks."""
    torch.save(state, tmp_path / "weights.pth")
    out = tmp_path / "out.safetensors"
    assert convert(tmp_path / "weights.pth", out)[0] == 0
    with initialize_config_dir(str(ROOT / "configs"), version_base=None):
        config = compose("evaluate", [f"checkpoint={out}", "tracker.device=cpu"])
    config.tracker.v1_compat = v1_compat
    options = TrackerOptions(
        single_point=True, local_support_grid=6, v1_compat=v1_compat, device="cpu"
    )
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


def test_unknown_missing_and_misshapen_keys_are_listed(state, convert, tmp_path):
    changed = dict(state)
    changed["extra.weight"] = changed.pop("norm.bias")
    changed["encoder.stem.bias"] = changed["fnet.conv1.bias"]  # our own name is not a published one
    changed["vis_predictor.0.weight"] = torch.zeros(2, 128)
    torch.save(changed, tmp_path / "weights.pth")
    check_refused(
        convert(tmp_path / "weights.pth", tmp_path / "out.safetensors"),
        tmp_path,
        "weights.pth: these are not the weights of a published CoTracker v1",
        "missing  feature_norm.bias (128,)",
        "unknown  extra.weight (no published name) (128,)",
        "unknown  encoder.stem.bias (no published name) (64,)",
        "shape    visibility.weight is (2, 128), the model has (1, 128)",
    )


def test_what_is_no_state_dict_is_refused_in_one_sentence(state, convert, tmp_path):
    out, file = tmp_path / "out.safetensors", tmp_path / "weights.pth"
    check_refused(convert(file, out), tmp_path, "weights.pth: there is no such file")
    for content in ([1, 2], {}, {"model": {"a": 3}}, {"steps": 3}):
        torch.save(content, file)
        check_refused(convert(file, out), tmp_path, "holds no state dict")
    file.write_bytes(b"not a torch file")
    check_refused(
        convert(file, out), tmp_path, "weights.pth: cannot be read as tensors and plain values"
    )
    torch.save(state | {"norm.bias": torch.full((128,), float("nan"))}, file)
    check_refused(convert(file, out), tmp_path, "NaN or infinite")
    torch.save(state, file)
    check_refused(
        convert(file, out, "--window", 7), tmp_path, "model.window must be an even number"
    )
    check_refused(convert(file, out, "--window", "x"), tmp_path, "invalid int value")
    check_refused(convert(file, tmp_path / "out.pth"), tmp_path, "must end in .safetensors")


def test_code_in_the_file_is_not_run(convert, tmp_path):
    torch.save({"model": Bomb(tmp_path / "victim")}, tmp_path / "weights.pth")
    check_refused(
        convert(tmp_path / "weights.pth", tmp_path / "out.safetensors"), tmp_path, "weights.pth"
    )
    assert not (tmp_path / "victim").exists()
