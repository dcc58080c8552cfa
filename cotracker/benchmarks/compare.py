"""Results beside each other, video by video, where they were asked and measured alike."""

from dataclasses import dataclass
from pathlib import Path

from cotracker.benchmarks.intervals import interval
from cotracker.benchmarks.results import NAME
from cotracker.files import read_json

FIELDS = (
    "benchmark",
    "tracker",
    "protocol",
    "protocol_hash",
    "checkpoint",
    "found",
    "expected",
    "mean",
    "videos",
)
OF_THE_BENCHMARK = ("queries", "metric", "clips")  # how it asks and measures, whatever the tracker
OF_THE_CHECKPOINT = ("window", "stride", "threshold")  # what another checkpoint may bring with it


def load(path: str | Path) -> dict:
    """The results.json at a path or in a folder; ValueError, one sentence, where there is none or an older one."""
    path = Path(path) / NAME if Path(path).is_dir() else Path(path)
    if not path.is_file():
        raise ValueError(
            f"no {path}: give results.json of evaluate.py, or the folder that holds it"
        )
    result = read_json(path)
    lacking = [field for field in FIELDS if field not in result]
    if lacking:
        raise ValueError(
            f"{path} lacks {', '.join(lacking)}: no result of evaluate.py, or an older one: run it again"
        )
    wrong = _misshapen(result)
    if wrong:
        raise ValueError(
            f"{path} was changed since evaluate.py wrote it ({wrong} is of another kind): run it again"
        )
    return result


def _misshapen(result: dict) -> str | None:
    """The first field whose value is of another kind than evaluate.py writes."""
    numbers = (int, float, type(None))
    kinds = {
        "benchmark": str,
        "tracker": str,
        "protocol": dict,
        "checkpoint": dict,
        "mean": dict,
        "videos": list,
    }
    wrong = [field for field, kind in kinds.items() if not isinstance(result[field], kind)]
    wrong += [
        field for field in ("label", "interval") if not isinstance(result.get(field, {}), dict)
    ]
    if wrong:
        return wrong[0]
    if not {"name", "hash"} <= result["checkpoint"].keys() or "queries" not in result["protocol"]:
        return "protocol or checkpoint"
    if "label" in result and not {"row", "column"} <= result["label"].keys():
        return "label"
    if not all(isinstance(value, numbers) for value in result["mean"].values()):
        return "mean"
    good = all(
        isinstance(video, dict)
        and isinstance(video.get("name"), str)
        and all(isinstance(video.get(metric), numbers) for metric in result["mean"])
        for video in result["videos"]
    )
    return None if good else "videos"


def differences(first: dict, second: dict, allowed: tuple[str, ...] = ()) -> list[str]:
    """`field A, against B` for each field of the protocol that keeps two results from being compared.

    Another checkpoint may have a window, stride and threshold of its own. Another tracker has settings of its own: then
    only what the benchmark asks, and what both say, must agree.  allowed: fields that may differ.
    """
    one, other = first["protocol"], second["protocol"]
    keys = dict.fromkeys([*one, *other])
    if first["tracker"] != second["tracker"]:
        keys = [key for key in keys if key in OF_THE_BENCHMARK or (key in one and key in other)]
    free = set(allowed)
    if first["checkpoint"]["hash"] != second["checkpoint"]["hash"]:
        free |= set(OF_THE_CHECKPOINT)
    unlike = [
        (key, one.get(key), other.get(key))
        for key in keys
        if key not in free and one.get(key) != other.get(key)
    ]
    if first["benchmark"] != second["benchmark"]:
        unlike.insert(0, ("benchmark", first["benchmark"], second["benchmark"]))
    return [f"{key} {_said(a)}, against {_said(b)}" for key, a, b in unlike]


@dataclass(frozen=True)
class Line:
    """One metric of one result: the mean over the videos compared, its interval, and the paired difference's."""

    metric: str
    mean: float
    span: tuple[float, float] | None
    difference: float | None = None
    difference_span: tuple[float, float] | None = None

    @property
    def certain(self) -> bool:
        """Whether the difference's interval leaves out 0."""
        return (
            self.difference_span is not None
            and not self.difference_span[0] <= 0 <= self.difference_span[1]
        )


def compared(
    results: list[tuple[str, dict]], allowed: tuple[str, ...] = ()
) -> tuple[list[str], list[list[Line]]]:
    """The videos that all results have, and the lines of each result; differences are to the first, video by video.

    ValueError, one sentence, where two results are unlike, or have no video in common.
    """
    (name, first), *others = results
    for other, result in others:
        unlike = differences(first, result, allowed)
        if unlike:
            raise ValueError(f"{name} and {other} were not measured alike: {'; '.join(unlike)}")
    held = [{video["name"]: video for video in result["videos"]} for _, result in results]
    videos = [one for one in held[0] if all(one in other for other in held)]
    if not videos:
        raise ValueError(f"no video is in all of {', '.join(name for name, _ in results)}")
    return videos, [
        [_line(metric, videos, held[0], one) for metric in first["mean"]] for one in held
    ]


def _line(metric: str, videos: list[str], first: dict, second: dict) -> Line:
    """Of the videos where both have a number."""
    known = [
        v for v in videos if first[v].get(metric) is not None and second[v].get(metric) is not None
    ]
    values = [second[v][metric] for v in known]
    if not values:
        return Line(metric, float("nan"), None)
    mean = sum(values) / len(values)
    if first is second:
        return Line(metric, mean, interval(values))
    apart = [second[v][metric] - first[v][metric] for v in known]
    return Line(metric, mean, interval(values), sum(apart) / len(apart), interval(apart))


def _said(value) -> str:
    return "nothing" if value is None else str(value)
