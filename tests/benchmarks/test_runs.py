"""Evaluations of many videos: resumed, shared by processes, with broken videos among them."""

import json
import math
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from badja_fixture import write_badja
from fastcapture_fixture import write_fastcapture
from hydra import compose, initialize_config_dir

import evaluate as evaluate_py
from cotracker.baselines.static import Static
from cotracker.benchmarks import metrics, results
from cotracker.benchmarks.benchmark import Benchmark
from cotracker.benchmarks.failures import point_errors, render_failures
from cotracker.benchmarks.intervals import interval
from cotracker.benchmarks.metrics import badja, tapvid
from cotracker.benchmarks.protocols import first, from_first_frame
from cotracker.benchmarks.rows import RowStore
from cotracker.benchmarks.run import Unreadable, evaluate, merge_ranks
from cotracker.config.instantiate import build_benchmark
from cotracker.training.distributed import Group
from cotracker.types import Clip

ROOT = Path(__file__).parents[2]
SMALL = [
    f"benchmark.clips.generator.{setting}"
    for setting in ("frames=4", "height=48", "width=64", "points=8")
]
SMALL += ["benchmark=sprites_val", "tracker=static"]
ALONE = Group(0, 1, torch.device("cpu"))


def clip(name, seed=0, frames=6):
    rng = np.random.default_rng(seed)
    xy = torch.from_numpy(rng.uniform(2, 30, (frames, 4, 2)).astype(np.float32))
    video = torch.from_numpy(rng.integers(0, 256, (frames, 3, 32, 40), dtype=np.uint8))
    visible = torch.ones(frames, 4, dtype=torch.bool)
    return Clip(video, xy, visible, visible, torch.ones(frames, 32, 40, dtype=torch.uint8), name)


class Clips:
    """Counts the reads of each clip; some cannot be read, or only their first frames."""

    def __init__(self, names, broken=(), lazily=()):
        self.names, self.bad, self.lazily, self.read = list(names), broken, lazily, []

    def __len__(self):
        return len(self.names)

    def __getitem__(self, index):
        name = self.names[index]
        self.read.append(name)
        if name in self.bad:
            raise OSError(f"{name}.jpg is\ntruncated")
        held = clip(name, index)
        return replace(held, video=Undecodable(held.video)) if name in self.lazily else held


class Undecodable:
    def __init__(self, video):
        self.video, self.shape = video, video.shape

    def __getitem__(self, frames):
        if frames.stop is None or frames.stop > 2:
            raise ValueError("frame 2 cannot be decoded")
        return self.video[frames]


class Reading(Static):
    def forward(self, video, queries):
        for start in range(video.shape[1]):
            assert video[:, start : start + 1].shape[:2] == (1, 1)
        return super().forward(video, queries)


def benchmark(clips, named=True, **more):
    return Benchmark(
        "b", clips, from_first_frame, badja, names=tuple(clips.names) if named else (), **more
    )


@pytest.mark.parametrize("named", [True, False])
def test_nothing_is_measured_twice(tmp_path, named):
    clips = Clips(["a", "b/c", "ä", ".d", "x" * 200])
    store = RowStore(tmp_path, "one")
    whole = evaluate(Static(), benchmark(clips, named), store=store)
    files = {file.name: file.stat().st_mtime_ns for file in tmp_path.iterdir()}
    assert len(files) == 5 and all(not name.startswith(".") for name in files)
    clips.read.clear()
    again = evaluate(Static(), benchmark(clips, named), store=RowStore(tmp_path, "one"))
    assert again == whole and clips.read == ([] if named else clips.names)
    assert {file.name: file.stat().st_mtime_ns for file in tmp_path.iterdir()} == files
    with pytest.raises(ValueError, match="was measured with other settings"):
        evaluate(Static(), benchmark(clips, named), store=RowStore(tmp_path, "two"))


def test_a_row_keeps_its_numbers_to_the_bit_and_nan(tmp_path):
    store = RowStore(tmp_path, "one")
    row = {
        "name": "v",
        "aj": 100 / 3,
        "oa": math.nan,
        "errors": {"motion": {"<1 px": [0.1, 2.5]}},
        "seconds": 0.1,
    }
    store.put(row)
    back = RowStore(tmp_path, "one").get("v")
    assert math.isnan(back.pop("oa")) and row.pop("oa") and back == row
    (tmp_path / "v.json").write_text("{half")
    with pytest.raises(ValueError, match="v.json cannot be read as JSON"):
        store.get("v")


