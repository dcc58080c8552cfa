"""Memory and operations of a run, predicted, and the chunk sizes that fit a budget.

Memory is counted from the shapes alive together while a frame is encoded, while maps of a window
are joined, and inside an iteration. Only the last grows with the points, and none with the length
of the video beyond a window (of a network that sees clips as a whole, beyond the frames that it
holds at once). It is what the run adds to a process that holds the model. On a CPU the prediction
is 0.85 to 1.6 times the measurement (tests/profiling/test_plan.py). On a GPU it is not measured,
and the memory of CUDA graphs is not counted.
"""

from dataclasses import dataclass

import torch

from cotracker.model.correlation import offsets
from cotracker.model.cotracker3 import CoTracker3
from cotracker.model.runtime import (
    CACHED_NUMBERS,
    CACHED_TOKENS,
    CHUNK_NUMBERS,
    CHUNK_NUMBERS_GPU,
    VOLUME_NUMBERS,
    WHOLE_MAP_CELLS,
)
from cotracker.model.windowed import WindowedNetwork
from cotracker.profiling import flops

OVERHEAD = 60e6  # bytes of convolutions' scratch, allocators' gaps and the like
SCRATCH = 1.5  # float32 convolutions' memory on a CPU, in units of their maps; 1 in bfloat16
MOST_POINTS = 1024  # at once, as all pairs of points attend to each other
MOST_QUERIES = 24  # of the single-point protocol, at once


@dataclass(frozen=True)
class Workload:
    """What is tracked.

    size: (H, W) that the network sees.
    support: points added to each chunk, or to each query where single_point.
    video_size: (H, W) of the file's frames; None for `size`.
    """

    frames: int
    size: tuple[int, int]
    points: int
    iters: int = 6
    support: int = 0
    single_point: bool = False
    video_size: tuple[int, int] | None = None

    def tokens(self, at_once: int) -> int:
        """The number of points of a chunk of `at_once` queries, with their support."""
        return at_once * (1 + self.support) if self.single_point else at_once + self.support


@dataclass(frozen=True)
class Plan:
    """How to run a workload.

    points_at_once: of Chunked.
    queries_at_once, feature_memory (bytes): of OneByOne.
    bytes: what the run adds to the process at most.
    operations: as flops.py counts them.
    """

    points_at_once: int
    queries_at_once: int
    feature_memory: int
    bytes: int
    operations: int

    def seconds(self, peak_gflops: float, share: float = 0.75) -> float:
        """The time at such a share of the matrix peak (machine.matrix_peak)."""
        return self.operations / (share * peak_gflops * 1e9)


