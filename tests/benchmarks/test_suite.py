"""Tables and figures of the paper as suites of runs: all compose, what is missing is named, files appear."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from badja_fixture import write_badja
from fastcapture_fixture import write_fastcapture
from hydra import compose, initialize_config_dir
from hydra.utils import get_object
from networks import tiny
from omegaconf import OmegaConf
from PIL import Image
from tapvid_fixture import write_davis, write_kinetics

import evaluate
from cotracker import checkpoint
from cotracker.benchmarks.paper import figures as series
from cotracker.benchmarks.paper import numbers as paper
from cotracker.benchmarks.paper import suite
from cotracker.benchmarks.results import protocol_hash
from cotracker.config.overrides import misspelt
from cotracker.trackers.cotracker import predictor
from cotracker.visualize.plots import lines

CONFIGS = Path(__file__).parents[2] / "configs"
FOLDER = CONFIGS / "suites" / "experiment"
NAMES = sorted(path.stem for path in FOLDER.glob("*.yaml") if path.stem != "small")
EXPECTED = [f"table{n}" for n in range(1, 10)] + [f"figure{n}" for n in (4, 7, 8)]
NOT_IN_THE_PAPER = {"all_both"}


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    file = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    checkpoint.save(file, tiny(), {})
    return file


def given(weights, name, *words):
    """A suite's config, all of whose checkpoints are there."""
    config = suite.config(CONFIGS, [f"experiment={name}", "datasets=somewhere", *words])
    for known in config.checkpoints.values():
        known.file = str(weights)
    return config


def test_every_table_and_figure_has_an_experiment_and_a_small_form():
    assert sorted(NAMES) == sorted([*EXPECTED, *(f"{name}_small" for name in EXPECTED)])


@pytest.mark.parametrize("name", NAMES)
def test_every_cell_composes(weights, name):
    config = given(weights, name)
    assert (config.name, config.out) == (name, f"outputs/{name}")
    outs = set()
    for row in config.rows:
        for column in config.columns:
            one = suite.cell(CONFIGS, config, row, column)
            assert one.checkpoint == str(weights) and one.tracker.checkpoint == str(weights)
            assert callable(get_object(one.benchmark.protocol)) and callable(
                get_object(one.benchmark.metric)
            )
            for key, value in row.get("settings", {}).items():
                assert one.tracker[key] == value
            outs.add(one.out)
    assert len(outs) == len(config.rows) * len(config.columns)
    if config.table is not None:
        table = paper.TABLES[config.table]
        ours = {row.key for row in table.rows if row.ours}
        assert {row.row for row in config.rows} - NOT_IN_THE_PAPER == ours
        if not name.endswith("_small"):
            assert list(config.columns) == [column for column, _ in table.columns]
    else:
        assert config.figure in paper.FIGURES and all(row.x >= 0 for row in config.rows)


@pytest.mark.parametrize("name", NAMES)
def test_the_head_says_the_command_and_what_it_needs(name):
    text = (FOLDER / f"{name}.yaml").read_text()
    assert f"python evaluate.py experiment={name} datasets=FOLDER" in text and "Needs " in text
    if name.endswith("_small"):
        assert f"experiment={name.removesuffix('_small')} made small" in text


@pytest.mark.parametrize("name", ["table1", "table8", "table6_small", "table5_small"])
def test_a_checkpoints_command_makes_the_file_it_is_looked_for_in(name):
    config = suite.config(CONFIGS, [f"experiment={name}"])
    for known in config.checkpoints.values():
        if not known.get("train"):
            assert checkpoint.find(known.file)
            continue
        words = [
            word for word in known.train.split() if "=" in word and word not in ("data.root=DIR",)
        ]
        assert known.train.startswith("python train.py experiment=")
        words = [word.replace("=FILE", "=x") for word in words]
        with initialize_config_dir(str(CONFIGS), version_base="1.3"):
            assert f"{compose('train', overrides=words).out}/model.safetensors" == known.file


