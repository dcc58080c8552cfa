"""How often `cotracker data check` is wrong: measure_check.py DIR [DIR …] [--most 60]

Judges the tracks of all clips below the folders, as they are and corrupted in each way, and prints
how often each was called what it is, something else, or nothing.
"""

import argparse
from collections import Counter, defaultdict
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from cotracker.data.check.track_image import judge, to_grey
from cotracker.data.kubric.layout import clip_names, read_clip


def shift_time(tracks, visible, frames):
    """Tracks shifted in time by `frames`; the first or last is repeated."""
    which = (np.arange(len(tracks)) - frames).clip(0, len(tracks) - 1)
    return tracks[which], visible[which]


CORRUPTED = {  # name: (what it should be called, (tracks, visible, (W, H)) -> corrupted)
    "as it is": (None, lambda t, v, size: (t, v)),
    "inverted": ("visibility", lambda t, v, size: (t, ~v)),
    "1 frame late": ("time", lambda t, v, size: shift_time(t, v, 1)),
    "1 frame early": ("time", lambda t, v, size: shift_time(t, v, -1)),
    "3 frames late": ("time", lambda t, v, size: shift_time(t, v, 3)),
    "backwards": ("time", lambda t, v, size: (t[::-1], v[::-1])),
    "axes swapped": ("place", lambda t, v, size: (t[..., ::-1], v)),
    "mirrored": ("place", lambda t, v, size: ([size[0] - 1, 0] + t * [-1, 1], v)),
    "half a frame aside": ("place", lambda t, v, size: (t + np.divide(size, 2), v)),
    "half a frame, rolled": ("place", lambda t, v, size: ((t + np.divide(size, 2)) % size, v)),
    "half the size": ("place", lambda t, v, size: (t / 2, v)),
    "tracks of another clip": ("follow", None),
    "all tracks static": ("follow", lambda t, v, size: (np.broadcast_to(t[:1], t.shape).copy(), v)),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--most", type=int, default=10**9, help="clips of a folder")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    verdicts, followed = defaultdict(Counter), []
    for folder in arguments.folders:
        before = None
        for name in tqdm(clip_names(folder)[: arguments.most]):
            clip = read_clip(folder / name)
            pictures = clip.video.permute(0, 2, 3, 1).contiguous().numpy()
            frames = np.stack([to_grey(picture) for picture in pictures])
            target, size = (clip.tracks.numpy(), clip.visible.numpy()), frames.shape[:0:-1]
            for key, (_, corrupt) in CORRUPTED.items():
                corrupted = before if corrupt is None else corrupt(*target, size)
                if corrupted is not None and corrupted[0].shape[0] == len(frames):
                    found = judge(frames, *corrupted, np.ones_like(corrupted[1]))
                    verdicts[key][found.kind] += 1
                    if key == "as it is":
                        followed.append(-1 if found.followed is None else found.followed)
                        if found.kind:
                            print(folder / name, found)
            before = target
    lowest, median = np.sort(followed)[:8].round(2), np.median(followed).round(3)
    print("good clips followed: lowest", lowest, "median", median)
    for key, (right, _) in CORRUPTED.items():
        total = sum(verdicts[key].values())
        others = {kind: count for kind, count in verdicts[key].items() if kind != right}
        print(
            f"{key:24} {verdicts[key][right] / total:4.0%} of {total} called {right}; else {others}"
        )


if __name__ == "__main__":
    main()
