"""The paper's figures 4, 7 and 8 as data: a metric, or seconds a video, against a setting."""

import csv
import io

from cotracker.benchmarks.paper.numbers import FIGURES
from cotracker.benchmarks.paper.tables import METRICS, title

Panel = tuple[str, str, dict[str, list[tuple[float, float]]]]
PLOTTED = {
    4: ("aj", "delta_avg", "oa", "seg", "3px"),
    7: ("aj", "delta_avg", "oa", "seg", "3px"),
    8: ("seconds",),
}
CSV = "x benchmark metric value low high found expected protocol_hash"


def collect(figure: int, rows: list[dict], results: list[dict], missing: list[str]) -> dict:
    """{figure, x, place, caption, devices, points: [{x, benchmark, metric, value, …}], missing}.

    rows: the suite's, each with its x. "seconds" is the mean over videos.
    """
    axis, place = FIGURES[figure]
    x_of = {row["row"]: row["x"] for row in rows}
    points = []
    for result in results:
        cell = {"x": x_of[result["label"]["row"]], "benchmark": result["label"]["column"]}
        counts = {key: result[key] for key in ("found", "expected", "protocol_hash")}
        for metric in PLOTTED[figure]:
            points += [cell | value | counts for value in _values(result, metric)]
    devices = sorted({result["device"] for result in results})
    on = "; ".join(devices) or "nothing yet"
    return {
        "figure": figure,
        "x": axis,
        "place": place,
        "caption": f"Figure {figure} of the paper ({place}): {axis}. Ours, on {on}.",
        "devices": devices,
        "points": points,
        "missing": missing,
    }


def to_csv(data: dict) -> str:
    """The points, one a line."""
    text = io.StringIO()
    lines = csv.DictWriter(text, CSV.split(), lineterminator="\n")
    lines.writeheader()
    lines.writerows(data["points"])
    return text.getvalue()


def panels(data: dict) -> list[Panel]:
    """For each benchmark: title, name of the x axis, and {metric: [(x, value), …]} sorted by x."""
    panels = []
    for name in dict.fromkeys(point["benchmark"] for point in data["points"]):
        lines: dict[str, list[tuple[float, float]]] = {}
        for point in data["points"]:
            if point["benchmark"] == name and point["value"] is not None:
                label = METRICS.get(point["metric"], "s / video")
                lines.setdefault(label, []).append((point["x"], point["value"]))
        ordered = {label: sorted(line) for label, line in lines.items()}
        panels.append((f"{title(name)}, {_count_videos(data, name)}", data["x"], ordered))
    return panels


def _count_videos(data: dict, benchmark: str) -> str:
    """`3 of 7 videos`, or `30 videos` where these are all."""
    counts = {(p["found"], p["expected"]) for p in data["points"] if p["benchmark"] == benchmark}
    return " or ".join(
        f"{n} videos" if n == of else f"{n} of {of} videos" for n, of in sorted(counts)
    )


def _values(result: dict, metric: str) -> list[dict]:
    """[{metric, value, low, high}], or [] where the result has no such metric."""
    if metric == "seconds":
        spent = [video["seconds"] for video in result["videos"]]
        if not spent:
            return []
        value, low, high = sum(spent) / len(spent), min(spent), max(spent)
    elif metric in result["mean"]:
        value = result["mean"][metric]
        low, high = result["interval"].get(metric) or (None, None)
    else:
        return []
    return [{"metric": metric, "value": value, "low": low, "high": high}]
