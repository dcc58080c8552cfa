"""Folders of pictures, stacks and animations: their order, kinds, depth; and masks."""

import numpy as np
import pytest
from moving import moving_texture
from PIL import Image
from videos import FAILING, write_folder

from cotracker.data.video import open_video
from cotracker.data.video.images import read_picture
from cotracker.data.video.masks import fit_mask, read_mask


def frames_of(path) -> np.ndarray:
    return open_video(path)[:, :][0].permute(0, 2, 3, 1).numpy()


@pytest.mark.parametrize(
    "names",
    [
        ["img", "img1", "img2", "img10", "img11"],
        ["cam1_t0", "cam1_t0.25", "cam1_t0.5", "cam1_t0.75", "cam1_t1"],
        ["shot.0001", "shot.0002", "shot.0010", "shot.0100", "shot.1000"],
        ["take2.1", "take2.2", "take2.9", "take2.10", "take2.11"],
        ["A1", "a2", "A3", "B4", "b5"],
    ],
)
def test_the_order_is_that_of_file_managers(tmp_path, names):
    truth = moving_texture(5, 12, 16)
    mixed = [3, 0, 4, 1, 2]
    write_folder(tmp_path / "clip", truth[mixed], [f"{names[k]}.png" for k in mixed])
    assert (frames_of(tmp_path / "clip") == truth).all()


@pytest.mark.parametrize("mask_name", ["{k:05}.png", "{k:05}_mask.bmp", "mask_{k:05}.bmp"])
def test_masks_beside_images_are_left_out_with_a_word(tmp_path, mask_name):
    truth = moving_texture(6, 12, 16)
    folder = write_folder(tmp_path / "clip", truth, [f"{k:05}.bmp" for k in range(6)])
    for k in range(4):
        Image.fromarray(truth[0] * 0).save(folder / mask_name.format(k=k))
    with pytest.warns(UserWarning, match="the 6 like 00000.bmp are its frames"):
        assert (frames_of(folder) == truth).all()


def test_a_broken_picture_is_refused_or_repeated(tmp_path):
    truth = moving_texture(5, 12, 16)
    folder = write_folder(tmp_path / "clip", truth, [f"{k}.png" for k in range(5)])
    for name, keep in (("0.png", 0), ("2.png", 0), ("3.png", 90)):
        (folder / name).write_bytes((folder / name).read_bytes()[:keep])
    with pytest.raises(ValueError, match="0.png cannot be read as a picture"):
        open_video(folder)
    read = open_video(folder, damaged="repeat")
    with pytest.warns(UserWarning, match="the last good frame is shown instead"):
        found = read[:, :][0].permute(0, 2, 3, 1).numpy()
        assert (found == truth[[1, 1, 1, 1, 4]]).all()
        read.close()
        assert (read[:, 3:4][0, 0].permute(1, 2, 0).numpy() == truth[1]).all()


def _deep(frames=4) -> np.ndarray:
    ramp = np.arange(frames * 12 * 16, dtype=np.uint16).reshape(frames, 12, 16)
    return 100 + 4 * ramp


def test_deep_pictures_share_one_scale(tmp_path):
    deep = _deep()
    expected = ((deep - deep.min()) * (255 / (deep.max() - deep.min()))).round()
    folder = tmp_path / "clip"
    folder.mkdir()
    for k, picture in enumerate(deep):
        Image.fromarray(picture).save(folder / f"{k}.{'tif' if k % 2 else 'png'}")
    with pytest.warns(UserWarning, match="100 to 3168, the range of all, is scaled to 0 to 255"):
        assert (frames_of(folder) == expected[..., None]).all()


@pytest.mark.parametrize("kind", ["grey", "deep", "colour", "deep colour"])
def test_a_tiff_stack_is_a_video(tmp_path, kind, recwarn):
    import cv2

    if kind == "deep colour":
        pages = np.stack([_deep(), _deep() + 1, _deep() + 2], -1)
        cv2.imwritemulti(str(tmp_path / "a.tif"), [page[..., ::-1] for page in pages])
        expected = ((pages - 100) * (255 / (pages.max() - 100.0))).round()
    else:
        pages = moving_texture(4, 12, 16) if kind == "colour" else moving_texture(4, 12, 16)[..., 0]
        expected = pages if kind == "colour" else pages[..., None]
        if kind == "deep":
            pages = _deep()
            expected = ((pages - 100) * (255 / (pages.max() - 100))).round()[..., None]
        pictures = [Image.fromarray(page) for page in pages]
        pictures[0].save(tmp_path / "a.tif", save_all=True, append_images=pictures[1:])
    found = frames_of(tmp_path / "a.tif")
    assert found.shape == (4, 12, 16, 3) and (found == expected).all()
    assert bool(len(recwarn)) == ("deep" in kind)


