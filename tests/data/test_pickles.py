"""The one unpickler: data of every kind comes back, whatever would call something is refused, and nothing runs."""

import builtins
import os
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest

from cotracker.data.pickles import load_npy_dict, open_pickle
from cotracker.data.pickles.arrays import StoredArray, StoredBytes, load_value



def opened(path: Path, pickled: bytes):
    path.write_bytes(pickled)
    return open_pickle(path)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_arrays_and_plain_values_come_back(tmp_path, protocol):
    rng = np.random.default_rng(0)
    arrays = {
        "video": rng.integers(0, 255, (8, 30, 40, 3), dtype=np.uint8),
        "points": rng.random((5, 8, 2)).astype(np.float32),
        "occluded": rng.random((5, 8)) > 0.5,
        "jpegs": np.array([b"abc", b"defgh" * 1000]),
        "columns": np.asfortranarray(rng.random((40, 50))),
        "big-endian": rng.random(300).astype(">f8"),
        "text": np.array(["a", "läuft"]),
        "none": np.zeros((0, 2)),
        "0-d": np.array(3.5),
    }
    plain = [
        "läuft",
        1,
        -5,
        300,
        70000,
        2**70,
        -(2**40),
        2.5,
        None,
        True,
        False,
        (),
        (1,),
        (1, 2),
        (1, 2, 3, 4),
        {"a": []},
    ]
    held = {"arrays": arrays, "plain": plain, "number": np.float32(3), "again": plain}
    back, whole = opened(tmp_path / "a.pkl", pickle.dumps(held, protocol=protocol))
    assert (
        whole and back["plain"] == plain and back["again"] is back["plain"] and back["number"] == 3
    )
    assert back["arrays"].keys() == arrays.keys()
    for name, array in arrays.items():
        stored = back["arrays"][name]
        assert (
            isinstance(stored, StoredArray)
            and stored.shape == array.shape
            and stored.dtype == array.dtype
        )
        for read in (stored.read(), stored.read()):
            assert read.dtype == array.dtype and read.shape == array.shape
            np.testing.assert_array_equal(read, array)
            read.flags.writeable = True
            read.fill(0)  # the next reading is another array
        if array.ndim and len(array):
            np.testing.assert_array_equal(stored.read_rows(1, 2), array[1:2])


def test_objects_and_long_bytes_are_read_when_asked(tmp_path):
    items = [b"x" * 5000, b"short", None, "text"]
    held = {"array": np.array([*items, np.arange(400)], object), "list": items}
    back, _ = opened(tmp_path / "a.pkl", pickle.dumps(held))
    assert back["list"][0] == StoredBytes(tmp_path / "a.pkl", back["list"][0].offset, 5000)
    assert [load_value(item) for item in back["list"]] == items
    read = back["array"].read()
    assert list(read[:4]) == items and np.array_equal(read[4], np.arange(400))
    assert list(back["array"].read_rows(0, 2)) == items[:2]


def test_a_file_that_changes_is_noticed(tmp_path):
    path = tmp_path / "a.pkl"
    back, _ = opened(path, pickle.dumps([np.arange(9999)]))
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(ValueError, match="a.pkl was changed while it was read"):
        back[0].read()


class Calls:
    def __init__(self, *call):
        self.call = call

    def __reduce__(self):
        return self.call


def _object_array(*items) -> np.ndarray:
    array = np.empty(len(items), object)
    array[:] = items
    return array


def short(text: str) -> bytes:
    return b"\x8c" + struct.pack("B", len(text)) + text.encode()


def name(module: str, what: str) -> bytes:
    return short(module) + short(what) + b"\x93"


