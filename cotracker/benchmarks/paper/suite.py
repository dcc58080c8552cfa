"""The evaluations that make one of the paper's tables or figures, and the files written of them.

configs/tables/ and configs/figures/ hold them. Each evaluation resumes from a folder of its own.
"""

from collections.abc import Callable
from copy import deepcopy
from functools import cache
from pathlib import Path

from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from cotracker import checkpoint
from cotracker.benchmarks.paper import cells, figures, numbers, tables
from cotracker.files import write_json, write_text
from cotracker.visualize.plots import plot_lines

Evaluate = Callable[[DictConfig, dict], dict | None]


class Unavailable(ValueError):
    """The data set or checkpoint of one evaluation is not there; the others go on."""


def load(configs: Path, name: str, overrides: list[str]) -> DictConfig:
    """The config of that name, such as tables/2, with the overrides."""
    with initialize_config_dir(str(configs.resolve()), version_base=None):
        return compose(name, overrides=overrides)


def run(configs: Path, suite: DictConfig, evaluate: Evaluate) -> int:
    """0 where everything was evaluated, 1 where something was not available; writes what there is.

    evaluate: (a config of configs/evaluate.yaml, a label) -> results.json, None on ranks but 0.
    """
    results, missing = [], []
    for row in suite.rows:
        if _is_left_out(suite, row):
            continue
        for column in row.get("columns", suite.columns):
            print(f"--- {row.row}, {column}", flush=True)
            try:
                config = compose_cell(configs, suite, row, column)
                label = {"suite": suite.name, "row": row.row, "column": column}
                label |= {"labels": list(row.labels)} if "labels" in row else {}
                results.append(evaluate(config, label))
            except Unavailable as error:
                missing.append((row.row, column, str(error)))
                print(error, flush=True)
    if None not in results:
        write(suite, results, group_by_reason(missing))
    return 1 if missing else 0


def _is_left_out(suite: DictConfig, row: DictConfig) -> bool:
    """Whether it is another system's row, and no file of that system is named."""
    entry = suite.checkpoints[row.checkpoint] if row.get("checkpoint") else {}
    return bool(entry.get("published")) and entry.file is None


def compose_cell(configs: Path, suite: DictConfig, row: DictConfig, column: str) -> DictConfig:
    """The config of one evaluation: a row's tracker and checkpoint, a column's benchmark.

    Unavailable names a missing checkpoint or data set.
    """
    cell = suite.benchmarks[column]
    overrides = (f"benchmark={cell.benchmark}", f"tracker={row.get('tracker', 'cotracker')}")
    config = deepcopy(_compose(configs.resolve(), overrides))
    try:
        OmegaConf.set_struct(config, True)  # a misspelt setting is refused
        settings = OmegaConf.to_container(cell.settings, resolve=True, throw_on_missing=True)
        config.benchmark = OmegaConf.merge(config.benchmark, settings)
        shared = OmegaConf.to_container(suite.tracker) if row.get("checkpoint") else {}
        if row.get("tracker", "cotracker") != "cotracker":  # other systems have their own settings
            shared = {key: value for key, value in shared.items() if key == "device"}
        config.tracker = OmegaConf.merge(config.tracker, shared | dict(row.get("settings", {})))
        if row.get("checkpoint"):
            config.checkpoint = str(find_checkpoint(suite, row.checkpoint))
        config.out = f"{suite.out}/{slug(row.row)}/{column}"
        config.limit = cell.get("limit", suite.limit)
        config.pictures = suite.pictures
        OmegaConf.to_container(config.benchmark, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        if "datasets" in str(error):
            raise Unavailable("datasets is required: pass datasets=DIR") from error
        raise ValueError(f"{row.row}, {column}: {str(error).splitlines()[0]}") from error
    return config


@cache  # a table's cells share a few
def _compose(configs: Path, overrides: tuple[str, ...]) -> DictConfig:
    with initialize_config_dir(str(configs), version_base=None):
        return compose("evaluate", overrides=list(overrides))


def find_checkpoint(suite: DictConfig, name: str) -> str | Path:
    """The file of a checkpoint of the suite's list; Unavailable says how to get it."""
    entry = suite.checkpoints[name]
    if entry.get("published"):
        return entry.file
    try:
        return checkpoint.find(entry.file)
    except ValueError as error:
        train = f"run `{entry.train}`, or " if entry.get("train") else ""
        raise Unavailable(
            f"no checkpoint {name} at {entry.file}: {train}pass checkpoints.{name}.file=FILE"
        ) from error


def write(suite: DictConfig, results: list[dict], missing: list[str]) -> None:
    """Writes the table (md, tex, csv) or the figure (png, csv, json) into the suite's folder."""
    folder = Path(suite.out)
    folder.mkdir(parents=True, exist_ok=True)
    if suite.figure is not None:
        rows = OmegaConf.to_container(suite.rows)
        data = figures.collect(suite.figure, rows, results, missing)
        write_json(folder / f"{suite.name}.json", data)
        write_text(folder / f"{suite.name}.csv", figures.to_csv(data))
        plot_lines(folder / f"{suite.name}.png", figures.panels(data), data["caption"])
        print(f"wrote {suite.name}.png, .csv and .json to {folder}")
        return
    paper = numbers.TABLES[suite.table]
    placed = cells.place(paper, [(one["label"]["row"], one) for one in results])
    filled = tables.FilledTable(paper, placed, tuple(suite.columns), tuple(missing))
    for ending, to_text in filled.formats().items():
        write_text(folder / f"{suite.name}.{ending}", to_text())
    print(f"\n{filled.to_markdown()}\nwrote {suite.name}.md, .tex and .csv to {folder}")


def group_by_reason(missing: list[tuple[str, str, str]]) -> list[str]:
    """One sentence for each reason, after all the rows and columns that it concerns."""
    places: dict[str, list[str]] = {}
    for row, column, reason in missing:
        places.setdefault(reason, []).append(f"{row} {column}")
    return [f"{', '.join(where)}: {reason}" for reason, where in places.items()]


def slug(text: str) -> str:
    """The text as a file's name: other characters than letters, digits, - _ . become _."""
    return "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in text)
