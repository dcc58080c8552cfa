"""The texts, numbers, tuples and lists of a small pickle, such as an attribute in an HDF5 file.

`pickletools` names the instructions without running one; here only those that such data needs
have a meaning, so that no code of a file is ever called.
"""

import pickletools

MARK = object()
VALUES = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG1", "FLOAT", "BINFLOAT"),
    *("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "STRING", "SHORT_BINSTRING", "BINSTRING"),
}
SIZES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
IGNORED = {"PROTO", "FRAME"}


def parse_plain_pickle(data: bytes) -> object:
    """The value of the pickle; ValueError where it holds anything but plain values."""
    stack: list = []
    memo: dict[int, object] = {}
    for code, argument, _ in pickletools.genops(data):
        name = code.name
        if name == "STOP":
            return stack.pop()
        if name in VALUES:
            stack.append(argument)
        elif name in ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"):
            memo[len(memo) if argument is None else argument] = stack[-1]
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            stack.append(memo[argument])
        elif name not in IGNORED:
            _build(name, stack)
    raise ValueError("the pickle has no end")


def _build(name: str, stack: list) -> None:
    """One instruction that makes or fills a container."""
    if name == "MARK":
        stack.append(MARK)
    elif name == "NONE":
        stack.append(None)
    elif name == "EMPTY_LIST":
        stack.append([])
    elif name == "LIST":
        stack.append(_pop_mark(stack))
    elif name == "TUPLE":
        stack.append(tuple(_pop_mark(stack)))
    elif name in SIZES:
        count = SIZES[name]
        items = tuple(stack[len(stack) - count :])
        del stack[len(stack) - count :]
        stack.append(items)
    elif name in ("APPEND", "APPENDS"):
        items = [stack.pop()] if name == "APPEND" else _pop_mark(stack)
        stack[-1].extend(items)
    else:
        raise ValueError(f"its pickle holds more than plain values ({name})")


def _pop_mark(stack: list) -> list:
    """The values above the last mark, which are taken off the stack."""
    start = max(k for k, value in enumerate(stack) if value is MARK)
    items = stack[start + 1 :]
    del stack[start:]
    return items
