"""Floating-point operations of the network, in closed form from its settings: two for each multiply and add.

Counted are convolutions and matrix products, the attention's among them. Correlation is counted as the local reading
needs it, whatever way is taken: (2 radius + 2)^2 products of C numbers a level. Norms and nonlinearities are not.
"""

from cotracker.model.correlation import offsets
from cotracker.model.cotracker import CoTracker
from cotracker.model.windows import window_starts


def encode(model: CoTracker, size: tuple[int, int]) -> int:
    """Operations of encoding one frame of `size` (H, W) pixels; ValueError for an encoder other than the paper's."""
    config = model.config
    if config.encoder != "cnn":
        raise ValueError(
            f'operations of the encoder {config.encoder!r} are not counted: use encoder "cnn"'
        )
    widths, fuse_width = config.widths, config.fuse_width
    cells = _halved(size)
    total = _conv(cells, 3, widths[0], 7)
    inputs = widths[0]
    for stage, outputs in enumerate(widths):
        if stage:
            cells = _halved(cells)
        total += _conv(cells, inputs, outputs, 3) + 3 * _conv(cells, outputs, outputs, 3)
        if stage or inputs != outputs:
            total += _conv(cells, inputs, outputs, 1)
        inputs = outputs
    out = tuple(-(-side // config.stride) for side in size)
    return (
        total + _conv(out, sum(widths), fuse_width, 3) + _conv(out, fuse_width, config.channels, 1)
    )


def update(model: CoTracker, points: int, frames: int) -> int:
    """Operations of one update of `points` tracks that see each other, in a window of `frames`."""
    return correlate(model, points, frames) + transform(model, points, frames)


def correlate(model: CoTracker, points: int, frames: int) -> int:
    """Operations of the correlation features of one update."""
    config = model.config
    return 2 * points * frames * config.levels * (2 * config.radius + 2) ** 2 * config.channels


def transform(model: CoTracker, points: int, frames: int) -> int:
    """Operations of the transformer and of the change of the features in one update."""
    config = model.config
    width, channels, hidden = (
        config.hidden,
        config.channels,
        int(config.hidden * config.mlp_ratio),
    )
    near = config.levels * len(offsets(config.neighbourhood, config.radius))
    tokens = 2 + 4 * config.motion_waves + near + channels + 2
    block = (
        4 * width * width + 2 * width * hidden
    )  # multiplications a token: qkv, out, and the MLP's two layers
    layers = config.time_layers + config.group_layers
    attention = 2 * width * (config.time_layers * frames + config.group_layers * points)
    token = width * (tokens + 2 + channels) + layers * block + attention + channels * channels
    return 2 * points * frames * token


def run(
    model: CoTracker,
    points: int,
    frames: int,
    size: tuple[int, int],
    iters: int,
    sets: int = 1,
    encodings: int = 1,
) -> int:
    """Operations of tracking `sets` times `points` points, each set by itself, in a video encoded `encodings` times.

    As CoTrackerPredictor does it: windows of the model's length over half, the last one perhaps shorter.
    """
    window, channels = model.window, model.config.channels
    total = encodings * frames * encode(model, size)
    for start in window_starts(frames, window):
        length = window if model.config.repeat_last_frame else min(window, frames - start)
        total += sets * (iters * update(model, points, length) + 2 * points * length * channels)
    return total


def _conv(cells: tuple[int, int], inputs: int, outputs: int, side: int) -> int:
    return 2 * cells[0] * cells[1] * inputs * outputs * side * side


def _halved(cells: tuple[int, int]) -> tuple[int, int]:
    return -(-cells[0] // 2), -(-cells[1] // 2)
