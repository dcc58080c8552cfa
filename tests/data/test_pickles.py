"""The one unpickler: data of every kind comes back, whatever would call something is refused."""

import os
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
from tapvid_fixture import record

from cotracker.data.pickles import load_npy_dict, opcodes, open_pickle
from cotracker.data.pickles.arrays import StoredArray, StoredBytes, load_value
from cotracker.data.tapvid import TapVid


def open_bytes(path: Path, pickled: bytes):
    path.write_bytes(pickled)
    return open_pickle(path)


def write_npy(path: Path, pickled: bytes) -> Path:
    """An npy file of one object, with these bytes for its pickle."""
    with open(path, "wb") as file:
        header = {"descr": "|O", "fortran_order": False, "shape": ()}
        np.lib.format.write_array_header_1_0(file, header)
        file.write(pickled)
    return path


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_arrays_and_plain_values_come_back(tmp_path, protocol):
    rng = np.random.default_rng(0)
    arrays = {
        "video": rng.integers(0, 255, (8, 30, 40, 3), dtype=np.uint8),
        "points": rng.random((5, 8, 2)).astype(np.float32),
        "jpegs": np.array([b"abc", b"defgh" * 1000]),
        "columns": np.asfortranarray(rng.random((40, 50))),
        "big-endian": rng.random(300).astype(">f8"),
        "text": np.array(["a", "läuft"]),
        "none": np.zeros((0, 2)),
        "0-d": np.array(3.5),
    }
    plain = ["läuft", 1, -5, 300, 70000, 2**70, -(2**40), 2.5, None, True, False, (), (1,), (1, 2)]
    plain += [(1, 2, 3, 4), {"a": []}, {7: "b"}]
    values = {"arrays": arrays, "plain": plain, "number": np.float32(3), "few": b"bytes"}
    path = tmp_path / "a.pkl"
    back, complete = open_bytes(path, pickle.dumps(values, protocol=protocol))
    assert complete and back["plain"] == plain and back["number"] == 3 and back["few"] == b"bytes"
    assert back["arrays"].keys() == arrays.keys()
    for name, array in arrays.items():
        stored = back["arrays"][name]
        assert isinstance(stored, StoredArray)
        assert stored.shape == array.shape and stored.dtype == array.dtype
        for read in (stored.read(), stored.read()):
            assert read.dtype == array.dtype and read.shape == array.shape
            np.testing.assert_array_equal(read, array)
            read.flags.writeable = True
            read.fill(0)  # the next reading is another array
        if array.ndim and len(array):
            np.testing.assert_array_equal(stored.read_rows(1, 2), array[1:2])


def test_numpy_1_is_read_too(tmp_path):
    pickled = pickle.dumps([np.arange(3)], protocol=3)
    plain = pickled.replace(b"numpy._core", b"numpy.core")
    assert b"cnumpy.core.multiarray\n" in plain
    for number, written in enumerate((plain, plain.replace(b"numpy.core", b"numpy._core"))):
        back, _ = open_bytes(tmp_path / f"{number}.pkl", written)
        assert back[0].read().tolist() == [0, 1, 2]


def test_objects_and_long_bytes_are_read_on_request(tmp_path):
    items = [b"x" * 5000, b"short", None, "text"]
    values = {"array": np.array([*items, np.arange(400)], object), "list": list(items)}
    back, _ = open_bytes(tmp_path / "a.pkl", pickle.dumps(values))
    first = back["list"][0]
    assert first == StoredBytes(tmp_path / "a.pkl", first.offset, 5000)
    assert load_value(back["list"]) == items
    read = back["array"].read()
    assert list(read[:4]) == items and np.array_equal(read[4], np.arange(400))
    assert list(back["array"].read_rows(0, 2)) == items[:2]


