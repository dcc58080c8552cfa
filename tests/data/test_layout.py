"""The layout on disk and its manifest: what is written is read back, is whole, and runs no code."""

import json
import os

import cv2
import numpy as np
import pytest
import torch
from by_products import read_by_products

from cotracker.data.kubric import layout
from cotracker.data.kubric.layout import (
    clip_names,
    describe_clip,
    read_clip,
    write_clip,
)
from cotracker.data.kubric.manifest import (
    manifest_header,
    read_manifest,
    update_manifest,
    write_manifest,
)
from cotracker.data.video import write_video
from cotracker.files import lock_folder
from cotracker.types import Clip

FRAMES, POINTS, SIZE = 4, 7, (24, 32)


def drawn(seed: int = 0, all_valid: bool = False) -> Clip:
    rng = np.random.default_rng(seed)
    smooth = cv2.resize(
        rng.integers(0, 255, (6, 8), np.uint8), SIZE[::-1], interpolation=cv2.INTER_CUBIC
    )
    video = np.stack([[np.roll(smooth, k, 1)] * 3 for k in range(FRAMES)])
    tracks = rng.uniform(-5, 35, (FRAMES, POINTS, 2)).astype(np.float32)
    visible, valid = rng.random((2, FRAMES, POINTS)) < 0.6
    arrays = (np.ascontiguousarray(video), tracks, visible, valid | all_valid)
    return Clip(*(torch.from_numpy(array) for array in arrays), name="drawn")


def save(path, held) -> None:
    np.save(
        path, np.array(held, dtype=object) if isinstance(held, dict) else held, allow_pickle=True
    )


def header(path, pickled: bytes) -> None:
    """An npy file of one object, with these bytes for its pickle."""
    with open(path, "wb") as file:
        np.lib.format.write_array_header_1_0(
            file, {"descr": "|O", "fortran_order": False, "shape": ()}
        )
        file.write(pickled)


@pytest.mark.parametrize("images", ["png", "jpg"])
def test_a_clip_comes_back_as_it_was_written(tmp_path, images):
    clip = drawn()
    entry = write_clip(tmp_path, "one", clip, images=images)
    back = read_clip(tmp_path / "one")
    assert back.name == "one" and back.video.dtype == torch.uint8
    difference = (back.video.float() - clip.video.float()).abs()
    assert difference.max() == 0 if images == "png" else 0 < difference.mean() < 3
    torch.testing.assert_close(back.tracks, clip.tracks, atol=1e-5, rtol=0)
    assert torch.equal(back.visible, clip.visible) and torch.equal(back.valid, clip.valid)
    assert (entry["frames"], entry["points"], entry["size"]) == (FRAMES, POINTS, list(SIZE))
    assert describe_clip(tmp_path / "one") == entry and clip_names(tmp_path) == ["one"]


def test_files_are_what_readers_of_kubric_expect(tmp_path):
    clip = drawn(all_valid=True)
    write_clip(tmp_path, "0007", clip)
    assert sorted(os.listdir(tmp_path / "0007" / "frames")) == [
        "000.jpg",
        "001.jpg",
        "002.jpg",
        "003.jpg",
    ]
    held = np.load(tmp_path / "0007" / "0007.npy", allow_pickle=True).item()
    assert held.keys() == {"coords", "visibility"} and held["coords"].dtype == np.float32
    np.testing.assert_allclose(held["coords"], clip.tracks.numpy().swapaxes(0, 1) + 0.5, atol=1e-5)
    assert np.array_equal(
        held["visibility"], ~clip.visible.numpy().T
    )  # published: True is occluded


def test_the_same_clip_gives_the_same_bytes(tmp_path):
    entries = [
        write_clip(tmp_path / str(n), "a", drawn(seed), quality=q)
        for n, (seed, q) in enumerate([(0, 95), (0, 95), (1, 95), (0, 50)])
    ]
    hashes = [entry["sha256"] for entry in entries]
    assert hashes[0] == hashes[1] and len(set(hashes)) == 3
    frame = tmp_path / "0" / "a" / "frames" / "002.jpg"
    frame.rename(frame.with_name("004.jpg"))  # the hash knows the names, too
    assert describe_clip(tmp_path / "0" / "a")["sha256"] != hashes[0]


