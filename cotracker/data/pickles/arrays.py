"""Arrays that still lie in their file: shape and type are known, values are read when asked, anew each time."""

import math
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

# Numbers, truth values, text, bytes, times and objects; no structures, which data read here never has.
_CODE = re.compile(r"[<>=|]?([biufc]\d{1,2}|[SU]\d{1,9}|[mM]8|O8?)")


@dataclass(frozen=True)
class Stored:
    """Bytes of a file: where they begin, and how many they are."""

    path: Path
    place: int
    length: int

    def read(self, start: int, stop: int) -> bytearray:
        """Those from `start` up to `stop`; ValueError where the file has become shorter."""
        held = bytearray(stop - start)
        with open(self.path, "rb") as file:
            file.seek(self.place + start)
            if file.readinto(held) != len(held):
                raise ValueError(f"{self.path} was changed while it was read: start again")
        return held


def loaded(value):
    """A value of a pickle as Python has it: bytes and arrays that still lie in the file are read."""
    if isinstance(value, Stored):
        return bytes(value.read(0, value.length))
    return value.read() if isinstance(value, StoredArray) else value


class ElementType:
    """A numpy dtype as pickles describe it; `.dtype` is numpy's."""

    def __init__(self, code: str, align: bool = False, copy: bool = False):
        if not isinstance(code, str) or not _CODE.fullmatch(code):
            raise ValueError(f"no array has elements of type {code}")
        self.dtype = np.dtype(code)

    def fill(self, version, order, subarray, names, fields, *sizes) -> None:
        """Sets the order of bytes; everything else follows from the code."""
        if (
            subarray is not None
            or names is not None
            or fields is not None
            or order not in ("<", ">", "|", "=")
        ):
            raise ValueError("the elements of an array are structures")
        self.dtype = self.dtype if order == "|" else self.dtype.newbyteorder(order)


class StoredArray:
    """An array of a pickle: `shape`, `dtype`, and its values from `read()` or `rows(start, stop)`, always a copy."""

    def __init__(self):
        self.shape, self.dtype, self._columns, self._data = (0,), np.dtype("u1"), False, b""

    def fill(
        self,
        version,
        shape: tuple,
        element: ElementType,
        columns: bool,
        data: bytes | Stored | list,
    ) -> None:
        """Sets shape, type, whether columns come first, and values. ValueError where these do not fit each other."""
        if not isinstance(element, ElementType) or not all(
            type(side) is int and side >= 0 for side in shape
        ):
            raise ValueError("an array has no shape")
        count, length = math.prod(shape), data.length if isinstance(data, Stored) else len(data)
        if element.dtype.hasobject != isinstance(data, list):
            raise ValueError("an array's values are not of its type")
        if length != (count if element.dtype.hasobject else count * element.dtype.itemsize):
            raise ValueError(f"an array of shape {shape} has {length} bytes")
        self.shape, self.dtype, self._columns, self._data = (
            tuple(shape),
            element.dtype,
            bool(columns),
            data,
        )

    def read(self) -> np.ndarray:
        """All values, in an array of one's own."""
        if isinstance(self._data, list):
            values = _objects(self._data)
        else:
            values = np.frombuffer(self._bytes(0, math.prod(self.shape)), self.dtype)
        return values.reshape(self.shape, order="F" if self._columns else "C")

    def rows(self, start: int, stop: int) -> np.ndarray:
        """Values [start:stop] of the first axis, which alone are read where the order in the file allows it."""
        if isinstance(self._data, list) and len(self.shape) == 1:
            return _objects(self._data[start:stop])
        if isinstance(self._data, list) or self._columns:
            return self.read()[start:stop]
        size = math.prod(self.shape[1:])
        return np.frombuffer(self._bytes(start * size, stop * size), self.dtype).reshape(
            stop - start, *self.shape[1:]
        )

    def _bytes(self, start: int, stop: int) -> bytearray:
        """Of the values from `start` up to `stop`, in the file's order."""
        start, stop = start * self.dtype.itemsize, stop * self.dtype.itemsize
        return (
            self._data.read(start, stop)
            if isinstance(self._data, Stored)
            else bytearray(self._data[start:stop])
        )


def _objects(items: list) -> np.ndarray:
    values = np.empty(len(items), object)
    for k, value in enumerate(items):
        values[k] = loaded(value)
    return values
