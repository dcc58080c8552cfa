"""Held-out clips: always the same, and never trained on; errors by motion and occlusion."""

import json
import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import get_object
from omegaconf import OmegaConf

import evaluate
from cotracker.baselines.static import Static
from cotracker.benchmarks.benchmark import Benchmark
from cotracker.benchmarks.breakdown import by_motion_and_occlusion, pool
from cotracker.benchmarks.metrics import tapvid
from cotracker.benchmarks.protocols import first
from cotracker.benchmarks.results import make_record
from cotracker.benchmarks.run import evaluate as rows_of
from cotracker.benchmarks.run import mean, metric_keys
from cotracker.data import heldout
from cotracker.data.heldout import HeldOut
from cotracker.data.stream import TrainingStream
from cotracker.training.distributed import Group
from cotracker.types import Clip, Tracks

ROOT = Path(__file__).parents[2]
HELD_OUT = ["sprites_val", "scenes3d_val"]
ALONE = Group(0, 1, torch.device("cpu"))
HEADING = {
    "benchmark": "b",
    "tracker": "t",
    "protocol": {},
    "checkpoint": {"name": None, "hash": None},
}


@dataclass
class Dots:
    """A Source of random numbers, bad one time in three where `bad`."""

    points: int = 3
    speed: tuple[float, float] = (1.0, 2.0)
    textures: str | None = None
    bad: bool = False

    def clip(self, rng: np.random.Generator) -> Clip:
        if self.bad and rng.random() < 1 / 3:
            raise ValueError("no dots")
        video = torch.from_numpy(rng.integers(0, 256, (4, 3, 16, 24), dtype=np.uint8))
        tracks = torch.from_numpy(rng.uniform(0, 15, (4, self.points, 2)).astype(np.float32))
        visible = torch.from_numpy(rng.random((4, self.points)) < 0.8)
        return Clip(video, tracks, visible, torch.ones_like(visible))


def same(one: Clip, other: Clip) -> bool:
    return all(
        torch.equal(getattr(one, key), getattr(other, key))
        for key in ("video", "tracks", "visible", "valid")
    )


def clip_and_targets(xs, visible, valid=None, size=(256, 256)):
    """One point moving along x: its Clip, and the targets that TAP-Vid asks about it."""
    tracks = torch.tensor(xs, dtype=torch.float32)[:, None, None] * torch.tensor([1.0, 0.0])
    visible = torch.tensor(visible, dtype=torch.bool)[:, None]
    valid = (
        torch.ones_like(visible)
        if valid is None
        else torch.tensor(valid, dtype=torch.bool)[:, None]
    )
    video = torch.zeros(1, dtype=torch.uint8).expand(len(xs), 3, *size)
    clip = Clip(video, tracks, visible, valid)
    return clip, first(clip)


def answers(targets, off: list[float]) -> Tracks:
    """The target, off by these pixels in x, visible everywhere."""
    xy = targets.target.xy + torch.tensor(off)[None, :, None, None] * torch.tensor([1.0, 0.0])
    return Tracks(xy, torch.ones(xy.shape[:-1]), torch.ones(xy.shape[:-1], dtype=torch.bool))


def test_errors_by_motion():
    # moved:          0.5   1     2.5   3     8   50
    xs = [10, 10.5, 11.5, 14.0, 17.0, 25.0, 75.0]
    clip, targets = clip_and_targets(xs, [1] * 7)
    found = by_motion_and_occlusion(answers(targets, [9.0, 1, 2, 3, 4, 5, 6]), targets, clip)
    assert found["motion"] == {"<1 px": [1], "1-3 px": [2, 3], "3-8 px": [4], ">=8 px": [5, 6]}
    assert found["reappearing"] == {"1-2 frames": [], "3-6 frames": [], ">=7 frames": []}


def test_motion_and_error_are_measured_at_256():
    clip, targets = clip_and_targets([0, 4, 14], [1] * 3, size=(64, 1024))  # in x 4 times as wide
    found = by_motion_and_occlusion(answers(targets, [0.0, 8, 20]), targets, clip)
    assert found["motion"] == {"<1 px": [], "1-3 px": [2, 5], "3-8 px": [], ">=8 px": []}


