"""The paper's tables with our results beside: Markdown, LaTeX and CSV."""

import csv
import io
from dataclasses import dataclass

from cotracker.benchmarks.paper.numbers import BADJA, TAPVID, Row, Table

METRICS = {"aj": "AJ", "delta_avg": "<δ avg", "oa": "OA", "seg": "seg", "3px": "δ 3px"}
LATEX = {"delta_avg": r"$<\delta^x_{avg}$", "3px": r"$<\delta^{3px}$"}
TITLES = {
    "davis_first": "DAVIS First", "davis_strided": "DAVIS Strided", "kinetics_first": "Kinetics First",
    "badja": "BADJA", "fastcapture": "FastCapture",
}  # fmt: skip
NAMED = {
    ("davis", "first"): "davis_first", ("davis", "strided"): "davis_strided",
    ("davis_strided", "strided"): "davis_strided", ("kinetics", "first"): "kinetics_first",
}  # fmt: skip
EVALUATED = {
    "iters": [6],
    "resolution": [[384, 512], [378, 504]],
}  # sections 4.2 and A; the second for DINOv2
ASKED = {
    "points": ["single"],
    "global_grid": [6],
    "local_grid": [6],
}  # section 4.2; table 1 is about others
CSV = "table row label benchmark metric paper ours low high found expected protocol checkpoint"

Filled = dict[tuple[str, str], dict]  # (row, column) -> results.json


def column_of(result: dict) -> str:
    """The column that a result belongs under: what its label says, or its benchmark and how that asks."""
    if "label" in result:
        return result["label"]["column"]
    return NAMED.get((result["benchmark"], result["protocol"]["queries"]), result["benchmark"])


def row_of(table: Table, result: dict, name: str) -> str:
    """The row of a result for which none was said: its label's, or the one row of CoTracker; or ValueError."""
    ours = [row.key for row in table.rows if row.ours]
    label = result.get("label", {})
    if (
        label.get("row") in ours
        or label.get("suite", "").removesuffix("_small") == f"table{table.number}"
    ):
        return label["row"]
    if len(ours) == 1 and result["tracker"] == "cotracker":
        return ours[0]
    raise ValueError(
        f"{name} does not say which row of table {table.number} it is: say ROW={name}, of {', '.join(ours)}"
    )


def filled(table: Table, results: list[tuple[str, dict]]) -> Filled:
    """The results by (row, column); ValueError where two stand for one place, or one is for a row that is not ours."""
    places: Filled = {}
    others = [row.key for row in table.rows if not row.ours]
    for row, result in results:
        place = row, column_of(result)
        if row in others:
            raise ValueError(
                f"row {row} of table {table.number} is another system's, which is not measured here"
            )
        if place in places:
            raise ValueError(f"two results for row {row} under {place[1]}: name one of them only")
        places[place] = result
    return places


