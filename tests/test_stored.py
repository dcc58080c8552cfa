"""Files of tensors and arrays that are damaged or claim too much: a ValueError, soon, in memory."""

import io
import pickle
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from cotracker import checkpoint
from cotracker.stored import ALWAYS, read_npz, read_tensors

HELD = {"a": torch.arange(6.0).reshape(2, 3), "b": [1, "text", None]}
TEXT = b"X\x01\x00\x00\x00a"  # pickle's "a"


def saved(value: object = HELD, **options) -> bytes:
    file = io.BytesIO()
    torch.save(value, file, **options)
    return file.getvalue()


def repacked(
    data: bytes, pickled: bytes | None = None, compress: int = zipfile.ZIP_STORED
) -> bytes:
    """The same zip file, with another pickle in it, or compressed."""
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(file, "w", compress) as new:
        for one in old.namelist():
            other = pickled is not None and one.endswith("data.pkl")
            new.writestr(one, b"\x80\x02" + pickled + b"." if other else old.read(one))
    return file.getvalue()


def flipped() -> bytes:
    data = bytearray(saved())
    data[data.index(HELD["a"].numpy().tobytes()) + 7] ^= 0x40
    return bytes(data)


def repeated() -> bytes:
    """A key that contains itself twice, sixty times over: its hash would never end."""
    twice = b")q\x00" + b"0h\x00h\x00\x86q\x00" * 60
    return repacked(saved(), b"}" + twice + b"K\x01s")


DAMAGED = {
    "a flipped bit": (flipped, "as its checksum says"),
    "cut": (lambda: saved()[:-200], "it is damaged, or holds code"),
    "compressed": (lambda: repacked(saved(), compress=zipfile.ZIP_DEFLATED), "are compressed"),
    "a tensor larger than its values": (
        lambda: saved({"a": torch.zeros(1).expand(10**5, 10**6)}),
        "larger than their values",
    ),
    "no values": (
        lambda: saved({"a": torch.zeros(3, device="meta")}),
        "sparse, quantised or without",
    ),
    "a deep key": (
        lambda: repacked(saved(), b"})" + b"\x85" * 200_000 + b"K\x01s"),
        "nested too deeply",
    ),
    "a key within itself": (repeated, "nested too deeply"),
    "a long pickle": (
        lambda: repacked(saved(), b"](" + b"N" * 600_000 + b"e"),
        "more than 500000 instructions",
    ),
    "nothing": (lambda: b"", "it is damaged, or holds code"),
    "cut, as once": (
        lambda: saved(_use_new_zipfile_serialization=False)[:-9],
        "it is damaged, or holds code",
    ),
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_files_of_tensors_that_are_damaged_are_refused(tmp_path, kind):
    make, words = DAMAGED[kind]
    path = tmp_path / "a.pth"
    path.write_bytes(make())
    with pytest.raises(ValueError, match=words):
        read_tensors(path)
    with pytest.raises(ValueError, match=f"a.pth cannot be read as tensors .*{words}"):
        checkpoint.load_state(path)


@pytest.mark.parametrize("zipped", [True, False])
def test_files_of_tensors_come_back(tmp_path, zipped):
    path = tmp_path / "a.pth"
    path.write_bytes(saved(_use_new_zipfile_serialization=zipped))
    read = read_tensors(path)
    assert torch.equal(read["a"], HELD["a"]) and read["b"] == HELD["b"]


def write_npz(path: Path, shape: tuple[int, ...], values: int) -> Path:
    """An npz file of one array of zeros: `shape` is claimed, so many bytes are there."""
    header = io.BytesIO()
    described = {"descr": "<f4", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(header, described)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        with file.open("xy.npy", "w") as opened:
            opened.write(header.getvalue())
            for _ in range(0, values, 2**20):
                opened.write(bytes(2**20))
    return path


def test_arrays_that_claim_too_much_are_refused(tmp_path):
    bomb = write_npz(tmp_path / "bomb.npz", (ALWAYS // 4 + 2**18,), ALWAYS + 2**20)
    with pytest.raises(ValueError, match="it claims to hold 0.3 GB"):
        read_npz(bomb)
    claim = write_npz(tmp_path / "claim.npz", (10**12, 500, 2), 2**20)
    with pytest.raises(ValueError, match="it is damaged, or no npz file"):
        read_npz(claim)
    wrong = {
        b"\x93NUMPY\x01\x00" + struct.pack("<H", 9000) + b"-" * 8998 + b"1\n": "or no npz file",
        b"\x93NUMPY\x02\x00" + b"\xff" * 40: "or no npz file",
        pickle.dumps([1]): "other files than arrays",
    }
    for data, words in wrong.items():
        with zipfile.ZipFile(tmp_path / "a.npz", "w") as file:
            file.writestr("xy.npy", data)
        with pytest.raises(ValueError, match=words):
            read_npz(tmp_path / "a.npz")