def test_nested_dicts_of_arrays_are_loaded_from_npy(tmp_path):
    """As TAP-Net's parameters are: np.save of a dict of dicts, an object array."""
    parameters = {"net/~/conv": {"w": np.arange(900.0), "b": np.ones(2)}, "step": 3}
    np.save(tmp_path / "a.npy", {"params": parameters, "state": {}}, allow_pickle=True)
    back = load_npy_dict(tmp_path / "a.npy")
    assert back["params"]["step"] == 3 and back["state"] == {}
    for key in ("w", "b"):
        value = back["params"]["net/~/conv"][key]
        np.testing.assert_array_equal(value, parameters["net/~/conv"][key])


def test_a_file_that_changes_is_noticed(tmp_path):
    path = tmp_path / "a.pkl"
    back, _ = open_bytes(path, pickle.dumps([np.arange(9999)]))
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(ValueError, match="a.pkl was changed while it was read"):
        back[0].read()


class Calls:
    def __init__(self, *call):
        self.call = call

    def __reduce__(self):
        return self.call


def object_array(*items) -> np.ndarray:
    array = np.empty(len(items), object)
    array[:] = items
    return array


def short(text: str) -> bytes:
    return b"\x8c" + struct.pack("B", len(text)) + text.encode()


def name(module: str, what: str) -> bytes:
    return short(module) + short(what) + b"\x93"


START = b"\x80\x04"
DTYPE = name("numpy", "dtype")
FROMBUFFER = name("numpy._core.numeric", "_frombuffer")
SCALAR = name("numpy._core.multiarray", "scalar")


def run_mkdir(path: Path) -> str:
    return f"__import__('os').mkdir({str(path)!r})"


RUNNING = {  # Python's own unpickler runs these
    "os.system": lambda mark: Calls(os.system, (f"touch {mark}",)),
    "an object array": lambda mark: [object_array(Calls(os.system, (f"touch {mark}",)), 2)],
    "np.memmap": lambda mark: {"x": Calls(np.memmap, (str(mark), "uint8", "w+", 0, 1))},
}
REFUSED = {  # each stands for one refusal of the machine
    "a dotted name": START + name("numpy", "os.system") + short("touch x") + b"\x85R.",
    "an array of another class": START + name("numpy._core.multiarray", "_reconstruct")
    + short("numpy.memmap") + b"K\x00\x85C\x01b\x87R.",
    "INST": b"(S'touch x'\nios\nsystem\n.",
    "DUP": START + b"]22.",
    "a state for a list": START + b"]N\x85b.",
    "calling text": START + short("system") + b")R.",
    "a structured dtype": pickle.dumps([np.zeros(2, [("a", "f4"), ("b", "O")])]),
    "a codec": START + name("_codecs", "encode") + short("a") + short("rot13") + b"\x86R.",
    "filling a tuple": START + b")K\x01a.",
    "closing what is not open": START + b"t.",
    "too few bytes": pickle.dumps([np.arange(5)]).replace(b"K\x05\x85", b"K\x06\x85"),
    "a negative side": START + FROMBUFFER + b"(C\x00" + DTYPE + short("f4")
    + b"\x85RJ\xff\xff\xff\xff\x85" + short("C") + b"tR.",
    "bytes for objects": START + FROMBUFFER + b"(C\x08ABCDEFGH" + DTYPE + short("O8")
    + b"\x85RK\x01\x85" + short("C") + b"tR.",
    "an object scalar": START + SCALAR + DTYPE + short("O8") + b"\x85RC\x08ABCDEFGH\x86R.",
    "a list twice": START + b"](]\x94Nah\x00e.",
    "a key nested 45 times": START + b"}N"
    + b"".join(b"\x94h" + bytes([k]) + b"\x86" for k in range(45)) + b"Ns.",
    "a tuple nested 45 times": START + b"N"
    + b"".join(b"\x94h" + bytes([k]) + b"\x86" for k in range(45)) + b".",
    "nesting 200,000 deep": START + b"N" + b"\x85" * 200_000 + b".",
}  # fmt: skip


