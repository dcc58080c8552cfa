"""Kubric's layout on disk: ROOT/NAME/frames/000.jpg …, ROOT/NAME/NAME.npy and ROOT/manifest.json.

NAME.npy is np.save of a dictionary: coords N T 2 float32 in raster coordinates (pixel + 1/2);
visibility N T bool, which is True where *occluded*, as published; and valid N T bool if not all is
known. Further arrays of a clip (depth, segments) are NAME/KEY.npy, or NAME/KEY/000.png … for T H W
of uint8 or uint16. An mp4, NAME/NAME.mp4 or NAME/frames.mp4, may replace the folder of frames.
A clip appears in one rename, so whatever stands under its name is complete.
"""

import hashlib
import os
import shutil
import tempfile
from pathlib import Path

import cv2
import numpy as np
import torch

from cotracker.checks import choice
from cotracker.data.pickles import load_npy_dict
from cotracker.data.video import VideoFile, open_video
from cotracker.types import Clip

PARTIAL = ".partial-"  # begins the names of what a killed run may leave


def write_clip(
    root: str | Path,
    name: str,
    clip: Clip,
    by_products: dict[str, np.ndarray] | None = None,
    images: str = "jpg",
    quality: int = 95,
) -> dict:
    """The manifest's entry of a clip written to root/name, whole or not at all.

    The same clip gives the same bytes.
    clip: video T 3 H W uint8, tracks in pixels.
    by_products: arrays by name.
    images: jpg (of `quality`) or png.
    ValueError: the name is taken.  OSError: the disk refuses.
    """
    root = Path(root)
    choice("images", images, ("jpg", "png"))
    root.mkdir(parents=True, exist_ok=True)
    if (root / name).exists():
        raise ValueError(f"{root / name} is there already: delete it or choose another name")
    temporary = Path(tempfile.mkdtemp(prefix=PARTIAL, dir=root))
    try:
        folder = temporary / name
        folder.mkdir()
        frames = clip.video.permute(0, 2, 3, 1).numpy()[..., ::-1]
        _write_images(folder / "frames", frames, images, quality)
        np.save(folder / f"{name}.npy", _tracks_dict(clip), allow_pickle=True)
        for key, value in (by_products or {}).items():
            _write_by_product(folder, key, np.asarray(value), len(clip.video))
        entry = describe_clip(folder)
        os.rename(folder, root / name)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return entry