def plan(model: WindowedNetwork, work: Workload, budget: float | None = None) -> Plan:
    """The Plan of a workload within `budget` bytes; ValueError where one point needs more."""
    at_once = min(max(work.points, 1), MOST_QUERIES if work.single_point else MOST_POINTS)
    need = _bytes(model, work, at_once)
    while budget is not None and need > budget:
        if at_once == 1:
            height, width = work.size
            raise ValueError(
                f"{budget / 1e6:.0f} MB beside the program are too few for this video at "
                f"{height}x{width}: it needs {need / 1e6:.0f} MB for one point, so give more "
                "memory or a smaller resolution"
            )
        at_once = -(-at_once // 2)
        need = _bytes(model, work, at_once)
    maps = 0
    if work.single_point:
        room = 2e9 if budget is None else budget - need
        maps = int(min(work.frames * maps_bytes(model, work.size), room))
    points = work.points if work.single_point else at_once
    return Plan(points, at_once, maps, int(need) + maps, _operations(model, work, at_once))


def maps_bytes(model: WindowedNetwork, size: tuple[int, int]) -> int:
    """Bytes of one frame's pyramid."""
    height, width = (-(-side // model.stride) for side in size)
    cells = 0
    for _ in range(model.config.levels):
        cells += height * width
        height, width = -(-height // 2), -(-width // 2)
    return cells * model.config.channels * model.dtype.itemsize


def _bytes(model: WindowedNetwork, work: Workload, at_once: int) -> float:
    """The peak with `at_once` queries in a chunk."""
    points = work.tokens(at_once)
    (height, width), video = work.size, work.video_size or work.size
    frames = min(model.window, work.frames)
    window = frames * maps_bytes(model, work.size)
    read = frames * 3 * (4 * height * width + 2 * video[0] * video[1])
    encoding = read + window + max(_encoder_bytes(model, work.size), window)
    tokens = frames * points
    largest = max(_block_bytes(model, tokens, points), _correlation_bytes(model, work.size, tokens))
    features = _features_bytes(model, points)
    beginning = window + 3 * features  # those kept, and new ones while they are read
    iterating = window + features + _token_bytes(model, tokens) + largest
    answers = 4 * 12 * work.frames * work.points
    return OVERHEAD + answers + max(encoding, beginning, iterating)


def _features_bytes(model: WindowedNetwork, points: int) -> float:
    """Of the patches of the queries."""
    if not isinstance(model, CoTracker3):
        return 0
    cells = model.config.levels * model.correlation.query_cells
    return points * cells * model.config.channels * model.dtype.itemsize


def _encoder_bytes(model: WindowedNetwork, size: tuple[int, int]) -> float:
    """While one frame's levels are joined, or in the first stage. DINOv2 counts the same."""
    widths, fused = model.config.widths, model.config.fuse_width
    pixels, cells = size[0] * size[1], size[0] * size[1] / model.stride**2
    levels = sum(width * pixels / 4 ** (stage + 1) for stage, width in enumerate(widths))
    elements = max(levels + (2 * sum(widths) + fused) * cells, widths[0] * pixels)
    scratch = SCRATCH if _on_cpu(model) and model.dtype == torch.float32 else 1
    return elements * model.dtype.itemsize * scratch


def _token_bytes(model: WindowedNetwork, tokens: int) -> float:
    """Of a window's tokens: float32 inputs, and what is kept between blocks."""
    inputs, width = model.transformer.embed.in_features, model.config.hidden
    if isinstance(model, CoTracker3):  # inputs, and their parts while they are joined
        each = 4 * 2 * inputs
    else:  # and features of each point in each frame
        each = 4 * (3 * inputs + 4 * model.config.channels)
    return tokens * (each + model.dtype.itemsize * 4 * width)


def _block_bytes(model: WindowedNetwork, tokens: int, points: int) -> float:
    """Of a block; on a CPU in chunks of sequences, of one frame's points at least."""
    width = model.config.hidden
    chunk = min(tokens, max(points, CACHED_TOKENS)) if _on_cpu(model) else tokens
    mlp = max(6 * width, int(width * model.config.mlp_ratio))
    return chunk * model.dtype.itemsize * (3 * width + mlp)


def _correlation_bytes(model: WindowedNetwork, size: tuple[int, int], tokens: int) -> float:
    """Of the largest temporary: rows around points, or products with a whole map, in chunks."""
    if isinstance(model, CoTracker3):  # products, and they again as the MLP reads them
        most = VOLUME_NUMBERS if _on_cpu(model) else CHUNK_NUMBERS_GPU
        volume = tokens * model.config.levels * model.correlation.expand.in_features
        return 3 * 4 * min(most, volume)
    radius, on_cpu = model.config.radius, _on_cpu(model)
    cells = size[0] * size[1] / model.stride**2
    local = (2 * radius + 2) ** 2 * model.config.channels
    corr = len(offsets("square", radius))
    most = CHUNK_NUMBERS if on_cpu else CHUNK_NUMBERS_GPU

    def chunk_bytes(each: float, at_once: int) -> float:
        elements = min(most, tokens * each)
        beside = elements / each * corr * 4 * 8  # indices and what is interpolated
        return min(elements, at_once) * model.dtype.itemsize + beside

    gathered = 0
    if cells > WHOLE_MAP_CELLS:
        gathered = chunk_bytes(local, CACHED_NUMBERS if on_cpu else most)
    while cells > WHOLE_MAP_CELLS:  # the first level whose products are with the whole map
        cells /= 4
    return max(gathered, chunk_bytes(cells, most))


def _on_cpu(model: WindowedNetwork) -> bool:
    return next(model.parameters()).device.type == "cpu"


def _operations(model: WindowedNetwork, work: Workload, at_once: int) -> int:
    shape = (work.frames, work.size, work.iters)
    if work.single_point:
        return flops.run(model, 1 + work.support, *shape, sets=work.points)
    chunks = [min(at_once, work.points - start) for start in range(0, work.points, at_once)]
    return sum(flops.run(model, chunk + work.support, *shape) for chunk in chunks)


def parse_bytes(text: str) -> int:
    """Bytes of a size such as 2GB or 800MB (decimal); ValueError for other text."""
    units = {"gb": 10**9, "mb": 10**6}
    number, unit = text[:-2].strip(), text[-2:].lower()
    try:
        size = float(number) * units[unit]
    except (KeyError, ValueError):
        size = 0.0
    if not 1e6 <= size < 1e15:
        raise ValueError(f"{text} is not a size such as 2GB or 800MB")
    return int(size)


def working_bytes(device: torch.device, budget: int, before: int) -> int:
    """What a process budget leaves for the run; ValueError where the process holds more."""
    if budget <= before:
        raise ValueError(
            f"{budget / 1e6:.0f} MB are less than the program itself holds on {device} before "
            f"it begins, {before / 1e6:.0f} MB: give more"
        )
    return budget - before
