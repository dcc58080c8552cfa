"""Runs of many videos: stopped and continued, shared by processes, with broken videos among them."""

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
from hydra import compose, initialize_config_dir

import evaluate as evaluate_py
from cotracker.baselines.static import Static
from cotracker.benchmarks import results
from cotracker.benchmarks.benchmark import Benchmark
from cotracker.benchmarks.failures import errors, pictures
from cotracker.benchmarks.intervals import interval
from cotracker.benchmarks.metrics import badja, tapvid
from cotracker.benchmarks.protocols import first, from_first_frame
from cotracker.benchmarks.rows import Rows, collected
from cotracker.benchmarks.run import Unreadable, evaluate
from cotracker.benchmarks.workers import Helpers
from cotracker.types import Clip

ROOT = Path(__file__).parents[2]
SMALL = [
    f"benchmark.clips.generator.{setting}"
    for setting in ("frames=4", "height=48", "width=64", "points=8")
]
SMALL += ["benchmark=sprites_val", "tracker=static"]


def clip(name, seed=0, frames=6):
    rng = np.random.default_rng(seed)
    xy = torch.from_numpy(rng.uniform(2, 30, (frames, 4, 2)).astype(np.float32))
    video = torch.from_numpy(rng.integers(0, 256, (frames, 3, 32, 40), dtype=np.uint8))
    visible = torch.ones(frames, 4, dtype=torch.bool)
    return Clip(video, xy, visible, visible, torch.ones(frames, 32, 40, dtype=torch.uint8), name)


class Clips:
    """Counts how often each clip is read; some cannot be, or only until their frames are asked for."""

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
    rows = Rows(tmp_path, "one")
    whole = evaluate(Static(), benchmark(clips, named), kept=rows)
    files = {file.name: file.stat().st_mtime_ns for file in tmp_path.iterdir()}
    assert len(files) == 5 and all(not name.startswith(".") for name in files)
    clips.read.clear()
    again = evaluate(Static(), benchmark(clips, named), kept=Rows(tmp_path, "one"))
    assert again == whole and clips.read == ([] if named else clips.names)
    assert {file.name: file.stat().st_mtime_ns for file in tmp_path.iterdir()} == files
    with pytest.raises(ValueError, match="was measured otherwise"):
        evaluate(Static(), benchmark(clips, named), kept=Rows(tmp_path, "two"))


def test_a_row_keeps_its_numbers_to_the_bit_and_nan(tmp_path):
    rows = Rows(tmp_path, "one")
    row = {
        "name": "v",
        "aj": 100 / 3,
        "oa": math.nan,
        "errors": {"motion": {"<1 px": [0.1, 2.5]}},
        "seconds": 0.1,
    }
    rows.put(row)
    back = Rows(tmp_path, "one").get("v")
    assert math.isnan(back.pop("oa")) and row.pop("oa") and back == row
    (tmp_path / "v.json").write_text("{half")
    with pytest.raises(ValueError, match="v.json cannot be read as JSON"):
        rows.get("v")


def test_two_videos_of_one_name_are_refused(tmp_path):
    with pytest.raises(ValueError, match="two videos would share the row"):
        evaluate(Static(), benchmark(Clips(["A", "a"])), kept=Rows(tmp_path, "one"))


def test_broken_videos_are_named_and_the_rest_is_measured(tmp_path):
    clips = Clips(["a", "b", "c", "d"], broken=["b"], lazily=["c"])
    asked = benchmark(clips, expected=("a", "b", "c", "d", "e"), broken=("z.pkl ends early",))
    rows = Rows(tmp_path, "one")
    measured = evaluate(Reading(), asked, kept=rows)
    assert [row["name"] for row in measured] == ["a", "d"]
    found, broken = collected(asked, rows, wait_minutes=0)
    assert found == measured and broken == [
        {"name": "", "reason": "z.pkl ends early"},
        {"name": "b", "reason": "b.jpg is truncated"},
        {"name": "c", "reason": "frame 2 cannot be decoded"},
    ]
    record = results.record(results.heading("t", Static(), asked), asked, found, broken)
    assert (record["found"], record["expected"], record["missing"]) == (2, 5, ["e"])
    assert record["broken"] == broken
    clips.bad, clips.lazily = (), ()  # put right: measured now, and only these
    clips.read.clear()
    assert [row["name"] for row in evaluate(Reading(), asked, kept=rows)] == ["a", "b", "c", "d"]
    assert clips.read == ["b", "c"]
    with pytest.raises(Unreadable, match="b.jpg is truncated"):  # without a place to write it down
        evaluate(Static(), benchmark(Clips(["b"], broken=["b"])))


