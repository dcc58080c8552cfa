"""What all augmentations share: a clip's frames as OpenCV wants them, and the refusal of impossible settings."""

from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np
import torch
from torch import Tensor

from cotracker.geometry import inside_frame
from cotracker.types import Clip


def frames_of(clip: Clip) -> np.ndarray:
    """The video as T H W 3 uint8 in C order: a view where the channels lie last already, else a copy. Only to read."""
    frames = clip.video.permute(0, 2, 3, 1)
    if frames.is_contiguous():
        return frames.numpy()
    return np.stack(
        [cv2.merge(list(planes)) for planes in clip.video.numpy()]
    )  # six times as fast as a transposed copy


def with_frames(clip: Clip, frames: np.ndarray) -> Clip:
    """The clip with other frames T H W 3 uint8, which it holds without a copy."""
    return replace(clip, video=torch.from_numpy(frames).permute(0, 3, 1, 2))


def moved(clip: Clip, frames: np.ndarray, tracks: Tensor) -> Clip:
    """The clip with frames T H W 3 and tracks T N 2 that moved together: what is outside them is no longer visible.

    Masks do not come along.
    """
    visible = clip.visible & inside_frame(tracks, frames.shape[1:3])
    return replace(with_frames(clip, frames), tracks=tracks, visible=visible, masks=None)


def check_share(what: str, value: float) -> None:
    """ValueError unless `value` is a number from 0 to 1."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise ValueError(f"{what} must be a number from 0 to 1, not {value}")


def check_number(what: str, value: float, least: float, most: float) -> None:
    """ValueError unless `value` is a number within the bounds."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value <= most:
        raise ValueError(f"{what} must be a number from {least:g} to {most:g}, not {value}")


def check_whole(what: str, value: int, least: int) -> None:
    """ValueError unless `value` is a whole number of at least `least`."""
    if type(value) is not int or value < least:
        raise ValueError(f"{what} must be a whole number, {least} or more, not {value}")


def check_range(
    what: str, value: Sequence, kind: type | tuple[type, ...], least: float, most: float
) -> None:
    """ValueError unless `value` is two numbers of a kind within the bounds, the lower first."""
    pair = list(value) if isinstance(value, Sequence) else []
    good = len(pair) == 2 and all(isinstance(x, kind) and not isinstance(x, bool) for x in pair)
    if not good or not least <= pair[0] <= pair[1] <= most:
        noun = "whole numbers" if kind is int else "numbers"
        raise ValueError(
            f"{what} must be two {noun} from {least:g} to {most:g}, the lower first, not {value}"
        )


def check_least(what: str, least: int | None, count: int | None) -> None:
    """ValueError unless `least` is None, or a whole number from 1 to `count`, which is then no None."""
    if least is not None and (type(least) is not int or count is None or not 1 <= least <= count):
        raise ValueError(
            f"{what} must be null or a whole number from 1 to the number of points, {count}, not {least}"
        )
