"""Kubric's layout on disk: ROOT/NAME/frames/000.jpg … and ROOT/NAME/NAME.npy, and ROOT/manifest.json (manifest.py).

NAME.npy is np.save of a dictionary: coords N T 2 float32 in raster coordinates (pixel + 1/2), visibility N T bool,
which says *occluded*, as published; where not all is known, valid N T bool. Further arrays of a clip (depth, segments)
are NAME/KEY.npy, or NAME/KEY/000.png … for T H W of uint8 or uint16. An mp4, NAME/NAME.mp4 or NAME/frames.mp4, may
stand for the folder of frames. A clip appears in one rename, so that whatever is there under its name is whole.
"""

import hashlib
import os
import shutil
import tempfile
from pathlib import Path

import cv2
import numpy as np
import torch

from cotracker.data.pickles import load_npy_dict
from cotracker.data.video import VideoFile, open_video
from cotracker.types import Clip

PARTIAL = ".partial-"  # what a killed run may leave begins so


def write_clip(
    root: str | Path,
    name: str,
    clip: Clip,
    by_products: dict[str, np.ndarray] | None = None,
    images: str = "jpg",
    quality: int = 95,
) -> dict:
    """The manifest's entry of a clip written to root/name, whole or not at all; the same bytes for the same clip.

    clip: video T 3 H W uint8, tracks in pixels.  by_products: arrays by name.  images: jpg (of `quality`) or png.
    ValueError where the name is taken; OSError where the disk refuses.
    """
    root = Path(root)
    if images not in ("jpg", "png"):
        raise ValueError(f"frames can be written as jpg or png, not {images}")
    root.mkdir(parents=True, exist_ok=True)
    if (root / name).exists():
        raise ValueError(f"{root / name} is there already: delete it or choose another name")
    temporary = Path(tempfile.mkdtemp(prefix=PARTIAL, dir=root))
    try:
        folder = temporary / name
        folder.mkdir()
        _write_images(
            folder / "frames", clip.video.permute(0, 2, 3, 1).numpy()[..., ::-1], images, quality
        )
        np.save(folder / f"{name}.npy", _annotation(clip), allow_pickle=True)
        for key, value in (by_products or {}).items():
            _write_by_product(folder, key, np.asarray(value), len(clip.video))
        entry = describe(folder)
        os.rename(folder, root / name)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return entry


