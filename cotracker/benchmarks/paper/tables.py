"""The paper's tables with our results beside them: Markdown, LaTeX and CSV."""

import csv
import io
from collections.abc import Callable
from dataclasses import dataclass

from cotracker.benchmarks.paper.cells import (
    COSTS,
    Cells,
    cost_of,
    describe_partial,
    describe_settings,
)
from cotracker.benchmarks.paper.numbers import BADJA, TAPVID, Row, Table

METRICS = {"aj": "AJ", "delta_avg": "<δ avg", "oa": "OA", "seg": "seg", "3px": "δ 3px"}
LATEX = {"delta_avg": r"$<\delta^x_{avg}$", "3px": r"$<\delta^{3px}$"}
LATEX_LETTERS = {
    "&": r"\&",
    "_": r"\_",
    "%": r"\%",
    "†": r"$\dagger$",
    "‡": r"$\ddagger$",
    "<": "$<$",
    "δ": r"$\delta$",
}
TITLES = {
    "davis_first": "DAVIS First",
    "davis_strided": "DAVIS Strided",
    "kinetics_first": "Kinetics First",
    "badja": "BADJA",
    "fastcapture": "FastCapture",
}
CSV = "table row label benchmark metric paper ours low high found expected protocol checkpoint"


@dataclass(frozen=True)
class FilledTable:
    """A table with results: `paper / ours` in each cell, and `paper` alone for other systems.

    cells: results by (row, column).
    columns: the benchmarks shown; None: the table's own, and all others that have results.
    missing: sentences on what could not be measured.
    """

    table: Table
    cells: Cells
    columns: tuple[str, ...] | None = None
    missing: tuple[str, ...] = ()

    def formats(self) -> dict[str, Callable[[], str]]:
        """File ending -> the method that makes the text."""
        return {"md": self.to_markdown, "tex": self.to_latex, "csv": self.to_csv}

    def to_markdown(self) -> str:
        """The table in Markdown, with notes below."""
        names = METRICS | COSTS
        metrics = [f"{title(name)} {names.get(one, one)}" for name, one in self._metrics()]
        heads = [*self.table.labels, *metrics]
        lines = [heads, ["---"] * len(heads), *(self._texts(row) for row in self._rows())]
        body = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        notes = "\n".join(f"- {note}" for note in self._notes())
        return f"**{self._caption()}**\n\n{body}\n\n{notes}\n"

    def to_latex(self) -> str:
        """The table as a LaTeX tabular; notes are comments above it."""
        labels, metrics = self.table.labels, self._metrics()
        groups = [
            rf"\multicolumn{{{len(of)}}}{{c}}{{{_to_latex(title(name))}}}"
            for name, of in self._columns()
        ]
        heads = [_to_latex(label) for label in labels]
        names = METRICS | COSTS
        heads += [LATEX.get(one) or _to_latex(names.get(one, one)) for _, one in metrics]
        rows = [[_to_latex(text) for text in self._texts(row)] for row in self._rows()]
        lines = [
            *(f"% {note}" for note in self._notes()),
            r"\begin{table}",
            rf"\begin{{tabular}}{{{'l' * len(labels)}{'c' * len(metrics)}}}",
            r"\hline",
            " & ".join([*[""] * len(labels), *groups]) + r" \\",
            " & ".join(heads) + r" \\",
            r"\hline",
            *(" & ".join(row) + r" \\" for row in rows),
            r"\hline",
            r"\end{tabular}",
            rf"\caption{{{_to_latex(self._caption())}}}",
            r"\end{table}",
        ]
        return "\n".join(lines) + "\n"

    def to_csv(self) -> str:
        """One line a number: row, benchmark, metric, paper, ours, interval, counts, hashes."""
        text = io.StringIO()
        lines = csv.writer(text, lineterminator="\n")
        lines.writerow(CSV.split())
        for row in self._rows():
            for name, one in self._metrics():
                paper = self.table.value(row.key, name, one)
                result = self.cells.get((row.key, name), {})
                ours = cost_of(result, one) if one in COSTS else result.get("mean", {}).get(one)
                if paper is None and ours is None:
                    continue
                low, high = result.get("interval", {}).get(one) or (None, None)
                start = [self.table.number, row.key, ", ".join(row.labels), name, one, paper, ours]
                kept = [result.get(key) for key in ("found", "expected", "protocol_hash")]
                lines.writerow([*start, low, high, *kept, result.get("checkpoint", {}).get("hash")])
        return text.getvalue()

    def _caption(self) -> str:
        table = self.table
        return (
            f"Table {table.number} of the paper ({table.place}): {table.title}. "
            "Paper / ours, in percent."
        )

    def _columns(self) -> list[tuple[str, tuple[str, ...]]]:
        """Each benchmark shown, with its metrics."""
        own = dict(self.table.columns)
        names = self.columns or (*own, *(name for _, name in self.cells if name not in own))
        return [
            (name, (own.get(name) or self._measured(name)) + self._costs(name))
            for name in dict.fromkeys(names)
        ]

    def _costs(self, column: str) -> tuple[str, ...]:
        """The costs that are known of a column's results."""
        results = [result for (_, name), result in self.cells.items() if name == column]
        return tuple(one for one in COSTS if any(cost_of(result, one) for result in results))

    def _measured(self, column: str) -> tuple[str, ...]:
        """The metrics of a benchmark that is not in the paper's table."""
        means = [result["mean"] for (_, name), result in self.cells.items() if name == column]
        return tuple(one for one in (*TAPVID, *BADJA) if any(one in mean for mean in means))

    def _metrics(self) -> list[tuple[str, str]]:
        return [(name, one) for name, metrics in self._columns() for one in metrics]

    def _rows(self) -> list[Row]:
        """The paper's rows that are ours or have a number here, and below them further rows."""
        metrics = self._metrics()
        rows = [
            row
            for row in self.table.rows
            if row.ours or any(self.table.value(row.key, *metric) for metric in metrics)
        ]
        keys = [row.key for row in self.table.rows]
        blank = ("",) * (len(self.table.labels) - 1)
        for key in dict.fromkeys(row for row, _ in self.cells if row not in keys):
            result = next(result for (row, _), result in self.cells.items() if row == key)
            first, *rest = result.get("label", {}).get("labels") or (key, *blank)
            rows.append(Row(key, (f"{first} (not in the paper)", *rest), ()))
        return rows

    def _texts(self, row: Row) -> list[str]:
        """The texts of a row: labels and cells."""
        first, *rest = row.labels
        run = row.ours or any(key == row.key for key, _ in self.cells)
        labels = [first if run else f"{first} †", *rest]
        return labels + [self._text(row, name, metric) for name, metric in self._metrics()]

    def _text(self, row: Row, name: str, metric: str) -> str:
        paper, result = self.table.value(row.key, name, metric), self.cells.get((row.key, name))
        if metric in COSTS:
            return "-" if result is None else _number(cost_of(result, metric))
        if result is None:
            return f"{_number(paper)} / -" if row.ours else _number(paper)
        unlike = describe_settings(result, self.table.number, row.key) or describe_partial(result)
        mark = " ‡" if paper is not None and unlike else ""
        return f"{_number(paper)} / {_number(result['mean'].get(metric))}{mark}"

    def _notes(self) -> list[str]:
        rows = self._rows()
        notes = []
        run = {key for key, _ in self.cells}
        if not all(row.ours or row.key in run for row in rows):
            notes = ["† the paper's own number: that system was not run here"]
        for name, _ in self._columns():
            notes += self._column_notes(name)
        notes += [f"not measured: {sentence}" for sentence in self.missing]
        protocols = [
            f"{row.key} {name} {self.cells[row.key, name].get('protocol_hash')}"
            for row in rows
            for name, _ in self._columns()
            if (row.key, name) in self.cells
        ]
        return [*notes, f"protocols of ours: {', '.join(protocols) or 'none'}"]

    def _column_notes(self, name: str) -> list[str]:
        """What differs from the paper's evaluation on a benchmark, and its broken videos."""
        found = [(row, result) for (row, column), result in self.cells.items() if column == name]
        notes, results = [], [result for _, result in found]
        if name in dict(self.table.columns):
            for row, result in found:
                notes += [
                    describe_partial(result),
                    describe_settings(result, self.table.number, row),
                ]
        notes = [f"‡ {title(name)}: ours {note}" for note in dict.fromkeys(notes) if note]
        broken = {
            one["name"] or one["reason"] for result in results for one in result.get("broken", [])
        }
        if broken:
            notes.append(f"{title(name)}: could not be read: {', '.join(sorted(broken))}")
        return notes


def title(benchmark: str) -> str:
    """The benchmark's name in the paper, or its own."""
    return TITLES.get(benchmark, benchmark)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def _to_latex(text: str) -> str:
    for letter, command in LATEX_LETTERS.items():
        text = text.replace(letter, command)
    return text
