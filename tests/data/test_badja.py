"""BADJA's reader: a miniature read to the exact Clip, and known numbers of the real folder."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from badja_fixture import SIZE, USED, write_badja, write_frame

from cotracker.baselines.dis_flow import DISFlow
from cotracker.baselines.lucas_kanade import LucasKanade
from cotracker.baselines.static import Static
from cotracker.benchmarks.benchmark import Benchmark
from cotracker.benchmarks.metrics import badja
from cotracker.benchmarks.protocols import from_first_frame
from cotracker.benchmarks.run import evaluate
from cotracker.data.badja import BADJA

REAL = Path(__file__).parents[3] / "shared" / "data" / "BADJA"

FORM = (
    "it should list frames, each once, with image_path, segmentation_path, "
    "37 joints [row, col] in pixels and 37 visibilities"
)


def test_clip_is_exactly_what_was_written(tmp_path):
    reader = BADJA(write_badja(tmp_path))
    assert reader.names == ["camel"] and len(reader) == 1 and len(reader.expected) == 7
    clip = reader[0]
    tracks = np.zeros((5, 20, 2), np.float32)
    tracks[0, :2] = [(20.25, 10.5), (40, 30)]
    tracks[2, :2] = [(20.25, 10.5), (50, 31)]
    tracks[4, :2] = [(23.25, 10.5), (56, 31)]
    visible = np.zeros((5, 20), bool)
    visible[[0, 2, 4], 0] = visible[[2, 4], 1] = True
    valid = visible.copy()
    valid[0, 1] = True
    assert clip.name == "camel" and clip.tracks.dtype == torch.float32
    np.testing.assert_array_equal(clip.tracks, tracks)
    np.testing.assert_array_equal(clip.visible, visible)
    np.testing.assert_array_equal(clip.valid, valid)


def test_frames_between_annotations_are_there(tmp_path):
    clip = BADJA(write_badja(tmp_path))[0]
    assert clip.video.shape == (5, 3, *SIZE)
    video = clip.video[0:5]
    assert video.dtype == torch.uint8 and video.shape == (5, 3, *SIZE)
    brightness = torch.tensor([70, 90, 110, 130, 150])[:, None, None, None]
    assert (video.int() - brightness).abs().max() <= 1
    assert torch.equal(clip.video[2:3], video[2:3])
    assert clip.video[5:9].shape == (0, 3, *SIZE)


def test_masks_are_red_channels(tmp_path):
    clip = BADJA(write_badja(tmp_path))[0]
    expected = np.zeros((5, *SIZE), np.uint8)
    expected[:, 8:32, 16:32] = np.array([128, 255, 255, 255, 128])[
        :, None, None
    ]  # the rider of frames 2, 6 is not red
    assert clip.masks.dtype == torch.uint8
    np.testing.assert_array_equal(clip.masks, expected)


def test_second_reading_is_the_same(tmp_path):
    reader = BADJA(write_badja(tmp_path))
    one, two = reader[0], reader[0]
    for name in ("tracks", "visible", "valid", "masks"):
        assert torch.equal(getattr(one, name), getattr(two, name))
    assert torch.equal(one.video[:], two.video[:])


def test_used_joints_are_the_twenty(tmp_path):
    write_badja(tmp_path)
    path = tmp_path / "joint_annotations" / "camel.json"
    rows = json.loads(path.read_text())
    rows[0]["joints"] = [
        [100 + joint, joint] for joint in range(37)
    ]  # integers, beyond the frame, as may be
    path.write_text(json.dumps(rows[::-1]))  # and not in order of time
    tracks = BADJA(tmp_path)[0].tracks[0]
    np.testing.assert_array_equal(tracks, [(joint, 100 + joint) for joint in USED])


def test_mask_of_another_size_is_brought_to_the_image(tmp_path):
    from PIL import Image

    write_badja(tmp_path)
    path = tmp_path / "DAVIS/Annotations/Full-Resolution/camel/00004.png"
    big = np.zeros((96, 128), np.uint8)
    big[16:64, 32:64] = 7
    Image.fromarray(big).save(path)
    mask = BADJA(tmp_path)[0].masks[2]
    assert (
        set(mask.unique().tolist()) == {0, 7}
        and (mask > 0).sum() == 24 * 16
        and mask[8:32, 16:32].all()
    )


def test_bad_folders_are_named(tmp_path):
    with pytest.raises(ValueError, match="joint_annotations.*benchmark.root"):
        BADJA(tmp_path / "nowhere")
    write_badja(tmp_path)
    mask = tmp_path / "DAVIS/Annotations/Full-Resolution/camel/00003.png"
    mask.unlink()
    with pytest.raises(ValueError, match="missing file .*00003.png"):
        BADJA(tmp_path)[0]
    write_frame(tmp_path, 3)
    mask.write_bytes(mask.read_bytes()[:60])
    with pytest.raises(ValueError, match="00003.png cannot be read as a picture"):
        BADJA(tmp_path)[0]
    image = tmp_path / "DAVIS/JPEGImages/Full-Resolution/camel/00005.jpg"
    write_frame(tmp_path, 3)
    image.write_bytes(b"no picture")
    with pytest.raises(ValueError, match="00005.jpg cannot be read as a picture"):
        BADJA(tmp_path)[0]
    path = tmp_path / "joint_annotations" / "camel.json"
    path.write_text('[{"joints": []}]')
    with pytest.raises(ValueError, match="camel.json is not a BADJA annotation"):
        BADJA(tmp_path)
    path.unlink()
    with pytest.raises(ValueError, match="no sequence of BADJA"):
        BADJA(tmp_path)


def test_frames_of_unequal_size_are_named(tmp_path):
    from PIL import Image

    write_badja(tmp_path)
    path = tmp_path / "DAVIS/JPEGImages/Full-Resolution/camel/00004.jpg"
    Image.fromarray(np.zeros((24, 64, 3), np.uint8)).save(path)
    with pytest.raises(ValueError, match="00004.jpg is 64x24, but its first frame is 64x48"):
        BADJA(tmp_path)[0]


def test_what_is_broken_leaves_the_rest(tmp_path):
    write_badja(tmp_path)
    folder = tmp_path / "joint_annotations"
    (folder / "dog.json").write_text(
        (folder / "camel.json").read_text().replace("/camel/", "/dog/")
    )
    (folder / "bear.json").write_text("[")
    reader = BADJA(tmp_path)
    assert reader.names == ["camel", "dog"] and reader.files == [
        folder / "camel.json",
        folder / "dog.json",
    ]
    assert reader.broken == (f"{folder / 'bear.json'} is not a BADJA annotation: {FORM}",)
    assert reader[0].name == "camel"
    with pytest.raises(
        ValueError, match="missing file .*dog/00002.jpg and 9 more of this sequence"
    ):
        reader[1]


@pytest.mark.slow
@pytest.mark.skipif(not REAL.is_dir(), reason="the real BADJA folder is not beside the repository")
@pytest.mark.parametrize(
    "tracker, expected, tolerance",
    [
        (
            Static(),
            {"camel": (52.09, 0.32), "dog": (6.32, 0.00), "horsejump-low": (34.55, 3.14)},
            0.01,
        ),
        # OpenCV's arithmetic differs a little between processors and releases
        (
            LucasKanade(),
            {"camel": (68.5, 11.6), "dog": (36.8, 1.7), "horsejump-low": (37.7, 7.3)},
            2.5,
        ),
        (DISFlow(), {"dog": (39.1, 1.7)}, 2.5),
    ],
    ids=["static", "lucas_kanade", "dis_flow"],
)
def test_known_numbers_on_the_real_folder(tracker, expected, tolerance):
    reader = BADJA(REAL)
    assert set(expected) <= set(reader.names)
    clips = [reader[reader.names.index(name)] for name in expected]
    rows = evaluate(tracker, Benchmark("badja", clips, from_first_frame, badja))
    assert [row["name"] for row in rows] == list(expected)
    for row in rows:
        np.testing.assert_allclose((row["seg"], row["3px"]), expected[row["name"]], atol=tolerance)
