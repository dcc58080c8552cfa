"""A reader of pickles that knows plain containers and numpy's arrays, and can find, make and call nothing else.

It is a machine of its own, not Python's: of the instructions of protocols 2 to 5 it has those that such data needs, of
all names it knows ten, and these stand for functions of this file. A long string of bytes is not read, only its
place in the file is kept, so that a pickle larger than the memory is gone through in a moment.
"""

import os
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from cotracker.data.pickles.arrays import ElementType, Stored, StoredArray

_LONG = 1024  # bytes, from which on a string is left in the file
_NDARRAY = "ndarray"  # stands for numpy's class: an array can be of no other


class Refused(Exception):
    """The pickle asks for what plain data does not need."""


class CutShort(Exception):
    """The file ends before the pickle does."""


@dataclass(frozen=True)
class _Name:
    """What a pickle may find, under its short name."""

    short: str


class Machine:
    """Goes through the pickle at the file's place; `run()` gives its value, in which arrays are StoredArrays.

    Refused, CutShort: as they say; any other Exception: the bytes are no pickle.
    """

    def __init__(self, file: BinaryIO, path: Path):
        self._file, self._path, self._size = file, path, os.fstat(file.fileno()).st_size
        self._stacks: list[list] = [[]]  # one more from each MARK on
        self._memo: dict[int, object] = {}

    def run(self):
        """The value that was pickled."""
        while (code := self.take(1)) != b".":
            if code not in _DO:
                raise Refused(f"it holds the instruction {code!r}")
            _DO[code](self)
        return self.pop()

    def salvaged(self):
        """After CutShort: the outermost list or dict with what had been read of it; the last entry may be a torso."""
        outer, *inner = self._stacks
        if not outer or not isinstance(outer[0], (list, dict)):
            return None
        items = inner[0] if inner else outer[1:]
        if isinstance(outer[0], list):
            return [*outer[0], *items]
        return outer[0] | {
            key: value for key, value in zip(items[::2], items[1::2]) if isinstance(key, str)
        }

    def take(self, count: int) -> bytes:
        """The next bytes."""
        if count > self._size - self._file.tell():
            raise CutShort
        return self._file.read(count)

    def number(self, form: str) -> int | float:
        """The next number, in struct's notation."""
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def string(self, count: int) -> bytes | Stored:
        """The next bytes, or their place where they are many."""
        if count < _LONG:
            return self.take(count)
        place = self._file.tell()
        if count > self._size - place:
            raise CutShort
        self._file.seek(count, os.SEEK_CUR)
        return Stored(self._path, place, count)

    def line(self) -> str:
        """The next line of text."""
        line = self._file.readline(200)
        if not line.endswith(b"\n"):
            raise CutShort
        return line[:-1].decode()

    def push(self, value) -> None:
        self._stacks[-1].append(value)

    def pop(self):
        return self._stacks[-1].pop()

    def top(self):
        return self._stacks[-1][-1]

    def mark(self) -> None:
        self._stacks.append([])

    def since_mark(self) -> list:
        if len(self._stacks) < 2:
            raise Refused("it closes what it never opened")
        return self._stacks.pop()

    def several(self, count: int) -> list:
        """The last values, no longer on the stack."""
        return [self.pop() for _ in range(count)][::-1]

    def keep(self, number: int | None = None) -> None:
        self._memo[len(self._memo) if number is None else number] = self.top()

    def recall(self, number: int) -> None:
        self.push(self._memo[number])

    def extend(self, items: list) -> None:
        self._open(list).extend(items)

    def set_items(self, items: list) -> None:
        self._open(dict).update(zip(items[::2], items[1::2]))

    def _open(self, kind: type):
        if type(self.top()) is not kind:
            raise Refused(f"it fills a {type(self.top()).__name__} as if it were a {kind.__name__}")
        return self.top()

    def find(self, module: str, name: str) -> None:
        """Pushes what stands for a name of numpy's."""
        short = _KNOWN.get((module, name))
        if short is None:
            raise Refused(f"it asks for {module}.{name}")
        self.push(short)

    def call(self) -> None:
        """What is called can only be one of six functions here."""
        function, given = self.several(2)
        if (
            not isinstance(function, _Name)
            or function.short not in _CALLED
            or not isinstance(given, tuple)
        ):
            raise Refused(f"it calls a {type(function).__name__}")
        self.push(_CALLED[function.short](*given))

    def fill(self) -> None:
        """An array or an element type receives its state; nothing else has any."""
        state = self.pop()
        if not isinstance(self.top(), (ElementType, StoredArray)) or not isinstance(state, tuple):
            raise Refused(f"it sets the state of a {type(self.top()).__name__}")
        self.top().fill(*state)


