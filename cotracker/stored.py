"""Arrays and tensors out of files, whose claims are checked before memory is taken for them.

No code of a file is run. What these functions raise is a ValueError that does not name the file:
the caller knows what the file is for.
"""

import math
import os
import pickletools
import zipfile
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from torch import Tensor

ALWAYS = 2**28  # bytes of arrays that any npz may hold
RATIO = 100  # times its own size, the most that a larger npz may hold
MOST_IN_A_TUPLE = 10_000  # values within a pickled tuple: each hash of a key visits them all
MAX_INSTRUCTIONS = 500_000  # of a pickle; states have some thousands
LEGACY_PICKLES = 5  # at the beginning of a file of torch.save before 1.6
CALLS = ("REDUCE", "NEWOBJ")  # their value may hold their arguments


class Refused(ValueError):
    """A file claims, or holds, what no file of this kind does."""


def read_npz(path: str | Path) -> dict[str, np.ndarray]:
    """The arrays of an npz file by name. FileNotFoundError; ValueError: damaged, or no such file.

    Files of which the arrays would take more than ALWAYS and RATIO allow are refused.
    """
    _check_special(path)
    try:
        with open(path, "rb") as opened, np.load(opened, allow_pickle=False) as stored:
            claimed = sum(one.file_size for one in stored.zip.infolist())
            if claimed > max(ALWAYS, RATIO * os.path.getsize(path)):
                raise Refused(f"it claims to hold {claimed / 1e9:.1f} GB")
            arrays = {name: stored[name] for name in stored.files}
        if not all(isinstance(one, np.ndarray) for one in arrays.values()):
            raise Refused("it holds other files than arrays")
        return arrays
    except (FileNotFoundError, Refused):
        raise
    except Exception as error:  # numpy raises many kinds, and advises to run the file's code
        raise ValueError("it is damaged, or no npz file") from error


def read_tensors(path: str | Path) -> object:
    """What torch.save wrote: dicts, lists, plain values and tensors in memory of their own.

    ValueError: the file is missing, damaged, as the checksums of its zip file say, or holds code,
    tensors larger than itself, or others than plain ones.
    """
    _check_file(path)
    try:
        value = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds, and advises to run the file's code
        raise ValueError("it is damaged, or holds code") from error
    _check_tensors(value)
    return value


def _check_special(path: str | Path) -> None:
    if os.path.exists(path) and not os.path.isfile(path):
        raise ValueError("it is a pipe, a device or a folder")


def _check_file(path: str | Path) -> None:
    """ValueError where the records of a file are damaged or claim more than it has."""
    _check_special(path)
    try:
        with open(path, "rb") as file:
            if zipfile.is_zipfile(file):
                _check_zip(file)
                return
            file.seek(0)
            for _ in range(LEGACY_PICKLES):
                _check_pickle(file)
    except Refused:
        raise
    except Exception as error:  # zipfile and pickletools raise many kinds
        raise ValueError("it is damaged, or holds code") from error


def _check_zip(file: BinaryIO) -> None:
    with zipfile.ZipFile(file) as stored:
        records = stored.infolist()
        if any(one.compress_type != zipfile.ZIP_STORED for one in records):
            raise Refused("its records are compressed, which torch.save does not do")
        if sum(one.file_size for one in records) > os.fstat(file.fileno()).st_size:
            raise Refused("it claims to hold more than its size")
        if stored.testzip() is not None:
            raise Refused("it is damaged, as its checksum says")
        for one in records:
            if one.filename.endswith("data.pkl"):
                with stored.open(one) as pickled:
                    _check_pickle(pickled)


def _check_pickle(file: BinaryIO) -> None:
    """ValueError where a tuple of the pickle at the file's position is deep or repeats itself.

    The instructions are followed without running one; a value stands for how many it contains.
    """
    stack: list[int | None] = []  # None is a mark
    memo: dict[int, int] = {}
    for count, (code, argument, _) in enumerate(pickletools.genops(file)):
        if count > MAX_INSTRUCTIONS:
            raise Refused(f"it holds more than {MAX_INSTRUCTIONS} instructions")
        if code.name in ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"):
            memo[len(memo) if argument is None else argument] = stack[-1]
        elif code.name in ("GET", "BINGET", "LONG_BINGET"):
            stack.append(memo[argument])
        elif code.name == "MARK":
            stack.append(None)
        else:
            taken = _take(stack, code.stack_before)
            nested = "TUPLE" in code.name or code.name in CALLS
            inside = 1 + sum(taken) if nested else 1
            if inside > MOST_IN_A_TUPLE:
                raise Refused("its tuples are nested too deeply")
            stack += [inside] * len(code.stack_after)


def _take(stack: list[int | None], before: list) -> list[int]:
    """What an instruction takes off the stack: so many values, or all down to the last mark."""
    if pickletools.markobject not in before:
        count = len(before)
        if count > len(stack):
            raise Refused("its pickle is damaged")
        taken = stack[len(stack) - count :]
        del stack[len(stack) - count :]
        return [one or 1 for one in taken]
    taken = []
    while (one := stack.pop()) is not None:
        taken.append(one)
    for _ in range(before.index(pickletools.markobject)):
        stack.pop()  # the container that is filled
    return taken


def _check_tensors(value: object) -> None:
    """ValueError where a tensor within is none of plain numbers, or larger than what it stores."""
    todo, seen = [value], set()
    while todo:
        one = todo.pop()
        if isinstance(one, Tensor):
            _check_tensor(one)
        elif isinstance(one, (dict, list, tuple)) and id(one) not in seen:
            seen.add(id(one))
            todo += one.values() if isinstance(one, dict) else one


def _check_tensor(one: Tensor) -> None:
    plain = one.layout == torch.strided and one.device.type == "cpu" and not one.is_quantized
    if not plain:
        raise ValueError("it holds tensors that are sparse, quantised or without values")
    if math.prod(one.shape) * one.element_size() > one.untyped_storage().nbytes():
        raise ValueError("it holds tensors that are larger than their values")
