"""evaluate.py as a user runs it: results.json, and one sentence for wrong words and folders."""

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
from badja_fixture import write_badja
from hydra import compose, initialize_config_dir
from small_networks import tiny

import evaluate
from cotracker import checkpoint
from cotracker.benchmarks import results
from cotracker.benchmarks.benchmark import Benchmark
from cotracker.config.overrides import find_misspelt

ROOT = Path(__file__).parents[2]
FIELDS = (
    "format benchmark tracker protocol checkpoint protocol_hash commit versions found expected "
    "missing broken unscored "
    "seconds mean interval worst videos device measured_by gigabytes"
).split()


def _run(folder, *words):
    return subprocess.run(
        [sys.executable, ROOT / "evaluate.py", *words], cwd=folder, capture_output=True, text=True
    )


@pytest.mark.slow
def test_a_whole_run(tmp_path):
    data, out = write_badja(tmp_path / "data"), tmp_path / "out"
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    words = ["benchmark=badja", f"benchmark.root={data}", "tracker=static", f"out={out}"]
    done = _run(tmp_path, *words)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].split()[:3] == ["camel", "seg", "50.00"]
    missing = "bear, cows, dog, dog-agility, horsejump-high, horsejump-low"
    assert lines[2] == f"found 1 of 7 expected (missing: {missing})"
    assert lines[-1] == f"wrote {out / 'results.json'}"
    saved = json.loads((out / "results.json").read_text())
    assert list(saved) == FIELDS
    # at 384x512 distances are 8 times as large: joint 8 is off by 0 px in frame 4 and by 24 in
    # frame 6, joint 9 by 80 and 128;
    # the animal has 24 x 16 x 64 pixels, so the limit is 0.2 sqrt(24576) = 31.4
    assert saved["mean"] == {"seg": 50.0, "3px": 25.0}
    assert saved["found"] == 1 and saved["expected"] == 7 and saved["missing"][0] == "bear"
    assert saved["protocol"] == {"queries": "from_first_frame", "metric": "badja"}
    assert saved["checkpoint"] == {"name": None, "hash": None} and saved["tracker"] == "static"
    (video,) = saved["videos"]
    assert list(video) == ["name", "seg", "3px", "seconds"] and video["name"] == "camel"
    assert sorted(path.name for path in out.iterdir()) == ["notes.txt", "results.json", "rows"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "out"]

    again = _run(tmp_path, *words)
    assert again.returncode == 0
    before = (out / "results.json").read_text()
    unlike = _run(tmp_path, *words, "tracker=lucas_kanade")
    assert unlike.returncode == 2 and unlike.stdout == ""
    assert 'another result (tracker there is "static", here "lucas_kanade")' in unlike.stderr
    assert (out / "results.json").read_text() == before and (
        out / "notes.txt"
    ).read_text() == "mine"


@pytest.mark.slow
@pytest.mark.parametrize(
    "words, sentence",
    [
        (["tracker=static", "benchmark.rot=x"], "there is no setting benchmark.rot: did you mean"),
        (["tracker=static"], "benchmark.root is"),
        (["experiment=table2"], "evaluate.py has no experiment=: pass table=N or figure=N"),
        (
            ["benchmark=sprites_val", "tracker=static", "benchmark.clips.count=0"],
            "benchmark.clips.count must be a whole number from 1 to 1000000, not 0",
        ),
    ],
)
def test_wrong_words_are_answered_in_one_sentence(tmp_path, words, sentence):
    write_badja(tmp_path / "data")
    here = tmp_path / "here"
    here.mkdir()
    done = _run(here, *words)
    assert done.returncode == 2 and done.stdout == ""
    assert sentence in done.stderr and len(done.stderr.splitlines()) == 1
    assert not list(here.iterdir())


@pytest.mark.parametrize(
    "setting, sentence",
    [
        ("resolution=abc", "resolution must be two whole numbers from 32 to 4096, not abc"),
        ("iters=2.5", "iters must be a whole number from 1 to 1000, not 2.5"),
    ],
)
def test_wrong_settings_of_the_network_are_answered_in_one_sentence(
    tmp_path, capsys, setting, sentence
):
    """As `_run` does, within this process: hydra once, not seven times."""
    file = tmp_path / "tiny.safetensors"
    checkpoint.save(file, tiny(), {})
    with initialize_config_dir(str(ROOT / "configs"), version_base=None):
        words = [
            "benchmark=sprites_val",
            f"checkpoint={file}",
            f"tracker.{setting}",
            f"out={tmp_path / 'out'}",
        ]
        config = compose("evaluate", overrides=words)
    with pytest.raises(SystemExit) as end:
        evaluate.main.__wrapped__(config)
    said = capsys.readouterr()
    assert end.value.code == 2 and not said.out
    assert said.err == f"evaluate.py: tracker cannot be built: {sentence}\n"
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.safetensors"]


