"""The names that a pickle may ask for, and the six functions that they stand for."""

from dataclasses import dataclass

import numpy as np

from cotracker.data.pickles.arrays import StoredArray, StoredBytes, StoredDtype


class UnsafePickle(Exception):
    """The pickle asks for what plain data does not need."""


@dataclass(frozen=True)
class Global:
    """A name that a pickle may ask for, without its module."""

    name: str


def _reconstruct(kind, shape, code) -> StoredArray:
    if kind != Global("ndarray"):
        raise UnsafePickle("it makes an array that is not numpy's own")
    return StoredArray()


def _scalar(dtype: StoredDtype, data: bytes) -> np.generic:
    return np.frombuffer(data, dtype.dtype)[0]


def _frombuffer(data: bytes | StoredBytes, dtype: StoredDtype, shape: tuple, order: str):
    array = StoredArray()
    array.set_state(1, shape, dtype, order == "F", data)
    return array


def _encode(text: str, encoding: str) -> bytes:
    """How protocol 2 writes bytes."""
    if encoding != "latin1":
        raise UnsafePickle(f"it encodes as {encoding}")
    return text.encode("latin1")


# numpy 1 writes numpy.core, numpy 2 numpy._core.
GLOBALS = {
    ("numpy", "ndarray"): Global("ndarray"),
    ("numpy", "dtype"): Global("dtype"),
    ("_codecs", "encode"): Global("encode"),
    ("__builtin__", "bytes"): Global("bytes"),  # how protocol 2 writes no bytes
}
for _core in ("numpy.core", "numpy._core"):
    GLOBALS[f"{_core}.multiarray", "_reconstruct"] = Global("_reconstruct")
    GLOBALS[f"{_core}.multiarray", "scalar"] = Global("scalar")
    GLOBALS[f"{_core}.numeric", "_frombuffer"] = Global("_frombuffer")
FUNCTIONS = {
    "dtype": StoredDtype,
    "_reconstruct": _reconstruct,
    "scalar": _scalar,
    "_frombuffer": _frombuffer,
    "encode": _encode,
    "bytes": lambda: b"",
}