@pytest.mark.parametrize("attack", RUNNING)
def test_no_code_runs(tmp_path, attack, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "a.pkl"
    mark = tmp_path / "it_ran"
    pickled = pickle.dumps(RUNNING[attack](mark))
    with pytest.raises(ValueError, match=r"a\.pkl is refused, as it holds more than arrays"):
        open_bytes(path, pickled)
    with pytest.raises(ValueError, match=r"a\.pkl is refused, as it holds more than arrays"):
        load_npy_dict(write_npy(path, pickled))
    assert [file.name for file in tmp_path.iterdir()] == ["a.pkl"]
    pickle.loads(pickled)
    assert mark.exists()  # so the pickle was dangerous indeed


@pytest.mark.parametrize("attack", REFUSED)
def test_whatever_is_not_data_is_refused(tmp_path, attack):
    with pytest.raises(ValueError, match=r"a\.pkl is (refused|damaged)[^\n]*$"):
        open_bytes(tmp_path / "a.pkl", REFUSED[attack])


def test_the_number_of_instructions_is_bounded(tmp_path, monkeypatch):
    """A list of 30 million None took most of a minute."""
    monkeypatch.setattr(opcodes, "MAX_INSTRUCTIONS", 1000)
    with pytest.raises(ValueError, match="refused.*it holds more than 1000 instructions"):
        open_bytes(tmp_path / "a.pkl", pickle.dumps([None] * 1000))


def test_a_video_that_claims_much_costs_itself_alone(tmp_path):
    """A billion JPEGs of no bytes, for points of a billion frames, in a file of a few kilobytes."""
    dtype = np.dtype("S0")
    maker = np.array([1]).__reduce__()
    video = Calls(*maker[:2], (1, (10**9,), dtype, False, b""))
    points = np.zeros((0, 10**9, 2), np.float32)
    huge = {"video": video, "points": points, "occluded": np.zeros((0, 10**9), bool)}
    claims = {"video": video, "points": np.zeros((1, 2, 2), np.float32)}
    records = {"huge": huge, "claims": claims | {"occluded": np.zeros((1, 2), bool)}}
    (tmp_path / "tapvid_davis.pkl").write_bytes(pickle.dumps(records | {"good": record()}))
    reader = TapVid(tmp_path)
    with pytest.raises(ValueError, match="video huge has no points"):
        reader[0]
    with pytest.raises(ValueError, match="video claims has no pixels"):
        reader[1]
    assert reader[2].name == "good"


@pytest.mark.parametrize("pickled, words", [
    (b"", "cut short, before its first"),
    (b"\x80\x04K\x01.", "neither a list nor a dict"), (b"\x80\x04h\x07.", "is damaged or no"),
])  # fmt: skip
def test_damage_is_said_in_one_sentence(tmp_path, pickled, words):
    with pytest.raises(ValueError, match=words) as caught:
        open_bytes(tmp_path / "a.pkl", pickled)
    assert str(tmp_path / "a.pkl") in str(caught.value)


def test_flipped_bytes_never_raise_anything_but_a_sentence(tmp_path):
    """Damage of any kind gives data, or a ValueError that names the file; never a crash."""
    video = {"video": np.zeros((2, 4, 4, 3), np.uint8), "points": np.zeros((3, 2, 2))}
    whole = pickle.dumps({"a": video})
    rng = np.random.default_rng(0)
    path = tmp_path / "a.pkl"
    refused = 0
    for _ in range(600):
        spoilt = bytearray(whole)
        for place in rng.integers(len(whole), size=rng.integers(1, 4)):
            spoilt[place] = rng.integers(256)
        try:
            open_bytes(path, bytes(spoilt))
        except ValueError as error:
            refused += str(path) in str(error)
    assert refused > 200


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"gone\.pkl cannot be read \(No such file"):
        open_pickle(tmp_path / "gone.pkl")


@pytest.mark.parametrize("content", [b"coords", None])
def test_npy_files_of_other_kinds_are_named(tmp_path, content):
    path = tmp_path / "a.npy"
    if content is None:
        np.save(path, np.arange(3))
    else:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.npy (cannot be read|holds no dictionary)"):
        load_npy_dict(path)
