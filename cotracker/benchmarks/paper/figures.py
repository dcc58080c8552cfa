"""The paper's figures 4, 7 and 8 as data: a metric, or the time of a video, against a setting of the tracker."""

import csv as writer
import io

from cotracker.benchmarks.paper.numbers import FIGURES
from cotracker.benchmarks.paper.tables import METRICS, title

SHOWN = {
    4: ("aj", "delta_avg", "oa", "seg", "3px"),
    7: ("aj", "delta_avg", "oa", "seg", "3px"),
    8: ("seconds",),
}


def data(figure: int, rows: list[dict], results: list[dict], missing: list[str]) -> dict:
    """{figure, x, place, caption, devices, points: [{x, benchmark, metric, value, …}], missing}, plain values.

    rows: the suite's, each with its x.  "seconds" is the mean over videos of the time that one took.
    """
    axis, place = FIGURES[figure]
    at = {row["row"]: row["x"] for row in rows}
    points = []
    for result in results:
        where = {"x": at[result["label"]["row"]], "benchmark": result["label"]["column"]}
        count = {key: result[key] for key in ("found", "expected", "protocol_hash")}
        for metric in SHOWN[figure]:
            points += [where | one | count for one in _values(result, metric)]
    devices = sorted({result["device"] for result in results})
    caption = f"Figure {figure} of the paper ({place}): {axis}. Ours, on {'; '.join(devices) or 'nothing yet'}."
    said = {"figure": figure, "x": axis, "place": place, "caption": caption, "devices": devices}
    return said | {"points": points, "missing": missing}


def csv(data: dict) -> str:
    """The points, one a line."""
    text = io.StringIO()
    keys = "x benchmark metric value low high found expected protocol_hash".split()
    lines = writer.DictWriter(text, keys, lineterminator="\n")
    lines.writeheader()
    lines.writerows(data["points"])
    return text.getvalue()


def panels(data: dict) -> list[tuple[str, str, dict[str, list[tuple[float, float]]]]]:
    """For each benchmark: its title, the name of the x axis, and for each metric a line [(x, value), …] by x."""
    found = []
    for name in dict.fromkeys(point["benchmark"] for point in data["points"]):
        lines: dict[str, list[tuple[float, float]]] = {}
        for point in data["points"]:
            if point["benchmark"] == name and point["value"] is not None:
                label = METRICS.get(point["metric"], "s / video").replace(
                    "δ", "delta"
                )  # which Pillow's font lacks
                lines.setdefault(label, []).append((point["x"], point["value"]))
        found.append(
            (
                f"{title(name)}, {_videos(data, name)}",
                data["x"],
                {label: sorted(line) for label, line in lines.items()},
            )
        )
    return found


def _videos(data: dict, benchmark: str) -> str:
    """`3 of 7 videos`, or `30 videos` where these are all."""
    counts = {(p["found"], p["expected"]) for p in data["points"] if p["benchmark"] == benchmark}
    return " or ".join(
        f"{n} videos" if n == of else f"{n} of {of} videos" for n, of in sorted(counts)
    )


def _values(result: dict, metric: str) -> list[dict]:
    if metric == "seconds":
        spent = [video["seconds"] for video in result["videos"]]
        return (
            [
                {
                    "metric": metric,
                    "value": sum(spent) / len(spent),
                    "low": min(spent),
                    "high": max(spent),
                }
            ]
            if spent
            else []
        )
    if metric not in result["mean"]:
        return []
    low, high = result["interval"].get(metric) or (None, None)
    return [{"metric": metric, "value": result["mean"][metric], "low": low, "high": high}]