ATTACKS = {
    "os.system": lambda mark: pickle.dumps(Calls(os.system, (f"touch {mark}",))),
    "posix.system, protocol 2": lambda mark: pickle.dumps(Calls(os.system, (f"touch {mark}",)), protocol=2),
    "eval": lambda mark: pickle.dumps(Calls(builtins.eval, (f"__import__('os').mkdir({str(mark)!r})",))),
    "exec in a list": lambda mark: pickle.dumps([[Calls(builtins.exec, (f"__import__('os').mkdir({str(mark)!r})",))]]),
    "getattr": lambda mark: pickle.dumps(Calls(getattr, (Calls(Path, (str(mark),)), "touch"))),
    "in an object array": lambda mark: pickle.dumps([_object_array(Calls(os.system, (f"touch {mark}",)), 2)]),
    "in an array's state": lambda mark: pickle.dumps(
        Calls(np.array([1]).__reduce__()[0], np.array([1]).__reduce__()[1], Calls(os.system, (f"touch {mark}",)))
    ),
    "numpy.load": lambda mark: pickle.dumps(Calls(np.load, (str(mark), None, True))),
    "numpy's fromfile": lambda mark: b"\x80\x04" + name("numpy", "fromfile") + short(str(mark)) + b"\x85R.",
    "numpy's runstring": lambda mark: (
        b"\x80\x04" + name("numpy.testing._private.utils", "runstring")
        + short(f"__import__('os').mkdir({str(mark)!r})") + b"}\x86R."
    ),
    "numpy's memmap": lambda mark: b"\x80\x04" + name("numpy", "memmap") + short(str(mark)) + b"\x85R.",
    "numpy's own os": lambda mark: b"\x80\x04" + name("numpy", "os.system") + short(f"touch {mark}") + b"\x85R.",
    "an array of another class": lambda mark: (
        b"\x80\x04" + name("numpy._core.multiarray", "_reconstruct") + short("numpy.memmap") + b"K\x00\x85C\x01b\x87R."
    ),
    "INST": lambda mark: b"(S'touch x'\nios\nsystem\n.",
    "OBJ": lambda mark: b"\x80\x04(" + name("os", "system") + short(f"touch {mark}") + b"o.",
    "NEWOBJ": lambda mark: b"\x80\x04" + name("pathlib", "Path") + short("x") + b"\x85\x81.",
    "NEWOBJ of an array": lambda mark: b"\x80\x04" + name("numpy", "ndarray") + b")\x81.",
    "a state for a name": lambda mark: b"\x80\x04" + name("numpy", "ndarray") + b"}\x86b.",
    "a state for a list": lambda mark: b"\x80\x04]N\x85b.",
    "calling text": lambda mark: b"\x80\x04" + short("system") + b")R.",
    "calling ndarray": lambda mark: b"\x80\x04" + name("numpy", "ndarray") + b")R.",
    "EXT1": lambda mark: b"\x80\x04\x82\x01.",
    "a persistent id": lambda mark: b"\x80\x04K\x01Q.",
    "a structured dtype": lambda mark: pickle.dumps([np.zeros(2, [("a", "f4"), ("b", "O")])]),
    "a dtype of fields": lambda mark: b"\x80\x04" + name("numpy", "dtype") + short("f4,O") + b"\x85R.",
    "a codec": lambda mark: b"\x80\x04" + name("_codecs", "encode") + short("a") + short("rot13") + b"\x86R.",
    "a set": lambda mark: pickle.dumps({1, 2}),
    "filling a tuple": lambda mark: b"\x80\x04)K\x01a.",
    "an array of too few bytes": lambda mark: pickle.dumps([np.arange(5)]).replace(b"K\x05\x85", b"K\x06\x85"),
    "an array of -1": lambda mark: (
        b"\x80\x04" + name("numpy._core.numeric", "_frombuffer") + b"(C\x00" + name("numpy", "dtype") + short("f4")
        + b"\x85RJ\xff\xff\xff\xff\x85" + short("C") + b"tR."
    ),
    "bytes for objects": lambda mark: (
        b"\x80\x04" + name("numpy._core.numeric", "_frombuffer") + b"(C\x08ABCDEFGH" + name("numpy", "dtype")
        + short("O8") + b"\x85RK\x01\x85" + short("C") + b"tR."
    ),
    "an object scalar": lambda mark: (
        b"\x80\x04" + name("numpy._core.multiarray", "scalar") + name("numpy", "dtype") + short("O8")
        + b"\x85RC\x08ABCDEFGH\x86R."
    ),
}  # fmt: skip