def test_a_question_that_no_tracker_answers_costs_its_video_alone(tmp_path):
    held = [clip("a"), clip("far", 1), clip("b", 2)]
    tracks = held[1].tracks.clone()
    tracks[0, 2] = torch.tensor([400.0, 10.0])  # asked there, in a picture 40 wide
    held[1] = replace(held[1], tracks=tracks)
    asked = Benchmark("b", held, from_first_frame, badja, names=("a", "far", "b"))
    rows = Rows(tmp_path, "one")
    measured = evaluate(Static(), asked, kept=rows)
    found, broken = collected(asked, rows, wait_minutes=0)
    assert found == measured and [row["name"] for row in found] == ["a", "b"]
    assert [one["name"] for one in broken] == ["far"]
    assert broken[0]["reason"].startswith("far: a query lies far outside the 40x32 picture")


def test_the_first_process_waits_for_rows_and_not_for_ever(tmp_path):
    asked, rows = benchmark(Clips(["a", "b"])), Rows(tmp_path, "one")
    evaluate(Static(), asked, rank=0, world=2, kept=rows)
    with pytest.raises(
        TimeoutError, match=r"no row came for 0 minutes \(wait_minutes\) and b is not there"
    ):
        collected(asked, rows, wait_minutes=0)

    def died():
        raise ValueError("worker 1 ended")

    with pytest.raises(ValueError, match="worker 1 ended"):
        collected(asked, rows, 1, died)
    rows.put_broken("b", "of an older run")  # but b can be read: the process that has it is at it

    def comes():
        evaluate(Static(), asked, rank=1, world=2, kept=rows)

    found, broken = collected(asked, rows, 1, comes)
    assert [row["name"] for row in found] == ["a", "b"] and broken == []


def test_intervals():
    assert interval([3.0]) is None and interval([2.0, 2.0, 2.0]) == (2.0, 2.0)
    values = np.random.default_rng(0).normal(50, 10, 400).tolist()
    low, high = interval(values)
    assert interval(values) == (low, high)
    half = 1.96 * np.std(values) / 20  # of the mean, by its normal distribution
    assert abs((high - low) / 2 - half) < 0.1 * half and low < np.mean(values) < high


def test_protocol_hash_changes_with_every_field():
    heading = results.heading("t", Static(), benchmark(Clips(["a"])))
    heading["protocol"] |= {"iters": 6, "support": {"global_grid": 6}}
    one = results.protocol_hash(heading)
    others = [heading | {"benchmark": "c"}, *(
        heading | {"protocol": heading["protocol"] | {key: value}}
        for key, value in {"queries": "first", "metric": "x", "iters": 4, "support": {"global_grid": 5}}.items()
    )]  # fmt: skip
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
    drawn = list(pictures(Static(), asked, rows, 2))
    assert {name for name, _, _ in drawn} == {"worse", "bad"}
    for name, picture, points in drawn:
        assert picture.dtype == np.uint8 and picture.shape[0] == 240 and len(points) == 3
        assert points[0]["error"] >= points[1]["error"] > 0
        red = (picture[..., 0] > 200) & (picture[..., 1] < 120) & (picture[..., 2] < 120)
        green = (picture[..., 1] > 180) & (picture[..., 0] < 120)
        assert red.sum() > 50 and (name == "worse" or green.sum() > 50)
    still = held[0]
    targets = first(still)
    assert errors(targets, targets.target, still).tolist() == [0, 0, 0, 0]