@pytest.mark.parametrize(
    "words, sentence",
    [
        (["tracker=dis_flow", "tracker.preset=fast", "benchmark.root=a"], None),
        (["tracker=statik"], "did you mean tracker=static?"),
        (["tracker=lucas_kanade", "tracker.windw=9"], "did you mean tracker.window?"),
        (["a b=("], "cannot read 'a b=('"),
    ],
)
def test_misspelt_words_name_the_right_one(words, sentence):
    said = find_misspelt(ROOT / "configs", "evaluate", words)
    assert said is None if sentence is None else sentence in said


HEADING = {
    "benchmark": "b",
    "tracker": "t",
    "protocol": {"iters": 6, "resolution": [3, 4]},
    "checkpoint": {"name": "a.safetensors", "hash": "12"},
}
BENCHMARK = Benchmark("b", [], max, min, expected=("one", "two"))


def test_nothing_scored_is_null_and_named(tmp_path):
    rows = [
        {"name": "one", "seg": 50.0, "3px": 10.0, "seconds": 1.0},
        {"name": "two", "seg": math.nan, "3px": math.nan, "seconds": 1.0},
    ]
    path = results.write(tmp_path / "new" / "folder", results.make_record(HEADING, BENCHMARK, rows))
    saved = json.loads(path.read_text())
    assert saved["mean"] == {"seg": 50.0, "3px": 10.0} and saved["unscored"] == ["two"]
    assert saved["videos"][1]["seg"] is None
    assert saved["missing"] == [] and [saved[key] for key in HEADING] == list(HEADING.values())
    results.refuse_unlike(path.parent, HEADING)


def test_unlike_results_say_what_differs(tmp_path):
    results.refuse_unlike(tmp_path / "not there", HEADING)
    results.refuse_unlike(tmp_path, HEADING)
    path = results.write(tmp_path, HEADING)
    results.refuse_unlike(tmp_path, HEADING | {"checkpoint": {"name": "renamed", "hash": "12"}})
    for key, value, sentence in [
        (
            "checkpoint",
            {"name": "a.safetensors", "hash": "34"},
            r'checkpoint there is \{"hash": "12"\}, here',
        ),
        (
            "protocol",
            {"iters": 4, "resolution": [3, 4]},
            r'protocol there is \{"iters": 6\}, here \{"iters": 4\}',
        ),
    ]:
        with pytest.raises(ValueError, match=sentence):
            results.refuse_unlike(tmp_path, HEADING | {key: value})
    path.write_text("{half")
    with pytest.raises(ValueError, match="not a result of evaluate.py"):
        results.refuse_unlike(tmp_path, HEADING)
    with pytest.raises(ValueError, match="is a file"):
        results.refuse_unlike(path, HEADING)


@pytest.mark.slow
def test_an_out_that_cannot_be_written_is_found_before_the_evaluation(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("mine")
    small = [
        f"benchmark.clips.generator.{setting}" for setting in ("frames=2", "height=48", "width=64")
    ]
    done = _run(tmp_path, "benchmark=sprites_val", "tracker=static", "out=file/below", *small)
    assert done.returncode == 2 and done.stdout == ""
    sentence = "out=file/below cannot be written to (Not a directory): pass another out=DIR"
    assert done.stderr == f"evaluate.py: {sentence}\n"
    results.refuse_unlike(tmp_path / "new" / "out", HEADING)
    assert not list((tmp_path / "new" / "out").iterdir())  # made, tried, and left empty
    (tmp_path / "there" / "results.json").mkdir(parents=True)
    with pytest.raises(ValueError, match="not a result of evaluate.py"):
        results.refuse_unlike(tmp_path / "there", HEADING)

    def full(dir):
        raise OSError(28, "No space left on device", dir)

    monkeypatch.setattr(results.tempfile, "TemporaryFile", full)
    with pytest.raises(ValueError, match=r"cannot be written to \(No space left on device\)"):
        results.refuse_unlike(tmp_path, HEADING)


def test_a_failed_write_leaves_nothing(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        results.write(tmp_path, {"seconds": math.nan})
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_generated_clips_are_a_benchmark(tmp_path):
    small = [
        f"benchmark.clips.generator.{setting}" for setting in ("frames=6", "height=48", "width=64")
    ]
    small.append("benchmark.clips.count=2")
    answer = _run(tmp_path, "benchmark=sprites_val", "tracker=static", f"out={tmp_path}", *small)
    assert answer.returncode == 0 and "found 2 of 2" in answer.stdout, answer.stderr
    result = json.loads((tmp_path / "results.json").read_text())
    assert (result["found"], result["expected"]) == (2, 2)
    assert {"aj", "delta_avg", "oa"} <= result["mean"].keys() and 0 < result["mean"][
        "delta_avg"
    ] < 100
    assert (
        "seed must be" in _run(tmp_path, "benchmark=sprites_val", "benchmark.clips.seed=-3").stderr
    )
