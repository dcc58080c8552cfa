"""What all augmentations share: a clip's frames as OpenCV wants them."""

from dataclasses import replace

import cv2
import numpy as np
import torch
from torch import Tensor

from cotracker.geometry import inside_frame
from cotracker.types import Clip


def to_frames(clip: Clip) -> np.ndarray:
    """The video as T H W 3 uint8 in C order, only to read.

    It is a view where the channels lie last already, else a copy.
    """
    frames = clip.video.permute(0, 2, 3, 1)
    if frames.is_contiguous():
        return frames.numpy()
    # six times as fast as a transposed copy
    return np.stack([cv2.merge(list(planes)) for planes in clip.video.numpy()])


def replace_frames(clip: Clip, frames: np.ndarray) -> Clip:
    """The clip with other frames T H W 3 uint8, which it holds without a copy."""
    return replace(clip, video=torch.from_numpy(frames).permute(0, 3, 1, 2))


def move_points(clip: Clip, frames: np.ndarray, tracks: Tensor) -> Clip:
    """The clip with frames T H W 3 and tracks T N 2 that moved together.

    Points outside the frames are no longer visible.  Masks are dropped.
    """
    visible = clip.visible & inside_frame(tracks, frames.shape[1:3])
    return replace(replace_frames(clip, frames), tracks=tracks, visible=visible, masks=None)
