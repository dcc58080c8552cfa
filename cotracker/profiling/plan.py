"""What a run will take, said beforehand, and the chunk sizes that fit a budget.

Memory is counted from the shapes that are alive together at three moments: while a frame is encoded, while maps of a
window are joined, and inside an update; the last grows with the points, none with the length of the video. It is what
the run adds to a process that holds the model already. On a CPU the whole is within 0.85 to 1.6 times what is measured
(tests/profiling/test_plan.py); on a GPU it has not been measured, and the memory that CUDA graphs
keep is not counted.
"""

from dataclasses import dataclass

import torch

from cotracker.model.correlation import offsets
from cotracker.model.cotracker import CoTracker
from cotracker.model.runtime import (
    CACHED_NUMBERS,
    CACHED_TOKENS,
    CHUNK_NUMBERS,
    CHUNK_NUMBERS_GPU,
    WHOLE_MAP_CELLS,
)
from cotracker.profiling import flops

OVERHEAD = 60e6  # bytes of convolutions' scratch, allocators' gaps and the like
SCRATCH = 1.5  # what float32 convolutions hold on a CPU, of their maps, as measured; in bfloat16 1
MOST_POINTS = (
    1024  # at once, where no budget says otherwise: all pairs of points attend to each other
)
MOST_QUERIES = 24  # of the single-point protocol, at once


@dataclass(frozen=True)
class Plan:
    """points_at_once: of Chunked.  queries_at_once, feature_memory (bytes): of OneByOne.

    bytes: what the run adds to the process at most.  operations: counted, as in model/flops.py.
    """

    points_at_once: int
    queries_at_once: int
    feature_memory: int
    bytes: int
    operations: int

    def seconds(self, peak_gflops: float, share: float = 0.75) -> float:
        """How long it takes at such a share of the machine's matrix peak (machine.matrix_peak)."""
        return self.operations / (share * peak_gflops * 1e9)


def plan(
    model: CoTracker,
    frames: int,
    size: tuple[int, int],
    points: int,
    budget: float | None = None,
    iters: int = 6,
    support: int = 0,
    single_point: bool = False,
    video_size: tuple[int, int] | None = None,
) -> Plan:
    """The Plan of tracking `points` queries through `frames` frames of `size` (H, W), within `budget` bytes if given.

    support: points added to each turn, or to each query where single_point.  video_size: (H, W) of the file's frames,
    where they are resized.  ValueError with the least that is needed, where the budget is below it.
    """
    most = min(max(points, 1), MOST_QUERIES if single_point else MOST_POINTS)
    for at_once in (most, *_smaller(most)):
        tokens = at_once * (1 + support) if single_point else at_once + support
        need = _bytes(model, frames, size, tokens, points, video_size or size)
        if budget is None or need <= budget:
            break
    else:
        raise ValueError(
            f"{budget / 1e6:.0f} MB beside the program are too few for this video at {size[0]}x{size[1]}: it needs "
            f"{need / 1e6:.0f} MB for one point, so give more memory or a smaller resolution"
        )
    maps = 0
    if single_point:
        room = 2e9 if budget is None else budget - need
        maps = int(min(frames * maps_bytes(model, size), room))
    counted = _operations(model, frames, size, points, iters, support, single_point, at_once)
    return Plan(points if single_point else at_once, at_once, maps, int(need) + maps, counted)


