"""`cotracker compare` and `cotracker table`: comparable or refused, paired differences, tables."""

import csv
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest

from cotracker import cli
from cotracker.benchmarks.compare import compare_results, differences
from cotracker.benchmarks.paper import cells, numbers

PAPER = Path(__file__).parents[2].parent / "shared" / "paper.txt"
CHAIN = {
    "queries": "first",
    "metric": "tapvid",
    "iters": 6,
    "window": 8,
    "stride": 4,
    "threshold": 0.5,
    "points": "single",
    "support": {"support_grid": 6, "local_support_grid": 6},
    "resolution": [384, 512],
}


def result(aj, tracker="cotracker", weights="1", benchmark="davis", **protocol):
    """A results.json of some videos; a field that is None is left out of CHAIN."""
    names = [f"v{k:02d}" for k in range(len(aj))]
    chain = CHAIN if tracker == "cotracker" else {key: CHAIN[key] for key in ("queries", "metric")}
    numbers = [value for value in aj if value is not None]
    return {
        "format": 3,
        "benchmark": benchmark,
        "tracker": tracker,
        "protocol": {key: v for key, v in (chain | protocol).items() if v is not None},
        "protocol_hash": "h",
        "checkpoint": {"name": f"c{weights}", "hash": weights},
        "found": len(aj),
        "expected": len(aj),
        "mean": {"aj": sum(numbers) / len(numbers)},
        "interval": {"aj": [0.0, 1.0]},
        "videos": [{"name": name, "aj": value, "seconds": 1.0} for name, value in zip(names, aj)],
    }


def written(folder, held):
    folder.mkdir(parents=True)
    (folder / "results.json").write_text(json.dumps(held))
    return str(folder)


@pytest.mark.parametrize(
    "other, unlike",
    [
        (result([1.0], weights="2", window=16, stride=8, threshold=0.8), []),
        (
            result([1.0], window=16, points="joint"),
            ["window 8, against 16", "points single, against joint"],
        ),
        (
            result([1.0], weights="2", support=None),
            ["support {'support_grid': 6, 'local_support_grid': 6}, against nothing"],
        ),
        (
            result([1.0], "static", clips="abc", queries="strided"),
            ["queries first, against strided", "clips nothing, against abc"],
        ),
        (
            result([1.0], "lucas_kanade", resolution=[256, 256]),
            ["resolution [384, 512], against [256, 256]"],
        ),
        (result([1.0], benchmark="kinetics"), ["benchmark davis, against kinetics"]),
    ],
)
def test_only_like_results_are_compared(other, unlike):
    assert differences(result([1.0]), other) == unlike
    allowed = tuple(field.split()[0] for field in unlike if not field.startswith("benchmark"))
    assert differences(result([1.0]), other, allowed) == [
        one for one in unlike if one.startswith("benchmark")
    ]


def test_differences_are_paired():
    """Videos differ more than trackers: only the paired interval leaves out 0."""
    rng = np.random.default_rng(0)
    base = rng.uniform(10, 90, 30)
    better = base + rng.normal(2, 1, 30)
    videos, ((one,), (other,)) = compare_results(
        [("a", result(base.tolist())), ("b", result(better.tolist(), weights="2"))]
    )
    assert len(videos) == 30 and other.difference == pytest.approx((better - base).mean())
    assert (
        other.certain
        and other.difference_interval[0] > 1
        and one.interval[0] < other.mean < one.interval[1]
    )
    assert one.difference is None and not one.certain
    partial = result(base.tolist()[:20]) | {"expected": 30}
    partial["videos"][3]["aj"] = None
    videos, ((one,), _) = compare_results(
        [("a", partial), ("b", result(better.tolist(), weights="2"))]
    )
    assert len(videos) == 20 and one.mean == pytest.approx(np.delete(base[:20], 3).mean())


