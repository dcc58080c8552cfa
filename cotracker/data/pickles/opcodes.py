"""A reader of pickles that knows plain containers and numpy's arrays and can call nothing else.

Why not `pickle.Unpickler` with a list of allowed names: it reads whole files into memory and keeps
nothing of a file that is cut short. This reader has the instructions that such data needs, of
protocols 2 to 5; names.py has the names that a pickle may ask for. A long string of bytes stays in
the file, so a pickle larger than the memory opens in a moment.

What a file claims is checked before memory is taken for it. Keys are strings or whole numbers,
nesting and the number of instructions are bounded, and no container appears twice.
"""

import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from cotracker.data.pickles.arrays import StoredArray, StoredBytes, StoredDtype
from cotracker.data.pickles.names import FUNCTIONS, GLOBALS, Global, UnsafePickle

LONG_STRING = 1024  # bytes, from which on a string stays in the file
MAX_INSTRUCTIONS = 2_000_000  # all of Kinetics takes a twentieth
KEY_TYPES = (str, int)
MAX_NESTING = 20  # containers within containers; TAP-Net's parameters have 4


class TruncatedPickle(Exception):
    """The file ends before the pickle does."""


class Unpickler:
    """Reads the pickle at the file's position.

    Raises UnsafePickle and TruncatedPickle; any other Exception means that the bytes are no pickle.
    """

    def __init__(self, file: BinaryIO, path: Path):
        self._file = file
        self._path = path
        self._size = os.fstat(file.fileno()).st_size
        self._stacks: list[list] = [[]]  # each MARK adds one
        self._memo: dict[int, object] = {}

    def load(self):
        """The value that was pickled; its arrays are StoredArrays."""
        for _ in range(MAX_INSTRUCTIONS):
            code = self.read(1)
            if code == b".":
                value = self.pop()
                _check_nesting(value)
                return value
            if code not in _INSTRUCTIONS:
                raise UnsafePickle(f"it holds the instruction {code!r}")
            _INSTRUCTIONS[code](self)
        raise UnsafePickle(f"it holds more than {MAX_INSTRUCTIONS} instructions")

    def salvage(self) -> dict | list | None:
        """After TruncatedPickle: what was read of the outermost container, or None without one.

        Its last entry may be incomplete.
        """
        outer, *inner = self._stacks
        if not outer or not isinstance(outer[0], (list, dict)):
            return None
        container = outer[0]
        items = inner[0] if inner else outer[1:]
        if isinstance(container, list):
            container.extend(items)
        else:
            pairs = zip(items[::2], items[1::2])
            container.update({key: value for key, value in pairs if type(key) in KEY_TYPES})
        _check_nesting(container)
        return container

    def read(self, count: int) -> bytes:
        if count > self._size - self._file.tell():
            raise TruncatedPickle
        return self._file.read(count)

    def read_number(self, form: str) -> int | float:
        """The next number, in struct's notation."""
        return struct.unpack(form, self.read(struct.calcsize(form)))[0]

    def read_string(self, count: int) -> bytes | StoredBytes:
        """The next bytes, or where they lie if they are many."""
        if count < LONG_STRING:
            return self.read(count)
        offset = self._file.tell()
        if count > self._size - offset:
            raise TruncatedPickle
        self._file.seek(count, os.SEEK_CUR)
        return StoredBytes(self._path, offset, count)

    def read_line(self) -> str:
        line = self._file.readline(200)
        if not line.endswith(b"\n"):
            raise TruncatedPickle
        return line[:-1].decode()

    def push(self, value) -> None:
        self._stacks[-1].append(value)

    def pop(self):
        return self._stacks[-1].pop()

    def pop_many(self, count: int) -> list:
        return [self.pop() for _ in range(count)][::-1]

    def top(self):
        return self._stacks[-1][-1]

    def mark(self) -> None:
        self._stacks.append([])

    def pop_mark(self) -> list:
        """The values above the last MARK."""
        if len(self._stacks) < 2:
            raise UnsafePickle("it closes what it never opened")
        return self._stacks.pop()

    def memoize(self, key: int | None = None) -> None:
        self._memo[len(self._memo) if key is None else key] = self.top()

    def push_memo(self, key: int) -> None:
        self.push(self._memo[key])

    def append(self, items: list) -> None:
        self._top_as(list).extend(items)

    def set_items(self, items: list) -> None:
        self._top_as(dict).update(_pair_items(items))

    def _top_as(self, kind: type):
        found = type(self.top())
        if found is not kind:
            raise UnsafePickle(f"it fills a {found.__name__} as if it were a {kind.__name__}")
        return self.top()

    def push_global(self, module: str, name: str) -> None:
        """Pushes what stands for a name of numpy's."""
        if (module, name) not in GLOBALS:
            raise UnsafePickle(f"it asks for {module}.{name}")
        self.push(GLOBALS[module, name])

    def reduce(self) -> None:
        """Calls one of FUNCTIONS; a pickle can call nothing else."""
        function, arguments = self.pop_many(2)
        known = isinstance(function, Global) and function.name in FUNCTIONS
        if not known or not isinstance(arguments, tuple):
            raise UnsafePickle(f"it calls a {type(function).__name__}")
        self.push(FUNCTIONS[function.name](*arguments))

    def build(self) -> None:
        """Sets the state of an array or a dtype; nothing else has any."""
        state = self.pop()
        target = self.top()
        if not isinstance(target, (StoredDtype, StoredArray)) or not isinstance(state, tuple):
            raise UnsafePickle(f"it sets the state of a {type(target).__name__}")
        target.set_state(*state)


