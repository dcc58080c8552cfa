"""TAP-Vid's readers: miniatures of every set read to the exact Clips, and each fault named."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tapvid_fixture import (
    SHOWN,
    jpeg_frames,
    kinetics_record,
    record,
    write,
    write_davis,
    write_kinetics,
    write_rgb_stacking,
    write_robotap,
)

from cotracker.benchmarks.protocols import first
from cotracker.data.pickles.arrays import StoredBytes
from cotracker.data.tapvid import DAVIS, TapVid


def expect(clip, held: dict, frames: np.ndarray, name: str) -> None:
    """The clip is exactly the record: resized by LANCZOS, raster to pixel, time first."""
    count = len(frames)
    resized = [
        np.asarray(Image.fromarray(frame).resize((256, 256), Image.Resampling.LANCZOS))
        for frame in frames
    ]
    assert clip.name == name and clip.masks is None
    assert clip.video.dtype == torch.uint8 and clip.video.shape == (count, 3, 256, 256)
    np.testing.assert_array_equal(clip.video.permute(0, 2, 3, 1), np.stack(resized))
    # point n is at x = (n + 1) / 8 and y = (2 t + 1) / 32 of the frame: 32 and 16 pixels apart
    expected = np.stack(
        np.broadcast_arrays(32 * np.arange(5) + 31.5, 16 * np.arange(count)[:, None] + 7.5), -1
    )
    assert clip.tracks.dtype == torch.float32
    np.testing.assert_array_equal(clip.tracks, expected)
    np.testing.assert_array_equal(
        clip.visible, [[t in shown for shown in SHOWN] for t in range(count)]
    )
    assert clip.valid.dtype == torch.bool and clip.valid.shape == (count, 5) and clip.valid.all()


def test_davis(tmp_path):
    held = write_davis(tmp_path)
    reader = TapVid(tmp_path)
    assert reader.names == ["goat", "camel"] and len(reader) == 2  # the file's own order
    assert reader.broken == () and reader.expected == tuple(DAVIS) and len(set(DAVIS)) == 30
    for k, name in enumerate(reader.names):
        expect(reader[k], held[name], held[name]["video"], name)
        assert reader.files[k] == tmp_path / "tapvid_davis" / "tapvid_davis.pkl"
    assert TapVid(tmp_path / "tapvid_davis").names == reader.names


def test_queried_first_asks_what_the_protocol_says(tmp_path):
    write_davis(tmp_path)
    targets = first(TapVid(tmp_path)[0])
    expected = [
        (0, 63.5, 7.5),
        (3, 95.5, 55.5),
        (1, 127.5, 23.5),
        (0, 159.5, 7.5),
    ]  # the first point is never seen
    np.testing.assert_array_equal(targets.queries[0], expected)


def test_kinetics(tmp_path):
    shards = write_kinetics(tmp_path)
    assert shards[0][0]["video"].dtype.kind == "S" and isinstance(shards[1][0]["video"], list)
    reader = TapVid(tmp_path, "kinetics")
    assert (
        reader.names == ["0000_of_0010-000", "0000_of_0010-001", "0001_of_0010-000"]
        and reader.expected == ()
    )
    for k, held in enumerate([*shards[0], *shards[1]]):
        expect(reader[k], held, jpeg_frames(held), reader.names[k])
    assert len(reader.broken) == 8
    path = tmp_path / "tapvid_kinetics" / "0002_of_0010.pkl"
    assert reader.broken[0] == f"{path} is missing, and the videos in it: copy or make it"


def test_kinetics_as_a_dict_and_as_an_array_of_objects(tmp_path):
    listed = kinetics_record(4, as_list=True)
    held = {
        "b": kinetics_record(3),
        "a": listed | {"video": np.array([*listed["video"], None], object)[:-1]},
    }
    write(tmp_path / "0009_of_0010.pkl", held)
    reader = TapVid(tmp_path, "kinetics")
    assert reader.names == ["b", "a"]
    expect(reader[0], held["b"], jpeg_frames(held["b"]), "b")
    expect(reader[1], held["a"], jpeg_frames(listed), "a")


def test_rgb_stacking(tmp_path):
    held = write_rgb_stacking(tmp_path)
    reader = TapVid(tmp_path, "rgb_stacking")
    assert (
        len(reader.expected) == 50
        and reader.names == list(reader.expected[:2])
        and reader.broken == ()
    )
    for k in range(2):
        expect(reader[k], held[k], held[k]["video"], f"tapvid_rgb_stacking-{k:03d}")
        np.testing.assert_array_equal(reader[k].video.permute(0, 2, 3, 1), held[k]["video"])


def test_robotap(tmp_path):
    held = write_robotap(tmp_path)
    reader = TapVid(tmp_path, "robotap")
    assert reader.names == ["video_1", "video_0", "video_2"] and len(reader.broken) == 3
    for k, name in enumerate(reader.names):
        expect(reader[k], held[name], held[name]["video"], name)


def test_reading_twice_gives_the_same_and_writes_nothing(tmp_path):
    write_davis(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.pkl")}
    reader = TapVid(tmp_path)
    one = reader[0]
    kept = [one.video.clone(), one.tracks.clone(), one.visible.clone()]
    two = reader[0]
    for name, value in zip(("video", "tracks", "visible"), kept):
        assert torch.equal(getattr(one, name), value) and torch.equal(getattr(two, name), value)
        getattr(two, name).zero_()  # and what is done to a clip changes no other
        assert torch.equal(getattr(reader[0], name), value)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.pkl")} == before


def test_opening_a_set_reads_none_of_its_videos_and_a_clip_only_its_own(tmp_path, monkeypatch):
    held = {str(k): record(120, 160, seed=k) for k in range(4)}
    path = write(tmp_path / "tapvid_davis.pkl", held)
    counted, read = [], StoredBytes.read

    def counting(self, start, stop):
        counted.append(stop - start)
        return read(self, start, stop)

    monkeypatch.setattr(StoredBytes, "read", counting)
    reader = TapVid(tmp_path)
    assert len(reader) == 4 and counted == []
    reader[2]
    frame = 120 * 160 * 3
    assert max(counted) == frame and sum(counted) <= 8 * frame + 1000 < path.stat().st_size / 3


def test_a_truncated_shard_loses_its_own_last_videos_alone(tmp_path):
    shards = write_kinetics(tmp_path)
    path = tmp_path / "tapvid_kinetics" / "0000_of_0010.pkl"
    whole = path.read_bytes()
    names = {}
    for length in range(0, len(whole), 97):
        path.write_bytes(whole[:length])
        reader = TapVid(tmp_path, "kinetics")
        count = len(reader) - 1
        assert reader.names[-1] == "0001_of_0010-000" and str(path) in reader.broken[-1]
        assert "copy it again" in reader.broken[-1]
        names.setdefault(count, length)
        if count:
            assert f"{path} is cut short, after {count} of its videos" in reader.broken[-1]
    assert (
        list(names) == [0, 1, 2] and names[2] > len(whole) - 97
    )  # the second ends where the file does
    path.write_bytes(whole[: names[1]])
    reader = TapVid(tmp_path, "kinetics")
    expect(reader[0], shards[0][0], jpeg_frames(shards[0][0]), "0000_of_0010-000")
    expect(reader[1], shards[1][0], jpeg_frames(shards[1][0]), "0001_of_0010-000")


def test_a_truncated_dict_keeps_what_came_before(tmp_path):
    held = write_davis(tmp_path)
    path = tmp_path / "tapvid_davis" / "tapvid_davis.pkl"
    path.write_bytes(path.read_bytes()[:-2000])
    reader = TapVid(tmp_path)
    assert reader.names == ["goat"]
    assert reader.broken == (f"{path} is cut short, after 1 of its videos: copy it again",)
    expect(reader[0], held["goat"], held["goat"]["video"], "goat")


def with_nan(held: dict) -> dict:
    points = held["points"].copy()
    points[1, 4, 0] = np.nan  # seen there
    return held | {"points": points}


def changed(**changes):
    """A function that replaces entries of a record, each by a function of the one there."""
    return lambda held: held | {key: change(held[key]) for key, change in changes.items()}


SPOILT = {
    "shorter video": (changed(video=lambda v: v[:5]), "has 5 frames, but its points are for 8"),
    "float video": (
        changed(video=lambda v: v.astype(np.float32)),
        r"is float32 \(8, 48, 64, 3\), where uint8",
    ),
    "no pixels": (changed(video=lambda v: v[:, :0]), "has no pixels"),
    "no array": (changed(video=lambda v: {"a": 1}), "has no array and no list of JPEGs"),
    "damaged JPEG": (
        changed(video=lambda v: [b"\xff\xd8 no picture"] * 8),
        "has a damaged JPEG for frame 0",
    ),
    "swapped points": (
        changed(points=lambda p: p.swapaxes(1, 2)),
        r"has points float32 \(5, 2, 8\), where floats N T 2",
    ),
    "pixels for points": (
        changed(points=lambda p: p * 64),
        "has points that are not divided by the width and height",
    ),
    "NaN points": (with_nan, "has 1 visible points that are NaN or infinite"),
    "float occluded": (changed(occluded=lambda o: o * 1.0), "has occluded float64"),
    "no occluded": (
        lambda held: {"video": 1, "points": 2},
        "is no dict with video, points and occluded",
    ),
}


@pytest.mark.parametrize("fault", SPOILT)
def test_a_faulty_video_is_named_and_the_rest_read(tmp_path, fault):
    spoil, words = SPOILT[fault]
    held = {"good": record(), "bad": spoil(record(seed=3)), "other": record(seed=4)}
    path = write(tmp_path / "tapvid_davis.pkl", held)
    reader = TapVid(tmp_path)
    assert reader.names == list(held)
    with pytest.raises(ValueError, match=f"^{path}: video bad {words}") as caught:
        reader[1]
    assert "\n" not in str(caught.value)
    for k in (0, 2):
        expect(reader[k], held[reader.names[k]], held[reader.names[k]]["video"], reader.names[k])


def test_nan_where_a_point_is_hidden_is_no_fault(tmp_path):
    held = record()
    held["points"][held["occluded"]] = np.nan
    write(tmp_path / "tapvid_davis.pkl", {"a": held})
    clip = TapVid(tmp_path)[0]
    assert clip.tracks[clip.visible].isfinite().all() and clip.tracks[~clip.visible].isnan().all()


class Malicious:
    def __init__(self, *call):
        self.call = call

    def __reduce__(self):
        return self.call


def test_a_malicious_shard_is_refused_and_the_rest_read(tmp_path):
    write_kinetics(tmp_path)
    path, mark = tmp_path / "tapvid_kinetics" / "0001_of_0010.pkl", tmp_path / "it_ran"
    write(path, [kinetics_record(3) | {"points": Malicious(Path.touch, (mark,))}])
    reader = TapVid(tmp_path, "kinetics")
    assert len(reader) == 2 and reader.broken[-1].startswith(
        f"{path} is refused, as it holds more than arrays"
    )
    assert "pathlib" in reader.broken[-1] and not mark.exists()


def test_no_set_is_said_in_one_sentence(tmp_path):
    with pytest.raises(
        ValueError, match="holds no davis of TAP-Vid: benchmark.root must be the folder with tap"
    ):
        TapVid(tmp_path)
    with pytest.raises(
        ValueError, match="which must be davis, kinetics, rgb_stacking or robotap, not sintel"
    ):
        TapVid(tmp_path, "sintel")
    write(tmp_path / "tapvid_davis.pkl", 7)
    with pytest.raises(
        ValueError, match="tapvid_davis.pkl holds neither a list nor a dict of videos"
    ):
        TapVid(tmp_path)
    (tmp_path / "tapvid_davis.pkl").write_bytes(b"no pickle")
    with pytest.raises(ValueError, match="tapvid_davis.pkl is (damaged|refused)"):
        TapVid(tmp_path)
    write(tmp_path / "tapvid_davis.pkl", {})
    with pytest.raises(ValueError, match="tapvid_davis.pkl holds no video"):
        TapVid(tmp_path)