def test_two_videos_of_one_name_are_refused(tmp_path):
    with pytest.raises(ValueError, match="videos A and a would share the row"):
        evaluate(Static(), benchmark(Clips(["A", "a"])), store=RowStore(tmp_path, "one"))


def test_broken_videos_are_named_and_the_rest_is_measured(tmp_path):
    names = ["a", "b", "c", "d"]
    clips = Clips(names, broken=["b"], lazily=["c"])
    partial = benchmark(clips, expected=(*names, "e"), broken=("z.pkl ends early",))
    store = RowStore(tmp_path, "one")
    rows, broken = evaluate_py.evaluate_shared(Reading(), partial, store, ALONE)
    assert [row["name"] for row in rows] == ["a", "d"]
    assert broken == [
        {"name": "", "reason": "z.pkl ends early"},
        {"name": "b", "reason": "b.jpg is truncated"},
        {"name": "c", "reason": "frame 2 cannot be decoded"},
    ]
    heading = results.make_heading("t", Static(), partial)
    record = results.make_record(heading, partial, rows, broken)
    assert (record["found"], record["expected"], record["missing"]) == (2, 5, ["e"])
    assert record["broken"] == broken
    clips.bad, clips.lazily = (), ()  # repaired: only these are measured
    clips.read.clear()
    rows, broken = evaluate_py.evaluate_shared(Reading(), partial, store, ALONE)
    assert [row["name"] for row in rows] == names and len(broken) == 1
    assert clips.read == ["b", "c"]
    with pytest.raises(Unreadable, match="b.jpg is truncated"):  # where none may be skipped
        evaluate(Static(), benchmark(Clips(["b"], broken=["b"])))


def test_a_query_far_outside_costs_its_video_alone(tmp_path):
    clips = [clip("a"), clip("far", 1), clip("b", 2)]
    tracks = clips[1].tracks.clone()
    tracks[0, 2] = torch.tensor([400.0, 10.0])  # in a picture 40 wide
    clips[1] = replace(clips[1], tracks=tracks)
    three = Benchmark("b", clips, from_first_frame, badja, names=("a", "far", "b"))
    store = RowStore(tmp_path, "one")
    rows, (broken,) = evaluate_py.evaluate_shared(Static(), three, store, ALONE)
    assert [row["name"] for row in rows] == ["a", "b"] and broken["name"] == "far"
    assert broken["reason"].startswith("far: a query lies far outside the 40x32 picture")


def test_the_confidence_of_visible_points_is_in_the_row_of_a_tracker_that_has_it():
    targets = first(clip("a"))
    half = torch.full(targets.target.xy.shape[:3], 0.5)
    unseen = targets.target.visible.clone()
    unseen[:, :, 1:] = False
    targets = replace(targets, target=replace(targets.target, visible=unseen))
    sure = half.clone()
    sure[:, :, 1:] = 0.9  # of hidden points: not counted
    answer = replace(targets.target, confidence=sure)
    assert metrics.confidence(answer, targets) == {"confidence": 50.0}
    assert metrics.confidence(targets.target, targets) == {}


def test_the_protocol_is_applied_once_a_video():
    calls = []

    def counted(clip):
        calls.append(clip.name)
        return from_first_frame(clip)

    evaluate(Static(), Benchmark("b", [clip("a"), clip("b")], counted, badja))
    assert calls == ["a", "b"]


def test_rows_of_ranks_are_merged_in_the_benchmarks_order():
    rows = [{"name": name} for name in "abcdefg"]
    parts = [[rows[0], rows[3], rows[6]], [rows[4]], [rows[2], rows[5]]]
    assert merge_ranks(parts, 7, {1}) == [row for row in rows if row["name"] != "b"]


def test_intervals():
    assert interval([3.0]) is None and interval([2.0, 2.0, 2.0]) == (2.0, 2.0)
    values = np.random.default_rng(0).normal(50, 10, 400).tolist()
    low, high = interval(values)
    assert interval(values) == (low, high)
    half = 1.96 * np.std(values) / 20  # of the mean, by its normal distribution
    assert abs((high - low) / 2 - half) < 0.1 * half and low < np.mean(values) < high