def maps_bytes(model: CoTracker, size: tuple[int, int]) -> int:
    """Bytes of one frame's pyramid."""
    height, width = (-(-side // model.stride) for side in size)
    cells = 0
    for _ in range(model.config.levels):
        cells += height * width
        height, width = -(-height // 2), -(-width // 2)
    return cells * model.config.channels * model.dtype.itemsize


def _bytes(
    model: CoTracker,
    frames: int,
    size: tuple[int, int],
    tokens: int,
    points: int,
    video_size: tuple[int, int],
) -> float:
    """What `tokens` points at once take, of `points` in all."""
    window = model.window * maps_bytes(model, size)
    read = model.window * 3 * (4 * size[0] * size[1] + 2 * video_size[0] * video_size[1])
    answers = 4 * 12 * frames * points
    encoding = read + window + max(_encoder_bytes(model, size), window)
    once = max(_block_bytes(model, tokens), _correlation_bytes(model, size, tokens))
    updating = window + _token_bytes(model, tokens) + once
    return OVERHEAD + answers + max(encoding, updating)


def _encoder_bytes(model: CoTracker, size: tuple[int, int]) -> float:
    """Alive while the levels of one frame are joined, or in its first, largest stage. DINOv2 is taken for as large."""
    widths, fused = model.config.widths, model.config.fuse_width
    pixels, cells = size[0] * size[1], size[0] * size[1] / model.stride**2
    levels = sum(width * pixels / 4 ** (stage + 1) for stage, width in enumerate(widths))
    numbers = max(levels + (2 * sum(widths) + fused) * cells, widths[0] * pixels)
    return (
        numbers
        * model.dtype.itemsize
        * (SCRATCH if _on_cpu(model) and model.dtype == torch.float32 else 1)
    )


def _token_bytes(model: CoTracker, tokens: int) -> float:
    """Of points in the frames of a window: their tokens, codes and parts, float32, and what is kept between blocks."""
    inputs, width = model.transformer.embed.in_features, model.config.hidden
    each = 4 * (3 * inputs + 4 * model.config.channels) + model.dtype.itemsize * 4 * width
    return model.window * tokens * each


def _block_bytes(model: CoTracker, tokens: int) -> float:
    """What a block holds at once; on a CPU it takes its sequences in turns, of one frame's points at the least."""
    width, count = model.config.hidden, model.window * tokens
    turn = min(count, max(tokens, CACHED_TOKENS)) if _on_cpu(model) else count
    return (
        turn
        * model.dtype.itemsize
        * (3 * width + max(6 * width, int(width * model.config.mlp_ratio)))
    )


def _correlation_bytes(model: CoTracker, size: tuple[int, int], tokens: int) -> float:
    """Of the largest temporary: rows around points, or products with a whole map; points are taken in turns."""
    cells = size[0] * size[1] / model.stride**2
    local, near = (
        (2 * model.config.radius + 2) ** 2 * model.config.channels,
        len(offsets("square", model.config.radius)),
    )
    most = CHUNK_NUMBERS if _on_cpu(model) else CHUNK_NUMBERS_GPU

    def taken(each: float, at_once: int) -> float:
        numbers = min(most, model.window * tokens * each)
        beside = numbers / each * near * 4 * 8  # indices and what is interpolated
        return min(numbers, at_once) * model.dtype.itemsize + beside

    gathered = (
        taken(local, CACHED_NUMBERS if _on_cpu(model) else most) if cells > WHOLE_MAP_CELLS else 0
    )
    while cells > WHOLE_MAP_CELLS:  # the first level whose products are with the whole map
        cells /= 4
    return max(gathered, taken(cells, most))


def _on_cpu(model: CoTracker) -> bool:
    return next(model.parameters()).device.type == "cpu"


def _operations(
    model: CoTracker,
    frames: int,
    size: tuple[int, int],
    points: int,
    iters: int,
    support: int,
    single_point: bool,
    at_once: int,
) -> int:
    if single_point:
        return flops.run(model, 1 + support, frames, size, iters, sets=points)
    turns = [min(at_once, points - start) for start in range(0, points, at_once)]
    return sum(flops.run(model, turn + support, frames, size, iters) for turn in turns)


def _smaller(most: int):
    """Halves of it, down to one."""
    while most > 1:
        most = -(-most // 2)
        yield most


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


def working_bytes(device: torch.device, budget: int, held: int) -> int:
    """What is left of a budget for the whole process; ValueError where the process holds more already."""
    left = budget - held
    if left <= 0:
        raise ValueError(
            f"{budget / 1e6:.0f} MB are less than the program itself holds on {device} before it begins, "
            f"{held / 1e6:.0f} MB: give more"
        )
    return left
