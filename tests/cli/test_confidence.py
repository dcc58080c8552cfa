"""`cotracker track` with a checkpoint that has confidence, and one that has none."""

import csv

import numpy as np
import pytest
import torch
from moving import moving_texture
from networks3 import FORMS, tiny3
from small_networks import tiny

from cotracker import checkpoint, cli, load_tracker
from cotracker.data.video import write_video

CARD = {"threshold": 0.2, "visible_by": "visibility_x_confidence", "confidence_px": 12.0}


def track(folder, model, card, *options):
    """The exit code of tracking a small clip by a checkpoint of the model; results in out/."""
    write_video(folder / "clip.mp4", moving_texture(9, 48, 64), 12.5, (48, 64))
    checkpoint.save(folder / "some.safetensors", model, card)
    words = [folder / "clip.mp4", "--grid", 2, "--checkpoint", folder / "some.safetensors"]
    words += ["--iters", 1, "--resolution", "48x64", "--out", folder / "out", *options]
    return cli.main(["track", *map(str, words)])


@pytest.mark.parametrize("form", ["online", "offline"])
def test_confidence_is_in_all_files_and_decides_what_is_visible(form, tmp_path):
    model = tiny3(**FORMS[form])
    assert track(tmp_path, model, CARD, "--device", "cpu", "--query-frame", 3) == 0
    with np.load(tmp_path / "out/tracks.npz") as file:
        saved = dict(file)
    sure = saved["confidence"]
    assert sure.shape == (9, 4) and 0 < sure.min() < sure.max() == 1
    inside = ((saved["xy"] >= 0) & (saved["xy"] <= [63, 47])).all(-1)
    score = saved["visibility"] * sure
    assert np.array_equal(saved["visible"][inside], score[inside] > 0.2)
    with open(tmp_path / "out/tracks.csv", newline="") as file:
        told = [float(row["confidence"]) for row in csv.DictReader(file)]
    np.testing.assert_allclose(told, sure.T.ravel(), atol=1e-4)
    assert track(tmp_path, model, CARD, "--min-confidence", 0.99, "--query-frame", 3) == 0
    with np.load(tmp_path / "out/tracks.npz") as file:
        assert np.array_equal(file["visible"].any(1), np.arange(9) == 3)  # the queries alone


def test_without_confidence_there_is_no_least_one(tmp_path, capsys):
    assert track(tmp_path, tiny(), {}, "--min-confidence", 0.5) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert "min_confidence need a checkpoint with confidence, which this one has not" in said
    assert not (tmp_path / "out").exists()


def test_the_fit_of_the_card_changes_confidence_and_nothing_else(tmp_path):
    model, video, queries = tiny3(**FORMS["online"]), moving_texture(9, 48, 64), [[0, 10, 9]]
    told = []
    for name, fit in (("raw", {}), ("fitted", {"confidence_fit": [0.5, -1]})):
        checkpoint.save(tmp_path / f"{name}.safetensors", model, {"confidence_px": 12.0} | fit)
        tracker = load_tracker(tmp_path / f"{name}.safetensors", iters=1, resolution=(48, 64))
        told.append(tracker(video, queries))
    raw, fitted = (tracks.confidence[0, 1:, 0] for tracks in told)
    assert torch.allclose(fitted, (0.5 * raw.logit() - 1).sigmoid(), atol=1e-5)
    assert torch.equal(told[0].xy, told[1].xy)
    assert torch.equal(told[0].visibility, told[1].visibility)
    checkpoint.save(tmp_path / "wrong.safetensors", model, {"confidence_fit": [0, 1]})
    with pytest.raises(ValueError, match="confidence_fit of its card is .0, 1., not a scale above"):
        load_tracker(tmp_path / "wrong.safetensors")