def read_tracks(folder: str | Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Tracks T N 2 float32 in pixels, visible T N bool and valid T N bool of the clip in a folder.

    ValueError, one sentence naming the file: it is missing, of a wrong shape or not finite.
    """
    path = tracks_file(folder)
    arrays = load_npy_dict(path)
    if not {"coords", "visibility"} <= arrays.keys():
        raise ValueError(
            f"{path} holds {', '.join(map(str, arrays)) or 'nothing'}: "
            "it should hold coords and visibility"
        )
    coords = np.asarray(arrays["coords"])
    occluded = np.asarray(arrays["visibility"])
    valid = np.asarray(arrays.get("valid", np.ones(occluded.shape, bool)))
    if coords.ndim != 3 or coords.shape[2] != 2 or coords.dtype.kind not in "fiu":
        raise ValueError(
            f"{path}: coords is {coords.dtype} {coords.shape}, where numbers N T 2 should be"
        )
    for key, flags in (("visibility", occluded), ("valid", valid)):
        if flags.shape != coords.shape[:2] or flags.dtype.kind not in "biu":
            raise ValueError(
                f"{path}: {key} is {flags.dtype} {flags.shape}, "
                f"where bool {coords.shape[:2]} should be, as in coords"
            )
    # From raster coordinates to pixels, here and nowhere else.
    with np.errstate(over="ignore"):
        tracks = (coords.swapaxes(0, 1) - 0.5).astype(np.float32)
    if not np.isfinite(tracks).all():
        raise ValueError(
            f"{path}: coords holds numbers that are not finite: make or copy this clip again"
        )
    return tracks, ~occluded.astype(bool).T, valid.astype(bool).T


def open_frames(folder: str | Path, frames: int) -> VideoFile:
    """The lazy video of a clip's folder: a folder of jpg or png, or else an mp4.

    ValueError, one sentence naming the file: there is none, or it does not have `frames` frames.
    """
    folder = Path(folder)
    choices = [folder / "frames", folder / f"{folder.name}.mp4", folder / "frames.mp4"]
    path = next((path for path in choices if path.exists()), None)
    if path is None:
        raise ValueError(
            f"{folder} holds no frames: "
            f"it needs a folder frames, or {folder.name}.mp4 or frames.mp4"
        )
    video = open_video(path)
    if video.shape[1] != frames:
        raise ValueError(
            f"{path} has {video.shape[1]} frames "
            f"but {tracks_file(folder)} has tracks for {frames}: copy them again"
        )
    return video


def read_clip(folder: str | Path) -> Clip:
    """The whole Clip in a folder: video T 3 H W uint8, tracks T N 2 in pixels, and its name."""
    truth = [torch.from_numpy(np.ascontiguousarray(array)) for array in read_tracks(folder)]
    video = open_frames(folder, len(truth[0]))[:, :][0]
    return Clip(video, *truth, name=Path(folder).name)


def describe_clip(folder: str | Path) -> dict:
    """The manifest's entry of the clip in a folder: {name, frames, points, size (H, W), sha256}.

    sha256: of the lines "sha256 path" of all files in order of their paths.
    ValueError: it is no whole clip.
    """
    folder = Path(folder)
    tracks, _, _ = read_tracks(folder)
    size = open_frames(folder, len(tracks)).shape[-2:]
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        hashed = hashlib.sha256(path.read_bytes()).hexdigest()
        digest.update(f"{hashed} {path.relative_to(folder).as_posix()}\n".encode())
    return {
        "name": folder.name,
        "frames": len(tracks),
        "points": tracks.shape[1],
        "size": list(size),
        "sha256": digest.hexdigest(),
    }


def clip_names(root: str | Path) -> list[str]:
    """The names of the clips below a root, sorted: all folders that are not hidden."""
    with os.scandir(root) as entries:
        return sorted(
            entry.name for entry in entries if entry.is_dir() and not entry.name.startswith(".")
        )


def tracks_file(folder: str | Path) -> Path:
    """The npy file of a clip's tracks."""
    return Path(folder) / f"{Path(folder).name}.npy"


def _tracks_dict(clip: Clip) -> dict[str, np.ndarray]:
    coords = clip.tracks.numpy().swapaxes(0, 1).astype(np.float32) + np.float32(0.5)
    arrays = {
        "coords": np.ascontiguousarray(coords),
        "visibility": np.ascontiguousarray(~clip.visible.numpy().T),
    }
    if not clip.valid.all():
        arrays["valid"] = np.ascontiguousarray(clip.valid.numpy().T)
    return arrays


def _write_by_product(folder: Path, key: str, value: np.ndarray, frames: int) -> None:
    if key in ("frames", folder.name):
        raise ValueError(
            f"a by-product cannot be called {key}, the clip's own files are: choose another name"
        )
    if value.ndim == 3 and len(value) == frames and value.dtype in (np.uint8, np.uint16):
        _write_images(folder / key, value, "png", 0)
    else:
        np.save(folder / f"{key}.npy", value, allow_pickle=False)


def _write_images(folder: Path, images: np.ndarray, kind: str, quality: int) -> None:
    """Writes T H W (or T H W 3 BGR) as folder/000.kind, ….

    They are encoded in memory, as cv2.imwrite does not report a full disk.
    """
    folder.mkdir()
    if kind == "jpg":
        settings = [cv2.IMWRITE_JPEG_QUALITY, quality]
    else:
        settings = [cv2.IMWRITE_PNG_COMPRESSION, 6]
    for number, image in enumerate(images):
        data = cv2.imencode(f".{kind}", np.ascontiguousarray(image), settings)[1]
        (folder / f"{number:03d}.{kind}").write_bytes(data.tobytes())