def _reconstruct(kind, shape, code) -> StoredArray:
    if kind != _Name(_NDARRAY):
        raise Refused("it makes an array that is not numpy's own")
    return StoredArray()


def _scalar(element: ElementType, data: bytes) -> np.generic:
    return np.frombuffer(data, element.dtype)[0]


def _frombuffer(
    data: bytes | Stored, element: ElementType, shape: tuple, order: str
) -> StoredArray:
    array = StoredArray()
    array.fill(1, shape, element, order == "F", data)
    return array


def _encode(text: str, encoding: str) -> bytes:
    """How protocol 2 writes bytes."""
    if encoding != "latin1":
        raise Refused(f"it encodes as {encoding}")
    return text.encode("latin1")


def _no_bytes() -> bytes:
    """How protocol 2 writes bytes where there are none."""
    return b""


# numpy 1 says numpy.core, numpy 2 numpy._core.
_KNOWN = {
    ("numpy", "ndarray"): _Name(_NDARRAY),
    ("numpy", "dtype"): _Name("dtype"),
    ("_codecs", "encode"): _Name("encode"),
    ("__builtin__", "bytes"): _Name("bytes"),
}
for _core in ("numpy.core", "numpy._core"):
    _KNOWN |= {(f"{_core}.multiarray", name): _Name(name) for name in ("_reconstruct", "scalar")}
    _KNOWN |= {(f"{_core}.numeric", "_frombuffer"): _Name("_frombuffer")}
_CALLED = {
    "dtype": ElementType,
    "_reconstruct": _reconstruct,
    "scalar": _scalar,
    "_frombuffer": _frombuffer,
    "encode": _encode,
    "bytes": _no_bytes,
}

_DO: dict[bytes, Callable[[Machine], object]] = {
    b"\x80": lambda m: m.take(1),  # which protocol
    b"\x95": lambda m: m.take(8),  # a frame, which says how far to read ahead
    b"\x98": lambda m: None,  # the bytes before are to be read-only
    b"(": Machine.mark,
    b"0": lambda m: m.pop(),
    b"1": lambda m: m.since_mark(),
    b"2": lambda m: m.push(m.top()),
    b"N": lambda m: m.push(None),
    b"\x88": lambda m: m.push(True),
    b"\x89": lambda m: m.push(False),
    b"J": lambda m: m.push(m.number("<i")),
    b"K": lambda m: m.push(m.number("B")),
    b"M": lambda m: m.push(m.number("<H")),
    b"\x8a": lambda m: m.push(int.from_bytes(m.take(m.number("B")), "little", signed=True)),
    b"G": lambda m: m.push(m.number(">d")),
    b"C": lambda m: m.push(m.string(m.number("B"))),
    b"B": lambda m: m.push(m.string(m.number("<I"))),
    b"\x8e": lambda m: m.push(m.string(m.number("<Q"))),
    b"\x96": lambda m: m.push(m.string(m.number("<Q"))),  # bytearray
    b"\x8c": lambda m: m.push(m.take(m.number("B")).decode()),
    b"X": lambda m: m.push(m.take(m.number("<I")).decode("utf-8", "surrogatepass")),
    b"\x8d": lambda m: m.push(m.take(m.number("<Q")).decode("utf-8", "surrogatepass")),
    b"]": lambda m: m.push([]),
    b"}": lambda m: m.push({}),
    b")": lambda m: m.push(()),
    b"\x85": lambda m: m.push(tuple(m.several(1))),
    b"\x86": lambda m: m.push(tuple(m.several(2))),
    b"\x87": lambda m: m.push(tuple(m.several(3))),
    b"t": lambda m: m.push(tuple(m.since_mark())),
    b"l": lambda m: m.push(m.since_mark()),
    b"a": lambda m: m.extend(m.several(1)),
    b"e": lambda m: m.extend(m.since_mark()),
    b"s": lambda m: m.set_items(m.several(2)),
    b"u": lambda m: m.set_items(m.since_mark()),
    b"q": lambda m: m.keep(m.number("B")),
    b"r": lambda m: m.keep(m.number("<I")),
    b"\x94": Machine.keep,
    b"h": lambda m: m.recall(m.number("B")),
    b"j": lambda m: m.recall(m.number("<I")),
    b"c": lambda m: m.find(m.line(), m.line()),
    b"\x93": lambda m: m.find(*m.several(2)),
    b"R": Machine.call,
    b"b": Machine.fill,
}
