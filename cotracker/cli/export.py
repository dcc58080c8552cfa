"""`cotracker export`: tracks written for other programs."""

import argparse
from pathlib import Path

from cotracker.cli import arguments as kinds
from cotracker.interchange import FORMATS, read_tracks, write_tracks


def add_to(commands) -> None:
    """Adds `export` to the subparsers of the command line."""
    text = "write tracks for DeepLabCut, SLEAP, Blender, COLMAP and other programs"
    command = commands.add_parser("export", help=text)
    command.set_defaults(run=export)
    add = command.add_argument
    names = ", ".join(FORMATS)
    add("tracks", type=Path, metavar="TRACKS", help="tracks.npz, or a file of another format")
    add("--to", required=True, choices=FORMATS, metavar="FORMAT", help=f"one of {names}")
    add("--from", dest="kind", choices=FORMATS, metavar="FORMAT", help="default: as the file says")
    add("--out", type=Path, metavar="FILE", help="default: beside TRACKS, with the format's ending")


def export(arguments: argparse.Namespace) -> None:
    """Writes the tracks of one file in another format."""
    source, ending = arguments.tracks, FORMATS[arguments.to].suffix
    out = arguments.out or source.with_name(source.stem + ending)
    if out.exists() and source.exists() and out.samefile(source):
        raise ValueError(f"{out} is the file to read: choose another --out")
    tracks = read_tracks(source, arguments.kind)
    write_tracks(out, tracks, arguments.to)
    frames, points = tracks.visible.shape[1:]
    what = f"{kinds.count_words(points, 'point')} in {kinds.count_words(frames, 'frame')}"
    print(f"wrote {out} for {arguments.to}: {what}")
