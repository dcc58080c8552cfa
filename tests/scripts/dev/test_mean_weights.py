"""scripts/dev/mean_weights.py: the mean of two models' weights, and a card that says of which."""

import pytest
import torch
from mean_weights import main

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
def two(tmp_path):
    """The files and cards of two models, the second continued from the first."""
    cards = []
    for seed, name in enumerate(("one", "other")):
        torch.manual_seed(seed)
        card = {"steps": seed, "licence": "MIT", "metrics": [{"seg": 1.0}]}
        card |= {"init_from": {"hash": cards[0]["hash"]}} if cards else {}
        cards.append(checkpoint.save(tmp_path / f"{name}.safetensors", CoTracker(**TINY), card))
    return tmp_path, cards


def words(folder, *more):
    return [str(folder / f"{name}.safetensors") for name in ("one", "other", "out")] + list(more)


@pytest.mark.parametrize("share", [0.25, 1.0])
def test_weights_are_the_mean_and_the_card_says_of_which(two, share):
    folder, cards = two
    assert main(words(folder, "--share", str(share))) == 0
    one, other, out = (checkpoint.load_model(path).state_dict() for path in words(folder))
    for name, value in out.items():
        torch.testing.assert_close(
            value, one[name] * (1 - share) + other[name] * share, rtol=1e-6, atol=1e-8
        )
    card = checkpoint.read_card(words(folder)[2])
    assert card["mean_of"] == [
        {"hash": cards[0]["hash"], "share": 1 - share},
        {"hash": cards[1]["hash"], "share": share},
    ]
    assert card["steps"] == 1 and card["licence"] == "MIT" and "metrics" not in card
    assert (card["hash"] == cards[0]["hash"], card["hash"] == cards[1]["hash"]) == (
        share == 0,
        share == 1,
    )


def test_models_that_differ_and_shares_that_are_none_are_refused(two, capsys):
    folder, _ = two
    assert main(words(folder, "--share", "1.5")) == 2
    assert "--share must be a number from 0 to 1, not 1.5" in capsys.readouterr().err
    checkpoint.save(folder / "other.safetensors", CoTracker(**TINY | {"window": 4}), {})
    assert main(words(folder)) == 2 and "models of different settings" in capsys.readouterr().err
    (folder / "one.safetensors").write_bytes(b"no weights")
    assert main(words(folder)) == 2 and capsys.readouterr().err.count("\n") == 1
    assert not (folder / "out.safetensors").exists()


BEFORE = {"hash": "before", "share": 0.5}


@pytest.mark.parametrize(
    "card, related",
    [
        ({"init_from": {"hash": "other"}}, False),
        ({"init_from": {"hash": "other", "init_from": {"hash": "before"}}}, True),
        ({"init_from": {"hash": "other", "mean_of": [BEFORE]}}, True),
        ({"mean_of": ["before", {"share": 1}], "init_from": "before"}, False),
        ({"training": {"seed": 1}}, True),
    ],
)
def test_models_that_began_apart_are_refused(two, capsys, card, related):
    folder, _ = two
    checkpoint.save(
        folder / "one.safetensors",
        CoTracker(**TINY),
        {"init_from": {"hash": "before"}, "training": {"seed": 1}},
    )
    checkpoint.save(folder / "other.safetensors", CoTracker(**TINY), card)
    assert main(words(folder)) == (0 if related else 2)
    assert ("name no common checkpoint" in capsys.readouterr().err) == (not related)
    assert (folder / "out.safetensors").exists() == related
