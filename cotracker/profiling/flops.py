"""Floating-point operations of the network, in closed form from its settings.

A multiplication with its addition counts two. Counted are convolutions and matrix products, the
attention's among them. Correlation counts as local reading: (2 radius + 2)^2 products of C numbers
a level, on either path. Norms and nonlinearities are not counted.
"""

from cotracker.model.cotracker3 import CoTracker3
from cotracker.model.windowed import WindowedNetwork
from cotracker.model.windows import window_starts


def encode(model: WindowedNetwork, size: tuple[int, int]) -> int:
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


def iterate(model: WindowedNetwork, points: int, frames: int) -> int:
    """Operations of one iteration on `points` tracks that attend to each other, in a window."""
    return correlate(model, points, frames) + transform(model, points, frames)


def correlate(model: WindowedNetwork, points: int, frames: int) -> int:
    """Operations of the correlation features of one iteration."""
    config = model.config
    if not isinstance(model, CoTracker3):
        read = config.levels * (2 * config.radius + 2) ** 2
        return 2 * points * frames * read * config.channels
    part, taps = model.correlation, (2 * config.search_radius + 2) ** 2
    products = taps * part.query_cells * config.channels
    mlp = config.corr_hidden * (part.expand.in_features + config.corr_channels)
    return 2 * points * frames * config.levels * (products + mlp)


def transform(model: WindowedNetwork, points: int, frames: int) -> int:
    """Operations of the transformer and of the feature update in one iteration."""
    config, psi = model.config, model.transformer
    width, mlp = config.hidden, 2 * config.hidden * int(config.hidden * config.mlp_ratio)
    virtual = 0 if psi.virtual_tracks is None else len(psi.virtual_tracks)
    # Multiplications a frame: qkv and out, the MLP's two layers, attention.
    over_time = (points + virtual) * (4 * width**2 + mlp + 2 * width * frames)
    across = points * (4 * width**2 + mlp + 2 * width * points)
    if virtual:
        gather = virtual * (2 * width**2 + mlp) + points * 2 * width**2
        mix = virtual * (4 * width**2 + mlp + 2 * width * virtual)
        hand_out = points * (2 * width**2 + mlp) + virtual * 2 * width**2
        across = gather + mix + hand_out + 4 * width * points * virtual
    ends = points * width * (psi.embed.in_features + psi.head.out_features)
    updated = 0 if model.feature_update is None else points * config.channels**2
    layers = config.time_layers * over_time + config.group_layers * across
    return 2 * frames * (ends + layers + updated)


def run(
    model: WindowedNetwork,
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
    window, read = model.window, 0
    if model.visibility is not None:
        read = 2 * model.visibility.in_features * model.visibility.out_features
    total = encodings * frames * encode(model, size)
    for start in window_starts(frames, window):
        length = window if model.config.repeat_last_frame else min(window, frames - start)
        total += sets * (iters * iterate(model, points, length) + points * length * read)
    return total


def _conv(cells: tuple[int, int], inputs: int, outputs: int, side: int) -> int:
    return 2 * cells[0] * cells[1] * inputs * outputs * side * side


def _halve(cells: tuple[int, int]) -> tuple[int, int]:
    return -(-cells[0] // 2), -(-cells[1] // 2)
