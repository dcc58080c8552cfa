"""Turns published weights of CoTracker 1, 2 or 3 into a checkpoint of ours.

python scripts/convert_weights.py PUBLISHED.pth OUT.safetensors
No code in the file is run.  cotracker.load_tracker("PUBLISHED.pth") does the same in memory.
"""

import argparse
import sys
from pathlib import Path

from cotracker import checkpoint
from cotracker.model.published import LICENCE, TRAINED

NOTE = "the licence of the published repository; check it for your file before you use it"


def main(argv: list[str] | None = None) -> int:
    """Exit code 0; 2 after a sentence (and the tensors that differ) on stderr, nothing written."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("published", type=Path, help="such as scaled_offline.pth or cotracker_stride_4_wind_8.pth")
    add("out", type=Path, help="the checkpoint to write, such as checkpoints/v3.safetensors")
    untold = "of CoTracker 1, where the file's name does not say"
    add("--stride", type=int, help=f"pixels a cell {untold}")
    add("--window", type=int, help=f"frames a window {untold}")
    kinds = "how CoTracker 3 was trained, with real videos or without, where the name does not say"
    add("--trained", choices=TRAINED, help=kinds)
    try:
        arguments = parser.parse_args(argv)
        convert(**vars(arguments))
    except SystemExit as end:  # argparse: --help, or a wrong argument
        return int(end.code or 0)
    except OSError as error:
        place = error.filename or arguments.out
        print(f"convert_weights.py: {place}: {error.strerror or error}", file=sys.stderr)
        return 2
    except ValueError as error:
        print(f"convert_weights.py: {error}", file=sys.stderr)
        return 2
    return 0


def convert(
    published: Path, out: Path, stride: int | None, window: int | None, trained: str | None
) -> None:
    """Writes the checkpoint at `out` and prints what was taken and why, or ValueError."""
    if out.suffix != ".safetensors":
        raise ValueError(f"{out}: the checkpoint's name must end in .safetensors")
    if not published.is_file():
        raise ValueError(f"{published}: there is no such file: give the published .pth file")
    found = checkpoint.load_published(published, stride, window, trained)
    if found.card.get("trained", "") is None:
        raise ValueError(
            f"{published}: neither the weights nor the file's name tell how it was trained: "
            f"pass --trained {' or '.join(TRAINED)}"
        )
    card = checkpoint.save(out, found.model, found.card | {"licence_note": NOTE})
    print(found.why)
    millions = f"{card['parameters'] / 1e6:.1f} M parameters"
    print(f"wrote {out}: {millions}, weights sha256 {card['hash'][:12]}")
    print(f"the weights are under {LICENCE} as far as we know: check what came with your file")
    print(f'use: cotracker.load_tracker("{out}")')


if __name__ == "__main__":
    sys.exit(main())