def test_hidden_places_and_those_from_an_invalid_place_have_no_motion():
    clip, targets = clip_and_targets(
        [0, 2, 4, 6, 8, 10], [1, 0, 1, 0, 1, 1], valid=[1, 1, 1, 0, 1, 1]
    )
    found = by_motion_and_occlusion(answers(targets, [0.0, 1, 2, 3, 4, 5]), targets, clip)
    assert found["motion"]["1-3 px"] == [
        2,
        5,
    ]  # not 1 (hidden), 3 (invalid) and 4 (from an invalid place)
    assert found["reappearing"]["1-2 frames"] == [2, 4]


def test_errors_by_occlusion():
    visible = [0, 0, 1, 0, 1, 0, 0, 1, 1, *[0] * 3, 1, *[0] * 6, 1, *[0] * 7, 1, 0]
    clip, targets = clip_and_targets([0] * len(visible), visible)
    off = [float(t) for t in range(len(visible))]
    found = by_motion_and_occlusion(answers(targets, off), targets, clip)
    assert (
        targets.queries[0, 0, 0] == 2
    )  # what was unseen before the query does not count, nor does it after the last
    assert found["reappearing"] == {
        "1-2 frames": [4, 7],
        "3-6 frames": [12, 19],
        ">=7 frames": [27],
    }


def test_pooled_is_over_all_videos():
    one = {"motion": {"a": [1.0, 3.0, 4.0], "b": []}}
    other = {"motion": {"a": [5.0], "b": []}}
    bins = pool([one, other])["motion"]
    assert bins["a"] == {"count": 4, "median": 3.5, "within_4": 50.0}  # strictly below 4
    assert (
        bins["b"]["count"] == 0
        and math.isnan(bins["b"]["median"])
        and math.isnan(bins["b"]["within_4"])
    )
    assert pool([]) == {}


def test_the_breakdown_stands_in_the_results_and_leaves_the_metrics_alone():
    clips = HeldOut(Dots(), count=2)
    plain = Benchmark("dots", clips, first, tapvid)
    benchmark = replace(plain, made=clips.identity, breakdown=by_motion_and_occlusion)
    rows, plain_rows = rows_of(Static(), benchmark), rows_of(Static(), plain)
    assert metric_keys(rows) == metric_keys(plain_rows) and mean(rows) == pytest.approx(
        mean(plain_rows), nan_ok=True
    )
    saved = json.loads(json.dumps(make_record(HEADING, benchmark, rows), allow_nan=False))
    assert set(saved) - set(make_record(HEADING, plain, plain_rows)) == {"breakdown", "made"}
    assert all("errors" not in row for row in saved["videos"])
    counts = [values["count"] for values in saved["breakdown"]["motion"].values()]
    shown = sum(int((q.eval_mask & q.target.visible).sum()) for q in map(first, clips))
    assert sum(counts) == shown > 0
    assert saved["breakdown"]["reappearing"][">=7 frames"] == {
        "count": 0,
        "median": None,
        "within_4": None,
    }
    assert (
        set(plain.describe()) == {"queries", "metric"} and len(benchmark.describe()["clips"]) == 12
    )


def test_clips_are_always_the_same_and_none_of_training():
    clips = HeldOut(Dots(), count=4, seed=5)
    assert (
        len(clips) == 4
        and clips.expected == ["000", "001", "002", "003"]
        and clips[2].name == "002"
    )
    sampled = [clips[k] for k in range(4)]
    assert all(same(HeldOut(Dots(), count=9, seed=5)[k], sampled[k]) for k in (3, 0))
    assert not same(HeldOut(Dots(), seed=6)[0], sampled[0]) and not same(sampled[0], sampled[1])
    trained = [TrainingStream(Dots(), seed=5)[k] for k in range(8)]
    assert not any(same(one, other) for one in sampled for other in trained)


def test_a_bad_clip_is_replaced():
    clips = [HeldOut(Dots(bad=True), count=30)[k] for k in range(30)]
    assert not any(same(one, other) for k, one in enumerate(clips) for other in clips[:k])


