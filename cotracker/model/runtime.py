"""How the network runs on this machine: all that is for speed or memory, and nothing for meaning.

The other files of model/ define what is computed, in plain PyTorch.  Here alone devices have names:
which faster form takes a definition's place, how much is computed at once, bfloat16, compilation.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial, wraps

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from cotracker.model.hardware import has_avx512, multiplies

FRAME_PIXELS = 2 * 384 * 512  # so many pixels are encoded at once on a CPU, or under recompute
CACHED_TOKENS = 2048  # so many tokens, and a block's temporaries of them, stay in a CPU's cache
CACHED_NUMBERS = 2**18  # numbers of rows gathered at once on a CPU, so that a cache holds them
CHUNK_NUMBERS = 2**24  # numbers of a temporary above which points are taken in chunks
CHUNK_NUMBERS_GPU = 2**28  # where a chunk costs launches, and memory is plentiful
VOLUME_NUMBERS = 2**22  # numbers of patch products before their MLP, without gradients
WHOLE_MAP_CELLS = 4096  # up to so many cells the product with a whole map is the faster way
SHORT = 128  # up to this length plain products beat the fused attention on a CPU, with gradients
SHORT_INFERENCE = {torch.float32: 8, torch.bfloat16: 512}  # and without any, by the dtype
TILED_CHANNELS, TILED_CELLS = 64, 400  # from these on tiles make up for being transformed


# Faster forms of plain definitions

_plain = False
_FUSED_DTYPES = (torch.float32, torch.bfloat16) if multiplies(torch.bfloat16) else (torch.float32,)
# not without oneDNN; and slower than apart where tanh is computed without AVX-512
_FUSES_GELU = has_avx512() and getattr(torch.ops.mkldnn, "_linear_pointwise", None) is not None


@contextmanager
def plain() -> Iterator[None]:
    """Within it every definition runs as it is written: for exporting a model, and for tests."""
    global _plain
    before, _plain = _plain, True
    try:
        yield
    finally:
        _plain = before


def faster(form: Callable, where: Callable[..., bool] = lambda *_: True) -> Callable:
    """Decorates a definition: `form`, which gives the same, takes its place where `where` allows.

    where: of the definition's own arguments, one of the conditions below.
    """

    def decorate(definition: Callable) -> Callable:
        @wraps(definition)
        def chosen(*arguments):
            use = definition if _plain or not where(*arguments) else form
            return use(*arguments)

        return chosen

    return decorate


def for_gradients(*_) -> bool:
    """Where autograd records, so that what is kept for the backward pass counts."""
    return torch.is_grad_enabled()


def for_onednn(x: Tensor, linear: nn.Linear, *_) -> bool:
    """Where oneDNN computes a linear layer and the nonlinearity after it in one pass."""
    same = x.dtype == linear.weight.dtype and x.dtype in _FUSED_DTYPES
    return _FUSES_GELU and same and _for_inference_on_cpu(x)


def for_sigmoid(x: Tensor, linear: nn.Linear, *_) -> bool:
    """Where PyTorch's tanh is slow, and exp is not: a CPU without AVX-512."""
    same = x.dtype == linear.weight.dtype == torch.float32
    return same and _for_inference_on_cpu(x) and not has_avx512()


def for_tiles(x: Tensor, conv: nn.Conv2d) -> bool:
    """Where a convolution of tiles is faster than oneDNN's: wide 3x3 ones, without AVX-512."""
    channels, out = conv.in_channels, conv.out_channels
    wide = min(channels, out) >= TILED_CHANNELS and x.shape[-2] * x.shape[-1] >= TILED_CELLS
    plain_kernel = conv.kernel_size == (3, 3) and conv.stride == conv.padding == (1, 1)
    same = x.dtype == conv.weight.dtype == torch.float32
    return same and wide and plain_kernel and _for_inference_on_cpu(x) and not has_avx512()


def _for_inference_on_cpu(x: Tensor) -> bool:
    if x.device.type != "cpu" or torch.is_grad_enabled() or torch.is_autocast_enabled("cpu"):
        return False
    return not torch.compiler.is_compiling()


def for_short_rows(q: Tensor, *_) -> bool:
    """Where attention over rows as short as these is faster by plain products."""
    if q.device.type != "cpu":
        return False
    inference = SHORT_INFERENCE.get(q.dtype, SHORT)
    return q.shape[-2] <= (SHORT if torch.is_grad_enabled() else inference)


# How much at once