def test_protocol_hash_changes_with_every_field():
    heading = results.make_heading("t", Static(), benchmark(Clips(["a"])))
    heading["protocol"] |= {"iters": 6, "support": {"support_grid": 6}}
    one = results.protocol_hash(heading)
    changes = {"queries": "first", "metric": "x", "iters": 4, "support": {"support_grid": 5}}
    others = [
        heading | {"protocol": heading["protocol"] | {key: value}} for key, value in changes.items()
    ]
    others.append(heading | {"benchmark": "c"})
    assert len({one, *map(results.protocol_hash, others)}) == 6
    assert results.protocol_hash(heading | {"checkpoint": {"name": "x", "hash": "y"}}) == one
    renamed = [heading | {"checkpoint": {"name": name, "hash": "y"}} for name in "ab"]
    assert results.identity(renamed[0]) == results.identity(renamed[1]) != results.identity(heading)


def test_the_worst_tracks_are_drawn_with_their_truth():
    clips = Clips(["good", "bad", "worse"])
    held = [clip(name, k) for k, name in enumerate(clips.names)]
    held[0] = replace(held[0], tracks=held[0].tracks[:1].expand(6, -1, -1))  # stands still
    held[2] = replace(held[2], tracks=held[2].tracks + 200 * torch.arange(6)[:, None, None])
    asked = Benchmark("b", held, first, tapvid)
    rows = evaluate(Static(), asked)
    drawn = list(render_failures(Static(), asked, rows, 2))
    assert {name for name, _, _ in drawn} == {"worse", "bad"}
    for name, picture, points in drawn:
        assert picture.dtype == np.uint8 and picture.shape[0] == 240 and len(points) == 3
        assert points[0]["error"] >= points[1]["error"] > 0
        red = (picture[..., 0] > 200) & (picture[..., 1] < 120) & (picture[..., 2] < 120)
        green = (picture[..., 1] > 180) & (picture[..., 0] < 120)
        assert red.sum() > 50 and (name == "worse" or green.sum() > 50)
    still = held[0]
    targets = first(still)
    assert point_errors(targets, targets.target, still).tolist() == [0, 0, 0, 0]


def run(folder, *words, **more):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(ROOT / "evaluate.py"), *words]
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, env=environment, **more
    )


def plain(folder):
    """results.json without what a clock and the machine say."""
    held = json.loads((folder / "results.json").read_text())
    held.pop("seconds")
    held.pop("gigabytes")
    for video in held["videos"]:
        video.pop("seconds")
    return held