def test_settings_of_the_paper():
    """Of some cells, what the paper says: 6 updates at 384x512, and table 1's eight rows."""
    config = suite.config(CONFIGS, ["experiment=table1", "datasets=x"])
    for known in config.checkpoints.values():
        known.file = "cotracker_small"
    cells = {
        row.row: suite.cell(CONFIGS, config, row, "davis_first").tracker for row in config.rows
    }
    assert len(cells) == 8
    for name, (single, wide, near) in {
        "time_only": (True, 0, 0), "single": (True, 0, 0), "single_grid": (True, 6, 0), "single_local": (True, 0, 6),
        "single_both": (True, 6, 6), "all": (False, 0, 0), "all_grid": (False, 6, 0), "all_both": (False, 6, 6),
    }.items():  # fmt: skip
        one = cells[name]
        assert (one.single_point, one.global_grid, one.local_grid) == (single, wide, near), name
        assert one.iters == 6 and list(one.resolution) == [384, 512]
    nine = suite.config(
        CONFIGS, ["experiment=table9", "datasets=x", "checkpoints.stride8.file=cotracker_small"]
    )
    assert [suite.cell(CONFIGS, nine, row, "badja").tracker.window for row in nine.rows] == [
        8,
        12,
        16,
        20,
        24,
    ]
    two = suite.config(
        CONFIGS, ["experiment=table2", "datasets=x", "checkpoints.paper.file=cotracker_small"]
    )
    strided = suite.cell(CONFIGS, two, two.rows[0], "davis_strided")
    assert strided.benchmark.protocol.endswith(".strided") and strided.tracker.single_point


def test_what_is_missing_is_named_with_the_command():
    config = suite.config(CONFIGS, ["experiment=table8_small"])
    with pytest.raises(suite.Unavailable) as said:
        suite.cell(CONFIGS, config, config.rows[2], "sprites_val")
    assert str(said.value) == (
        "no checkpoint window12 at runs/table8_window12_small/model.safetensors: train it by "
        "`python train.py experiment=table8_small model.window=12`, or say checkpoints.window12.file=FILE"
    )
    config = suite.config(CONFIGS, ["experiment=table3_small"])
    with pytest.raises(suite.Unavailable, match="datasets is missing: say datasets=FOLDER"):
        suite.cell(CONFIGS, config, config.rows[0], "badja")


def test_converted_weights_can_be_run_as_published(weights):
    words = ["experiment=table3_small", "tracker.published=true"]
    assert misspelt(CONFIGS / "suites", "suite", words) is None
    config = given(weights, "table3_small", "tracker.published=true")
    assert suite.cell(CONFIGS, config, config.rows[0], "scenes3d_3px").tracker.published is True


def test_a_wrong_setting_is_refused(weights):
    config = given(weights, "table3_small")
    config.rows[0] = OmegaConf.create(
        {"row": "cotracker", "checkpoint": "paper", "settings": {"updats": 3}}
    )
    with pytest.raises(ValueError, match="cotracker, badja: .*updats"):
        suite.cell(CONFIGS, config, config.rows[0], "badja")
    folder = CONFIGS / "suites"
    assert "did you mean experiment=table2?" in misspelt(folder, "suite", ["experiment=tabel2"])
    assert "did you mean datasets?" in misspelt(folder, "suite", ["experiment=table2", "dataset=x"])
    assert (
        misspelt(folder, "suite", ["experiment=table2", "datasets=x", "checkpoints.paper.file=y"])
        is None
    )


def result(label, **more):
    asked = {"queries": "first", "support": {"global_grid": 6, "local_grid": 6}}
    held = {"benchmark": label["column"], "tracker": "cotracker", "protocol": asked, "label": label,
            "device": "cpu, 1 threads",
            "checkpoint": {"name": "x", "hash": "y"}, "found": 2, "expected": 2, "mean": {"seg": 50.0, "3px": 10.0},
            "interval": {"seg": [40.0, 60.0], "3px": None}, "videos": [{"name": "a", "seconds": 2.0}]}  # fmt: skip
    return held | {"protocol_hash": protocol_hash(held)} | more


