"""Tracks with onnxruntime alone, from `cotracker export-onnx CHECKPOINT DIR`: DIR FRAMES.npy OUT.

FRAMES.npy: T H W 3 uint8, of the exported size; OUT.npz gets xy T N 2 and visibility T N.
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime


def track(folder: Path, frames: np.ndarray, queries: np.ndarray):
    """xy T N 2 and visibility T N of queries N 3 (t, x, y) in frames T H W 3."""
    about = json.loads((folder / "about.json").read_text())
    encode, refine = (
        onnxruntime.InferenceSession(folder / f"{name}.onnx") for name in ("encode", "refine")
    )
    window, half, count = about["window"], about["window"] // 2, len(queries)
    maps = [encode.run(None, {"frame": one.transpose(2, 0, 1).astype("f4")}) for one in frames]
    xy = np.zeros((len(frames), count, 2), "f4")
    logits = np.full((len(frames), count), -np.inf, "f4")
    state = [
        np.zeros((count, *about["feat"]), "f4"),
        np.zeros((window, count, 2), "f4"),
        np.zeros((window, count), "f4"),
        np.zeros((window, count), "f4"),
    ]
    for start in range(0, max(1, len(frames) - half), half):
        numbers = np.minimum(np.arange(start, start + window), len(frames) - 1)
        feeds = {f"map{k}": np.stack([maps[t][k] for t in numbers]) for k in range(about["levels"])}
        feeds["queries"] = (queries - [start, 0, 0]).astype("f4")
        feeds["carried"] = (queries[:, 0] < start + half) & (start > 0)
        feeds |= dict(zip(("feat", "tracks", "logits", "confidence"), state))
        taken = {one.name for one in refine.get_inputs()}
        state = refine.run(None, {name: feeds[name] for name in feeds if name in taken})
        active = queries[:, 0] < start + window
        stop = min(start + window, len(frames))
        xy[start:stop, active] = state[1][: stop - start, active]
        logits[start:stop, active] = state[2][: stop - start, active]
    before = np.arange(len(frames))[:, None] < queries[:, 0]  # there ours repeats the query
    here = np.arange(len(frames))[:, None] == queries[:, 0]
    xy = np.where((before | here)[..., None], queries[:, 1:], xy)
    visibility = np.where(here, 1, np.where(before, 0, 1 / (1 + np.exp(-logits))))
    return xy, visibility


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    height, width = np.load(sys.argv[2], mmap_mode="r").shape[1:3]
    x, y = np.meshgrid(np.linspace(4, width - 5, 5), np.linspace(4, height - 5, 5))
    grid = np.stack([np.zeros(25), x.ravel(), y.ravel()], axis=-1)
    xy, visibility = track(Path(sys.argv[1]), np.load(sys.argv[2]), grid)
    np.savez(sys.argv[3], xy=xy, visibility=visibility, queries=grid)
    print(f"{sys.argv[3]}: {len(grid)} points in {len(xy)} frames")
