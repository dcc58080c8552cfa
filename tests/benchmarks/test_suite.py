"""Tables and figures of the paper: all compose, what is missing is named, files appear."""

import csv
import json
from pathlib import Path

import pytest
from badja_fixture import write_badja
from fastcapture_fixture import write_fastcapture
from hydra import compose, initialize_config_dir
from hydra.utils import get_object
from omegaconf import OmegaConf
from PIL import Image
from small_networks import tiny
from tapvid_fixture import write_davis, write_kinetics

import evaluate
from cotracker import checkpoint, load_tracker
from cotracker.baselines.registry import CLASSICAL
from cotracker.benchmarks.paper import figures, numbers, suite
from cotracker.benchmarks.results import protocol_hash
from cotracker.config.overrides import find_misspelt
from cotracker.config.words import config_name

CONFIGS = Path(__file__).parents[2] / "configs"
NAMES = [f"tables/{n}" for n in range(1, 10)] + [f"figures/{n}" for n in (4, 7, 8)]
NOT_IN_THE_PAPER = {"all_both"}


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    file = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    checkpoint.save(file, tiny(), {})
    return file


def load_with(weights, name, *overrides):
    """A suite's config, all of whose checkpoints are there."""
    config = suite.load(CONFIGS, name, ["datasets=somewhere", *overrides])
    for entry in config.checkpoints.values():
        entry.file = str(weights)
    return config


def check_cells(weights, name):
    """Every cell composes into an output folder of its own."""
    config, outs = load_with(weights, name), set()
    for row in config.rows:
        for column in config.columns:
            one = suite.compose_cell(CONFIGS, config, row, column)
            if row.get("checkpoint"):
                assert one.checkpoint == str(weights) and str(weights) in one.tracker.values()
            assert callable(get_object(one.benchmark.metric))
            strided = get_object(one.benchmark.protocol).__name__ == "strided"
            assert one.benchmark.both_directions is strided
            for key, value in row.get("settings", {}).items():
                assert one.tracker[key] == value
            outs.add(one.out)
    assert len(outs) == len(config.rows) * len(config.columns)
    return config


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_every_cell_composes_and_the_head_names_the_command(weights, name):
    argument = name.replace("s/", "=")
    whole, small = check_cells(weights, name), check_cells(weights, f"{name}_small")
    assert (whole.name, small.name) == (name.replace("s/", ""), f"{name.replace('s/', '')}_small")
    if whole.table is not None:
        table = numbers.TABLES[whole.table]
        ours = {row.key for row in table.rows if row.ours}
        for config in (whole, small):
            assert config.table == table.number
            own = {row.row for row in config.rows if not row.get("tracker")}
            assert own - NOT_IN_THE_PAPER == ours
            others = {row.key for row in table.rows if not row.ours}
            assert {row.row for row in config.rows} - own <= others | set(CLASSICAL)
        assert list(whole.columns) == [column for column, _ in table.columns]
    else:
        assert whole.figure == small.figure and whole.figure in numbers.FIGURES
        assert all(row.x >= 0 for row in [*whole.rows, *small.rows])
    text = (CONFIGS / f"{name}.yaml").read_text()
    assert f"python evaluate.py {argument} datasets=DIR" in text and "Needs " in text
    text = (CONFIGS / f"{name}_small.yaml").read_text()
    assert f"python evaluate.py {argument}_small datasets=DIR" in text
    assert f"{argument} made small" in text and "Needs " in text


def test_every_file_is_a_table_or_figure_of_the_paper():
    files = {f"{path.parent.name}/{path.stem}" for path in CONFIGS.glob("[tf]*s/[0-9]*.yaml")}
    assert files == {*NAMES, *(f"{name}_small" for name in NAMES)}


