"""Tracks labels of DeepLabCut, SLEAP, COCO or poseinterface: VIDEO LABELS OUT.

OUT ends with .csv for DeepLabCut, .slp for SLEAP, .nc for movement or .json for our own JSON.
"""

import sys
from dataclasses import replace
from pathlib import Path

import cotracker
from cotracker.interchange import write_tracks
from cotracker.interchange.labels import read_labels

FORMATS = {".csv": "dlc-csv", ".slp": "sleap", ".nc": "movement", ".json": "json"}

if len(sys.argv) != 4 or Path(sys.argv[3]).suffix not in FORMATS:
    sys.exit(__doc__)
source, labels, target = map(Path, sys.argv[1:])
video = cotracker.open_video(source)
queries, names, individuals = read_labels(labels, video.shape[1])
tracks = cotracker.load_tracker()(video, queries)
tracks = replace(tracks, names=names, individuals=individuals)
write_tracks(target, tracks, FORMATS[target.suffix])
print(f"{target}: {', '.join(names or ())} in {video.shape[1]} frames")