def test_the_rest_is_done_and_the_table_says_what_is_not(tmp_path, weights, capsys):
    config = given(weights, "table5_small", f"out={tmp_path}")
    config.checkpoints.not_unrolled.file = "nowhere"
    asked = []

    def measure(one, label):
        asked.append((label["row"], one.benchmark.name))
        if one.benchmark.name == "sprites_val":
            raise suite.Unavailable("no sprites today")
        return result(label)

    assert suite.run(CONFIGS, config, measure) == 1
    assert asked == [("unrolled", "sprites_val"), ("unrolled", "badja")]
    text = (tmp_path / "table5_small.md").read_text()
    assert "| yes |" in text and "63.6 / 50.0 | 18.0 / 10.0 |" in text and "55.8 / - |" in text
    assert "not measured: unrolled sprites_val: no sprites today" in text
    assert (
        "not measured: not_unrolled sprites_val, not_unrolled badja: no checkpoint not_unrolled at nowhere: train it by"
        in text
    )
    rows = list(csv.DictReader((tmp_path / "table5_small.csv").read_text().splitlines()))
    assert [row["ours"] for row in rows if row["row"] == "unrolled"] == ["50.0", "10.0"]
    assert r"\begin{tabular}" in (tmp_path / "table5_small.tex").read_text()
    assert text in capsys.readouterr().out
    assert (
        suite.run(CONFIGS, config, lambda one, label: None) == 1
    )  # another process than the first writes nothing


def test_a_fault_in_a_run_is_not_taken_for_something_missing(tmp_path, weights):
    def measure(one, label):
        raise ValueError("the tracker gave NaN")

    with pytest.raises(ValueError, match="gave NaN"):
        suite.run(CONFIGS, given(weights, "table5_small", f"out={tmp_path}"), measure)


def test_a_figure_is_written_as_picture_and_data(tmp_path, weights):
    config = given(weights, "figure4_small", f"out={tmp_path}")
    values = iter(range(100))

    def measure(one, label):
        return result(label, mean={"seg": 40.0 + next(values), "3px": 10.0})

    assert suite.run(CONFIGS, config, measure) == 0
    data = json.loads((tmp_path / "figure4_small.json").read_text())
    assert data["figure"] == 4 and data["missing"] == []
    seg = [
        point
        for point in data["points"]
        if point["metric"] == "seg" and point["benchmark"] == "badja"
    ]
    assert [point["x"] for point in seg] == [0, 1, 4, 16, 36, 64] and seg[0]["value"] == 41.0
    assert len(
        list(csv.DictReader((tmp_path / "figure4_small.csv").read_text().splitlines()))
    ) == len(data["points"])
    with Image.open(tmp_path / "figure4_small.png") as picture:
        assert picture.width == 2 * 640 and picture.height > 300


def test_lines_stand_where_their_values_are():
    """The first colour runs level at the top of the axis, the second level at its middle."""
    panel = ("one", "iters", {"high": [(1, 100.0), (5, 100.0)], "half": [(1, 50.0), (5, 50.0)]})
    picture = lines([panel], "caption").astype(int)
    places = [
        np.argwhere(abs(picture - np.array(colour)).sum(-1) < 12)
        for colour in ((31, 95, 191), (209, 73, 91))
    ]
    curves = [np.median(place[place[:, 1] < 400, 0]) for place in places]
    assert abs(curves[0] - 34) < 2 and abs(curves[1] - (34 + (360 - 36 - 34) / 2)) < 2
    seconds = series.panels(
        series.data(8, [{"row": "a", "x": 9}], [result({"row": "a", "column": "badja"})], [])
    )
    assert seconds == [("BADJA, 2 videos", "points added on a grid", {"s / video": [(9, 2.0)]})]
    assert lines([], "nothing measured").shape[2] == 3


