"""The metrics by plain loops."""

import math

import torch

from cotracker.types import Clip, Tracks


def _clip(xy, visible, size, masks=None, valid=None):
    xy, visible = torch.as_tensor(xy), torch.as_tensor(visible)
    valid = torch.ones_like(visible) if valid is None else torch.as_tensor(valid)
    video = torch.zeros(1, dtype=torch.uint8).expand(len(xy), 3, *size)
    return Clip(
        video, xy, visible, valid, None if masks is None else torch.as_tensor(masks), "clip"
    )


def _tracks(xy, visible):
    xy, visible = torch.as_tensor(xy)[None], torch.as_tensor(visible)[None]
    return Tracks(xy, visible.float(), visible)


def _tapvid_by_loops(rows):
    shown = [row for row in rows if row[2]]
    values = {
        "oa": 100 * sum(seen == said for _, _, seen, said in rows) / len(rows) if rows else math.nan
    }
    for limit in (1, 2, 4, 8, 16):
        within = sum(distance < limit for _, distance, _, _ in shown)
        hit = sum(distance < limit and said for _, distance, _, said in shown)
        false = sum(said and not (seen and distance < limit) for _, distance, seen, said in rows)
        values[f"delta_{limit}"] = 100 * within / len(shown) if shown else math.nan
        values[f"jaccard_{limit}"] = (
            100 * hit / (len(shown) + false) if len(shown) + false else math.nan
        )
    for name, part in (("delta_avg", "delta_"), ("aj", "jaccard_")):
        values[name] = sum(values[f"{part}{limit}"] for limit in (1, 2, 4, 8, 16)) / 5
    return values


def _badja_by_loops(rows, masks):
    shown, areas = [row for row in rows if row[2]], {}
    for t, mask in enumerate(masks.tolist()):
        height, width = len(mask), len(mask[0])
        areas[t] = sum(
            mask[y * height // 384][x * width // 512] > 0 for y in range(384) for x in range(512)
        )
    hits = sum(distance < 0.2 * math.sqrt(areas[t]) for t, distance, _, _ in shown)
    near = sum(distance < 3 for _, distance, _, _ in shown)
    return (
        {"seg": 100 * hits / len(shown), "3px": 100 * near / len(shown)}
        if shown
        else dict(seg=math.nan, **{"3px": math.nan})
    )