def test_cached_clips_are_found_bit_for_bit(tmp_path, monkeypatch):
    fresh = [HeldOut(Dots(), count=2)[k] for k in range(2)]
    clips = HeldOut(Dots(), count=2, cache=str(tmp_path / "cache"))
    assert not (tmp_path / "cache").exists()
    assert all(same(clips[k], fresh[k]) for k in range(2))
    assert sorted(path.name for path in clips.folder.iterdir()) == ["000.npz", "001.npz"]
    (clips.folder / "001.npz").write_bytes(
        (clips.folder / "001.npz").read_bytes()[:-30]
    )  # cut short

    def forbidden(self, rng):
        raise AssertionError("sampled again")

    again = HeldOut(Dots(), count=5, cache=str(tmp_path / "cache"))
    assert same(again[1], fresh[1])
    monkeypatch.setattr(Dots, "clip", forbidden)
    assert same(again[0], fresh[0]) and same(again[1], fresh[1]) and again[1].name == "001"
    with pytest.raises(AssertionError, match="sampled again"):
        again[2]
    assert len(list(clips.folder.iterdir())) == 2


def test_a_cache_that_cannot_be_written_is_refused_in_one_sentence(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ValueError, match="cache=.*file cannot be written to.*give another folder"):
        HeldOut(Dots(), cache=str(tmp_path / "file"))[0]
    assert (tmp_path / "file").read_text() == "mine"


def test_whatever_changes_the_clips_changes_what_they_are_made_from(tmp_path, monkeypatch):
    (tmp_path / "a.jpg").write_bytes(b"photograph")
    textures = str(tmp_path)
    one = HeldOut(Dots(textures=textures), cache="c")
    others = [
        HeldOut(Dots(points=4, textures=textures), cache="c"),
        HeldOut(Dots(textures=textures), seed=1, cache="c"),
        HeldOut(Dots(), cache="c"),
        HeldOut(Dots(textures=textures), version=2, cache="c"),
    ]
    (tmp_path / "b.jpg").write_bytes(b"another")
    others.append(HeldOut(Dots(textures=textures), cache="c"))
    assert len({json.dumps(clips.identity) for clips in [one, *others]}) == 6
    assert len({clips.folder for clips in [one, *others]}) == 6
    assert one.identity["settings"]["speed"] == [1.0, 2.0] and one.identity["generator"] == "Dots"
    assert HeldOut(Dots(), count=3, cache="c").folder == HeldOut(Dots(), count=20, cache="c").folder
    monkeypatch.setattr(heldout, "_version", {"numpy": "9.9"}.get)
    assert HeldOut(Dots(), cache="c").folder != others[2].folder


def test_a_seed_is_a_whole_number():
    with pytest.raises(
        ValueError, match="benchmark.clips.seed must be a whole number of at least 0"
    ):
        HeldOut(Dots(), seed=-1)


def test_a_version_is_a_whole_number_from_one():
    with pytest.raises(
        ValueError, match="benchmark.clips.version must be a whole number of at least 1, not 0"
    ):
        HeldOut(Dots(), version=0)


def composed(name: str, *words: str):
    with initialize_config_dir(str(ROOT / "configs"), version_base=None):
        return compose("evaluate", overrides=[f"benchmark={name}", "tracker=static", *words])


@pytest.mark.parametrize("name", HELD_OUT)
def test_a_held_out_benchmark_sets_every_field_of_its_generator(name):
    """So that a new default of the generator does not change it."""
    clips = OmegaConf.to_container(composed(name).benchmark.clips)
    generator = get_object(clips["generator"].pop("_target_"))
    assert set(clips["generator"]) == set(generator.__dataclass_fields__)
    assert clips["generator"]["textures"] is None and clips["seed"] == 0 and clips["count"] == 20


def test_evaluate_prints_and_writes_the_breakdown(tmp_path, capsys):
    small = [
        f"benchmark.clips.generator.{setting}"
        for setting in ("frames=6", "height=48", "width=64", "points=9")
    ]
    config = composed("sprites_val", *small, "benchmark.clips.count=2", f"out={tmp_path}")
    evaluate.evaluate_one(config, ALONE)
    saved = json.loads((tmp_path / "results.json").read_text())
    assert (
        list(saved["breakdown"]) == ["motion", "reappearing"]
        and saved["made"]["settings"]["points"] == 9
    )
    lines = capsys.readouterr().out.splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("motion"))
    for line, (name, values) in zip(lines[start + 1 :], saved["breakdown"]["motion"].items()):
        assert line.split(name)[1].split()[0] == str(values["count"])
    assert sum(values["count"] for values in saved["breakdown"]["motion"].values()) > 20
    with pytest.raises(ValueError, match="holds another result.*clips"):
        evaluate.evaluate_one(
            composed("sprites_val", *small[:3], "benchmark.clips.count=2", f"out={tmp_path}"),
            ALONE,
        )