@dataclass(frozen=True)
class Shown:
    """A table filled with results: `paper / ours` in each place, and the paper's number alone for other systems.

    columns: the benchmarks to show; None: the table's own, and whatever else there are results of.
    missing: sentences on what could not be measured.
    """

    table: Table
    filled: Filled
    columns: tuple[str, ...] | None = None
    missing: tuple[str, ...] = ()

    def markdown(self) -> str:
        """The table in Markdown, with notes below."""
        heads = [
            *self.table.labels,
            *(f"{title(name)} {METRICS.get(one, one)}" for name, one in self._places()),
        ]
        lines = [heads, ["---"] * len(heads), *(self._cells(row) for row in self._rows())]
        body = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        notes = "\n".join(f"- {note}" for note in self._notes())
        return f"**{self._caption()}**\n\n{body}\n\n{notes}\n"

    def latex(self) -> str:
        """The table as a LaTeX tabular, with its notes as comments and in the caption."""
        places = self._places()
        heads = " & ".join(
            [_tex(label) for label in self.table.labels] + [_head(one) for _, one in places]
        )
        groups = [
            rf"\multicolumn{{{len(of)}}}{{c}}{{{_tex(title(name))}}}"
            for name, of in self._columns()
        ]
        over = " & ".join(["" for _ in self.table.labels] + groups)
        rows = [" & ".join(_tex(one) for one in self._cells(row)) + r" \\" for row in self._rows()]
        align = "l" * len(self.table.labels) + "c" * len(places)
        notes = [f"% {note}" for note in self._notes()]
        caption = rf"\caption{{{_tex(self._caption())}}}"
        top = [
            r"\begin{table}",
            rf"\begin{{tabular}}{{{align}}}",
            r"\hline",
            over + r" \\",
            heads + r" \\",
            r"\hline",
        ]
        return (
            "\n".join([*notes, *top, *rows, r"\hline", r"\end{tabular}", caption, r"\end{table}"])
            + "\n"
        )

    def csv(self) -> str:
        """One line for each number: row, benchmark, metric, paper, ours, its interval, found, expected, hashes."""
        text = io.StringIO()
        lines = csv.writer(text, lineterminator="\n")
        lines.writerow(CSV.split())
        for row in self._rows():
            for name, one in self._places():
                result = self.filled.get((row.key, name), {})
                low, high = result.get("interval", {}).get(one) or (None, None)
                said = self.table.value(row.key, name, one)
                ours = result.get("mean", {}).get(one)
                kept = [result.get("found"), result.get("expected"), result.get("protocol_hash")]
                kept.append(result.get("checkpoint", {}).get("hash"))
                if said is not None or ours is not None:
                    label = ", ".join(row.labels)
                    lines.writerow(
                        [self.table.number, row.key, label, name, one, said, ours, low, high, *kept]
                    )
        return text.getvalue()

    def _caption(self) -> str:
        table = self.table
        return f"Table {table.number} of the paper ({table.place}): {table.title}. Paper / ours, in percent."

    def _columns(self) -> list[tuple[str, tuple[str, ...]]]:
        """Each benchmark shown, with its metrics."""
        own = dict(self.table.columns)
        names = self.columns or (*own, *(name for _, name in self.filled if name not in own))
        return [(name, own.get(name) or self._metrics(name)) for name in dict.fromkeys(names)]

    def _metrics(self, column: str) -> tuple[str, ...]:
        """Those of a benchmark that the paper's table has not."""
        kept = [one["mean"] for (_, name), one in self.filled.items() if name == column]
        return tuple(one for one in (*TAPVID, *BADJA) if any(one in mean for mean in kept))

    def _places(self) -> list[tuple[str, str]]:
        return [(name, one) for name, metrics in self._columns() for one in metrics]

    def _rows(self) -> list[Row]:
        """The paper's rows that have a number here or are ours, and below them those that only we have."""
        known = [row.key for row in self.table.rows]
        shown = [
            row
            for row in self.table.rows
            if row.ours or any(self._said(row, *place) for place in self._places())
        ]
        blank = ("",) * (len(self.table.labels) - 1)
        for key in dict.fromkeys(row for row, _ in self.filled if row not in known):
            result = next(one for (row, _), one in self.filled.items() if row == key)
            labels = result.get("label", {}).get("labels") or (key, *blank)
            shown.append(Row(key, (f"{labels[0]} (not in the paper)", *labels[1:]), ()))
        return shown

    def _said(self, row: Row, name: str, metric: str) -> float | None:
        return self.table.value(row.key, name, metric)

    def _cells(self, row: Row) -> list[str]:
        labels = list(row.labels) if row.ours else [f"{row.labels[0]} †", *row.labels[1:]]
        return labels + [self._cell(row, name, one) for name, one in self._places()]

    def _cell(self, row: Row, name: str, metric: str) -> str:
        said, result = self._said(row, name, metric), self.filled.get((row.key, name))
        if not row.ours:
            return _number(said)
        if result is None:
            return f"{_number(said)} / -"
        unlike = _unlike_the_paper(result, self.table.number) or _partial(result)
        mark = " ‡" if said is not None and unlike else ""
        return f"{_number(said)} / {_number(result['mean'].get(metric))}{mark}"

    def _notes(self) -> list[str]:
        rows = self._rows()
        notes = (
            []
            if all(row.ours for row in rows)
            else ["† the paper's own number: that system was not run here"]
        )
        for name, _ in self._columns():
            results = [one for (_, column), one in self.filled.items() if column == name]
            for said in dict.fromkeys(
                one
                for result in results
                for one in (_partial(result), _unlike_the_paper(result, self.table.number))
            ):
                notes += (
                    [f"‡ {title(name)}: ours {said}"]
                    if said and name in dict(self.table.columns)
                    else []
                )
            broken = {
                one["name"] or one["reason"]
                for result in results
                for one in result.get("broken", [])
            }
            notes += (
                [f"{title(name)}: could not be read: {', '.join(sorted(broken))}"] if broken else []
            )
        places = [f"{row.key} {name} {self.filled[row.key, name].get('protocol_hash')}"
                  for row in rows for name, _ in self._columns() if (row.key, name) in self.filled]  # fmt: skip
        notes += [f"not measured: {sentence}" for sentence in self.missing]
        return [*notes, f"protocols of ours: {', '.join(places) or 'none'}"]


def _partial(result: dict) -> str:
    return (
        ""
        if result["found"] == result["expected"]
        else f"on {result['found']} of {result['expected']} videos"
    )


def _unlike_the_paper(result: dict, table: int) -> str:
    """What of the tracker and its settings is not as the paper evaluates for this table; nothing where all is."""
    if result["tracker"] != "cotracker":
        return f"by tracker={result['tracker']}"
    said = result["protocol"]
    support = said.get("support") or {"global_grid": 0, "local_grid": 0}
    said = said | {key: value for key, value in support.items() if key in ASKED}
    wanted = EVALUATED if table == 1 else EVALUATED | ASKED
    other = [
        (key, said[key], usual[0])
        for key, usual in wanted.items()
        if said.get(key, usual[0]) not in usual
    ]
    return (
        f"with {' and '.join(f'{key} {ours}, not {right}' for key, ours, right in other)}"
        if other
        else ""
    )


def title(benchmark: str) -> str:
    """As the paper calls it, or its own name."""
    return TITLES.get(benchmark, benchmark)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def _head(metric: str) -> str:
    return LATEX.get(metric) or _tex(METRICS.get(metric, metric))


def _tex(text: str) -> str:
    for letter, said in (
        ("&", r"\&"),
        ("_", r"\_"),
        ("%", r"\%"),
        ("†", r"$\dagger$"),
        ("‡", r"$\ddagger$"),
        ("<", "$<$"),
        ("δ", r"$\delta$"),
    ):
        text = text.replace(letter, said)
    return text
