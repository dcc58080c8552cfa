"""HDF5 files, looked through by a process of its own before ours reads them.

The library of HDF5 goes on for ever, or ends the whole process, where some bytes of a file are
damaged, and takes the memory that a file claims to need. A process can be ended.
"""

import os
import subprocess
import sys
from pathlib import Path

SECONDS = 10  # that a file may take
BYTES_A_SECOND = 20e6  # and what it may take beyond
ALWAYS = 2**28  # bytes of arrays that any file may hold
RATIO = 100  # times its own size, the most that a larger file may hold


def check_hdf5(path: Path) -> None:
    """Nothing where all that the file holds can be read; else a ValueError that names it."""
    if not path.is_file():
        raise ValueError(f"{path} does not exist, or is no file")
    limit = SECONDS + os.path.getsize(path) / BYTES_A_SECOND
    try:
        done = subprocess.run(
            [sys.executable, __file__, str(path)], capture_output=True, text=True, timeout=limit
        )
    except subprocess.TimeoutExpired:
        raise ValueError(f"{path} is damaged, its reading has no end: make it again") from None
    if done.returncode:
        said = (done.stderr.splitlines() or ["reading it ends the program"])[-1]
        raise ValueError(f"{path} is damaged, or no HDF5 file ({said}): make it again")


def _read_all(path: str) -> None:
    """Reads each attribute and each array of a file."""
    import h5py

    most = max(ALWAYS, RATIO * os.path.getsize(path))

    def read(name: str, item) -> None:
        dict(item.attrs)
        if isinstance(item, h5py.Dataset):
            if item.size is not None and item.size * item.dtype.itemsize > most:
                raise ValueError(f"{name} claims to be {item.dtype} {item.shape}")
            item[()]

    with h5py.File(path) as file:
        dict(file.attrs)
        file.visititems(read)


if __name__ == "__main__":
    _read_all(sys.argv[1])
