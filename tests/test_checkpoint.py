"""Checkpoints: what is saved is loaded, what is damaged or foreign is refused, no code runs."""

import json
import os
import pickle

import pytest
import safetensors.torch
import torch
from bombs import Bomb

import cotracker
from cotracker import checkpoint
from cotracker.files import write_bytes
from cotracker.model.config import CoTrackerConfig
from cotracker.model.cotracker import CoTracker

TINY = dict(
    channels=8,
    widths=(4, 4, 6, 6),
    fuse_width=8,
    hidden=16,
    heads=2,
    time_layers=1,
    group_layers=1,
    motion_waves=2,
    radius=1,
    levels=2,
)


@pytest.fixture
def model():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return CoTracker(**TINY)


@pytest.fixture
def file(model, tmp_path):
    checkpoint.save(tmp_path / "tiny.safetensors", model, {"licence": "MIT", "threshold": 0.25})
    return tmp_path / "tiny.safetensors"


def test_what_is_saved_is_loaded(model, file):
    loaded = checkpoint.load_model(file)
    assert loaded.config == model.config and not loaded.training
    assert loaded.state_dict().keys() == model.state_dict().keys()
    assert all(
        torch.equal(value, model.state_dict()[name]) for name, value in loaded.state_dict().items()
    )
    video = torch.randint(
        0, 256, (1, 5, 3, 16, 24), generator=torch.Generator().manual_seed(0)
    ).byte()
    queries = torch.tensor([[[0.0, 3, 4], [2, 10, 9]]])
    with torch.no_grad():
        for ours, theirs in zip(loaded(video, queries), model(video, queries)):
            assert torch.equal(ours.tracks[-1], theirs.tracks[-1])


def test_the_card_is_inside_and_completed(model, file):
    card = checkpoint.read_card(file)
    assert card["licence"] == "MIT" and card["threshold"] == 0.25 and card["format"] == 2
    assert CoTrackerConfig(**card["model"]) == model.config
    assert card["parameters"] == sum(p.numel() for p in model.parameters())
    assert card["hash"] == checkpoint.weights_hash(model.state_dict()) and len(card["hash"]) == 64


def test_the_hash_knows_every_weight_and_its_name(model):
    before = checkpoint.weights_hash(model.state_dict())
    assert before == checkpoint.weights_hash(dict(reversed(list(model.state_dict().items()))))
    renamed = {f"x{name}": value for name, value in model.state_dict().items()}
    assert checkpoint.weights_hash(renamed) != before
    with torch.no_grad():
        model.visibility.bias.add_(1e-6)
    assert checkpoint.weights_hash(model.state_dict()) != before


def test_a_tracker_is_built_from_the_file_alone(file):
    tracker = cotracker.load_tracker(file, resolution=None, support_grid=0, device="cpu")
    assert tracker.describe()["threshold"] == 0.25
    identity = tracker.describe()["checkpoint"]
    assert identity == {"name": "tiny", "hash": checkpoint.read_card(file)["hash"]}
    assert cotracker.load_tracker(file, threshold=0.7, device="cpu").describe()["threshold"] == 0.7


def refused(path, match):
    with pytest.raises(ValueError, match=match) as caught:
        checkpoint.load_model(path)
    assert str(path) in str(caught.value)
    return str(caught.value)


def test_a_flipped_byte_in_the_weights_is_noticed(file):
    data = bytearray(file.read_bytes())
    data[-5] ^= 1
    file.write_bytes(data)
    assert "\n" not in refused(file, "do not match the hash in the file: it was damaged")


@pytest.mark.parametrize("kept", [0, 5, 100, 0.5, -1])
def test_a_cut_file_is_refused(file, kept):
    data = file.read_bytes()
    file.write_bytes(data[: int(kept * len(data)) if isinstance(kept, float) else kept])
    assert "\n" not in refused(file, "is not a safetensors checkpoint")


def test_damage_to_the_card_is_a_sentence(model, file):
    tensors = safetensors.torch.load_file(file)
    card = checkpoint.read_card(file)
    for text, match in [
        ("{broken", "card cannot be read"),
        ("[1]", "does not describe a model"),
        (json.dumps({"model": "x", "hash": ""}), "does not describe a model"),
        (
            json.dumps(card | {"model": card["model"] | {"windw": 8}}),
            "no model can be built.*windw",
        ),
        (
            json.dumps(card | {"model": card["model"] | {"stride": 5}}),
            "no model can be built.*model.stride",
        ),
    ]:
        safetensors.torch.save_file(tensors, file, {"card": text})
        assert "\n" not in refused(file, match)
    safetensors.torch.save_file(
        tensors, file, {"card": json.dumps(card | {"model": card["model"] | {"levels": 3}})}
    )
    refused(file, r"(?s)the weights do not fit.*shape    transformer.embed.weight")