def test_by_products_come_back(tmp_path):
    rng = np.random.default_rng(0)
    arrays = {
        "depth": rng.random((FRAMES, *SIZE), np.float32),
        "segments": rng.integers(0, 9, (FRAMES, *SIZE), np.uint8),
        "far": rng.integers(0, 65536, (FRAMES, *SIZE), np.uint16),
        "camera": rng.random((FRAMES, 3)),
    }
    write_clip(tmp_path, "a", drawn(), arrays)
    back = read_by_products(tmp_path / "a")
    assert back.keys() == arrays.keys()
    assert all(
        np.array_equal(back[key], arrays[key]) and back[key].dtype == arrays[key].dtype
        for key in arrays
    )
    assert (tmp_path / "a" / "segments" / "003.png").is_file() and (
        tmp_path / "a" / "depth.npy"
    ).is_file()


def test_a_clip_that_cannot_be_finished_leaves_nothing(tmp_path, monkeypatch):
    fault = OSError(28, "No space left on device")

    def save(*given, **named):
        raise fault

    monkeypatch.setattr(layout.np, "save", save)
    with pytest.raises(type(fault)):
        write_clip(tmp_path, "a", drawn())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "change, said",
    [
        ({"name": "there"}, "is there already"),
        ({"images": "gif"}, "images must be jpg or png, not gif"),
        ({"by_products": {"frames": np.zeros(3)}}, "cannot be called frames"),
    ],
)
def test_what_cannot_be_written_is_refused(tmp_path, change, said):
    write_clip(tmp_path, "there", drawn())
    with pytest.raises(ValueError, match=said):
        write_clip(**{"root": tmp_path, "name": "new", "clip": drawn()} | change)
    assert clip_names(tmp_path) == ["there"] and len(list(tmp_path.iterdir())) == 1


def spoil(folder, how: str) -> None:
    tracks = folder / f"{folder.name}.npy"
    held = np.load(tracks, allow_pickle=True).item()
    if how == "no npy":
        tracks.unlink()
    elif how == "no frames":
        (folder / "frames").rename(folder / "images")
    elif how == "a frame less":
        (folder / "frames" / "003.jpg").unlink()
    else:
        changed = {
            "no key": {"coords": held["coords"]},
            "2-d coords": held | {"coords": held["coords"][0]},
            "other lengths": held | {"visibility": held["visibility"][:, 1:]},
            "beyond float32": held | {"coords": np.full(held["coords"].shape, 1e300)},
            "not finite": held | {"coords": np.full_like(held["coords"], np.nan)},
        }
        save(tracks, changed[how])


@pytest.mark.parametrize(
    "how, said",
    [
        ("no npy", r"a\.npy does not exist"),
        ("no key", r"a\.npy holds coords: it should hold coords and visib"),
        ("2-d coords", r"a\.npy: coords is float32 \(4, 2\)"),
        ("other lengths", r"a\.npy: visibility is bool \(7, 3\), where bool \(7, 4\) should be"),
        ("not finite", r"a\.npy: coords holds numbers that are not finite"),
        ("beyond float32", r"a\.npy: coords holds numbers that are not finite"),
        ("no frames", r"a holds no frames"),
        ("a frame less", r"frames has 3 frames but .*a\.npy has tracks for 4"),
    ],
)
def test_a_broken_clip_is_named_in_one_sentence(tmp_path, how, said):
    write_clip(tmp_path, "a", drawn(all_valid=True))
    spoil(tmp_path / "a", how)
    with pytest.raises(ValueError, match=said) as caught:
        read_clip(tmp_path / "a")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["a.mp4", "frames.mp4"])
