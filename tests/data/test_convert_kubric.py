"""scripts/convert_kubric.py on hand-made MOVi records: exact tracks, faults named, resumed."""

import subprocess
import sys
from functools import cache
from pathlib import Path

import cv2
import movi_fixture
import numpy as np
import pytest
from tensorboard.summary.writer.record_writer import RecordWriter

from cotracker.data.kubric.layout import read_clip
from cotracker.data.kubric.manifest import read_manifest
from cotracker.data.pickles import load_npy_dict

for needed in ("google_crc32c", "google.protobuf"):
    pytest.importorskip(needed, reason="pip install -e '.[synth]' brings what reads TFRecords")
import convert_kubric  # noqa: E402
from convert_kubric import main  # noqa: E402

from cotracker.data.kubric import movi, tfrecord  # noqa: E402

SMALL = (32, 6)  # pixels and frames


@cache
def data(size, frames, blur=None):
    return movi_fixture.example(movi_fixture.features(movi_fixture.scene(size, frames), blur))


@cache
def framed(size, frames, blur=None):
    return movi_fixture.record(data(size, frames, blur))


def changed(**changes):
    """A framed record of the small scene with features replaced or, by None, gone."""
    features = movi_fixture.features(movi_fixture.scene(*SMALL))
    features |= {name.replace("__", "/"): value for name, value in changes.items()}
    return movi_fixture.record(
        movi_fixture.example({k: v for k, v in features.items() if v is not None})
    )


def contents(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != ".lock"
    }


def test_the_fixtures_checksum_is_the_published_one():
    checksum = 0xE3069283  # of CRC-32C, for these nine digits
    assert (
        movi_fixture.masked(b"123456789")
        == ((checksum >> 15 | checksum << 17) + 0xA282EAD8) & 0xFFFFFFFF
    )


def test_records_that_tensorboard_wrote_are_read(tmp_path):
    path, written = tmp_path / "any.tfrecord", [b"", b"one", bytes(70000)]
    with path.open("wb") as file:
        for one in written:
            RecordWriter(file).write(one)
    spans, problem = tfrecord.scan_records(path)
    assert problem is None and [tfrecord.read_record(path, span) for span in spans] == written
    assert path.read_bytes() == b"".join(movi_fixture.record(one) for one in written)


@pytest.mark.slow
def test_a_missing_library_is_named_with_what_to_do():
    script = Path(convert_kubric.__file__)
    program = "import sys, runpy; sys.modules['google_crc32c'] = None; "
    program += f"runpy.run_path({str(script)!r}, run_name='x')"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert ended.returncode == 2
    assert ended.stderr == "convert_kubric.py needs google_crc32c: pip install -e '.[synth]'\n"


def test_tracks_on_disk_are_the_exact_projection(tmp_path, capsys):
    name, blur = "movi_f", 0.35
    path, out = tmp_path / f"{name}-train.tfrecord-00000-of-00001", tmp_path / "out"
    path.write_bytes(framed(96, 24, blur))
    assert main([str(path), str(out), "--images", "png"]) == 0
    assert (
        capsys.readouterr().out
        == f"wrote 1 clips to {out} (0 were there already, 0 broken records skipped)\n"
    )
    folder = out / f"{name}-train-00000-of-00001-0000"
    held = load_npy_dict(folder / f"{folder.name}.npy")
    plain = np.load(folder / f"{folder.name}.npy", allow_pickle=True).item()
    assert held.keys() == plain.keys() == {"coords", "visibility"}
    coords, occluded = held["coords"], held["visibility"]
    assert (coords.shape, coords.dtype, occluded.shape, occluded.dtype) == (
        (2048, 24, 2),
        "f4",
        (2048, 24),
        bool,
    )

    made = movi_fixture.scene(96)
    files = sorted((folder / "frames").iterdir())
    assert [file.name for file in files] == [f"{t:03d}.png" for t in range(24)]
    frames = np.stack([cv2.imread(str(file))[..., ::-1] for file in files])
    np.testing.assert_array_equal(frames, made.images()["video"])

    # A point was sampled in the frame where it sits on a pixel's centre.
    off_centre = np.abs(coords % 1 - 0.5).max(-1) + occluded
    t_query = off_centre.argmin(1)
    queries = coords[np.arange(2048), t_query]
    assert off_centre.min(1).max() < 0.01
    exact, visible = made.track(t_query, queries)
    assert np.abs(coords - exact).max() < 0.05
    trusted = clear(made, exact)[np.arange(2048), t_query][:, None] & clear(made, exact)
    assert (trusted & visible).sum() > 10000 and (trusted & ~visible).sum() > 500
    np.testing.assert_array_equal(occluded[trusted], ~visible[trusted])
    [entry] = read_manifest(out)["clips"]
    assert (entry["name"], entry["frames"], entry["points"], entry["size"]) == (
        folder.name,
        24,
        2048,
        [96, 96],
    )


