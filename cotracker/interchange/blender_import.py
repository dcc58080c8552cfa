"""Run by Blender: adds the tracks of a csv that CoTracker exported to a movie clip.

    blender --python NAME_import.py -- [VIDEO]

VIDEO is the clip's file, or its first picture; without it the clip that is open takes the tracks.
"""

import csv
import sys
from pathlib import Path

import bpy


def find_clip(words: list[str]):
    """The movie clip of the file that the command names, or else the one that is open."""
    if words:
        return bpy.data.movieclips.load(str(Path(words[0]).resolve()))
    if not bpy.data.movieclips:
        raise SystemExit("open a movie clip first, or name its file after --")
    return bpy.data.movieclips[0]


def add_tracks(clip, path: Path) -> int:
    """The number of tracks added to the clip's tracking data."""
    with open(path, newline="", encoding="utf-8") as file:
        rows = [row for row in csv.reader(file) if not row[0].startswith("#")][1:]
    tracks = {}
    for name, frame, x, y, disabled in rows:
        place, number = (float(x), float(y)), int(frame)
        if name not in tracks:
            tracks[name] = clip.tracking.tracks.new(name=name, frame=number)
        marker = tracks[name].markers.insert_frame(number, co=place)
        marker.mute = disabled == "1"
    return len(tracks)


words = sys.argv[sys.argv.index("--") + 1 :] if "--" in sys.argv else []
table = Path(__file__).with_name(Path(__file__).stem.removesuffix("_import") + ".csv")
clip = find_clip(words)
print(f"{add_tracks(clip, table)} tracks added to {clip.name}")
