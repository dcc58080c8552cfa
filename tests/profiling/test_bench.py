"""`cotracker bench`: rows, files, plots, comparisons; and memory of whole processes."""

import json
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from PIL import Image

from cotracker.cli import main
from cotracker.data.video import write_video
from cotracker.profiling import bench, machine
from cotracker.profiling import report as bench_report

SMALL = (
    "bench --model cotracker_small --resolution 32x48 --frames 8 --threads 1 --iters 1 "
    "--repeats 1 --device cpu"
).split()
NUMBERS = {
    "seconds": 2.0,
    "median": 2.5,
    "cpu_seconds": 2.0,
    "frames_per_second": 12.0,
    "gigabytes": 1.0,
    "gigabytes_before": 0.6,
    "gflop": 100.0,
    "gflops": 50.0,
    "peak_gflops": 100.0,
    "of_peak": 0.5,
    "load": 0.0,
    "machine": "CPU, 2 threads",
}


@pytest.fixture
def here(monkeypatch):
    """Measures in this process, with a small matrix product; test_plan.py starts processes."""
    threads = torch.get_num_threads()
    monkeypatch.setattr(machine, "SIDES", {False: (32, 64)})
    monkeypatch.setattr(bench, "measure_in_process", bench.measure)
    yield
    torch.set_num_threads(threads)


def row(**changed) -> dict:
    """A row as `measure` makes them, of another setting or with other numbers."""
    return bench.dataclasses.asdict(bench.Setting()) | NUMBERS | changed


@pytest.mark.slow
def test_no_repeats_measure_the_one_call_that_is_made():
    calls = []
    setting = bench.Setting(points=4, frames=8, threads=1, repeats=0)
    row = bench._time(lambda: (time.sleep(0.05), calls.append(1)), 10**9, setting)
    assert len(calls) == 1 and 0.05 <= row["seconds"] == row["median"] < 1


def test_whole_runs_and_stages_are_measured_written_and_drawn(here, tmp_path, capsys):
    files = ["--json", f"{tmp_path}/a.json", "--plot", f"{tmp_path}/a.png"]
    assert main([*SMALL, "--points", "4", "9", *files]) == 0
    printed = capsys.readouterr().out
    assert "time grows as points to the power" in printed and "of peak" in printed
    held = json.loads((tmp_path / "a.json").read_text())
    assert [r["points"] for r in held["rows"]] == [4, 9] and held["versions"]["torch"]
    for r in held["rows"]:
        assert 0 < r["seconds"] <= r["median"] and 0.2 < r["gigabytes"] < 8 and r["gflop"] > 0
        assert r["of_peak"] == pytest.approx(r["gflops"] / r["peak_gflops"])
        assert r["frames_per_second"] == pytest.approx(8 / r["seconds"])
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.size == (640, 360) and picture.convert("L").getextrema()[0] < 50
    assert not [path for path in tmp_path.iterdir() if "partial" in path.name]


@pytest.mark.slow
def test_stages_and_the_protocol_in_this_process(here):
    setting = bench.Setting(
        kind="stages",
        model="cotracker_small",
        points=4,
        frames=8,
        height=32,
        width=48,
        threads=1,
        iters=1,
        repeats=1,
    )
    rows = bench.measure(setting)
    assert [r["stage"] for r in rows] == list(bench.STAGES)
    assert [bool(r["gflop"]) for r in rows] == [False, True, True, True, False]
    single, alone = (
        bench.dataclasses.replace(setting, kind=kind, points=2) for kind in ("single", "alone")
    )
    (a,), (b,) = bench.measure(single), bench.measure(alone)
    assert 1 < b["gflop"] / a["gflop"] < 2


def test_exponents_are_fitted():
    rows = [
        row(points=n, frames=t, seconds=0.01 * n**1.5 * t) for n in (64, 256, 1024) for t in (8, 80)
    ]
    found = bench_report.fit_exponents([*rows, row(stage="encode", points=1, seconds=1)])
    assert len(found["points"]) == 2 and len(found["frames"]) == 3
    assert list(found["points"].values()) == pytest.approx([1.5, 1.5])
    assert list(found["frames"].values()) == pytest.approx([1, 1, 1])


