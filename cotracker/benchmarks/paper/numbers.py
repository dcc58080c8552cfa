"""The numbers of the paper's nine tables (Karaev et al. 2023, arXiv 2307.07635)."""

from dataclasses import dataclass

TAPVID = ("aj", "delta_avg", "oa")
BADJA = ("seg", "3px")


@dataclass(frozen=True)
class Row:
    """A row of a table.

    key: its name in configs/tables.
    labels: the texts of the table's first columns.
    values: None for "-".
    ours: whether it is a row of CoTracker, which configs/tables evaluates.
    """

    key: str
    labels: tuple[str, ...]
    values: tuple[float | None, ...]
    ours: bool = True


@dataclass(frozen=True)
class Table:
    """A table of the paper.

    place: the section that shows it.
    labels: the heads of the first columns.
    columns: (benchmark, its metrics); a row's values follow them from left to right.
    """

    number: int
    title: str
    place: str
    labels: tuple[str, ...]
    columns: tuple[tuple[str, tuple[str, ...]], ...]
    rows: tuple[Row, ...]

    def value(self, row: str, benchmark: str, metric: str) -> float | None:
        """The paper's number, or None where it has none."""
        places = [(name, one) for name, metrics in self.columns for one in metrics]
        values = {entry.key: entry.values for entry in self.rows}.get(row)
        if values is None or (benchmark, metric) not in places:
            return None
        return values[places.index((benchmark, metric))]


DAVIS_BADJA = (("davis_first", TAPVID), ("badja", BADJA))
DAVIS_KINETICS_BADJA = (("davis_first", TAPVID), ("kinetics_first", TAPVID), ("badja", BADJA))


def _rows(text: str) -> tuple[Row, ...]:
    """The rows of lines `key | label | … | values`; a * before the key is another system's row."""
    rows = []
    for line in text.strip().splitlines():
        key, *labels, values = (part.strip() for part in line.split("|"))
        numbers = tuple(None if value == "-" else float(value) for value in values.split())
        rows.append(Row(key.lstrip("*"), tuple(labels), numbers, ours=not key.startswith("*")))
    return tuple(rows)


