"""Arrays that stay in their file: shape and dtype are known, values are read on each request."""

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

# Numbers, bools, text, bytes, times and objects; no structures, which such data never has.
_DTYPE = re.compile(r"[<>=|]?([biufc]\d{1,2}|[SU]\d{1,9}|[mM]8|O8?)")


@dataclass(frozen=True)
class StoredBytes:
    """Bytes of a file: where they begin and how many they are."""

    path: Path
    offset: int
    length: int

    def read(self, start: int, stop: int) -> bytearray:
        """The bytes from `start` up to `stop`; ValueError if the file has become shorter."""
        data = bytearray(stop - start)
        with open(self.path, "rb") as file:
            file.seek(self.offset + start)
            if file.readinto(data) != len(data):
                raise ValueError(f"{self.path} was changed while it was read: start again")
        return data


def load_value(value):
    """A value of a pickle in memory: stored bytes and arrays in it are read, at any depth."""
    if isinstance(value, StoredBytes):
        return bytes(value.read(0, value.length))
    if isinstance(value, StoredArray):
        return value.read()
    if isinstance(value, dict):
        return {key: load_value(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(load_value(item) for item in value)
    return value


def read_npy_header(file: BinaryIO) -> tuple[tuple[int, ...], np.dtype]:
    """Shape and dtype of an npy file, which is then at its data; ValueError if it is none."""
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    else:
        shape, _, dtype = np.lib.format.read_array_header_2_0(file)
    return shape, dtype


class StoredDtype:
    """A numpy dtype as pickles describe it; `.dtype` is numpy's."""

    def __init__(self, code: str, align: bool = False, copy: bool = False):
        if not isinstance(code, str) or not _DTYPE.fullmatch(code):
            raise ValueError(f"no array has elements of type {code}")
        self.dtype = np.dtype(code)

    def set_state(self, version, order, subarray, names, fields, *sizes) -> None:
        """Sets the byte order; everything else follows from the code."""
        plain = subarray is None and names is None and fields is None
        if not plain or order not in ("<", ">", "|", "="):
            raise ValueError("the elements of an array are structures")
        if order != "|":
            self.dtype = self.dtype.newbyteorder(order)


class StoredArray:
    """An array of a pickle: `shape`, `dtype`, and its values from `read` or `read_rows`.

    Each reading is a new array.  objects: the items of an array of objects, else an empty list.
    """

    def __init__(self):
        self.shape = (0,)
        self.dtype = np.dtype("u1")
        self.objects: list = []
        self._fortran = False
        self._data: bytes | StoredBytes = b""

    def set_state(
        self,
        version,
        shape: tuple,
        dtype: StoredDtype,
        fortran: bool,
        data: bytes | StoredBytes | list,
    ) -> None:
        """Sets shape, dtype, order of axes and values; ValueError if they do not fit each other."""
        if not isinstance(dtype, StoredDtype) or not _is_shape(shape):
            raise ValueError("an array has no shape")
        is_list = isinstance(data, list)
        if dtype.dtype.hasobject != is_list:
            raise ValueError("an array's values are not of its type")
        length = data.length if isinstance(data, StoredBytes) else len(data)
        count = math.prod(shape)
        if length != (count if is_list else count * dtype.dtype.itemsize):
            raise ValueError(f"an array of shape {shape} has {length} bytes")
        self.shape = tuple(shape)
        self.dtype = dtype.dtype
        self._fortran = bool(fortran)
        if is_list:
            self.objects = data
        else:
            self._data = data

    def read(self) -> np.ndarray:
        """All values."""
        if self.dtype.hasobject:
            values = _object_array(self.objects)
        else:
            values = np.frombuffer(self._read_bytes(0, math.prod(self.shape)), self.dtype)
        return values.reshape(self.shape, order="F" if self._fortran else "C")

    def read_rows(self, start: int, stop: int) -> np.ndarray:
        """Values [start:stop] of the first axis; no others are read if their order allows it."""
        if self.dtype.hasobject and len(self.shape) == 1:
            return _object_array(self.objects[start:stop])
        if self.dtype.hasobject or self._fortran:
            return self.read()[start:stop]
        size = math.prod(self.shape[1:])
        values = np.frombuffer(self._read_bytes(start * size, stop * size), self.dtype)
        return values.reshape(stop - start, *self.shape[1:])

    def _read_bytes(self, start: int, stop: int) -> bytearray:
        """Those of the values from `start` up to `stop`, in the file's order."""
        first = start * self.dtype.itemsize
        last = stop * self.dtype.itemsize
        if isinstance(self._data, StoredBytes):
            return self._data.read(first, last)
        return bytearray(self._data[first:last])


def _is_shape(shape: tuple) -> bool:
    return all(type(side) is int and side >= 0 for side in shape)


def _object_array(items: list) -> np.ndarray:
    values = np.empty(len(items), object)
    for k, value in enumerate(items):
        values[k] = load_value(value)
    return values
