"""Floating-point operations of the network, in closed form from its settings.

A multiplication with its addition counts two. Counted are convolutions and matrix products, the
attention's among them. Correlation counts as local reading: (2 radius + 2)^2 products of C numbers
a level, on either path. Norms and nonlinearities are not counted.
"""

from cotracker.model.correlation import offsets
from cotracker.model.cotracker import CoTracker
from cotracker.model.windows import window_starts


def encode(model: CoTracker, size: tuple[int, int]) -> int:
    """Operations of encoding one frame of (H, W) pixels; ValueError for encoders but the CNN."""
    config = model.config
    if config.encoder != "cnn":
        raise ValueError(
            f'operations of the encoder {config.encoder!r} are not counted: use encoder "cnn"'
        )
    widths, fuse_width = config.widths, config.fuse_width
    cells = _halve(size)
    total = _conv(cells, 3, widths[0], 7)
    inputs = widths[0]
    for stage, outputs in enumerate(widths):
        if stage:
            cells = _halve(cells)
        total += _conv(cells, inputs, outputs, 3) + 3 * _conv(cells, outputs, outputs, 3)
        if stage or inputs != outputs:
            total += _conv(cells, inputs, outputs, 1)
        inputs = outputs
    out = tuple(-(-side // config.stride) for side in size)
    fuse = _conv(out, sum(widths), fuse_width, 3)
    return total + fuse + _conv(out, fuse_width, config.channels, 1)


def iterate(model: CoTracker, points: int, frames: int) -> int:
    """Operations of one iteration on `points` tracks that attend to each other, in a window."""
    return correlate(model, points, frames) + transform(model, points, frames)


def correlate(model: CoTracker, points: int, frames: int) -> int:
    """Operations of the correlation features of one iteration."""
    config = model.config
    read = config.levels * (2 * config.radius + 2) ** 2
    return 2 * points * frames * read * config.channels


def transform(model: CoTracker, points: int, frames: int) -> int:
    """Operations of the transformer and of the feature update in one iteration."""
    config = model.config
    width, channels = config.hidden, config.channels
    corr = config.levels * len(offsets(config.neighbourhood, config.radius))
    inputs = 2 + 4 * config.motion_waves + corr + channels + 2
    # Multiplications a token: qkv and out, and the MLP's two layers.
    block = 4 * width * width + 2 * width * int(width * config.mlp_ratio)
    layers = config.time_layers + config.group_layers
    attention = 2 * width * (config.time_layers * frames + config.group_layers * points)
    ends = width * (inputs + 2 + channels)
    return 2 * points * frames * (ends + layers * block + attention + channels * channels)


def run(
    model: CoTracker,
    points: int,
    frames: int,
    size: tuple[int, int],
    iters: int,
    sets: int = 1,
    encodings: int = 1,
) -> int:
    """Operations of tracking `sets` times `points` points through a video of (H, W) pixels.

    sets: groups of points that do not attend to each other.
    encodings: how often the video is encoded.
    Windows are those of CoTrackerPredictor: they overlap by half, and the last may be shorter.
    """
    window, channels = model.window, model.config.channels
    total = encodings * frames * encode(model, size)
    for start in window_starts(frames, window):
        length = window if model.config.repeat_last_frame else min(window, frames - start)
        total += sets * (iters * iterate(model, points, length) + 2 * points * length * channels)
    return total


def _conv(cells: tuple[int, int], inputs: int, outputs: int, side: int) -> int:
    return 2 * cells[0] * cells[1] * inputs * outputs * side * side


def _halve(cells: tuple[int, int]) -> tuple[int, int]:
    return -(-cells[0] // 2), -(-cells[1] // 2)