def test_an_mp4_may_stand_for_the_frames(tmp_path, name):
    clip = drawn()
    write_clip(tmp_path, "a", clip)
    for frame in (tmp_path / "a" / "frames").iterdir():
        frame.unlink()
    (tmp_path / "a" / "frames").rmdir()
    write_video(tmp_path / "a" / name, clip.video.permute(0, 2, 3, 1).numpy(), 12, SIZE)
    back = read_clip(tmp_path / "a")
    assert back.video.shape == clip.video.shape
    assert (back.video.float() - clip.video.float()).abs().mean() < 6
    assert describe_clip(tmp_path / "a")["size"] == list(SIZE)


MADE = manifest_header("toy.Toy", {"points": 7, "speed": (1, 2)}, 0, "0.1.0", "abc")


def test_the_manifest_lists_whole_clips_however_it_was_left(tmp_path):
    assert update_manifest(tmp_path, MADE)["clips"] == []
    entries = [write_clip(tmp_path, f"{k}", drawn(k)) for k in range(3)]
    write_manifest(
        tmp_path, MADE | {"clips": [entries[2], entries[0], entries[0] | {"name": "gone"}]}
    )
    (tmp_path / ".partial-x").mkdir()
    (tmp_path / ".partial-x" / "000.jpg").write_text("")
    (tmp_path / ".partial-y").write_text("{")
    assert update_manifest(tmp_path, MADE)["clips"] == entries
    there = json.loads((tmp_path / "manifest.json").read_text())
    assert there == read_manifest(tmp_path)
    assert there["clips"] == entries and there["counts"] == {"clips": 3, "frames": 12, "points": 21}
    assert (
        there["config"] == {"points": 7, "speed": [1, 2]}
        and there["layout"] == 1
        and there["seed"] == 0
    )
    assert sorted(os.listdir(tmp_path)) == ["0", "1", "2", "manifest.json"]


def test_each_commit_is_noted(tmp_path):
    update_manifest(tmp_path, MADE)
    write_clip(tmp_path, "a", drawn())
    assert update_manifest(tmp_path, manifest_header("toy.Toy", MADE["config"], 0, "0.1.0", "def"))[
        "commits"
    ] == [
        "abc",
        "def",
    ]
    assert update_manifest(tmp_path, MADE)["commits"] == ["abc", "def"]


def test_clips_of_another_header_are_refused_with_the_keys(tmp_path):
    other = manifest_header("toy.Toy", {"points": 8}, 0, "0.1.0", "abc")
    key = r"points is 7 there, 8 here, speed is \[1, 2\] there, None here|speed.*points"
    update_manifest(tmp_path, MADE)
    update_manifest(tmp_path, other)  # there is no clip yet
    update_manifest(tmp_path, MADE)
    write_clip(tmp_path, "a", drawn())
    with pytest.raises(ValueError, match=key):
        update_manifest(tmp_path, other)
    assert len(update_manifest(tmp_path, MADE)["clips"]) == 1


def test_other_peoples_folders_are_left_alone(tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / ".partial-z").mkdir()
    with pytest.raises(ValueError, match="holds thesis but no manifest.json"):
        update_manifest(tmp_path, MADE)
    assert sorted(os.listdir(tmp_path)) == [".partial-z", "thesis"]
    (tmp_path / "manifest.json").write_text('{"clips": [3], "commits": []}')
    with pytest.raises(ValueError, match=r"manifest\.json is no manifest of clips"):
        update_manifest(tmp_path, MADE)


def test_a_folder_is_one_writers_at_a_time(tmp_path):
    with lock_folder(tmp_path / "new"):
        with pytest.raises(ValueError, match="another process is writing into"):
            with lock_folder(tmp_path / "new", wait=0):
                pass
    with lock_folder(tmp_path / "new"):
        pass
    (tmp_path / "file").write_text("")
    for place in ("file", "file/deeper"):
        with pytest.raises(ValueError, match="cannot write into .*file"):
            with lock_folder(tmp_path / place):
                pass