def test_two_files_are_compared(tmp_path, capsys):
    old, new = tmp_path / "old.json", tmp_path / "new.json"
    bench_report.write(old, {"rows": [row(), row(points=64)]})
    bench_report.write(new, {"rows": [row(seconds=1.0, machine="other"), row(frames=48)]})
    assert main(["bench", "--compare", str(old), str(new)]) == 0
    printed = capsys.readouterr().out
    assert (
        " 0.50 " in printed and len(printed.splitlines()) == 3 and "different machines" in printed
    )
    bench_report.write(new, {"rows": [row(frames=48)]})
    assert main(["bench", "--compare", str(old), str(new)]) == 2
    assert "have no setting in common" in capsys.readouterr().err


def test_runs_with_and_without_graphs_are_different_settings(tmp_path, capsys):
    old, new = tmp_path / "old.json", tmp_path / "new.json"
    graphs, plain = row(seconds=1.0, cuda_graphs=True), row(seconds=2.0, cuda_graphs=False)
    bench_report.write(old, {"rows": [row(seconds=4.0)]})
    bench_report.write(new, {"rows": [graphs, plain]})
    assert main(["bench", "--compare", str(old), str(new)]) == 0
    assert " 0.50 " in capsys.readouterr().out
    lines = bench_report.format_table([graphs, plain]).splitlines()
    assert "joint graphs" in lines[1] and "graphs" not in lines[2]


@pytest.mark.parametrize("text", ["[1]", '{"rows": []}'])
def test_other_files_are_refused(tmp_path, text):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(ValueError, match="is not a file of `cotracker bench --json` of format 3"):
        bench_report.read(tmp_path / "a.json")


@pytest.mark.parametrize(
    "words, sentence",
    [
        ("--points 0", "0 is not a whole number"),
        ("--resolution 10", "is not a size such"),
        ("--json no/a.json", "does not exist"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_runs(capsys, words, sentence):
    assert main(["bench", *words.split()]) == 2
    assert sentence in capsys.readouterr().err


@pytest.mark.slow
def test_a_failing_child_says_why():
    with pytest.raises(
        ValueError, match="joint, 4 points, could not be measured: .*no checkpoint absent"
    ):
        bench.measure_in_process(bench.Setting(model="absent", points=4))


TRACKS_A_FILE = """
import sys, torch, cotracker
from cotracker.data import video
from cotracker.profiling.machine import peak_memory
torch.set_num_threads(1)
video.CACHE_BYTES = 2**22
options = {"iters": 1, "resolution": (120, 160), "support_grid": 0, "feature_memory": 0}
tracker = cotracker.load_tracker(device="cpu", **options)
tracks = tracker(video.open_video(sys.argv[1]), torch.tensor([[[0.0, 40, 50], [3, 90, 80]]]))
print(tracks.xy.shape[1], peak_memory(torch.device("cpu")))
"""


@pytest.mark.slow
def test_peak_memory_does_not_grow_with_the_file(tmp_path):
    """All frames as floats, or their maps, would be 35 or 62 MB more for the longer file.

    Maps are kept up to feature_memory, which is 0 here.
    """
    peaks = {}
    for frames in (48, 200):
        path = tmp_path / f"{frames}.mp4"
        picture = np.random.default_rng(0).integers(0, 255, (120, 160, 3)).astype(np.uint8)
        write_video(
            path, (np.roll(picture, 2 * t, axis=1) for t in range(frames)), 24.0, (120, 160)
        )
        done = subprocess.run(
            [sys.executable, "-c", TRACKS_A_FILE, path], capture_output=True, text=True, check=True
        )
        tracked, peaks[frames] = map(int, done.stdout.split())
        assert tracked == frames
    assert peaks[200] < 1.1 * peaks[48] and peaks[200] - peaks[48] < 25e6