def clear(made, coords):
    """Bool n T: only one surface within two pixels of coords n T 2, and the border is further."""
    inside = ((coords > 3) & (coords < made.size - 3)).all(-1)
    column, row = np.moveaxis(np.floor(np.where(inside[..., None], coords, 3)).astype(int), -1, 0)
    faces, t = made.images()["faces"], np.arange(coords.shape[1])
    same = [
        faces[t, row + r, column + c] == faces[t, row, column]
        for r in range(-2, 3)
        for c in range(-2, 3)
    ]
    return inside & np.all(same, axis=0)


def test_images_of_16_bits_keep_all_of_them():
    made = movi_fixture.scene(*SMALL)
    video, recording = movi.decode_example(data(*SMALL))
    images = made.images()
    np.testing.assert_array_equal(video, images["video"])
    np.testing.assert_array_equal(recording.segments, images["segments"])
    assert np.abs(recording.depth - images["depth"]).max() < 1.01 * np.ptp(images["depth"]) / 65535
    assert (
        np.abs(recording.normals - images["normals"]).max() < 2.1 / 65535
    )  # red is x: the order of colours too
    assert np.abs(recording.object_coordinates - images["local"]).max() < 1.1 / 65535
    assert recording.focal == 35 / 32 and recording.boxes.shape == (2, 6, 8, 3)


def flip(where):
    """The byte at a place of record 1 of 3 turned over."""

    def breaks(parts):
        whole = bytearray(b"".join(parts))
        whole[len(parts[0]) + where] ^= 0x40
        return bytes(whole)

    return breaks


BROKEN = {
    "flipped byte": (flip(500), 1, "the data fails its checksum", 2),
    "flipped checksum": (
        flip(9),
        1,
        "the record's length fails its checksum, so nothing after it",
        1,
    ),
    "truncated": (lambda parts: b"".join(parts)[:-100], 2, "the file ends in the middle of it", 2),
    "no depth": (
        lambda parts: parts[0] + changed(depth=None),
        1,
        "the feature 'depth' is missing",
        1,
    ),
    "no example": (
        lambda parts: parts[0] + movi_fixture.record(b"\x0a\xff"),
        1,
        "is not a tf.train.Example",
        1,
    ),
    "few positions": (
        lambda parts: parts[0] + changed(camera__positions=np.zeros((5, 3))),
        1,
        "'camera/positions' holds 15 numbers, which do not make (6, 3)",
        1,
    ),
    "8-bit depth": (
        lambda parts: (
            parts[0] + changed(depth=[movi_fixture.png(np.zeros((32, 32, 1), np.uint8))] * 6)
        ),
        1,
        "'depth' holds (6, 32, 32, 1) uint8",
        1,
    ),
    "no PNG": (
        lambda parts: parts[0] + changed(video=[b"not one"] * 6),
        1,
        "'video' should hold PNGs of one size",
        1,
    ),
    "NaN": (
        lambda parts: parts[0] + changed(metadata__depth_range=np.array([1, np.nan])),
        1,
        "that are not finite",
        1,
    ),
    "one instance": (
        lambda parts: parts[0] + changed(instances__quaternions=np.ones((1, 6, 4))),
        1,
        "quaternions has the shape",
        1,
    ),
}


@pytest.mark.parametrize("breaks, number, words, kept", BROKEN.values(), ids=BROKEN.keys())
def test_what_is_broken_is_named_in_one_sentence_and_skipped(
    tmp_path, capsys, breaks, number, words, kept
):
    path, out = tmp_path / "a.tfrecord", tmp_path / "out"
    path.write_bytes(breaks([framed(*SMALL)] * 3))
    assert main([str(path), str(out)]) == 1
    said = capsys.readouterr()
    assert (
        said.err.count("\n") == 1
        and said.err.startswith(f"{path}, record {number}: ")
        and words in said.err
    )
    assert (
        said.out
        == f"wrote {kept} clips to {out} (0 were there already, 1 broken records skipped)\n"
    )
    assert (
        len(read_manifest(out)["clips"]) == kept == sum(entry.is_dir() for entry in out.iterdir())
    )


def test_goes_on_where_it_was_stopped(tmp_path, capsys, monkeypatch):
    source, whole, out = tmp_path / "in", tmp_path / "whole", tmp_path / "out"
    source.mkdir()
    for shard in range(2):
        (source / f"movi.tfrecord-{shard}").write_bytes(framed(*SMALL) * 2)
    assert main([str(source), str(whole)]) == 0
    write, calls = convert_kubric.write_clip, []

    def stopped(*arguments, **options):
        calls.append(arguments)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return write(*arguments, **options)

    monkeypatch.setattr(convert_kubric, "write_clip", stopped)
    assert main([str(source), str(out)]) == 130
    before = {path: path.stat().st_mtime_ns for path in out.glob("movi*/*.npy")}
    assert len(before) == 2 == len(read_manifest(out)["clips"])
    assert main([str(source / "*.tfrecord-*"), str(out)]) == 0
    assert (
        capsys.readouterr()
        .out.splitlines()[-1]
        .startswith(f"wrote 2 clips to {out} (2 were there already")
    )
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert contents(out) == contents(whole)
    assert main([str(source), str(out)]) == 0
    assert "wrote 0 clips" in capsys.readouterr().out and contents(out) == contents(whole)