@pytest.mark.slow
def test_killed_and_started_again_the_result_is_the_same_and_nothing_is_recomputed(tmp_path):
    words = [*SMALL, "benchmark.clips.count=12"]
    with initialize_config_dir(str(ROOT / "configs"), version_base=None):
        evaluate_py.main.__wrapped__(
            compose("evaluate", overrides=[*words, f"out={tmp_path / 'whole'}"])
        )
    command = [sys.executable, str(ROOT / "evaluate.py"), *words, "out=killed"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    for _ in range(2):
        process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    process.communicate()
    rows = tmp_path / "killed" / "rows"
    before = {file.name: file.stat().st_mtime_ns for file in rows.glob("[!.]*.json")}
    assert 2 <= len(before) < 12 and not (tmp_path / "killed" / "results.json").exists()
    for name in before:  # a number that only a row read again can have
        held = json.loads((rows / name).read_text())
        held["row"]["aj"] += 1
        (rows / name).write_text(json.dumps(held))
    changed = {file.name: file.stat().st_mtime_ns for file in rows.glob("[!.]*.json")}
    again = run(tmp_path, *words, "out=killed")
    assert again.returncode == 0, again.stderr
    after = {file.name: file.stat().st_mtime_ns for file in rows.glob("[!.]*.json")}
    assert len(after) == 12 and {name: after[name] for name in changed} == changed
    whole, killed = plain(tmp_path / "whole"), plain(tmp_path / "killed")
    for one, other in zip(whole["videos"], killed["videos"]):
        moved = 1 if f"{one['name']}.json" in before else 0
        assert other["aj"] == pytest.approx(one["aj"] + moved, abs=1e-3)
        assert {k: v for k, v in one.items() if k != "aj"} == {
            k: v for k, v in other.items() if k != "aj"
        }


@pytest.mark.slow
def test_two_processes_give_the_numbers_of_one(tmp_path):
    words = [*SMALL, "benchmark.clips.count=3"]
    with initialize_config_dir(str(ROOT / "configs"), version_base=None):
        evaluate_py.main.__wrapped__(
            compose("evaluate", overrides=[*words, f"out={tmp_path / 'one'}"])
        )
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    many = subprocess.run(
        [*torchrun, str(ROOT / "evaluate.py"), *words, "out=many"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert many.returncode == 0, many.stderr
    assert plain(tmp_path / "one") == plain(tmp_path / "many")
    assert many.stdout.count("found 3 of 3") == 1 and many.stdout.count("001 ") == 1


@pytest.mark.parametrize("rank, code", [(0, 1), (1, 0)])
def test_only_rank_0_ends_with_what_is_missing(monkeypatch, rank, code):
    """torchrun would end rank 0, which may still write, when another rank ends with 1."""
    group = Group(rank, 2, torch.device("cpu"))
    codes = []
    monkeypatch.setattr(evaluate_py.suite, "run", lambda *rest: 1)  # something was missing
    monkeypatch.setattr(evaluate_py, "run_or_exit", lambda work: codes.append(work(group)))
    evaluate_py.main_suite("tables/3_small", [])
    assert codes == [code]


@pytest.mark.slow
def test_a_partial_set_with_pictures(tmp_path):
    data = write_badja(tmp_path / "data")
    words = [
        "benchmark=badja",
        f"benchmark.root={data}",
        "tracker=static",
        "out=out",
        "pictures=1",
        "limit=1",
    ]
    done = run(tmp_path, *words)
    assert done.returncode == 0 and "found 1 of 7 expected (missing: bear" in done.stdout, (
        done.stderr
    )
    assert (tmp_path / "out" / "worst" / "1_camel.png").is_file()
    assert (
        json.loads((tmp_path / "out" / "worst" / "points.json").read_text())["pictures"][0]["video"]
        == "camel"
    )


def test_what_a_limit_leaves_out_is_not_missing(tmp_path, capsys):
    data = write_fastcapture(tmp_path / "data")
    words = ["benchmark=fastcapture", f"benchmark.root={data}", "limit=1", "tracker=static"]
    with initialize_config_dir(str(ROOT / "configs"), version_base=None):
        config = compose("evaluate", overrides=[*words, f"out={tmp_path}/out"])
    benchmark = build_benchmark(config.benchmark, limit=1)
    assert benchmark.names == ("boxer",) and benchmark.left_out == ("dancer",)
    benchmark = replace(benchmark, expected=("boxer", "dancer", "fighter"))
    rows = [{"name": "boxer", "3px": 1.0, "seconds": 1.0}]
    heading = results.make_heading("static", Static(), benchmark)
    record = results.make_record(heading, benchmark, rows)
    assert record["missing"] == ["fighter"] and record["expected"] == 3
    evaluate_py.print_summary(rows, record | {"measured_by": [str(record["commit"])]})
    said = capsys.readouterr().out
    assert "found 1 of 3 expected (missing: fighter)" in said
    assert "limit left out 1 that are there" in said


def test_where_no_video_can_be_read_nothing_is_written(tmp_path, capsys):
    data = write_fastcapture(tmp_path / "data")
    for file in (data / "zju_tracking").iterdir():
        file.write_bytes(b"no tracks")
    words = ["benchmark=fastcapture", f"benchmark.root={data}", "tracker=static"]
    with initialize_config_dir(str(ROOT / "configs"), version_base=None):
        config = compose("evaluate", overrides=[*words, f"out={tmp_path}/out"])
    with pytest.raises(SystemExit) as end:
        evaluate_py.main.__wrapped__(config)
    said = capsys.readouterr().err
    assert end.value.code == 2 and said.count("\n") == 1
    assert "no video of fastcapture can be measured" in said and "boxer.pth" in said
    assert not (tmp_path / "out" / "results.json").exists()


@pytest.mark.parametrize("word", ["limit=0", "pictures=-1"])
def test_wrong_numbers_are_refused(tmp_path, capsys, word):
    data = write_badja(tmp_path / "data")
    words = ["benchmark=badja", f"benchmark.root={data}", "tracker=static", f"out={tmp_path}", word]
    with initialize_config_dir(str(ROOT / "configs"), version_base=None):
        config = compose("evaluate", overrides=words)
    with pytest.raises(SystemExit) as end:
        evaluate_py.main.__wrapped__(config)
    said = capsys.readouterr()
    assert end.value.code == 2 and said.err.count("\n") == 1
    assert said.err.startswith(f"evaluate.py: {word.split('=')[0]} must be a whole number")