def test_arguments_name_a_table_or_figure():
    assert config_name(CONFIGS, ["table=2", "datasets=x"]) == ("tables/2", ["datasets=x"])
    assert config_name(CONFIGS, ["a=b", "figure=7_small"]) == ("figures/7_small", ["a=b"])
    assert config_name(CONFIGS, ["benchmark=badja"]) == (None, ["benchmark=badja"])


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        (["table=10"], "there is no table=10: pass one of 1, 1_small, 2,"),
        (["table=2", "figure=7"], "table=2 and figure=7 are two"),
        (["experiment=table2"], "has no experiment=: pass table=N or figure=N"),
    ],
)
def test_other_names_are_refused(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        config_name(CONFIGS, arguments)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tables/1", "tables/5_small"])
def test_a_checkpoints_command_makes_its_file(name):
    config = suite.load(CONFIGS, name, [])
    for entry in config.checkpoints.values():
        if not entry.get("train"):  # it ships, or is a system whose file the user names
            assert entry.file is None or checkpoint.find(entry.file)
            continue
        assert entry.train.startswith("python train.py experiment=")
        words = [word for word in entry.train.split() if "=" in word and word != "data.root=DIR"]
        words = [word.replace("=FILE", "=x") for word in words]
        with initialize_config_dir(str(CONFIGS), version_base="1.3"):
            assert f"{compose('train', overrides=words).out}/model.safetensors" == entry.file


def test_settings_of_the_paper():
    """Of some cells, what the paper says: 6 iters at 384x512, and table 1's eight rows."""
    config = suite.load(CONFIGS, "tables/1", ["datasets=x"])
    for entry in config.checkpoints.values():
        entry.file = "cotracker_small"
    cells = {
        row.row: suite.compose_cell(CONFIGS, config, row, "davis_first").tracker
        for row in config.rows
    }
    assert len(cells) == 8
    for name, settings in {
        "time_only": (True, 0, 0),
        "single": (True, 0, 0),
        "single_grid": (True, 6, 0),
        "single_local": (True, 0, 6),
        "single_both": (True, 6, 6),
        "all": (False, 0, 0),
        "all_grid": (False, 6, 0),
        "all_both": (False, 6, 6),
    }.items():
        one = cells[name]
        assert (one.single_point, one.support_grid, one.local_support_grid) == settings, name
        assert one.iters == 6 and list(one.resolution) == [384, 512]
    nine = suite.load(
        CONFIGS, "tables/9", ["datasets=x", "checkpoints.stride8.file=cotracker_small"]
    )
    assert [
        suite.compose_cell(CONFIGS, nine, row, "badja").tracker.window for row in nine.rows
    ] == [
        8,
        12,
        16,
        20,
        24,
    ]
    two = suite.load(CONFIGS, "tables/2", ["datasets=x", "checkpoints.paper.file=cotracker_small"])
    strided = suite.compose_cell(CONFIGS, two, two.rows[0], "davis_strided")
    assert strided.benchmark.protocol.endswith(".strided") and strided.tracker.single_point


def test_what_is_missing_is_named_with_the_command():
    config = suite.load(CONFIGS, "tables/8_small", [])
    with pytest.raises(suite.Unavailable) as said:
        suite.compose_cell(CONFIGS, config, config.rows[2], "sprites_val")
    assert str(said.value) == (
        "no checkpoint window12 at runs/table8_window12_small/model.safetensors: run "
        "`python train.py experiment=table8_small model.window=12`, "
        "or pass checkpoints.window12.file=FILE"
    )
    config = suite.load(CONFIGS, "tables/3_small", [])
    with pytest.raises(suite.Unavailable, match="datasets is required: pass datasets=DIR"):
        suite.compose_cell(CONFIGS, config, config.rows[0], "badja")


@pytest.mark.parametrize("words, value", [([], None), (["tracker.v1_compat=true"], True)])
def test_converted_weights_are_run_as_their_card_says_or_as_asked(weights, words, value):
    assert find_misspelt(CONFIGS, "tables/3_small", words) is None
    config = load_with(weights, "tables/3_small", *words)
    cell = suite.compose_cell(CONFIGS, config, config.rows[0], "badja")
    assert cell.tracker.v1_compat is value


def test_a_wrong_setting_is_refused(weights):
    config = load_with(weights, "tables/3_small")
    config.rows[0] = OmegaConf.create(
        {"row": "cotracker", "checkpoint": "paper", "settings": {"itrs": 3}}
    )
    with pytest.raises(ValueError, match="cotracker, badja: .*itrs"):
        suite.compose_cell(CONFIGS, config, config.rows[0], "badja")
    assert "did you mean datasets?" in find_misspelt(CONFIGS, "tables/2", ["dataset=x"])
    assert find_misspelt(CONFIGS, "tables/2", ["datasets=x", "checkpoints.paper.file=y"]) is None


def result(label, **more):
    """A results.json with this label, as far as tables and figures read it."""
    support = {"support_grid": 6, "local_support_grid": 6}
    fields = {
        "benchmark": label["column"],
        "tracker": "cotracker",
        "protocol": {"queries": "first", "support": support},
        "label": label,
        "device": "cpu, 1 threads",
        "checkpoint": {"name": "x", "hash": "y"},
        "found": 2,
        "expected": 2,
        "mean": {"seg": 50.0, "3px": 10.0},
        "interval": {"seg": [40.0, 60.0], "3px": None},
        "videos": [{"name": "a", "seconds": 2.0}],
    }
    return fields | {"protocol_hash": protocol_hash(fields)} | more


def test_the_rest_is_done_and_the_table_says_what_is_not(tmp_path, weights, capsys):
    config = load_with(weights, "tables/5_small", f"out={tmp_path}")
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
    where = "not_unrolled sprites_val, not_unrolled badja"
    assert f"not measured: {where}: no checkpoint not_unrolled at nowhere: run" in text
    rows = list(csv.DictReader((tmp_path / "table5_small.csv").read_text().splitlines()))
    assert [row["ours"] for row in rows if row["row"] == "unrolled"][:2] == ["50.0", "10.0"]
    assert r"\begin{tabular}" in (tmp_path / "table5_small.tex").read_text()
    assert text in capsys.readouterr().out
    assert (
        suite.run(CONFIGS, config, lambda one, label: None) == 1
    )  # another process than the first writes nothing


def test_a_fault_in_a_run_is_not_taken_for_something_missing(tmp_path, weights):
    def measure(one, label):
        raise ValueError("the tracker gave NaN")

    with pytest.raises(ValueError, match="gave NaN"):
        suite.run(CONFIGS, load_with(weights, "tables/5_small", f"out={tmp_path}"), measure)


def test_a_figure_is_written_as_picture_and_data(tmp_path, weights):
    config = load_with(weights, "figures/4_small", f"out={tmp_path}")
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
        assert picture.width == 2 * 640 and picture.height == 360


def test_seconds_are_a_panel():
    rows, results = [{"row": "a", "x": 9}], [result({"row": "a", "column": "badja"})]
    panels = figures.panels(figures.collect(8, rows, results, []))
    assert panels == [("BADJA, 2 videos", "points added on a grid", {"s / video": [(9, 2.0)]})]


TINY = [
    "tracker.iters=1",
    "tracker.resolution=[32,48]",
    "sizes.sprites.count=1",
    "sizes.sprites.generator.frames=6",
    "sizes.sprites.generator.height=32",
    "sizes.sprites.generator.width=48",
]


@pytest.mark.slow
def test_a_whole_small_table_and_figure(tmp_path, weights, monkeypatch, capsys):
    """evaluate.py itself, in this process; BADJA's columns are missing, as no folder is named."""
    monkeypatch.chdir(tmp_path)
    words = [f"checkpoints.stride8.file={weights}", *TINY]
    with pytest.raises(SystemExit) as end:
        evaluate.main_suite("tables/9_small", words)
    assert end.value.code == 1
    said = capsys.readouterr().out
    assert "--- window24, badja\ndatasets is required: pass datasets=DIR" in said
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
    evaluate.main_suite("tables/9_small", [*words, "columns=[sprites_val]", "pictures=1"])
    assert (folder / "window8" / "sprites_val" / "rows" / "000.json").stat().st_mtime_ns == stamp
    assert (folder / "window8" / "sprites_val" / "worst" / "1_000.png").is_file()
    evaluate.main_suite(
        "figures/7_small",
        [
            f"checkpoints.paper.file={weights}",
            "columns=[sprites_val]",
            *TINY,
        ],
    )
    assert (tmp_path / "outputs" / "figure7_small" / "figure7_small.png").is_file()


@pytest.mark.slow
def test_the_papers_tables_from_folders_as_people_have_them(tmp_path, weights, monkeypatch, capsys):
    """Tables 2 and 3 at full form, on miniatures of TAP-Vid's, BADJA's and FastCapture's files."""
    monkeypatch.chdir(tmp_path)
    write_davis(tmp_path / "data")
    write_kinetics(tmp_path / "data")
    write_badja(tmp_path / "data" / "BADJA")
    words = ["datasets=data", f"checkpoints.paper.file={weights}", *TINY[:2]]
    evaluate.main_suite("tables/2", words)
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
        evaluate.main_suite("tables/3", words)
    assert (
        end.value.code == 1 and "not measured: cotracker fastcapture: " in capsys.readouterr().out
    )
    write_fastcapture(tmp_path / "data" / "fastcapture")
    evaluate.main_suite("tables/3", words)
    assert "not measured" not in capsys.readouterr().out


def test_a_model_looks_through_another_window(weights):
    assert load_tracker(weights, window=4, device="cpu").describe()["window"] == 4
    assert load_tracker(weights, device="cpu").describe()["window"] == 8
    with pytest.raises(ValueError, match="window must be an even number"):
        load_tracker(weights, window=5, device="cpu")