def test_two_workers_give_the_same_bytes_as_one(tmp_path):
    path = tmp_path / "a.tfrecord"
    path.write_bytes(framed(*SMALL) * 3)
    for workers in ("1", "2"):
        assert main([str(path), str(tmp_path / workers), "--workers", workers]) == 0
    one, two = contents(tmp_path / "1"), contents(tmp_path / "2")
    assert one == two and len(one) == 3 * (6 + 1) + 1
    tracks = [one[f"a-000{k}/a-000{k}.npy"] for k in range(3)]
    assert len(set(tracks)) == 3  # each record draws its own points


def test_size_resizes_frames_and_tracks(tmp_path):
    path = tmp_path / "a.tfrecord"
    path.write_bytes(framed(*SMALL))
    assert main([str(path), str(tmp_path / "plain")]) == 0
    assert main([str(path), str(tmp_path / "twice"), "--size", "64"]) == 0
    plain, twice = (read_clip(tmp_path / name / "a-0000") for name in ("plain", "twice"))
    assert twice.video.shape == (6, 3, 64, 64)
    assert (twice.tracks + 0.5 - 2 * (plain.tracks + 0.5)).abs().max() < 1e-4
    assert (twice.visible == plain.visible).all()


def test_a_random_window_moves_image_and_tracks_alike():
    """A ramp in place of the video has at each pixel its position in the whole frame."""
    seed, size = 1, 80
    _, recording = movi.decode_example(data(96, 24))
    x, y = np.meshgrid(np.arange(96), np.arange(96))
    ramp = np.tile(
        np.stack([x, y, 0 * x], axis=-1).astype(np.float32) + 0.5, (24, 1, 1, 1)
    )  # floats, so exact
    clip = movi.make_clip(ramp, recording, np.random.default_rng(seed), crop=True, size=size)
    assert clip.video.shape == (24, 3, size, size)
    top, left, bottom, right = movi.sample_window(np.random.default_rng(seed), 96, 96)
    assert (bottom - top) * (right - left) < 0.9 * 96**2
    tracks, far = clip.tracks.numpy(), np.abs(clip.tracks.numpy() - (size - 1) / 2).max(-1)
    whole = (tracks + 0.5) / size * (right - left, bottom - top) + (left, top)
    for t in range(24):
        inside = clip.visible[t].numpy() & (far[t] < size / 2 - 2)
        frame = clip.video[t].permute(1, 2, 0).numpy()
        shown = cv2.remap(frame, tracks[t, inside][None], None, cv2.INTER_LINEAR)[0, :, :2]
        error = shown - whole[t, inside]
        assert inside.sum() > 200 and np.abs(error).max() < 0.04  # remap rounds to 1/32


def test_windows_have_the_published_shapes():
    rng = np.random.default_rng(0)
    windows = np.array([movi.sample_window(rng, 256, 256) for _ in range(500)])
    top, left, bottom, right = windows.T
    rows, columns = bottom - top, right - left
    assert windows.min() >= 0 and windows.max() <= 256
    assert 0.3 <= (rows * columns).min() / 256**2 < 0.35 and (rows * columns).max() / 256**2 > 0.8
    aspects = columns / rows
    assert 0.48 < aspects.min() < 0.6 and 1.7 < aspects.max() < 2.05
    assert movi.sample_window(np.random.default_rng(0), 10, 200) == (
        0,
        0,
        10,
        200,
    )  # none of such an aspect fits


@pytest.mark.parametrize(
    "words, message",
    [
        (["nowhere*"], "nowhere* names no .tfrecord file"),
        (["{tmp}", "--workers", "0"], "--workers must be 1 or more"),
        (["{tmp}"], "would give clips of the same names"),
    ],
)
def test_what_cannot_begin_is_said_with_code_2(tmp_path, capsys, words, message):
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.tfrecord").write_bytes(framed(*SMALL))
    source, *rest = [word.replace("{tmp}", str(tmp_path)) for word in words]
    assert main([source, str(tmp_path / "out"), *rest]) == 2
    said = capsys.readouterr()
    assert message in said.err and said.err.count("\n") == 1 and not said.out
    assert not (tmp_path / "out").exists()


def test_features_that_nobody_asks_for_are_not_decoded():
    """The optical flow of a record is 25 million numbers: it is decoded on request."""
    features = movi_fixture.features(movi_fixture.scene(*SMALL))
    whole = movi_fixture.example(features)
    entry = movi_fixture.field(1, b"other") + movi_fixture.field(2, b"\x0a\xff")
    found = tfrecord.Features(whole + movi_fixture.field(1, movi_fixture.field(1, entry)))
    assert "other" in found and found.read_numbers("camera/focal_length").tolist() == [35]
    with pytest.raises(ValueError, match="not a tf.train.Example"):
        found.read_numbers("other")
    with pytest.raises(ValueError, match="'video' should hold numbers"):
        found.read_numbers("video")
    with pytest.raises(ValueError, match="'camera/positions' should hold byte strings"):
        found.read_strings("camera/positions")