def run(folder, *words, **more):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(ROOT / "evaluate.py"), *words]
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, env=environment, **more
    )


def plain(folder):
    """results.json without what a clock says."""
    held = json.loads((folder / "results.json").read_text())
    held.pop("seconds")
    for video in held["videos"]:
        video.pop("seconds")
    return held


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


def test_two_processes_give_the_numbers_of_one(tmp_path):
    words = [*SMALL, "benchmark.clips.count=3"]
    with initialize_config_dir(str(ROOT / "configs"), version_base=None):
        evaluate_py.main.__wrapped__(
            compose("evaluate", overrides=[*words, f"out={tmp_path / 'one'}"])
        )
    two = run(tmp_path, *words, "out=two", "workers=2")
    torchrun = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
    ]
    many = subprocess.run([*torchrun, str(ROOT / "evaluate.py"), *words, "out=many"], cwd=tmp_path,
                          capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})  # fmt: skip
    assert [two.returncode, many.returncode] == [0, 0], two.stderr + many.stderr
    assert plain(tmp_path / "one") == plain(tmp_path / "two") == plain(tmp_path / "many")
    assert two.stdout.count("found 3 of 3") == many.stdout.count("found 3 of 3") == 1
    assert two.stdout.count("\n001 ") + two.stdout.startswith("001 ") == 1


def test_a_dead_worker_ends_the_run_with_one_sentence(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    threads = torch.get_num_threads()
    with pytest.raises(ValueError, match="worker 1 ended with exit code 7: its own words say why"):
        with Helpers(2, ["-c", "import sys; sys.exit(7)"]) as helpers:
            assert helpers.place() == (0, 2) == helpers.place() and len(helpers.processes) == 1
            helpers.processes[0].wait()
            helpers.told(lambda row: None)({"name": "v"})
    torch.set_num_threads(threads)
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("RANK", "3")
    assert not Helpers(2, []).first
    with Helpers(2, []) as helpers:  # torchrun's: no more are started
        assert helpers.place() == (3, 4) and not helpers.processes
    monkeypatch.setenv("EVALUATE_HELPER", "1")
    orphan = Helpers(1, [])
    orphan.parent = -1
    with pytest.raises(ValueError, match="the first process is gone"):
        orphan.told(lambda row: None)({"name": "v"})


@pytest.mark.parametrize("rank, code", [("0", 1), ("1", 0)])
def test_a_helper_that_finds_something_missing_does_not_end_the_table(monkeypatch, rank, code):
    """Exit code 1 of a helper reads as a failure in the first process, which then left the table unwritten."""
    monkeypatch.setenv("RANK", rank)
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(evaluate_py.suite, "run", lambda *rest: 1)  # something was missing
    ended = []
    monkeypatch.setattr(
        evaluate_py, "guarded", lambda work, config: ended.append(work(Helpers(2, [])))
    )
    evaluate_py.run_suite(["experiment=table3_small"])
    assert ended == [code]


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
        json.loads((tmp_path / "out" / "worst" / "points.json").read_text())["drawn"][0]["video"]
        == "camel"
    )


@pytest.mark.parametrize(
    "word, sentence",
    [
        ("limit=0", "limit must be"),
        ("pictures=-1", "pictures must be"),
        ("workers=0", "workers must be"),
        ("wait_minutes=soon", "wait_minutes must be"),
    ],
)
def test_wrong_numbers_are_refused(tmp_path, capsys, word, sentence):
    data = write_badja(tmp_path / "data")
    words = [
        "benchmark=badja",
        f"benchmark.root={data}",
        "tracker=static",
        f"out={tmp_path / 'out'}",
        word,
    ]
    with initialize_config_dir(str(ROOT / "configs"), version_base=None):
        config = compose("evaluate", overrides=words)
    with pytest.raises(SystemExit) as end:
        evaluate_py.main.__wrapped__(config)
    said = capsys.readouterr()
    assert end.value.code == 2 and said.err.startswith(sentence) and said.err.count("\n") == 1