@pytest.mark.parametrize("attack", ATTACKS)
def test_whatever_is_not_data_is_refused_and_nothing_runs(tmp_path, attack, monkeypatch):
    monkeypatch.chdir(tmp_path)
    mark, path = tmp_path / "it_ran", tmp_path / "a.pkl"
    pickled = ATTACKS[attack](mark)
    with pytest.raises(ValueError, match=r"a\.pkl is (refused|damaged)") as caught:
        opened(path, pickled)
    assert "\n" not in str(caught.value)
    with open(path, "wb") as file:
        np.lib.format.write_array_header_1_0(
            file, {"descr": "|O", "fortran_order": False, "shape": ()}
        )
        file.write(pickled)
    with pytest.raises(ValueError, match=r"a\.pkl (is refused|cannot be read)"):
        load_npy_dict(path)
    assert [one.name for one in tmp_path.iterdir()] == ["a.pkl"]


def test_the_attacks_would_run_elsewhere(tmp_path, monkeypatch):
    """Python's own unpickler carries out those that call something: so they are attacks, and not merely damaged."""
    monkeypatch.chdir(tmp_path)
    for attack in (
        "os.system",
        "posix.system, protocol 2",
        "eval",
        "exec in a list",
        "in an object array",
    ):
        mark = tmp_path / "it_ran"
        pickle.loads(ATTACKS[attack](mark))
        assert mark.exists(), attack
        mark.rmdir() if mark.is_dir() else mark.unlink()


@pytest.mark.parametrize("pickled, words", [
    (b"", "cut short, before its first"), (b"\x80\x04", "cut short"), (b"no pickle", "is damaged or no|is refused"),
    (b"\x80\x04K\x01.", "neither a list nor a dict"), (b"\x80\x04h\x07.", "is damaged or no"),
    (b"\x80\x04\x8e" + b"\xff" * 8, "cut short"), (b"\x80\x04\x8d" + b"\xff" * 8, "cut short"),
    (b"\x80\x04t.", "is refused"), (b".", "is damaged or no"), (b"\x80\x04]\x94h\x00a" + b"a" * 9 + b".", "damaged"),
])  # fmt: skip
def test_damage_is_said_in_one_sentence(tmp_path, pickled, words):
    with pytest.raises(ValueError, match=words) as caught:
        opened(tmp_path / "a.pkl", pickled)
    assert str(tmp_path / "a.pkl") in str(caught.value)


def test_flipped_bytes_never_raise_anything_but_a_sentence(tmp_path):
    """Damage of any kind gives data, or a ValueError that names the file; never a crash, a call or a hang."""
    whole = pickle.dumps(
        {"a": {"video": np.zeros((2, 4, 4, 3), np.uint8), "points": np.zeros((3, 2, 2))}}
    )
    rng, path = np.random.default_rng(0), tmp_path / "a.pkl"
    refused = 0
    for _ in range(600):
        spoilt = bytearray(whole)
        for place in rng.integers(len(whole), size=rng.integers(1, 4)):
            spoilt[place] = rng.integers(256)
        try:
            opened(path, bytes(spoilt))
        except ValueError as error:
            refused += str(path) in str(error)
    assert refused > 200


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"gone\.pkl cannot be read \(No such file"):
        open_pickle(tmp_path / "gone.pkl")


def test_a_list_within_itself_does_no_harm(tmp_path):
    held = []
    held.append(held)
    path = tmp_path / "a.pkl"
    path.write_bytes(pickle.dumps(held))
    with open(path, "rb") as file:
        back = Machine(file, path).run()
    assert back[0] is back
