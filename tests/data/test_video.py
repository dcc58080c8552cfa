"""Videos: counted and decoded exactly from anywhere, refused in one sentence, written back."""

from pathlib import Path

import numpy as np
import pytest
import torch
from moving import moving_texture
from PIL import Image
from videos import BAD, encode, make_bad, write_folder

from cotracker.data import video
from cotracker.data.video import folder, images, open_video, read_picture, write_video
from cotracker.files import PARTIAL_FOLDER, public_name

SHARED = Path(__file__).parents[3] / "shared/data/videos"


@pytest.mark.parametrize(
    "frames, height, width, fps",
    [(9, 48, 64, 24), (7, 17, 33, 30000 / 1001), (1, 33, 16, 12.5)],
)
def test_mp4_comes_back_as_written(tmp_path, frames, height, width, fps):
    truth = moving_texture(frames, height, width)
    assert write_video(tmp_path / "a.mp4", iter(truth), fps, (height, width)) == frames
    read = open_video(tmp_path / "a.mp4")
    assert read.shape == (1, frames, 3, height, width)
    assert read.name == "a"
    assert abs(read.fps - fps) < 1e-6
    whole = read[:, :]
    assert whole.dtype == torch.uint8 and whole.shape == read.shape
    assert_alike(whole, truth)
    assert [file.name for file in tmp_path.iterdir()] == ["a.mp4"]


def test_gif_and_folder_are_exact(tmp_path):
    truth = moving_texture(12, 17, 33)
    names = [
        f"frame{k}.{'png' if k % 2 else 'bmp'}" for k in range(12)
    ]  # frame2 comes before frame10
    folder = write_folder(tmp_path / "clip", truth, names)
    (folder / "Thumbs.db").write_bytes(b"no picture")
    read = open_video(folder)
    assert (read.shape, read.name) == ((1, 12, 3, 17, 33), "clip")
    assert (read[:, :][0].permute(0, 2, 3, 1).numpy() == truth).all()
    flat = np.repeat(
        np.repeat(np.arange(12, dtype=np.uint8)[:, None, None, None] * 20, 17, 1), 33, 2
    ).repeat(3, 3)
    pictures = [Image.fromarray(frame) for frame in flat]
    pictures[0].save(tmp_path / "a.gif", save_all=True, append_images=pictures[1:], duration=40)
    read = open_video(tmp_path / "a.gif")
    assert (read.shape, read.fps) == ((1, 12, 3, 17, 33), 25)
    assert (read[:, :][0].permute(0, 2, 3, 1).numpy() == flat).all()
    assert (read[:, 5:7][0].permute(0, 2, 3, 1).numpy() == flat[5:7]).all()


def test_variable_frame_rate_neither_repeats_nor_drops(tmp_path):
    times = [33 * k for k in range(20)] + [33 * 20 + 100 * k for k in range(13)]
    encode(tmp_path / "vfr.mp4", moving_texture(33, 48, 64), "libx264", times=times)
    with pytest.warns(UserWarning, match="vfr.mp4 has a variable frame rate"):
        read = open_video(tmp_path / "vfr.mp4")
    assert read.shape[1] == 33 and 30 < read.fps < 31  # the median: an overlay plays at that
    np.testing.assert_allclose(read.seconds, np.array(times) / 1000, atol=1e-6)
    assert_random_access_equals_sequential(read)


def test_rotation_is_applied(tmp_path):
    truth = moving_texture(3, 32, 48)
    encode(tmp_path / "turned.mp4", truth, "libx264", rotation=90)
    read = open_video(tmp_path / "turned.mp4")
    assert read.shape == (1, 3, 3, 48, 32)
    assert_alike(read[:, :], np.rot90(truth, k=1, axes=(1, 2)))


def assert_alike(read, truth) -> None:
    """Up to compression: small differences, no shift of colours, each frame its own best match."""
    read = read[0].permute(0, 2, 3, 1).numpy().astype(float)
    assert np.abs(read - truth).mean() < 7
    assert np.abs((read - truth).mean(axis=(0, 1, 2))).max() < 2
    distances = np.abs(read[:, None] - truth[None]).mean(axis=(2, 3, 4))
    assert (distances.argmin(axis=1) == np.arange(len(truth))).all()


def assert_random_access_equals_sequential(read) -> None:
    frames = read.shape[1]
    sums = [int(read[:, k : k + 1].long().sum()) for k in range(frames)]
    whole = [read[:, k : k + 1] for k in range(frames)]
    assert len(set(sums)) > frames // 2  # else it could not tell frames apart
    for start in np.random.default_rng(0).permutation(frames)[:6].tolist():
        read.close()
        for k in range(start, min(start + 3, frames)):
            assert torch.equal(read[:, k : k + 1], whole[k])
    read.close()
    for stop in range(frames, 0, -5):  # as a reversed view reads
        piece = read[:, max(0, stop - 5) : stop]
        assert torch.equal(piece, torch.cat(whole[max(0, stop - 5) : stop], dim=1))


