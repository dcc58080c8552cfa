"""Files that are cut, flipped, nested, of other types or with numbers no file has: one sentence."""

import json
import os
import random
from functools import partial
from pathlib import Path

import pytest
import safetensors.torch
import torch
from badja_fixture import write_badja
from safetensors import safe_open

from cotracker import checkpoint
from cotracker.benchmarks import compare
from cotracker.benchmarks.rows import RowStore
from cotracker.data.badja import BADJA
from cotracker.data.kubric.manifest import read_manifest
from cotracker.data.video.masks import read_mask
from cotracker.files import parse_json, read_json
from cotracker.interchange import read_tracks, write_tracks
from cotracker.model.cotracker import CoTracker
from cotracker.queries import read_points
from cotracker.trackers.build import load_chain
from cotracker.tracks import Tracks

FOREIGN = (None, 3, -1, 1e300, 10**30, float("nan"), "x", [], {}, [[]], True)
TEXTS = (b"", b"[" * 200_000, b'{"a":' * 200_000, b"\xff\xfe", b"{", b"NaN", b"1e999", b"9" * 400)
SMALL = dict(
    channels=8, widths=(8, 8, 8, 8), fuse_width=8, hidden=16, heads=2, time_layers=1,
    group_layers=1, levels=1, radius=1, motion_waves=2,
)  # fmt: skip


def variants(value: dict | list, rng: random.Random, count: int) -> list:
    """Copies of a JSON value in which one value, somewhere, is a foreign one or is missing."""
    found = []
    for _ in range(count):
        copy = json.loads(json.dumps(value))
        at = copy
        while True:
            keys = list(at) if isinstance(at, dict) else list(range(len(at)))
            key = rng.choice(keys)
            inner = at[key]
            if not isinstance(inner, (dict, list)) or not inner or rng.random() < 0.3:
                break
            at = inner
        if rng.random() < 0.2:
            del at[key]
        else:
            at[key] = rng.choice(FOREIGN)
        found.append(copy)
    return found


def refused_or_read(read, path: Path, data: bytes) -> str | None:
    """The sentence that refuses the file; any other error fails the test."""
    path.write_bytes(data)
    try:
        read()
    except ValueError as error:
        assert str(path) in str(error) or path.parent.name in str(error), error
        return str(error)
    return None


