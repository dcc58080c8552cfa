"""The results in the cells of a paper's table: which cell, at which settings, at what cost."""

from cotracker.benchmarks.paper.numbers import Table

COSTS = {"seconds": "s / video", "gigabytes": "GB"}  # of the results, in each column of a table
COLUMNS = {  # (benchmark, protocol) of results without a label
    ("davis", "first"): "davis_first",
    ("davis", "strided"): "davis_strided",
    ("davis_strided", "strided"): "davis_strided",
    ("kinetics", "first"): "kinetics_first",
}
# Settings of the paper's evaluation (sections 4.2 and A); the second resolution is DINOv2's.
PAPER = {"iters": [6], "resolution": [[384, 512], [378, 504]]}
# of all tables but table 1
PAPER_POINTS = {"points": ["single"], "support_grid": [6], "local_support_grid": [6]}

Cells = dict[tuple[str, str], dict]  # (row, column) -> results.json


def column_of(result: dict) -> str:
    """The column of a result: its label's, or that of its benchmark and protocol."""
    if "label" in result:
        return result["label"]["column"]
    benchmark = result["benchmark"]
    return COLUMNS.get((benchmark, result["protocol"]["queries"]), benchmark)


def row_of(table: Table, result: dict, name: str) -> str:
    """The row of a result: its label's, or the table's only row of CoTracker; or ValueError."""
    ours = [row.key for row in table.rows if row.ours]
    known = [row.key for row in table.rows]
    label = result.get("label", {})
    suite = label.get("suite", "").removesuffix("_small")
    if label.get("row") in known or suite == f"table{table.number}":
        return label["row"]
    if len(ours) == 1 and result["tracker"] == "cotracker":
        return ours[0]
    if result["tracker"] in known:
        return result["tracker"]
    raise ValueError(
        f"{name} has no row of table {table.number}: "
        f"pass ROW={name}, with ROW one of {', '.join(known)}"
    )


def place(table: Table, results: list[tuple[str, dict]]) -> Cells:
    """The results of (row, result) by (row, column).

    ValueError where two are for one cell.
    """
    cells: Cells = {}
    for row, result in results:
        cell = row, column_of(result)
        if cell in cells:
            raise ValueError(f"two results for row {row} under {cell[1]}: pass one of them")
        cells[cell] = result
    return cells


def describe_partial(result: dict) -> str:
    """How many of the benchmark's videos a result has, or "" where it has all."""
    found, expected = result["found"], result["expected"]
    return "" if found == expected else f"on {found} of {expected} videos"


def describe_settings(result: dict, table: int, row: str) -> str:
    """How tracker and settings differ from the paper's evaluation for this table, or ""."""
    if result["tracker"] == row.partition("_")[0] != "cotracker":
        return ""  # another system, in its own row
    if result["tracker"] != "cotracker":
        return f"by tracker={result['tracker']}"
    protocol = result["protocol"]
    support = protocol.get("support") or {"support_grid": 0, "local_support_grid": 0}
    settings = protocol | {key: value for key, value in support.items() if key in PAPER_POINTS}
    wanted = PAPER if table == 1 else PAPER | PAPER_POINTS
    other = [
        f"{key} {settings[key]}, not {values[0]}"
        for key, values in wanted.items()
        if settings.get(key, values[0]) not in values
    ]
    return f"with {' and '.join(other)}" if other else ""


def cost_of(result: dict, name: str) -> float | None:
    """Seconds a video, or the peak of memory in GB; None where there is none."""
    if name == "gigabytes":
        return result.get("gigabytes")
    seconds = [one["seconds"] for one in result.get("videos", []) if one.get("seconds") is not None]
    return sum(seconds) / len(seconds) if seconds else None
