"""scripts/dev/publish.py: numbers and licence into the card, and only those of the same weights."""

import json

import pytest
from publish import main

from cotracker import checkpoint
from cotracker.model.cotracker import CoTracker

TINY = {
    "channels": 8,
    "widths": (8, 8, 8, 8),
    "fuse_width": 8,
    "hidden": 16,
    "heads": 2,
    "time_layers": 1,
    "group_layers": 1,
}


@pytest.fixture
def run(tmp_path):
    """A run's checkpoint, and a result measured with it."""
    card = checkpoint.save(
        tmp_path / "model.safetensors", CoTracker(**TINY), {"steps": 3, "licence": "MIT"}
    )
    result = {
        "benchmark": "badja",
        "protocol": {"iters": 6},
        "found": 3,
        "expected": 7,
        "mean": {"3px": 9.5},
    }
    result |= {"commit": "abc", "checkpoint": {"name": "model", "hash": card["hash"]}, "videos": []}
    (tmp_path / "results.json").write_text(json.dumps(result))
    return tmp_path


def words(folder, *more):
    files = [
        folder / "model.safetensors",
        folder / "out" / "ours.safetensors",
        "--results",
        folder / "results.json",
    ]
    return [str(word) for word in (*files, *more)]


def test_numbers_and_notes_reach_the_card_and_weights_stay(run):
    notes = ["data=made up = here", "hardware=one core", "threshold=0.3", "confidence_fit=[0.5, 1]"]
    assert main(words(run, "--set", *notes)) == 0
    before, after = (
        checkpoint.read_card(run / "model.safetensors"),
        checkpoint.read_card(run / "out" / "ours.safetensors"),
    )
    assert after["hash"] == before["hash"] and after["steps"] == 3 and after["licence"] == "MIT"
    assert after["data"] == "made up = here" and after["hardware"] == "one core"
    assert after["threshold"] == 0.3 and after["confidence_fit"] == [0.5, 1]
    assert after["metrics"][0]["mean"] == {"3px": 9.5} and after["metrics"][0]["protocol"] == {
        "iters": 6
    }


@pytest.mark.parametrize(
    "spoil, sentence",
    [
        (
            lambda folder: checkpoint.save(folder / "model.safetensors", CoTracker(**TINY), {}),
            "other weights",
        ),
        (lambda folder: (folder / "results.json").write_text("{}"), "is not a results.json"),
        (lambda folder: None, "names no data"),
    ],
)
def test_what_cannot_be_shipped_is_refused(run, spoil, sentence, capsys):
    spoil(run)
    assert main(words(run)) == 2
    said = capsys.readouterr().err
    assert sentence in said and said.count("\n") == 1 and not (run / "out").exists()


def test_a_note_of_another_kind_is_refused(run, capsys):
    assert main(words(run, "--set", "data=here", "threshold=high")) == 2
    assert "threshold= takes a number or a list, not 'high'" in capsys.readouterr().err
    assert not (run / "out").exists()
