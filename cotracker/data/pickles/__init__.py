"""Pickles of plain containers and numpy arrays, read without running what a pickle could run, and without haste."""

from pathlib import Path

import numpy as np

from cotracker.data.pickles.arrays import StoredArray, loaded
from cotracker.data.pickles.machine import CutShort, Machine, Refused


def load_npy_dict(path: str | Path) -> dict:
    """The dictionary that `np.save` pickled into the file, its values arrays, numbers and text; no code of it runs.

    ValueError, one sentence naming the file, where it is missing, cut short, of another kind or wants anything else.
    """
    try:
        with open(path, "rb") as file:
            version = np.lib.format.read_magic(file)
            read = (
                np.lib.format.read_array_header_1_0
                if version == (1, 0)
                else np.lib.format.read_array_header_2_0
            )
            shape, _, dtype = read(file)
            held = Machine(file, Path(path)).run() if dtype.hasobject and shape == () else None
        if isinstance(held, StoredArray) and held.shape == ():
            held = held.read().item()
        if isinstance(held, dict):
            held = {key: loaded(value) for key, value in held.items()}
    except FileNotFoundError:
        raise ValueError(
            f"{path} does not exist: each clip's folder holds its tracks under its own name"
        ) from None
    except Refused as error:
        raise ValueError(
            f"{path} is refused, as it holds more than arrays or is damaged ({error})"
        ) from error
    except Exception as error:  # bytes that are no pickle can raise anything
        raise ValueError(
            f"{path} cannot be read, it is cut short or no npy file: copy it again"
        ) from error
    if not isinstance(held, dict):
        raise ValueError(
            f"{path} holds no dictionary: it should be np.save of a dict with coords and visibility"
        )
    return held


def open_pickle(path: str | Path) -> tuple[dict | list, bool]:
    """What a pickle file holds, its arrays as StoredArrays that read themselves when asked; and whether it is whole.

    Of a file that is cut short, all that came before the cut, where the last entry may be incomplete.
    ValueError, one sentence naming the file: it is missing, no pickle, holds neither list nor dict, or asks for
    anything but plain values and numpy's arrays; no code of it runs.
    """
    path, whole = Path(path), True
    try:
        with open(path, "rb") as file:
            machine = Machine(file, path)
            try:
                held = machine.run()
            except CutShort:
                held, whole = machine.salvaged(), False
    except Refused as error:
        raise ValueError(
            f"{path} is refused, as it holds more than arrays or is damaged ({error})"
        ) from error
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror}): copy it again") from error
    except Exception as error:  # bytes that are no pickle can raise anything
        raise ValueError(f"{path} is damaged or no pickle of arrays: copy it again") from error
    if not isinstance(held, (dict, list)):
        raise ValueError(
            f"{path} holds neither a list nor a dict of videos: copy it again"
            if whole
            else _cut(path)
        )
    return held, whole


def _cut(path: Path) -> str:
    return f"{path} is cut short, before its first video ends: copy it again"
