"""For evaluate.py: the many runs that make one of the paper's tables or figures, and what is written of them.

configs/suites/experiment/*.yaml says which; each run has a folder of its own, from which it goes on when stopped.
"""

from collections.abc import Callable
from copy import deepcopy
from functools import cache
from pathlib import Path

from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from cotracker import checkpoint
from cotracker.benchmarks.paper import figures as series
from cotracker.benchmarks.paper import numbers as paper
from cotracker.benchmarks.paper import tables
from cotracker.files import write_json, write_text
from cotracker.visualize import write_png
from cotracker.visualize.plots import lines

Measure = Callable[[DictConfig, dict], dict | None]


class Unavailable(ValueError):
    """What one run needs is not there: its data set or its checkpoint; the other runs go on."""


def asked(words: list[str]) -> bool:
    """Whether a command line asks for a table or a figure: experiment=NAME."""
    return any(word.startswith("experiment=") and word != "experiment=null" for word in words)


def config(configs: Path, words: list[str]) -> DictConfig:
    """The suite's config: configs/suites/suite.yaml with the experiment and the other overrides."""
    with initialize_config_dir(str(configs.resolve() / "suites"), version_base=None):
        return compose("suite", overrides=words)


def run(configs: Path, suite: DictConfig, measure: Measure) -> int:
    """Exit code 0 where everything was measured, 1 where something could not be; what could be is written.

    measure: (a config of configs/evaluate.yaml, a label) -> results.json; None in processes other than the first.
    """
    if suite.table not in (None, *paper.TABLES):
        raise ValueError(f"there is no table {suite.table} in the paper: 1 to {max(paper.TABLES)}")
    found, missing = [], []
    for row in suite.rows:
        for column in row.get("columns", suite.columns):
            where = f"{row.row}, {column}"
            print(f"--- {where}", flush=True)
            try:
                one = cell(configs, suite, row, column)
                label = {"suite": suite.name, "row": row.row, "column": column}
                found.append(
                    measure(one, label | ({"labels": list(row.labels)} if "labels" in row else {}))
                )
            except Unavailable as error:
                missing.append((row.row, column, str(error)))
                print(error, flush=True)
    if None not in found:
        write(suite, found, gathered(missing))
    return 1 if missing else 0


def cell(configs: Path, suite: DictConfig, row: DictConfig, column: str) -> DictConfig:
    """The config of one run: a row's tracker and checkpoint, a column's benchmark; Unavailable: what is not there."""
    asked = suite.benchmarks[column]
    words = (f"benchmark={asked.benchmark}", f"tracker={row.get('tracker', 'cotracker')}")
    one = deepcopy(_composed(configs.resolve(), words))
    try:
        OmegaConf.set_struct(one, True)  # a misspelt setting is refused
        said = OmegaConf.to_container(asked.settings, resolve=True, throw_on_missing=True)
        one.benchmark = OmegaConf.merge(one.benchmark, said)
        settings = OmegaConf.to_container(
            suite.tracker if row.get("checkpoint") else OmegaConf.create()
        )
        one.tracker = OmegaConf.merge(one.tracker, settings | dict(row.get("settings", {})))
        if row.get("checkpoint"):
            one.checkpoint = str(file_of(suite, row.checkpoint))
        one.out = f"{suite.out}/{slug(row.row)}/{column}"
        one.limit = asked.get("limit", suite.limit)
        one.pictures, one.wait_minutes = suite.pictures, suite.wait_minutes
        OmegaConf.to_container(one.benchmark, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        if "datasets" in str(error):
            raise Unavailable(
                "datasets is missing: say datasets=FOLDER, which holds the data sets"
            ) from error
        raise ValueError(f"{row.row}, {column}: {str(error).splitlines()[0]}") from error
    return one


@cache  # a table's cells share a few
def _composed(configs: Path, words: tuple[str, ...]) -> DictConfig:
    with initialize_config_dir(str(configs), version_base=None):
        return compose("evaluate", overrides=list(words))


def file_of(suite: DictConfig, name: str) -> Path:
    """The file of a checkpoint by its name in the suite's list; Unavailable says how to get it."""
    known = suite.checkpoints[name]
    try:
        return checkpoint.find(known.file)
    except ValueError as error:
        how = f"train it by `{known.train}`, or " if known.get("train") else ""
        raise Unavailable(
            f"no checkpoint {name} at {known.file}: {how}say checkpoints.{name}.file=FILE"
        ) from error


def write(suite: DictConfig, found: list[dict], missing: list[str]) -> None:
    """Writes the table (md, tex, csv) or the figure (png, csv, json) into the suite's folder, and prints the table."""
    folder = Path(suite.out)
    folder.mkdir(parents=True, exist_ok=True)
    if suite.figure is not None:
        data = series.data(suite.figure, OmegaConf.to_container(suite.rows), found, missing)
        write_json(folder / f"{suite.name}.json", data)
        write_text(folder / f"{suite.name}.csv", series.csv(data))
        write_png(folder / f"{suite.name}.png", lines(series.panels(data), data["caption"]))
        print(f"wrote {suite.name}.png, .csv and .json to {folder}")
        return
    filled = tables.filled(paper.TABLES[suite.table], [(one["label"]["row"], one) for one in found])
    whole = tables.Shown(paper.TABLES[suite.table], filled, tuple(suite.columns), tuple(missing))
    for ending, text in (("md", whole.markdown()), ("tex", whole.latex()), ("csv", whole.csv())):
        write_text(folder / f"{suite.name}.{ending}", text)
    print(f"\n{whole.markdown()}\nwrote {suite.name}.md, .tex and .csv to {folder}")


def gathered(missing: list[tuple[str, str, str]]) -> list[str]:
    """A sentence for each thing that is missing, with all the rows and columns that it is missing from."""
    places: dict[str, list[str]] = {}
    for row, column, sentence in missing:
        places.setdefault(sentence, []).append(f"{row} {column}")
    return [f"{', '.join(where)}: {sentence}" for sentence, where in places.items()]


def slug(text: str) -> str:
    """A folder's name made of a row's."""
    return "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in text)
