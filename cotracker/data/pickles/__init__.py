"""Pickles of plain containers and numpy arrays, read lazily and without running any code."""

import math
from pathlib import Path

from cotracker.data.pickles.arrays import StoredArray, load_value, read_npy_header
from cotracker.data.pickles.names import UnsafePickle
from cotracker.data.pickles.opcodes import TruncatedPickle, Unpickler


def load_npy_dict(path: str | Path) -> dict:
    """The dictionary that `np.save` pickled into a file, with its arrays in memory.

    Values are arrays, numbers, text and further dictionaries. No code of the file runs.
    ValueError, one sentence naming the file: it is missing, cut short, of another kind, or unsafe.
    """
    try:
        value = _load_npy_object(Path(path))
    except FileNotFoundError:
        raise ValueError(
            f"{path} does not exist: each clip's folder holds its tracks under its own name"
        ) from None
    except UnsafePickle as error:
        raise ValueError(_describe_unsafe(path, error)) from error
    except Exception as error:  # bytes that are no pickle can raise anything
        raise ValueError(
            f"{path} cannot be read, it is cut short or no npy file: copy it again"
        ) from error
    if not isinstance(value, dict):
        raise ValueError(f"{path} holds no dictionary: it should be np.save of a dict of arrays")
    return value


def open_pickle(path: str | Path) -> tuple[dict | list, bool]:
    """The list or dict in a pickle file, with arrays as StoredArrays; and whether it is complete.

    Of a file that is cut short, all that came before; the last entry may be incomplete.
    ValueError, one sentence naming the file: it is missing, no pickle, holds neither list nor dict,
    or asks for anything but plain values and numpy's arrays. No code of the file runs.
    """
    path = Path(path)
    try:
        value, complete = _load_or_salvage(path)
    except UnsafePickle as error:
        raise ValueError(_describe_unsafe(path, error)) from error
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror}): copy it again") from error
    except Exception as error:  # bytes that are no pickle can raise anything
        raise ValueError(f"{path} is damaged or no pickle of arrays: copy it again") from error
    if isinstance(value, (dict, list)):
        return value, complete
    if complete:
        raise ValueError(f"{path} holds neither a list nor a dict of videos: copy it again")
    raise ValueError(f"{path} is cut short, before its first video ends: copy it again")


def _load_npy_object(path: Path):
    with open(path, "rb") as file:
        _, dtype = read_npy_header(file)
        value = Unpickler(file, path).load() if dtype.hasobject else None
    if isinstance(value, StoredArray) and math.prod(value.shape) == 1:
        value = value.read().item()
    return load_value(value)


def _load_or_salvage(path: Path) -> tuple[object, bool]:
    with open(path, "rb") as file:
        unpickler = Unpickler(file, path)
        try:
            return unpickler.load(), True
        except TruncatedPickle:
            return unpickler.salvage(), False


def _describe_unsafe(path: str | Path, error: UnsafePickle) -> str:
    return f"{path} is refused, as it holds more than arrays or is damaged ({error})"
