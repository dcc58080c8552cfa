"""Turns published CoTracker v1 weights into a checkpoint of ours; no code in the file is run.

python scripts/convert_weights.py PUBLISHED.pth OUT.safetensors [--stride 4] [--window 8]
"""

import argparse
import re
import sys
from pathlib import Path

import torch
from torch import Tensor

from cotracker import checkpoint

WRAPPED = (
    "model",
    "state_dict",
    "model_state_dict",
)  # keys under which training programs keep the weights
THRESHOLD = 0.9  # of visibility, in the published predictor and evaluation


def main(argv: list[str] | None = None) -> int:
    """Exit code 0; 2 after a sentence (and the keys that differ) on stderr, nothing written."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "published", type=Path, help="a v1 state dict, such as cotracker_stride_4_wind_8.pth"
    )
    parser.add_argument(
        "out", type=Path, help="the checkpoint to write, such as checkpoints/published.safetensors"
    )
    parser.add_argument(
        "--stride", type=int, help="pixels a cell, where the file's name does not say (default 4)"
    )
    parser.add_argument(
        "--window", type=int, help="frames a window, where the file's name does not say (default 8)"
    )
    try:
        arguments = parser.parse_args(argv)
        convert(arguments.published, arguments.out, arguments.stride, arguments.window)
    except SystemExit as end:  # argparse: --help, or a wrong argument
        return int(end.code or 0)
    except OSError as error:
        print(
            f"convert_weights.py: {error.filename or arguments.out}: {error.strerror or error}",
            file=sys.stderr,
        )
        return 2
    except ValueError as error:
        print(f"convert_weights.py: {error}", file=sys.stderr)
        return 2
    return 0


def convert(published: Path, out: Path, stride: int | None, window: int | None) -> None:
    """Writes the checkpoint at `out` and prints what was taken and why, or ValueError."""
    if out.suffix != ".safetensors":
        raise ValueError(f"{out}: the checkpoint's name must end in .safetensors")
    (stride, window), why = settings(published, stride, window)
    try:
        model = checkpoint.convert_published(read_state(published), stride, window)
    except ValueError as error:
        raise ValueError(f"{published}: {error}") from error
    card = {
        "source": published.name,
        "v1_compat": True,
        "threshold": THRESHOLD,
        "licence": "CC-BY-NC 4.0 (published weights)",
        "licence_note": "the licence of the published v1 repository; "
        "check it for your file before you use it",
    }
    card = checkpoint.save(out, model, card)
    print(f"stride {stride} and window {window}: {why}")
    millions = f"{card['parameters'] / 1e6:.1f} M parameters"
    print(f"wrote {out}: {millions}, weights sha256 {card['hash'][:12]}")
    print(
        "the weights are under CC-BY-NC 4.0 as far as we know: "
        "check the licence that came with your file"
    )
    print(f'use: cotracker.load_tracker("{out}")')


def settings(
    published: Path, stride: int | None, window: int | None
) -> tuple[tuple[int, int], str]:
    """(stride, window) and why: by a name such as cotracker_stride_8_wind_16.pth, else options."""
    named = re.search(r"stride_(\d+)_wind_(\d+)", published.name)
    if not named:
        chosen = [
            f"--{name} {value}" if value is not None else f"{name} by default"
            for name, value in (("stride", stride), ("window", window))
        ]
        return (
            stride or 4,
            window or 8,
        ), f"from {', '.join(chosen)}; the file's name does not say, nor do the weights"
    found = int(named[1]), int(named[2])
    why = f"from the file's name, {published.name}"
    unused = [
        f"--{n} {v}"
        for n, v, f in (("stride", stride, found[0]), ("window", window, found[1]))
        if v not in (None, f)
    ]
    return found, why + (
        f" (not from {' '.join(unused)}: rename the file if its name is wrong)" if unused else ""
    )


def read_state(path: Path) -> dict[str, Tensor]:
    """The state dict in `path`, unwrapped; code in the file is refused, not run."""
    if not path.is_file():
        raise ValueError("there is no such file: give the published .pth file")
    try:
        state = checkpoint.load_state(path)
    except ValueError as error:
        raise ValueError(str(error).removeprefix(f"{path} ")) from error  # main names the file
    for key in WRAPPED:
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
            break
    if (
        not isinstance(state, dict)
        or not state
        or not all(isinstance(value, Tensor) for value in state.values())
    ):
        raise ValueError(f"holds no state dict, neither at its top nor under {', '.join(WRAPPED)}")
    if not all(torch.isfinite(value).all() for value in state.values()):
        raise ValueError("some weights are NaN or infinite: the file is damaged")
    return state


if __name__ == "__main__":
    sys.exit(main())