def test_foreign_safetensors_are_refused(tmp_path):
    safetensors.torch.save_file({"a": torch.zeros(2)}, tmp_path / "foreign.safetensors")
    refused(
        tmp_path / "foreign.safetensors",
        "holds weights but no card: it was not written by this program",
    )


def test_a_pth_file_is_refused_without_running_its_code(tmp_path):
    victim = tmp_path / "written_by_the_bomb"
    for name, write in (("torch.pth", torch.save), ("plain.pth", _plain_pickle)):
        write({"model": Bomb(victim)}, tmp_path / name)
        refused(tmp_path / name, "cannot be read as tensors|is not a safetensors checkpoint")
        with pytest.raises(ValueError, match=f"{name} cannot be read as tensors") as caught:
            checkpoint.load_state(tmp_path / name)
        assert "\n" not in str(caught.value)
    assert not victim.exists()
    pickle.loads(pickle.dumps(Bomb(victim))).close()  # the bomb is live: only the refusals kept it
    assert victim.exists()


def _plain_pickle(value, path):
    path.write_bytes(pickle.dumps(value))


def test_a_missing_name_lists_what_is_there(model, tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "CHECKPOINTS", tmp_path)
    with pytest.raises(ValueError, match=r"no checkpoint absent: .*\(none yet\)"):
        checkpoint.find("absent")
    for name in ("second", "first"):
        checkpoint.save(tmp_path / f"{name}.safetensors", model, {})
    assert checkpoint.find("first") == tmp_path / "first.safetensors"
    assert checkpoint.find(tmp_path / "second.safetensors") == tmp_path / "second.safetensors"
    with pytest.raises(ValueError, match=r"neither a file nor one of those in .*\(first, second\)"):
        cotracker.load_tracker("absent")


def test_an_interrupted_write_leaves_the_old_file(model, file, tmp_path, monkeypatch):
    before = file.read_bytes()
    checkpoint.save_state(tmp_path / "last.pt", {"step": 1})
    with torch.no_grad():
        model.visibility.bias.add_(1)

    def dies(*_):
        raise KeyboardInterrupt

    for step in ("replace", "fsync"):
        with monkeypatch.context() as patch:
            patch.setattr(os, step, dies)
            with pytest.raises(KeyboardInterrupt):
                checkpoint.save(file, model, {})
            with pytest.raises(KeyboardInterrupt):
                checkpoint.save_state(tmp_path / "last.pt", {"step": 2})
    assert file.read_bytes() == before
    assert checkpoint.load_state(tmp_path / "last.pt") == {"step": 1}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["last.pt", "tiny.safetensors"]
    checkpoint.save(file, model, {})
    assert checkpoint.load_model(file).visibility.bias == model.visibility.bias


def test_a_disk_that_is_full_is_said_of_the_file(tmp_path):
    """A small file fails when its buffer is written, and once more when it is closed."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(OSError) as full:
            write_bytes(tmp_path / "a.json", bytes(5000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert full.value.filename == str(tmp_path / "a.json") and not list(tmp_path.iterdir())


def test_a_state_comes_back_and_a_damaged_one_is_a_sentence(tmp_path):
    state = {
        "step": 3,
        "weights": {"a": torch.arange(4.0)},
        "settings": "{}",
        "moments": [1.0, None],
    }
    checkpoint.save_state(tmp_path / "last.pt", state)
    loaded = checkpoint.load_state(tmp_path / "last.pt")
    assert torch.equal(loaded["weights"].pop("a"), state["weights"].pop("a")) and loaded == state
    data = (tmp_path / "last.pt").read_bytes()
    (tmp_path / "last.pt").write_bytes(data[: len(data) // 2])
    with pytest.raises(ValueError, match="last.pt cannot be read as tensors"):
        checkpoint.load_state(tmp_path / "last.pt")


def test_the_list_of_differing_keys_stays_short(model):
    lines = checkpoint.keys_difference(model, {}).splitlines()
    assert (
        len(lines) == 4 and lines[-1].startswith("  … and") and lines[0].startswith("  missing  ")
    )
    assert checkpoint.keys_difference(model, model.state_dict()) == ""