@pytest.mark.parametrize("suffix", ["webp", "png", "gif"])
def test_an_animation_is_a_video(tmp_path, suffix):
    flat = np.zeros((5, 16, 24, 3), np.uint8)
    flat[:] = (np.arange(5) * 50)[:, None, None, None]
    pictures = [Image.fromarray(frame) for frame in flat]
    path = tmp_path / f"a.{suffix}"
    more = {"lossless": True} if suffix == "webp" else {}
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=40, **more)
    read = open_video(path)
    assert len(read) == 5 and read.fps == 25
    np.testing.assert_allclose(read.seconds, np.arange(5) / 25)
    assert (frames_of(path) == flat).all()
    assert (read[:, 3:4][0, 0].numpy() == 150).all()


def test_an_animation_that_claims_a_huge_size_is_refused(tmp_path):
    pictures = [Image.new("RGB", (24, 16), (50 * k, 0, 0)) for k in range(3)]
    pictures[0].save(tmp_path / "a.webp", save_all=True, append_images=pictures[1:], lossless=True)
    data = bytearray((tmp_path / "a.webp").read_bytes())
    at = data.index(b"VP8X") + 12  # width and height, less one
    data[at : at + 6] = b"\xff\x3f\0" * 2
    (tmp_path / "a.webp").write_bytes(data)
    with pytest.raises(ValueError, match="a.webp cannot be read as a picture"):
        open_video(tmp_path / "a.webp")


def test_a_picture_whose_orientation_is_damaged_is_refused(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / "a.webp"
    Image.new("RGB", (24, 16)).save(path, exif=exif)
    data = path.read_bytes()
    path.write_bytes(data.replace(b"MM\0*", b"MM\xff*").replace(b"II*\0", b"II\xff\0"))
    for read in (read_picture, read_mask):
        with pytest.raises(ValueError, match="a.webp cannot be read as a picture"):
            read(path)


def test_transparent_pictures_are_composited_on_black(tmp_path):
    picture = np.full((12, 16, 4), 200, np.uint8)
    picture[:, :8, 3], picture[:, 8:, 3] = 0, 255
    write_folder(tmp_path / "clip", picture[None], ["0.png"])
    found = frames_of(tmp_path / "clip")[0]
    assert (found[:, :8] == 0).all() and (found[:, 8:] == 200).all()


@pytest.mark.parametrize(
    "name, labels",
    [
        ("u16.png", {0, 1, 2}),
        ("u16_100_300.png", {0, 100, 300}),
        ("alpha_white.png", {0, 255}),
        ("square.png", {0, 255}),
    ],
)
def test_a_mask_is_a_picture_of_labels(name, labels):
    mask = read_mask(FAILING / name)
    assert mask.dtype == np.int64 and set(np.unique(mask).tolist()) == labels
    assert (mask == 0).mean() > 0.7


def test_masks_with_palettes_colours_and_blur(tmp_path):
    labels = np.zeros((8, 12), np.uint8)
    labels[2:5, 3:8], labels[5:, 8:] = 1, 2
    palette = Image.fromarray(labels)
    palette.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0])
    palette.save(tmp_path / "palette.png")
    assert (read_mask(tmp_path / "palette.png") == labels).all()
    palette.convert("RGB").save(tmp_path / "colours.png")
    colours = read_mask(tmp_path / "colours.png")
    assert set(np.unique(colours)) == {0, 128 << 16, 128 << 8} and ((colours > 0) == labels).any()
    big = np.kron(labels > 0, np.ones((16, 16))).astype(np.uint8) * 255
    Image.fromarray(big).save(tmp_path / "blur.jpg", quality=60)
    assert set(np.unique(read_mask(tmp_path / "blur.jpg"))) == {0, 1}
    assert (fit_mask(big, (8, 12)) == (labels > 0) * 255).all()
