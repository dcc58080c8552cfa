"""Results beside each other, video by video, where they have the same protocol."""

from dataclasses import dataclass
from pathlib import Path

from cotracker.benchmarks.intervals import interval
from cotracker.benchmarks.results import FORMAT, NAME
from cotracker.checks import fits
from cotracker.files import read_json

NUMBER = (int, float, type(None))
RESULT = {  # what we read of a results.json
    "benchmark": str,
    "tracker": str,
    "protocol": {"queries": str, "metric": str, "support?": (dict, list, type(None))},
    "checkpoint": {"name": (str, type(None)), "hash": (str, type(None))},
    "found": int,
    "expected": int,
    "mean": {str: NUMBER},
    "interval": {str: (list, type(None))},
    "videos": [{"name": str, "seconds?": NUMBER}],
    "broken?": [{"name": str, "reason": str}],
    "missing?": [str],
    "device?": str,
    "label?": {"suite?": str, "row": str, "column": str, "labels?": [str]},
}
OF_THE_BENCHMARK = ("queries", "metric", "clips")  # fields of every tracker's protocol
OF_THE_CHECKPOINT = ("window", "stride", "threshold")  # fields that a checkpoint may change


def load(path: str | Path) -> dict:
    """The results.json at a path or in a folder; ValueError where there is none of this format."""
    path = Path(path) / NAME if Path(path).is_dir() else Path(path)
    if not path.is_file():
        raise ValueError(f"no {path}: pass a results.json of evaluate.py, or its folder")
    result = read_json(path)
    if result.get("format") != FORMAT:
        raise ValueError(
            f"{path} is not a results.json of format {FORMAT}: evaluate again with another out=DIR"
        )
    whole = fits(result, RESULT)
    videos = result["videos"] if whole else []
    numbers = [value for video in videos for key, value in video.items() if key != "name"]
    if not whole or not fits(numbers, [NUMBER]):
        raise ValueError(f"{path} was changed or damaged: evaluate again with another out=DIR")
    return result


def differences(first: dict, second: dict, allowed: tuple[str, ...] = ()) -> list[str]:
    """`FIELD A, against B` for each field of the protocol that makes two results incomparable.

    Another checkpoint may have another window, stride and threshold. Another tracker has settings
    of its own: then only the benchmark's fields, and those that both have, must agree.
    allowed: fields that may differ.
    """
    one, other = first["protocol"], second["protocol"]
    keys = dict.fromkeys([*one, *other])
    if first["tracker"] != second["tracker"]:
        keys = [key for key in keys if key in OF_THE_BENCHMARK or (key in one and key in other)]
    ignored = set(allowed)
    if first["checkpoint"]["hash"] != second["checkpoint"]["hash"]:
        ignored |= set(OF_THE_CHECKPOINT)
    differing = [
        (key, one.get(key), other.get(key))
        for key in keys
        if key not in ignored and one.get(key) != other.get(key)
    ]
    if first["benchmark"] != second["benchmark"]:
        differing.insert(0, ("benchmark", first["benchmark"], second["benchmark"]))
    return [f"{key} {_show(a)}, against {_show(b)}" for key, a, b in differing]


@dataclass(frozen=True)
class Comparison:
    """One metric of one result.

    mean, interval: over the videos compared.
    difference, difference_interval: to the first result, paired by video; None for the first.
    """

    metric: str
    mean: float
    interval: tuple[float, float] | None
    difference: float | None = None
    difference_interval: tuple[float, float] | None = None

    @property
    def certain(self) -> bool:
        """Whether the difference's interval leaves out 0."""
        span = self.difference_interval
        return span is not None and not span[0] <= 0 <= span[1]


def compare_results(
    results: list[tuple[str, dict]], allowed: tuple[str, ...] = ()
) -> tuple[list[str], list[list[Comparison]]]:
    """The videos that all (name, result) have, and each result's Comparison of every metric.

    ValueError where two results are not comparable, or have no video in common.
    """
    (name, first), *others = results
    for other, result in others:
        unlike = differences(first, result, allowed)
        if unlike:
            raise ValueError(f"{name} and {other} were not measured alike: {'; '.join(unlike)}")
    rows = [{video["name"]: video for video in result["videos"]} for _, result in results]
    videos = [video for video in rows[0] if all(video in other for other in rows)]
    if not videos:
        raise ValueError(f"no video is in all of {', '.join(name for name, _ in results)}")
    return videos, [
        [_compare(metric, videos, rows[0], one) for metric in first["mean"]] for one in rows
    ]


def _compare(metric: str, videos: list[str], first: dict, second: dict) -> Comparison:
    """Over the videos where both have a number."""
    pairs = [(first[video].get(metric), second[video].get(metric)) for video in videos]
    pairs = [pair for pair in pairs if None not in pair]
    if not pairs:
        return Comparison(metric, float("nan"), None)
    values = [value for _, value in pairs]
    mean = sum(values) / len(values)
    if first is second:
        return Comparison(metric, mean, interval(values))
    apart = [value - base for base, value in pairs]
    return Comparison(metric, mean, interval(values), sum(apart) / len(apart), interval(apart))


def _show(value) -> str:
    return "nothing" if value is None else str(value)