TINY = ["tracker.iters=1", "tracker.resolution=[32,48]", "sizes.sprites.count=1", "sizes.sprites.generator.frames=6",
        "sizes.sprites.generator.height=32", "sizes.sprites.generator.width=48"]  # fmt: skip


def test_a_whole_small_table_and_figure(tmp_path, weights, monkeypatch, capsys):
    """evaluate.py itself, in this process; BADJA's columns are missing, as no folder is named."""
    monkeypatch.chdir(tmp_path)
    words = ["experiment=table9_small", f"checkpoints.stride8.file={weights}", *TINY]
    with pytest.raises(SystemExit) as end:
        evaluate.run_suite(words)
    assert end.value.code == 1
    said = capsys.readouterr().out
    assert "--- window24, badja\ndatasets is missing: say datasets=FOLDER" in said
    folder = tmp_path / "outputs" / "table9_small"
    held = json.loads((folder / "window16" / "sprites_val" / "results.json").read_text())
    assert held["protocol"]["window"] == 16 and held["label"]["row"] == "window16"
    rows = [
        line
        for line in (folder / "table9_small.md").read_text().splitlines()
        if line.startswith("| ")
    ]
    assert len(rows) == 2 + 5
    stamp = (folder / "window8" / "sprites_val" / "rows" / "000.json").stat().st_mtime_ns
    evaluate.run_suite([*words, "columns=[sprites_val]", "pictures=1"])
    assert (folder / "window8" / "sprites_val" / "rows" / "000.json").stat().st_mtime_ns == stamp
    assert (folder / "window8" / "sprites_val" / "worst" / "1_000.png").is_file()
    evaluate.run_suite(
        [
            "experiment=figure7_small",
            f"checkpoints.paper.file={weights}",
            "columns=[sprites_val]",
            *TINY,
        ]
    )
    assert (tmp_path / "outputs" / "figure7_small" / "figure7_small.png").is_file()


def test_the_papers_tables_from_folders_as_people_have_them(tmp_path, weights, monkeypatch, capsys):
    """Tables 2 and 3 at full form, on miniatures of TAP-Vid's, BADJA's and FastCapture's files."""
    monkeypatch.chdir(tmp_path)
    write_davis(tmp_path / "data")
    write_kinetics(tmp_path / "data")
    write_badja(tmp_path / "data" / "BADJA")
    words = ["datasets=data", f"checkpoints.paper.file={weights}", *TINY[:2]]
    evaluate.run_suite(["experiment=table2", *words])
    said = capsys.readouterr().out
    row = next(line for line in said.splitlines() if line.startswith("| CoTracker"))
    assert (
        row.count(" / ") == 9
        and " / - " not in row
        and "‡ DAVIS First: ours on 2 of 30 videos" in said
    )
    held = json.loads(
        (tmp_path / "outputs/table2/cotracker/davis_strided/results.json").read_text()
    )
    assert held["protocol"]["queries"] == "strided" and held["protocol"]["direction"] == "both"
    assert held["protocol"]["points"] == "single"
    with pytest.raises(SystemExit) as end:
        evaluate.run_suite(["experiment=table3", *words])
    assert (
        end.value.code == 1 and "not measured: cotracker fastcapture: " in capsys.readouterr().out
    )
    write_fastcapture(tmp_path / "data" / "fastcapture")
    evaluate.run_suite(["experiment=table3", *words])
    assert "not measured" not in capsys.readouterr().out


def test_a_model_looks_through_another_window(weights):
    assert predictor(weights, window=4, device="cpu").describe()["window"] == 4
    assert predictor(weights, device="cpu").describe()["window"] == 8
    with pytest.raises(ValueError, match="window must be an even number"):
        predictor(weights, window=5, device="cpu")