def _pair_items(items: list) -> dict:
    """The dict of alternating keys and values. Other keys would have to be hashed, at any depth."""
    for key in items[::2]:
        if type(key) not in KEY_TYPES:
            raise UnsafePickle(f"a key of a dict is a {type(key).__name__}")
    return dict(zip(items[::2], items[1::2], strict=True))


def _check_nesting(value) -> None:
    """UnsafePickle unless the containers in `value` form a tree of at most MAX_NESTING levels."""
    todo = [(value, 0)]
    seen = set()
    while todo:
        value, depth = todo.pop()
        items = _items_of(value)
        if not items:
            continue
        if depth > MAX_NESTING or id(value) in seen:
            raise UnsafePickle("its containers are nested too deeply or within each other")
        seen.add(id(value))
        todo += [(item, depth + 1) for item in items]


def _items_of(value) -> list | tuple:
    if isinstance(value, dict):
        return list(value.values())
    if isinstance(value, StoredArray):
        return value.objects
    return value if isinstance(value, (list, tuple)) else ()


_INSTRUCTIONS: dict[bytes, Callable[[Unpickler], object]] = {
    b"\x80": lambda m: m.read(1),  # which protocol
    b"\x95": lambda m: m.read(8),  # a frame, which says how far to read ahead
    b"\x98": lambda m: None,  # the bytes before are read-only
    b"(": Unpickler.mark,
    b"0": Unpickler.pop,
    b"N": lambda m: m.push(None),
    b"\x88": lambda m: m.push(True),
    b"\x89": lambda m: m.push(False),
    b"J": lambda m: m.push(m.read_number("<i")),
    b"K": lambda m: m.push(m.read_number("B")),
    b"M": lambda m: m.push(m.read_number("<H")),
    b"\x8a": lambda m: m.push(int.from_bytes(m.read(m.read_number("B")), "little", signed=True)),
    b"G": lambda m: m.push(m.read_number(">d")),
    b"C": lambda m: m.push(m.read_string(m.read_number("B"))),
    b"B": lambda m: m.push(m.read_string(m.read_number("<I"))),
    b"\x8e": lambda m: m.push(m.read_string(m.read_number("<Q"))),
    b"\x96": lambda m: m.push(m.read_string(m.read_number("<Q"))),  # bytearray
    b"\x8c": lambda m: m.push(m.read(m.read_number("B")).decode()),
    b"X": lambda m: m.push(m.read(m.read_number("<I")).decode("utf-8", "surrogatepass")),
    b"]": lambda m: m.push([]),
    b"}": lambda m: m.push({}),
    b")": lambda m: m.push(()),
    b"\x85": lambda m: m.push(tuple(m.pop_many(1))),
    b"\x86": lambda m: m.push(tuple(m.pop_many(2))),
    b"\x87": lambda m: m.push(tuple(m.pop_many(3))),
    b"t": lambda m: m.push(tuple(m.pop_mark())),
    b"a": lambda m: m.append(m.pop_many(1)),
    b"e": lambda m: m.append(m.pop_mark()),
    b"s": lambda m: m.set_items(m.pop_many(2)),
    b"u": lambda m: m.set_items(m.pop_mark()),
    b"q": lambda m: m.memoize(m.read_number("B")),
    b"r": lambda m: m.memoize(m.read_number("<I")),
    b"\x94": Unpickler.memoize,
    b"h": lambda m: m.push_memo(m.read_number("B")),
    b"j": lambda m: m.push_memo(m.read_number("<I")),
    b"c": lambda m: m.push_global(m.read_line(), m.read_line()),
    b"\x93": lambda m: m.push_global(*m.pop_many(2)),
    b"R": Unpickler.reduce,
    b"b": Unpickler.build,
}