@pytest.mark.parametrize("text", TEXTS)
def test_json_holds_no_more_than_ours_does(text):
    with pytest.raises(ValueError):
        parse_json(text)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A small checkpoint: its file, tensors and card."""
    path = tmp_path_factory.mktemp("small") / "small.safetensors"
    card = checkpoint.save(path, CoTracker(**SMALL), {"licence": "MIT"})
    with safe_open(str(path), "pt") as file:
        return path, {name: file.get_tensor(name) for name in file.keys()}, card


def write_card(path: Path, tensors: dict, card: str) -> None:
    path.write_bytes(safetensors.torch.save(tensors, metadata={"card": card}))


def test_a_card_of_any_kind_is_refused_or_read(small, tmp_path):
    _, tensors, card = small
    path = tmp_path / "a.safetensors"
    cards = [json.dumps(one) for one in variants(card, random.Random(0), 60)]
    for text in [*cards, "[" * 200_000, "", "[]", '{"model": {}}']:
        write_card(path, tensors, text)
        try:
            checkpoint.load_model(path)
        except ValueError as error:
            assert str(path) in str(error)


def test_a_card_of_a_giant_is_compared_before_it_is_built(small, tmp_path):
    _, tensors, card = small
    giant = {"hidden": 16384, "heads": 256, "time_layers": 256, "group_layers": 256}
    write_card(tmp_path / "a", tensors, json.dumps(card | {"model": card["model"] | giant}))
    with pytest.raises(ValueError, match="do not fit the model that the file describes"):
        checkpoint.load_model(tmp_path / "a")  # it would take terabytes


def test_weights_that_are_not_finite_are_refused(small, tmp_path):
    _, tensors, card = small
    for value in (float("nan"), float("inf")):
        bad = {name: tensor.clone() for name, tensor in tensors.items()}
        name = sorted(bad)[-1]
        bad[name].view(-1)[0] = value
        text = json.dumps(card | {"hash": checkpoint.weights_hash(bad)})
        write_card(tmp_path / "a", bad, text)
        with pytest.raises(ValueError, match=f"the weights {name} are NaN or infinite"):
            checkpoint.load_model(tmp_path / "a")


def test_a_card_of_values_that_no_tracker_has_is_refused_by_name(small, tmp_path):
    _, tensors, card = small
    for name, value in (("threshold", -5), ("visible_by", "x"), ("confidence_px", 0)):
        write_card(tmp_path / "a.safetensors", tensors, json.dumps(card | {name: value}))
        with pytest.raises(ValueError, match=f"a.safetensors: its card was changed: {name} must"):
            load_chain(tmp_path / "a.safetensors")


READS = {  # whatever a person can name; each refuses what may have no end
    "checkpoint": checkpoint.load_model,
    "card": checkpoint.read_card,
    "state": checkpoint.load_state,
    "tracks": Tracks.load,
    "other tracks": partial(read_tracks, kind="csv"),
    "points": partial(read_points, frames=9, size=(9, 9)),
    "mask": read_mask,
    "json": read_json,
}


@pytest.mark.parametrize("kind", READS)
def test_pipes_are_refused_before_they_are_waited_for(tmp_path, kind):
    if not hasattr(os, "mkfifo"):
        pytest.skip("this system has no pipes with names")
    os.mkfifo(tmp_path / "a.npz")
    with pytest.raises(ValueError, match="a.npz.* is a pipe"):
        READS[kind](tmp_path / "a.npz")


def test_no_flipped_bit_of_a_checkpoint_reaches_its_weights(small, tmp_path):
    path, tensors, _ = small
    whole, rng = path.read_bytes(), random.Random(0)
    for _ in range(60):
        data = bytearray(whole)
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        cut = data if rng.random() < 0.7 else data[: rng.randrange(len(data))]
        (tmp_path / "a").write_bytes(cut)
        try:
            loaded = checkpoint.load_model(tmp_path / "a").state_dict()
        except ValueError as error:
            assert str(tmp_path / "a") in str(error)
        else:
            assert all(torch.equal(loaded[name], value) for name, value in tensors.items())


def test_an_annotation_of_any_kind_is_refused_or_read(tmp_path):
    write_badja(tmp_path)
    path = tmp_path / "joint_annotations" / "camel.json"
    rows = json.loads(path.read_text())

    def read() -> None:
        clip = BADJA(tmp_path)[0]
        assert torch.isfinite(clip.tracks).all()

    for one in [*variants(rows, random.Random(0), 120), {}, [], [[]], 3]:
        refused_or_read(read, path, json.dumps(one).encode())
    for text in TEXTS:
        assert refused_or_read(read, path, text)


def test_a_joint_that_is_nan_and_a_frame_that_is_far_are_refused(tmp_path):
    write_badja(tmp_path)
    path = tmp_path / "joint_annotations" / "camel.json"
    rows = json.loads(path.read_text())
    bad = json.loads(path.read_text())
    bad[-1]["joints"][0] = [float("nan"), 3.0]
    assert "37 joints [row, col] in pixels" in refused_or_read(
        lambda: BADJA(tmp_path), path, json.dumps(bad).encode()
    )
    rows[-1]["image_path"] = str(Path(rows[-1]["image_path"]).with_name("20000000.jpg"))
    said = refused_or_read(lambda: BADJA(tmp_path), path, json.dumps(rows).encode())
    assert "to 20000000, more than 10000" in said


RESULT = {
    "format": compare.FORMAT,
    "benchmark": "b",
    "tracker": "t",
    "protocol": {"queries": "first", "metric": "m"},
    "checkpoint": {"name": None, "hash": "h"},
    "found": 1,
    "expected": 1,
    "mean": {"aj": 1.0},
    "interval": {"aj": [0.5, 1.5]},
    "videos": [{"name": "v", "aj": 1.0, "seconds": 2.0}],
}


def test_a_result_of_any_kind_is_refused_or_compared(tmp_path):
    path = tmp_path / "results.json"

    def read() -> None:
        one = compare.load(path)
        compare.compare_results([(str(path), one), (str(path), one)])

    assert refused_or_read(read, path, json.dumps(RESULT).encode()) is None
    refusals = [
        refused_or_read(read, path, json.dumps(one).encode())
        for one in variants(RESULT, random.Random(0), 150)
    ]
    assert sum(one is not None for one in refusals) > 75
    assert all(refused_or_read(read, path, text) for text in TEXTS)
    lists = RESULT | {"protocol": {"queries": ["first"], "metric": "m"}}
    assert "was changed or damaged" in refused_or_read(read, path, json.dumps(lists).encode())


def test_a_row_of_any_kind_is_refused_or_read(tmp_path):
    store = RowStore(tmp_path, "identity")
    store.put({"name": "v", "aj": 1.0, "errors": {"motion": {"<1 px": [0.5]}}, "seconds": 1.0})
    path = tmp_path / "v.json"
    entry = json.loads(path.read_text())
    assert store.get("v")["aj"] == 1.0
    for one in variants(entry, random.Random(0), 120):
        refused_or_read(lambda: store.get("v"), path, json.dumps(one).encode())
    del entry["row"]["seconds"]
    for data in (json.dumps(entry).encode(), *TEXTS):
        assert refused_or_read(lambda: store.get("v"), path, data)


def test_a_manifest_of_any_kind_is_refused_or_read(tmp_path):
    path = tmp_path / "manifest.json"
    clip = {"name": "000000", "frames": 2, "points": 3, "size": [4, 5], "sha256": "x"}
    whole = {"commits": ["c"], "clips": [clip], "config": {}, "seed": 0}
    for one in variants(whole, random.Random(0), 80):
        refused_or_read(lambda: read_manifest(tmp_path), path, json.dumps(one).encode())
    assert all(refused_or_read(lambda: read_manifest(tmp_path), path, text) for text in TEXTS)


def test_tracks_of_other_programs_with_foreign_values_are_refused_by_name(tmp_path):
    tracks = Tracks(
        torch.arange(30.0).reshape(1, 5, 3, 2),
        torch.full((1, 5, 3), 0.7),
        torch.ones(1, 5, 3, dtype=torch.bool),
        seconds=torch.arange(5.0),
        size=(64, 96),
        queries=torch.zeros(1, 3, 3),
    )
    for kind, file in (("json", "a.json"), ("coco", "a_coco.json")):
        path = write_tracks(tmp_path / file, tracks, kind)
        for one in variants(json.loads(path.read_text()), random.Random(0), 60):
            refused_or_read(partial(read_tracks, path, kind), path, json.dumps(one).encode())
    for kind, file in (("npz", "a.npz"), ("dlc-csv", "a.csv")):
        path = write_tracks(tmp_path / file, tracks, kind)
        whole, rng = path.read_bytes(), random.Random(0)
        for _ in range(120):
            data = bytearray(whole)
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
            cut = data if rng.random() < 0.7 else data[: rng.randrange(len(data))]
            refused_or_read(partial(read_tracks, path, kind), path, bytes(cut))
