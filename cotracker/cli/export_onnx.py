"""`cotracker export-onnx`: the network of a checkpoint as two graphs for onnxruntime."""

import argparse
from pathlib import Path

from cotracker import checkpoint
from cotracker.cli import arguments as kinds
from cotracker.interchange.onnx_graphs import OPSET, export_onnx


def add_to(commands) -> None:
    """Adds `export-onnx` to the subparsers of the command line."""
    command = commands.add_parser("export-onnx", help="write a checkpoint as ONNX graphs")
    command.set_defaults(run=run)
    add = command.add_argument
    add("checkpoint", metavar="CHECKPOINT", help="a file, or the name of one in checkpoints/")
    add("out", type=Path, metavar="DIR", help="where encode.onnx, refine.onnx and about.json go")
    add("--resolution", type=kinds.parse_size, default=(384, 512), metavar="HxW",
        help="the frames' size (default: 384x512)")  # fmt: skip
    add("--iters", type=kinds.parse_positive, default=6, metavar="M",
        help="refinement iterations of each window (default: 6)")  # fmt: skip


def run(arguments: argparse.Namespace) -> None:
    """Writes the graphs, and prints how far they are from PyTorch."""
    path = checkpoint.find(arguments.checkpoint)
    model, card = checkpoint.load(path)
    size = tuple(arguments.resolution)
    report = export_onnx(model, arguments.out, size, arguments.iters, card)
    print(f"wrote encode.onnx, refine.onnx (opset {OPSET}) and about.json to {arguments.out}")
    for points, one in report.items():
        worst = max(one, key=one.get)
        print(f"  {points} points: differs from PyTorch by {one[worst]:.1e} at most, in {worst}")
