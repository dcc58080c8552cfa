"""Pickles of numpy arrays, read without running what a pickle could run."""

import pickle
from pathlib import Path

import numpy as np

# What arrays, dtypes and scalars are made of, in numpy 1 (numpy.core) and numpy 2 (numpy._core).
_CORES = ("numpy.core", "numpy._core")
_ALLOWED = {("numpy", "ndarray"), ("numpy", "dtype")}
_ALLOWED |= {(f"{core}.multiarray", name) for core in _CORES for name in ("_reconstruct", "scalar")}
_ALLOWED |= {(f"{core}.numeric", "_frombuffer") for core in _CORES}


class _OnlyArrays(pickle.Unpickler):
    """Finds numpy's own makers of arrays and nothing else: a pickle can only call what it can find."""

    def find_class(self, module: str, name: str):
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


def load_npy_dict(path: str | Path) -> dict:
    """The dictionary that `np.save` pickled into the file, its values arrays, numbers and text; no code of it runs.

    ValueError, one sentence naming the file, where it is missing, cut short, of another kind or wants anything else.
    """
    try:
        with open(path, "rb") as file:
            version = np.lib.format.read_magic(file)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, _, dtype = read(file)
            held = _OnlyArrays(file).load() if dtype.hasobject and shape == () else None
    except FileNotFoundError:
        raise ValueError(f"{path} does not exist: each clip's folder holds its tracks under its own name") from None
    except pickle.UnpicklingError as error:
        raise ValueError(f"{path} is refused, as it holds more than arrays or is damaged ({error})") from error
    except Exception as error:  # bytes that are no pickle can raise anything
        raise ValueError(f"{path} cannot be read, it is cut short or no npy file: copy it again") from error
    if isinstance(held, np.ndarray) and held.shape == ():
        held = held.item()
    if not isinstance(held, dict):
        raise ValueError(f"{path} holds no dictionary: it should be np.save of a dict with coords and visibility")
    return held