def read_tracks(folder: str | Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Tracks T N 2 float32 in pixels, visible T N bool and valid T N bool of the clip in a folder.

    ValueError, one sentence naming the file, for what is missing, of a wrong shape or not finite.
    """
    path = _tracks_file(folder)
    held = load_npy_dict(path)
    if not {"coords", "visibility"} <= held.keys():
        raise ValueError(
            f"{path} holds {', '.join(map(str, held)) or 'nothing'}: it should hold coords and visibility"
        )
    coords, occluded = np.asarray(held["coords"]), np.asarray(held["visibility"])
    valid = np.asarray(held.get("valid", np.ones(occluded.shape, bool)))
    if coords.ndim != 3 or coords.shape[2] != 2 or coords.dtype.kind not in "fiu":
        raise ValueError(
            f"{path}: coords is {coords.dtype} {coords.shape}, where numbers N T 2 should be"
        )
    for key, flags in (("visibility", occluded), ("valid", valid)):
        if flags.shape != coords.shape[:2] or flags.dtype.kind not in "biu":
            raise ValueError(
                f"{path}: {key} is {flags.dtype} {flags.shape}, where bool {coords.shape[:2]} should be, as in coords"
            )
    if not np.isfinite(coords).all():
        raise ValueError(
            f"{path}: coords holds numbers that are not finite: make or copy this clip again"
        )
    tracks = (coords.swapaxes(0, 1) - 0.5).astype(
        np.float32
    )  # raster to pixel, here and nowhere else
    return tracks, ~occluded.astype(bool).T, valid.astype(bool).T


def open_frames(folder: str | Path, frames: int) -> VideoFile:
    """The lazy video of a clip's folder, which must have `frames` frames: a folder of jpg or png, or else an mp4.

    ValueError, one sentence naming the file, where there is none or its length is another.
    """
    folder = Path(folder)
    choices = [folder / "frames", folder / f"{folder.name}.mp4", folder / "frames.mp4"]
    path = next((path for path in choices if path.exists()), None)
    if path is None:
        raise ValueError(
            f"{folder} holds no frames: it needs a folder frames, or {folder.name}.mp4 or frames.mp4"
        )
    video = open_video(path)
    if video.shape[1] != frames:
        raise ValueError(
            f"{path} has {video.shape[1]} frames but {_tracks_file(folder)} has tracks for {frames}: copy them again"
        )
    return video


def read_clip(folder: str | Path) -> Clip:
    """The whole Clip in a folder: video T 3 H W uint8, tracks T N 2 in pixels, visible and valid T N; its name."""
    tracks, visible, valid = read_tracks(folder)
    video = open_frames(folder, len(tracks))[:, :][0]
    truth = (torch.from_numpy(np.ascontiguousarray(array)) for array in (tracks, visible, valid))
    return Clip(video, *truth, name=Path(folder).name)


def read_by_products(folder: str | Path) -> dict[str, np.ndarray]:
    """The arrays beside a clip, by name, as `write_clip` was given them."""
    folder = Path(folder)
    found = {p.stem: np.load(p) for p in sorted(folder.glob("*.npy")) if p != _tracks_file(folder)}
    for path in sorted(p for p in folder.iterdir() if p.is_dir() and p.name != "frames"):
        found[path.name] = np.stack(
            [cv2.imread(str(p), cv2.IMREAD_UNCHANGED) for p in sorted(path.glob("*.png"))]
        )
    return found


def describe(folder: str | Path) -> dict:
    """The manifest's entry {name, frames, points, size (H, W), sha256} of the clip in a folder, from its files.

    sha256: of the lines "sha256 path" of all files in order of their paths. ValueError where it is no whole clip.
    """
    folder = Path(folder)
    tracks, _, _ = read_tracks(folder)
    size = open_frames(folder, len(tracks)).shape[-2:]
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    lines = (
        f"{hashlib.sha256(p.read_bytes()).hexdigest()} {p.relative_to(folder).as_posix()}\n"
        for p in files
    )
    digest = hashlib.sha256("".join(lines).encode()).hexdigest()
    return {
        "name": folder.name,
        "frames": len(tracks),
        "points": tracks.shape[1],
        "size": list(size),
        "sha256": digest,
    }


def clip_names(root: str | Path) -> list[str]:
    """The names of the clips below a root, sorted: all folders that are not hidden; files beside them are nothing."""
    with os.scandir(root) as entries:
        return sorted(
            entry.name for entry in entries if entry.is_dir() and not entry.name.startswith(".")
        )


def _tracks_file(folder: str | Path) -> Path:
    return Path(folder) / f"{Path(folder).name}.npy"


def _annotation(clip: Clip) -> dict[str, np.ndarray]:
    coords = np.ascontiguousarray(
        clip.tracks.numpy().swapaxes(0, 1).astype(np.float32) + np.float32(0.5)
    )
    held = {"coords": coords, "visibility": np.ascontiguousarray(~clip.visible.numpy().T)}
    if not clip.valid.all():
        held["valid"] = np.ascontiguousarray(clip.valid.numpy().T)
    return held


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
    """Writes T H W (or T H W 3 BGR) as folder/000.kind, ….  Encoded in memory: cv2.imwrite would hide a full disk."""
    folder.mkdir()
    settings = (
        [cv2.IMWRITE_JPEG_QUALITY, quality] if kind == "jpg" else [cv2.IMWRITE_PNG_COMPRESSION, 6]
    )
    for number, image in enumerate(images):
        data = cv2.imencode(f".{kind}", np.ascontiguousarray(image), settings)[1]
        (folder / f"{number:03d}.{kind}").write_bytes(data.tobytes())
