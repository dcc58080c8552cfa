"""Whether a file is shorter than its container says: cut by a copy that stopped."""

import struct
from pathlib import Path
from typing import BinaryIO

_EBML, _SEGMENT = 0x1A45DFA3, 0x18538067  # IDs of Matroska's two outermost elements
_BOXES = (b"mdat", b"moov", b"moof")


def is_cut_short(path: Path, container: str) -> bool:
    """Whether the outermost parts of an mp4, Matroska, ogg, mxf or gif file go on after its end.

    container: libav's names of the format. False for every other.
    """
    length = path.stat().st_size
    with open(path, "rb") as file:
        if container.startswith("mov"):
            return _box_ends_after(file, length)
        if container.startswith("matroska"):
            return _segment_ends_after(file, length)
        if container == "ogg":
            return _page_ends_after(file, length)
        if container == "mxf":
            return _item_ends_after(file, length)
        if container == "gif":  # its last byte but for padding is the trailer
            file.seek(max(0, length - 64))
            return not file.read().rstrip(b"\0\r\n ").endswith(b";")
    return False


def _box_ends_after(file: BinaryIO, length: int) -> bool:
    place = 0
    while place + 8 <= length:
        file.seek(place)
        size, name = struct.unpack(">I4s", file.read(8))
        if size == 1:
            size = int.from_bytes(file.read(8), "big")
        elif size == 0:  # up to the end of the file
            return False
        if place + size > length:
            return name in _BOXES
        place += max(size, 8)
    return False


def _page_ends_after(file: BinaryIO, length: int) -> bool:
    """Of ogg, whose pages are at most 65,307 bytes."""
    file.seek(max(0, length - 2 * 65307))
    data = file.read()
    page = data[data.rfind(b"OggS") :]
    sizes = page[27 : 27 + page[26]] if len(page) > 26 else b""
    return len(page) < 27 or 27 + page[26] + sum(sizes) > len(page)


def _item_ends_after(file: BinaryIO, length: int) -> bool:
    """Of mxf, a row of keys of 16 bytes, lengths and values."""
    place = 0
    while place < length:
        file.seek(place + 16)
        first = (file.read(1) or b"\0")[0]
        digits = first & 0x7F if first & 0x80 else 0
        size = int.from_bytes(file.read(digits), "big") if digits else first
        place += 17 + digits + size
    return place > length


def _segment_ends_after(file: BinaryIO, length: int) -> bool:
    for wanted in (_EBML, _SEGMENT):
        if int.from_bytes(file.read(4), "big") != wanted:
            return False
        first = file.read(1)
        more = 8 - first[0].bit_length() if first and first[0] else 0
        digits = bytes([first[0] & (0x7F >> more)]) + file.read(more) if first else b"\0"
        size = int.from_bytes(digits, "big")
        if size == (1 << 7 * (more + 1)) - 1:  # unknown, as in a live recording
            return False
        end = file.tell() + size
        if wanted == _EBML:
            file.seek(end)
    return end > length