@pytest.mark.parametrize("name, frames", [("apple", 50), ("cat", 87)])
def test_real_videos(name, frames):
    if not SHARED.exists():
        pytest.skip("shared/data/videos is not on this machine")
    read = open_video(SHARED / f"{name}.mp4")
    size = {"apple": (720, 1296), "cat": (480, 368)}[name]
    assert read.shape == (1, frames, 3, *size)
    if name != "apple":
        assert_random_access_equals_sequential(read)


def test_the_cache_is_bounded_and_reading_on_decodes_once(tmp_path, monkeypatch):
    clip = write_folder(
        tmp_path / "clip", moving_texture(60, 16, 16), [f"{k:03}.png" for k in range(60)]
    )
    decoded = []
    monkeypatch.setattr(video, "CACHE_BYTES", 10 * 16 * 16 * 3)
    monkeypatch.setattr(
        folder,
        "read_page",
        lambda file, page: decoded.append(int(file.stem)) or images.read_page(file, page),
    )
    read = open_video(clip)
    assert decoded == []  # opening looks at sizes only
    for start in range(0, 60, 4):
        assert read[:, start : start + 6].shape[1] == min(6, 60 - start)
        assert len(read._cache) <= 10
    assert decoded == list(range(60))
    decoded.clear()
    for start in range(56, -1, -4):
        read[:, start : start + 4]
        assert len(read._cache) <= 10
    assert (
        len(decoded) <= 90
    )  # chunks overlap a little; frame by frame from the start it would be 900


def test_slices_follow_pythons_rules(tmp_path):
    truth = moving_texture(10, 16, 16)
    read = open_video(write_folder(tmp_path / "clip", truth, [f"{k}.png" for k in range(10)]))
    plain = torch.from_numpy(truth).permute(0, 3, 1, 2)[None]
    for frames in [
        slice(None),
        slice(3, 5),
        slice(-3, None),
        slice(8, 99),
        slice(4, 4),
        slice(0, 9, 4),
        slice(1),
    ]:
        assert torch.equal(read[:, frames], plain[:, frames])
    assert torch.equal(read[:, 8:2:-2], plain[:, [8, 6, 4]])
    assert read[0:0, 2:4].shape == (0, 2, 3, 16, 16)


def test_writing_fails_whole(tmp_path):
    def breaks():
        yield np.zeros((16, 16, 3), np.uint8)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_video(tmp_path / "a.mp4", breaks(), 10, (16, 16))
    with pytest.raises(ValueError, match="no frame to write"):
        write_video(tmp_path / "a.mp4", [], 10, (16, 16))
    with pytest.raises(ValueError, match="frame 0 is"):
        write_video(tmp_path / "a.mp4", [np.zeros((16, 18, 3), np.uint8)], 10, (16, 16))
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_said_of_the_file_that_was_asked_for(tmp_path, monkeypatch):
    def fill(path, *_):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(video, "write_frames", fill)
    with pytest.raises(OSError, match="No space left on device: '.*a.mp4'"):
        write_video(tmp_path / "a.mp4", [], 10, (16, 16))
    hidden = tmp_path / f"{PARTIAL_FOLDER}123-abc" / "tracks.npzabcdefgh.partial"
    assert public_name(str(hidden)) == str(tmp_path / "tracks.npz")


@pytest.mark.parametrize("kind", BAD)
def test_bad_inputs_are_refused_in_one_sentence(tmp_path, kind):
    with pytest.raises(ValueError) as caught:
        open_video(make_bad(kind, tmp_path))
    assert BAD[kind] in str(caught.value) and "\n" not in str(caught.value)


def test_a_frame_cut_off_inside_is_named_when_it_is_read(tmp_path):
    folder = write_folder(tmp_path / "clip", moving_texture(3, 64, 64), ["0.jpg", "1.jpg", "2.jpg"])
    (folder / "1.jpg").write_bytes((folder / "1.jpg").read_bytes()[:900])
    read = open_video(folder)
    assert read[:, :1].shape[1] == 1
    with pytest.raises(ValueError, match="1.jpg cannot be read as a picture"):
        read[:, 1:2]


def test_pictures_are_upright_and_eight_bit(tmp_path):
    picture = Image.fromarray(moving_texture(1, 16, 24)[0])
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn to the right
    folder = tmp_path / "clip"
    folder.mkdir()
    picture.save(folder / "0.png", exif=exif)
    assert open_video(folder).shape == (1, 1, 3, 24, 16)
    assert (
        open_video(folder)[:, :][0, 0].permute(1, 2, 0).numpy() == np.rot90(np.asarray(picture), -1)
    ).all()
    grey = (np.arange(16 * 24).reshape(16, 24) * 170).astype(np.uint16)
    Image.fromarray(grey).save(tmp_path / "grey.png")
    assert (read_picture(tmp_path / "grey.png") == (grey >> 8)[..., None]).all()