_TABLES = (
    Table(
        1,
        "Joint tracking",
        "section 3.5",
        ("time", "group", "target points", "additional points"),
        DAVIS_BADJA,
        _rows("""
        time_only    | yes | no  | single | -            | 56.3 72.6 84.8 59.5 15.0
        single       | yes | yes | single | -            | 39.8 61.6 78.8 55.7 13.8
        single_grid  | yes | yes | single | grid         | 54.4 70.4 86.8 60.5 16.6
        single_local | yes | yes | single | local        | 57.8 75.1 86.8 62.9 17.2
        single_both  | yes | yes | single | grid & local | 60.6 75.4 89.3 63.6 18.0
        all          | yes | yes | all    | -            | 54.3 73.0 84.9 64.0 18.2
        all_grid     | yes | yes | all    | grid         | 58.8 74.6 88.5 64.2 18.6
        """),
    ),
    Table(
        2,
        "Evaluation on TAP-Vid",
        "section 4.3",
        ("method",),
        (("davis_first", TAPVID), ("davis_strided", TAPVID), ("kinetics_first", TAPVID)),
        _rows("""
        *tapnet     | TAP-Net    | 33.0 48.6 78.8 38.4 53.1 82.3 38.5 54.4 80.6
        *pips       | PIPs       | 42.2 64.8 77.7 52.4 70.0 83.6 31.7 53.7 72.9
        *mft        | MFT        | 47.3 66.8 77.8 56.1 70.8 86.9    -    -    -
        *omnimotion | OmniMotion |    -    -    - 51.7 67.5 85.3    -    -    -
        *tapir      | TAPIR      | 56.2 70.0 86.5 61.3 73.6 88.8 49.6 64.2 85.0
        cotracker   | CoTracker  | 60.6 75.4 89.3 64.8 79.1 88.7 48.7 64.3 86.5
        """),
    ),
    Table(
        3,
        "Point tracking benchmarks",
        "section 4.3",
        ("method",),
        (("badja", BADJA), ("fastcapture", ("3px",))),
        _rows("""
        *dinov2   | DINOv2    | 64.7  3.4 12.1
        *raft     | RAFT      | 49.7  7.6 32.8
        *tapnet   | TAP-Net   | 54.4  6.3 43.3
        *pips     | PIPs      | 61.9 13.5 39.9
        *tapir    | TAPIR     | 66.9 15.2 63.2
        cotracker | CoTracker | 63.6 18.0 68.0
        """),
    ),
    Table(
        4,
        "Training data",
        "section 4.3",
        ("method", "training data"),
        DAVIS_KINETICS_BADJA,
        _rows("""
        *pips_flyingthings | PIPs      | FlyingThings++ | 42.2 64.8 77.7 31.7 53.7 72.9 61.9 13.5
        *pips_kubric       | PIPs      | TAP-Vid-Kubric | 43.8 66.5 77.4 32.7 55.1 72.9 64.0 14.7
        cotracker          | CoTracker | TAP-Vid-Kubric | 60.6 75.4 89.3 48.7 64.3 86.5 63.6 18.0
        """),
    ),
    Table(
        5,
        "Unrolling",
        "section 4.3",
        ("unrolled",),
        DAVIS_BADJA,
        _rows("""
        not_unrolled | no  | 46.9 69.1 80.1 55.8 13.6
        unrolled     | yes | 60.6 75.4 89.3 63.6 18.0
        """),
    ),
    Table(
        6,
        "Feature network",
        "appendix B",
        ("feature network",),
        DAVIS_BADJA,
        _rows("""
        cnn    | CNN    | 51.2 68.5 85.2 65.5 15.4
        dinov2 | DINOv2 | 38.8 56.2 83.6 67.3  9.1
        """),
    ),
    Table(
        7,
        "Model stride",
        "appendix B",
        ("stride",),
        DAVIS_KINETICS_BADJA,
        _rows("""
        stride8 | 8 | 51.2 68.5 85.2 43.3 61.4 83.3 65.5 15.4
        stride4 | 4 | 60.6 75.4 89.3 48.7 64.3 86.5 63.6 18.0
        """),
    ),
    Table(
        8,
        "Training sliding window size",
        "appendix B",
        ("window",),
        DAVIS_BADJA,
        _rows("""
        window4  | 4  | 57.9 73.2 87.0 64.6 18.2
        window8  | 8  | 60.6 75.4 89.3 63.6 18.0
        window12 | 12 | 58.8 75.4 87.6 65.1 17.7
        window16 | 16 | 57.8 75.2 86.7 64.1 18.4
        window20 | 20 | 57.3 74.0 85.9 64.9 18.3
        """),
    ),
    Table(
        9,
        "Inference sliding window size",
        "appendix B",
        ("window",),
        DAVIS_BADJA,
        _rows("""
        window8  | 8  | 45.9 64.5 83.2 60.4 13.9
        window12 | 12 | 50.7 67.9 84.8 64.4 15.2
        window16 | 16 | 51.2 68.5 85.2 65.5 15.4
        window20 | 20 | 50.9 68.5 84.7 63.0 16.4
        window24 | 24 | 50.2 67.8 83.9 60.2 16.1
        """),
    ),
)
TABLES = {table.number: table for table in _TABLES}

# The figures' x axes, and where the paper shows them. Their curves are pictures, not numbers.
FIGURES = {
    4: ("additional points", "section 3.5"),  # "adding 16-25 points is best"
    7: ("iterations at inference", "appendix A"),  # "stable across a factor of 2 (2-8)"
    8: ("points added on a grid", "appendix C"),  # PIPs and RAFT are slower below 800, on a V100
}