def test_the_command(tmp_path, capsys):
    one, two = (
        written(tmp_path / "one", result([10.0, 20.0])),
        written(tmp_path / "two", result([11.0, 22.0], weights="2")),
    )
    assert cli.main(["compare", one, two]) == 0
    said = capsys.readouterr().out
    assert "davis: 2 videos in all results (they have 2 of 2, 2 of 2)" in said
    assert re.search(r"aj +16\.50 \[11\.00, 22\.00\]   B - A +\+1\.50 \[1\.00, 2\.00\] \*", said)
    unlike = written(tmp_path / "unlike", result([1.0, 2.0], weights="2", iters=4, points="joint"))
    assert cli.main(["compare", one, two, unlike]) == 2
    error = capsys.readouterr().err
    assert (
        error.count("\n") == 1
        and "were not measured alike: iters 6, against 4; points single, against joint" in error
    )
    assert cli.main(["compare", one, unlike, "--allow", "iters", "points"]) == 0
    assert cli.main(["compare", one]) == 2 and "two results or more" in capsys.readouterr().err
    assert cli.main(["compare", one, str(tmp_path)]) == 2 and "no " in capsys.readouterr().err
    written(tmp_path / "old", {"benchmark": "davis"})
    assert (
        cli.main(["compare", one, str(tmp_path / "old")]) == 2
        and "is not a results.json of format 3" in capsys.readouterr().err
    )


@pytest.mark.skipif(not PAPER.exists(), reason="the paper's text is not here")
def test_every_number_is_the_papers():
    """Each row's numbers are in the paper's text, in this order, below the table's heading."""
    text = re.sub(r"</?u>", "", PAPER.read_text())
    sections = re.split(r"\nTable (\d): ", text)
    below = {
        int(number): body.split("\n\n")[1] for number, body in zip(sections[1::2], sections[2::2])
    }
    for number, table in numbers.TABLES.items():
        lines = [
            re.findall(r"(?<![\w.])(\d+\.\d|-)(?![\w.])", line)
            for line in below[number].splitlines()
        ]
        lines = [
            line[-len(table.rows[0].values) :]
            for line in lines
            if len(line) >= len(table.rows[0].values)
        ]
        ours = [
            ["-" if value is None else f"{value:.1f}" for value in row.values] for row in table.rows
        ]
        assert lines == ours, number


def test_the_paper_is_whole():
    assert sorted(numbers.TABLES) == list(range(1, 10))
    for table in numbers.TABLES.values():
        count = sum(len(metrics) for _, metrics in table.columns)
        assert all(
            len(row.values) == count and len(row.labels) == len(table.labels) for row in table.rows
        )
        assert len({row.key for row in table.rows}) == len(table.rows) and any(
            row.ours for row in table.rows
        )
    assert numbers.TABLES[2].value("cotracker", "davis_strided", "delta_avg") == 79.1
    assert numbers.TABLES[2].value("mft", "kinetics_first", "aj") is None


def davis(queries="first", **more):
    held = result(
        [50.0, 60.0], benchmark="davis" if queries == "first" else "davis_strided", queries=queries
    )
    held["mean"] = {"aj": 55.04, "delta_avg": 70.0, "oa": 80.0}
    return held | more


def test_a_table_in_three_formats(tmp_path, capsys):
    first = written(tmp_path / "all" / "first", davis(found=2, expected=30))
    strided = written(tmp_path / "all" / "strided", davis("strided"))
    assert cli.main(["table", "2", first, strided]) == 0
    said = capsys.readouterr().out
    row = next(line for line in said.splitlines() if line.startswith("| CoTracker"))
    assert row.startswith(
        "| CoTracker | 60.6 / 55.0 ‡ | 75.4 / 70.0 ‡ | 89.3 / 80.0 ‡ | 1.0 | 64.8 / 55.0 |"
    )
    assert row.endswith("| 48.7 / - | 64.3 / - | 86.5 / - |")
    assert "| TAPIR † | 56.2 | 70.0 |" in said and "| OmniMotion † | - | - | - | - | 51.7 |" in said
    assert "† the paper's own number" in said and "‡ DAVIS First: ours on 2 of 30 videos" in said
    assert cli.main(["table", "2", str(tmp_path / "all"), "--format", "csv"]) == 0
    lines = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    (one,) = [
        line
        for line in lines
        if line["row"] == "cotracker"
        and line["benchmark"] == "davis_first"
        and line["metric"] == "aj"
    ]
    assert (one["paper"], one["ours"], one["found"], one["expected"]) == (
        "60.6",
        "55.04",
        "2",
        "30",
    )
    assert (
        len(lines) == 6 * 9 - 3 - 6 + 2
    )  # MFT has no numbers of Kinetics, OmniMotion of DAVIS strided alone; 2 are seconds
    assert cli.main(["table", "2", first, "--format", "latex"]) == 0
    latex = capsys.readouterr().out
    assert (
        r"CoTracker & 60.6 / 55.0 $\ddagger$ & 75.4" in latex and r"TAPIR $\dagger$ & 56.2" in latex
    )
    assert (
        latex.count(r"\\") == 2 + 6
        and r"\multicolumn{3}{c}{Kinetics First}" in latex
        and "‡" not in latex.split(r"\begin")[1]
    )
    assert (
        cli.main(["table", "3"]) == 0
        and "| CoTracker | 63.6 / - | 18.0 / - | 68.0 / - |" in capsys.readouterr().out
    )


