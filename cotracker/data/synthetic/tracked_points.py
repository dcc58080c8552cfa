"""Which points of a rendered clip are tracked, for both generators."""

import numpy as np
from numpy.random import Generator


def distance_outside(tracks: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """How far tracks (..., 2) are outside a frame of `size` (H, W), x and y as shares of its size.

    Negative or zero within the frame.
    """
    extent = np.array([size[1], size[0]])
    return np.maximum(-tracks, tracks - (extent - 1)) / extent


def pick_points(rng: Generator, owner: np.ndarray, count: int, on_background: float) -> np.ndarray:
    """Indices (count,) of some of the points, without repetition.

    owner: (n,) the object that each is on, 0 for the background.  Small objects get more points
    than their share of `owner`.
    on_background: the chance of the background, where there are others.
    """
    weight = 1 / np.sqrt(np.bincount(owner)[owner])
    behind = owner == 0
    if 0 < behind.sum() < len(owner):
        weight[behind] *= on_background / weight[behind].sum()
        weight[~behind] *= (1 - on_background) / weight[~behind].sum()
    return rng.choice(len(owner), count, replace=False, p=weight / weight.sum())
