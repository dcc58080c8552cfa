"""`cotracker compare A B …` and `cotracker table N RESULTS…`: arguments and what they print."""

import argparse
from pathlib import Path

from cotracker.benchmarks.compare import Comparison, compare_results, load
from cotracker.benchmarks.paper import cells, numbers, tables
from cotracker.benchmarks.results import NAME

FORMATS = {"markdown": "md", "latex": "tex", "csv": "csv"}


def add_to(commands) -> None:
    """Adds `compare` and `table` to the subparsers of the command line."""
    beside = "results of evaluate.py beside each other, with paired differences"
    command = commands.add_parser("compare", help=beside)
    command.set_defaults(run=compare)
    add = command.add_argument
    what = "results.json, or its folder; differences are to the first"
    add("results", nargs="+", metavar="RESULT", help=what)
    may = "fields of the protocol that may differ: iters, support, points, …"
    add("--allow", nargs="+", default=[], metavar="FIELD", help=may)
    command = commands.add_parser("table", help="a table of the paper, its numbers beside ours")
    command.set_defaults(run=table)
    add = command.add_argument
    what = "results.json, or a folder with some; ROW=RESULT names its row of the table"
    add("number", type=int, choices=sorted(numbers.TABLES), metavar="N", help="1 to 9")
    add("results", nargs="*", metavar="RESULT", help=what)
    add("--format", choices=list(FORMATS), default="markdown", help="default: markdown")


def compare(arguments: argparse.Namespace) -> None:
    """Prints each result's means, and their differences to the first, with 95 % intervals."""
    if len(arguments.results) < 2:
        raise ValueError("compare needs two results or more")
    results = [(path, load(path)) for path in arguments.results]
    videos, blocks = compare_results(results, tuple(arguments.allow))
    counts = ", ".join(f"{result['found']} of {result['expected']}" for _, result in results)
    print(f"{results[0][1]['benchmark']}: {len(videos)} videos in all results (they have {counts})")
    for letter, (path, result), lines in zip("ABCDEFGHIJKLMNOPQRSTUVWXYZ", results, blocks):
        name = result["checkpoint"]["name"]
        print(f"\n{letter}: {path} ({result['tracker']}{f', {name}' if name else ''})")
        for line in lines:
            print(f"  {line.metric:<12} {_value(line)}{_difference(line, letter)}")
    print("\n95 % intervals over videos, by bootstrap; * where the difference's leaves out 0")


def table(arguments: argparse.Namespace) -> None:
    """Prints a table of the paper with our results beside."""
    chosen = numbers.TABLES[arguments.number]
    found = []
    for given in arguments.results:
        row, path = _row_and_path(given)
        for file in _files(Path(path)):
            result = load(file)
            found.append((row or cells.row_of(chosen, result, str(file)), result))
    filled = tables.FilledTable(chosen, cells.place(chosen, found))
    print(filled.formats()[FORMATS[arguments.format]](), end="")


def _row_and_path(given: str) -> tuple[str | None, str]:
    row, equals, path = given.partition("=")
    return (row, path) if equals and not Path(given).exists() else (None, given)


def _files(path: Path) -> list[Path]:
    """The results.json that a path means: itself, or those in and below a folder."""
    if not path.is_dir():
        return [path]
    found = sorted(path.rglob(NAME))
    if not found:
        raise ValueError(f"no {NAME} in {path} or below it")
    return found


def _value(line: Comparison) -> str:
    return f"{line.mean:6.2f}{_span(line.interval)}"


def _difference(line: Comparison, letter: str) -> str:
    if line.difference is None:
        return ""
    mark = " *" if line.certain else ""
    interval = _span(line.difference_interval)
    return f"   {letter} - A {line.difference:+6.2f}{interval}{mark}"


def _span(span: tuple[float, float] | None) -> str:
    return "" if span is None else f" [{span[0]:.2f}, {span[1]:.2f}]"
