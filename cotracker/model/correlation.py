"""Correlation features C: track features against a pyramid of maps, read around the current points (section 3.1).

Bilinear reading is linear, so the integer neighbourhood's inner products are taken first and interpolated after:
equal to interpolating the features, at a quarter of the products. Two ways to the products, equal by test: gather the
neighbourhood (memory N x neighbourhood), or the product with every cell (one matrix product; better for small maps).
"""

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

WHOLE_MAP_CELLS = 4096  # up to so many cells the matrix product over the whole map is the faster way (scripts/dev/profile_correlation.py)
CACHED_NUMBERS = 2**18  # numbers of rows gathered at once on a CPU, so that a cache holds them
CHUNK_NUMBERS = 2**24  # numbers of a temporary above which points are taken in turns
CHUNK_NUMBERS_GPU = 2**28  # where a turn costs launches, and memory is plentiful


def offsets(neighbourhood: str, radius: int) -> list[tuple[int, int]]:
    """The offsets (dx, dy) of a neighbourhood, x the slow index: "diamond" |dx| + |dy| <= radius, or "square"."""
    if neighbourhood not in ("diamond", "square"):
        raise ValueError(
            f'model.neighbourhood must be "diamond" or "square", not {neighbourhood!r}'
        )
    side = range(-radius, radius + 1)
    return [
        (dx, dy)
        for dx in side
        for dy in side
        if neighbourhood == "square" or abs(dx) + abs(dy) <= radius
    ]


def correlate(
    pyramid: list[Tensor], features: Tensor, cells: Tensor, neighbourhood: str, radius: int
) -> Tensor:
    """Correlation features B S N (levels x offsets), level by level, over sqrt(C).

    pyramid: one map b S h w C a level, b = B, or 1 when all B share one video.  features Q: B S N C.
    cells: B S N 2, positions in cells of the first level.  Outside a map counts as zero.
    neighbourhood, radius: as in `offsets`.
    """
    out = []
    for level, maps in enumerate(pyramid):
        values = read_products(maps, features, cells / 2**level, radius)
        out.append(values if neighbourhood == "square" else _diamond_of(values, radius))
    return torch.cat(out, dim=-1) / features.shape[-1] ** 0.5


def _diamond_of(values: Tensor, radius: int) -> Tensor:
    """Those of a square's values (..., side^2) within |dx| + |dy| <= radius; slices, a list would go to the device."""
    side, runs = 2 * radius + 1, []
    for dx in range(-radius, radius + 1):
        centre, reach = (dx + radius) * side + radius, radius - abs(dx)
        runs.append(values[..., centre - reach : centre + reach + 1])
    return torch.cat(runs, dim=-1)


def read_products(
    maps: Tensor, features: Tensor, cells: Tensor, radius: int, whole: bool | None = None
) -> Tensor:
    """Inner products B S N (2 radius + 1)^2 of features with the map at cells + (dx, dy), x the slow index.

    `whole` chooses the way (None: by the map's size). Points are taken in turns where a temporary grows large.
    """
    _, _, height, width, channels = maps.shape
    if whole is None:
        whole = height * width <= WHOLE_MAP_CELLS
    taps = (2 * radius + 2) ** 2
    per_point = (
        features.shape[0] * features.shape[1] * (height * width if whole else taps * channels)
    )
    most = CHUNK_NUMBERS if maps.device.type == "cpu" else CHUNK_NUMBERS_GPU
    turn = max(1, most // per_point)
    parts = [
        _interpolated(maps, f, c, radius, whole)
        for f, c in zip(features.split(turn, dim=2), cells.split(turn, dim=2))
    ]
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=2)


def _interpolated(
    maps: Tensor, features: Tensor, cells: Tensor, radius: int, whole: bool
) -> Tensor:
    height, width = maps.shape[2:4]
    span = 2 * radius + 2
    far = max(height, width) + radius + 2
    cells = cells.float().clamp(
        -far, far
    )  # beyond the zeros all is zero; and an integer can hold it
    corner = cells.floor()
    reach = torch.arange(-radius, radius + 2, device=cells.device)
    x = (corner[..., 0].long()[..., None] + reach)[..., :, None]  # B S N span 1
    y = (corner[..., 1].long()[..., None] + reach)[..., None, :]  # B S N 1 span
    known = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    index = (y.clamp(0, height - 1) * width + x.clamp(0, width - 1)).flatten(-2)  # B S N span^2
    products = (_products_of_whole_map if whole else _products_of_neighbourhood)(
        maps, features, index
    )
    products = products.float().unflatten(-1, (span, span)) * known
    fx, fy = (cells - corner)[..., None, None].unbind(-3)
    along_y = products[..., :-1] * (1 - fy) + products[..., 1:] * fy
    return (along_y[..., :-1, :] * (1 - fx) + along_y[..., 1:, :] * fx).flatten(-2)


def _products_of_whole_map(maps: Tensor, features: Tensor, index: Tensor) -> Tensor:
    """Products B S N K at flat cells `index`: every cell's product, then the K wanted."""
    flat, features = maps.flatten(2, 3), features.to(maps.dtype)  # b S hw C
    if maps.shape[0] == features.shape[0]:
        volume = features @ flat.transpose(-1, -2)
    else:  # all B clips share one video: their points are one long list
        joined = features.transpose(0, 1).flatten(1, 2)  # S BN C
        volume = (
            (joined @ flat[0].transpose(-1, -2))
            .unflatten(1, (features.shape[0], -1))
            .transpose(0, 1)
        )
    return volume.gather(-1, index)


def _products_of_neighbourhood(maps: Tensor, features: Tensor, index: Tensor) -> Tensor:
    """Products B S N K at flat cells `index`: the K feature vectors gathered, then their products."""
    batch, frames, height, width, channels = maps.shape
    frame = torch.arange(batch * frames, device=maps.device).view(batch, frames, 1, 1) * (
        height * width
    )
    return _Products.apply(maps.reshape(-1, channels), features, index + frame)


class _Products(torch.autograd.Function):
    """Products B S N K of features B S N C with rows (…) C at an index B S N K; the rows read are not kept."""

    @staticmethod
    def forward(ctx, rows: Tensor, features: Tensor, index: Tensor) -> Tensor:
        ctx.save_for_backward(rows, features, index)
        features, turn = (
            features.to(rows.dtype),
            max(1, CACHED_NUMBERS // (index.shape[-1] * rows.shape[-1])),
        )
        if rows.device.type != "cpu" or index[..., 0].numel() <= turn:
            return (F.embedding(index, rows) @ features[..., None])[..., 0]
        pairs = zip(
            index.flatten(0, -2).split(turn), features.flatten(0, -2)[..., None].split(turn)
        )
        products = torch.cat([F.embedding(some, rows) @ feature for some, feature in pairs])
        return products.view(index.shape)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        rows, features, index = ctx.saved_tensors
        gradient = gradient.to(
            rows.dtype
        )  # under autocast products are bfloat16, and normalised maps float32
        of_features = (gradient[..., None, :] @ F.embedding(index, rows))[..., 0, :]
        each = gradient[..., None] * features[..., None, :].to(rows.dtype)
        of_rows = torch.ops.aten.embedding_dense_backward(each, index, len(rows), -1, False)
        return of_rows, of_features.to(features.dtype), None
