"""poseinterface: start labels (the first frame of a clip) and clip labels, which are COCO files.

Names follow its pattern sub-A_ses-B_cam-C_start-S_dur-D_cliplabels.json: the images of a clip are
called sub-A_ses-B_cam-C_frame-N, where N counts from the start of the whole video, and have ids
that count from the clip's first frame.
"""

import json
import re
from pathlib import Path

from cotracker.files import write_text
from cotracker.interchange import coco
from cotracker.interchange.json_tracks import load
from cotracker.tracks import Tracks

KINDS = ("cliplabels", "startlabels", "framelabels", "videolabels")
PATTERN = re.compile(rf"(?P<prefix>.*?_)?(start-(?P<start>\d+)_)?(dur-\d+_)?({'|'.join(KINDS)})")


def write_clip_labels(path: Path, tracks: Tracks) -> Path:
    """The path of the file of labels of all frames."""
    return write_text(path, json.dumps(_value(path, tracks)) + "\n")


def write_start_labels(path: Path, tracks: Tracks) -> Path:
    """The path of the file of labels of the first frame."""
    value = _value(path, tracks)
    value["images"] = value["images"][:1]
    value["annotations"] = [one for one in value["annotations"] if one["image_id"] == 0]
    return write_text(path, json.dumps(value) + "\n")


def read(path: Path) -> Tracks:
    """The Tracks of a file of labels, with frames counted from the clip's first."""
    return coco.from_value(load(path), path, by_id=True)


def _value(path: Path, tracks: Tracks) -> dict:
    found = PATTERN.fullmatch(Path(path).stem)
    if found is None:
        raise ValueError(
            f"{path} must be named as poseinterface does, "
            "sub-A_ses-B_cam-C_start-S_dur-D_cliplabels.json"
        )
    return coco.to_value(tracks, found["prefix"] or "", int(found["start"] or 0), suffix="")