def test_rows_are_said_or_known_or_refused(tmp_path, capsys):
    one = written(tmp_path / "one", davis())
    assert cli.main(["table", "1", one]) == 2
    assert "has no row of table 1: pass ROW=" in capsys.readouterr().err
    assert cli.main(["table", "1", f"single_local={one}"]) == 0
    assert "| yes | yes | single | local | 57.8 / 55.0 |" in capsys.readouterr().out
    extra = written(
        tmp_path / "three",
        davis(label={"suite": "table1_small", "row": "all_both", "column": "davis_first"}),
    )
    assert (
        cli.main(["table", "1", extra]) == 0
        and "| all_both (not in the paper) |" in capsys.readouterr().out
    )
    labelled = written(
        tmp_path / "two", davis(label={"suite": "table1", "row": "all", "column": "davis_first"})
    )
    assert cli.main(["table", "1", labelled, f"mine={one}"]) == 0
    said = capsys.readouterr().out
    assert (
        "| yes | yes | all | - | 54.3 / 55.0 |" in said
        and "| mine (not in the paper) |  |  |  | - / 55.0 |" in said
    )
    assert (
        cli.main(["table", "2", f"tapir={one}"]) == 0
        and "| TAPIR | 56.2 / " in capsys.readouterr().out
    )
    assert (
        cli.main(["table", "2", one, one]) == 2
        and "two results for row cotracker" in capsys.readouterr().err
    )
    assert cli.main(["table", "10"]) == 2 and cli.main(["table", "2", str(tmp_path / "none")]) == 2


def test_a_number_of_other_settings_is_marked(tmp_path, capsys):
    """Nobody may read a quick look at 96x128 as the paper's evaluation."""
    quick = davis()
    quick["protocol"] |= {"iters": 4, "resolution": [96, 128]}
    assert cli.main(["table", "2", written(tmp_path / "quick", quick), "--format", "markdown"]) == 0
    said = capsys.readouterr().out
    assert "60.6 / 55.0 ‡" in said
    assert (
        "- ‡ DAVIS First: ours with iters 4, not 6 and resolution [96, 128], not [384, 512]" in said
    )


@pytest.mark.parametrize(
    "changed, note",
    [
        ({"points": "joint"}, "with points joint, not single"),
        ({"support": None}, "with support_grid 0, not 6 and local_support_grid 0, not 6"),
    ],
)
def test_other_points_or_support_are_marked_where_the_paper_has_one_answer(
    tmp_path, capsys, changed, note
):
    other = davis()
    other["protocol"] |= changed
    path = written(tmp_path / "other", other)
    assert cli.main(["table", "2", path]) == 0
    said = capsys.readouterr().out
    assert "60.6 / 55.0 ‡" in said and f"- ‡ DAVIS First: ours {note}" in said
    assert (
        cli.main(["table", "1", f"all_grid={path}"]) == 0 and "‡" not in capsys.readouterr().out
    )  # which varies them


def test_another_tracker_in_cotrackers_row_is_marked(tmp_path, capsys):
    path = written(tmp_path / "still", davis() | {"tracker": "static"})
    assert cli.main(["table", "2", f"cotracker={path}"]) == 0
    said = capsys.readouterr().out
    assert "60.6 / 55.0 ‡" in said and "- ‡ DAVIS First: ours by tracker=static" in said


def test_columns_are_named_by_their_protocol():
    assert (
        cells.column_of(davis()) == "davis_first"
        and cells.column_of(davis("strided")) == "davis_strided"
    )
    assert cells.column_of(result([1.0], benchmark="sprites_val")) == "sprites_val"