def frames_at_once(frames: Tensor, recompute: bool) -> int:
    """Of frames K 3 H W: what fits a CPU's cache, and can be kept in a heap; all on a GPU."""
    if frames.device.type != "cpu" and not recompute:
        return max(1, len(frames))
    return max(1, FRAME_PIXELS // frames[0, 0].numel())


def in_chunks(
    function: Callable[..., Tensor], chunk: int | None, dim: int, *tensors: Tensor | None
) -> Tensor:
    """function(*tensors), of so many of their `dim` at once; None: all, whatever their number."""
    if chunk is None or tensors[0].shape[dim] <= chunk:
        return function(*tensors)
    count = -(-tensors[0].shape[dim] // chunk)
    parts = [[x] * count if x is None else x.split(chunk, dim) for x in tensors]
    return torch.cat([function(*some) for some in zip(*parts)], dim)


def sequences_at_once(x: Tensor) -> int | None:
    """Of sequences K L D through a block: what a CPU's cache holds, where no gradient is wanted."""
    if x.device.type != "cpu" or torch.is_grad_enabled() or torch.compiler.is_compiling() or _plain:
        return None
    return max(1, CACHED_TOKENS // max(1, x.shape[1]))


def points_at_once(maps: Tensor, numbers: int) -> int | None:
    """Of points whose largest temporary has so many numbers each."""
    if _plain:
        return None
    return max(1, (CHUNK_NUMBERS if maps.device.type == "cpu" else CHUNK_NUMBERS_GPU) // numbers)


def rows_at_once(rows: Tensor, count: int, numbers: int) -> int:
    """Of `count` gathers of so many numbers each: what a CPU's cache holds; all on a GPU."""
    if rows.device.type != "cpu" or _plain:
        return count
    return max(1, CACHED_NUMBERS // numbers)


def tracks_at_once(maps: Tensor, numbers: int) -> int | None:
    """Of tracks whose correlations are so many numbers each; all where they are kept."""
    if torch.is_grad_enabled() or _plain:
        return None
    return max(1, (VOLUME_NUMBERS if maps.device.type == "cpu" else CHUNK_NUMBERS_GPU) // numbers)


def takes_whole_map(height: int, width: int) -> bool:
    """Whether products with every cell of such a map are faster than gathering neighbourhoods."""
    return not _plain and height * width <= WHOLE_MAP_CELLS


def sum_rows(each: Tensor, index: Tensor, count: int) -> Tensor:
    """Rows count C, the sums of those of `each` (…) C that have the same index (…)."""
    if each.device.type == "cpu":  # 2 to 3 times as fast
        return each.new_zeros(count, each.shape[-1]).index_add_(
            0, index.flatten(), each.flatten(0, -2)
        )
    return torch.ops.aten.embedding_dense_backward(each, index, count, -1, False)


# How numbers lie and are held


def for_convolutions(x: Tensor) -> Tensor:
    """Maps K C h w as convolutions read them fast: channels last on a CPU (1.5 times)."""
    if x.device.type != "cpu" or _plain:
        return x
    return x.contiguous(memory_format=torch.channels_last)


def for_resizing(x: Tensor) -> Tensor:
    """Maps K C h w as PyTorch resizes them fast: channels last on a GPU."""
    return x.contiguous(memory_format=torch.channels_last) if x.device.type == "cuda" else x


def from_resizing(x: Tensor) -> Tensor:
    """Resized maps K C h w as what follows reads them fast: channels first on a GPU."""
    return x.contiguous() if x.device.type == "cuda" else x


def recomputed(function: Callable, wanted: bool) -> Callable:
    """`function`, of which autograd keeps the arguments alone, and computes the inside again."""
    if not wanted or not torch.is_grad_enabled():
        return function
    return partial(checkpoint, function, use_reentrant=False, preserve_rng_state=False)


def as_weight(x: Tensor, weight: Tensor) -> Tensor:
    """x in the dtype that to_bfloat16 left a weight in; under autocast, which chooses, as is."""
    return x if torch.is_autocast_enabled(x.device.type) else x.to(weight.dtype)


def to_bfloat16(model: nn.Module) -> nn.Module:
    """The model, for inference: encoder, maps and the transformer's blocks in bfloat16, in place.

    Positions, motion, what the transformer reads and writes, visibility and the norms' statistics
    stay float32.
    """
    for part in (model.encoder, *model.transformer.blocks()):
        part.to(torch.bfloat16)
    return model


def compile_transformer(model: nn.Module, backend: str = "inductor") -> None:
    """Nothing comes out: the transformer is compiled at its next call; the state dict stays.

    For any number of clips, frames and points.  One compilation each for training, inference and
    dtype takes tens of seconds of a CPU.  The encoder stays: its time goes into convolutions.
    """
    model.transformer.compile(backend=backend, dynamic=True)
