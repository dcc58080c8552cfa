"""Correlation features: track features against a pyramid of maps, around the points (section 3.1).

Bilinear reading is linear, so the integer neighbourhood's inner products are taken first and
interpolated after: equal to interpolating the features, at a quarter of the products.  Two ways to
the products, equal by test: with every cell (one matrix product; better for small maps), or gather
the neighbourhood (memory N x neighbourhood).
"""

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from cotracker import checks
from cotracker.model import runtime


def offsets(neighbourhood: str, radius: int) -> list[tuple[int, int]]:
    """The offsets (dx, dy) of a neighbourhood, x the slow index.

    neighbourhood: "diamond", |dx| + |dy| <= radius, or "square".
    """
    checks.choice("model.neighbourhood", neighbourhood, ("diamond", "square"))
    side = range(-radius, radius + 1)
    square = [(dx, dy) for dx in side for dy in side]
    if neighbourhood == "square":
        return square
    return [(dx, dy) for dx, dy in square if abs(dx) + abs(dy) <= radius]


def correlate(
    pyramid: list[Tensor],
    track_feat: Tensor,
    cells: Tensor,
    neighbourhood: str,
    radius: int,
    border: bool = False,
) -> Tensor:
    """Correlation features B S N (levels x offsets), level by level, over sqrt(C).

    pyramid: a map b S h w C a level, b = B, or 1 when all B share one video.  track_feat: B S N C.
    cells: B S N 2, positions in cells of the first level.
    neighbourhood, radius: as in `offsets`.
    border: outside a map its border goes on; else all is zero there.
    """
    out = []
    for level, maps in enumerate(pyramid):
        values = read_products(maps, track_feat, cells / 2**level, radius, border=border)
        out.append(values if neighbourhood == "square" else _take_diamond(values, radius))
    return torch.cat(out, dim=-1) / track_feat.shape[-1] ** 0.5


def _take_diamond(values: Tensor, radius: int) -> Tensor:
    """Those of a square's values (..., side^2) within |dx| + |dy| <= radius.

    By slices: a list of indices would have to go to the device.
    """
    side, runs = 2 * radius + 1, []
    for dx in range(-radius, radius + 1):
        centre = (dx + radius) * side + radius
        reach = radius - abs(dx)
        runs.append(values[..., centre - reach : centre + reach + 1])
    return torch.cat(runs, dim=-1)


def read_products(
    maps: Tensor,
    track_feat: Tensor,
    cells: Tensor,
    radius: int,
    whole: bool | None = None,
    border: bool = False,
) -> Tensor:
    """Inner products B S N (2 radius + 1)^2 of features with the map at cells + (dx, dy), x slow.

    whole: which way, with every cell of the map or not (None: the faster one for its size).
    border: as in `correlate`.
    Points are taken in chunks where a temporary grows large.
    """
    _, _, height, width, channels = maps.shape
    if whole is None:
        whole = runtime.takes_whole_map(height, width)
    each = height * width if whole else (2 * radius + 2) ** 2 * channels
    chunk = runtime.points_at_once(maps, track_feat.shape[0] * track_feat.shape[1] * each)

    def multiply(feat: Tensor, at: Tensor) -> Tensor:
        return _interpolate(maps, feat, at, radius, whole, border)

    return runtime.in_chunks(multiply, chunk, 2, track_feat, cells)


def _interpolate(
    maps: Tensor, track_feat: Tensor, cells: Tensor, radius: int, whole: bool, border: bool
) -> Tensor:
    height, width = maps.shape[2:4]
    span = 2 * radius + 2
    far = max(height, width) + radius + 2  # beyond the zeros all is zero; an integer can hold it
    cells = cells.float().clamp(-far, far)
    corner = cells.floor()
    reach = torch.arange(-radius, radius + 2, device=cells.device)
    x = (corner[..., 0].long()[..., None] + reach)[..., :, None]  # B S N span 1
    y = (corner[..., 1].long()[..., None] + reach)[..., None, :]  # B S N 1 span
    in_bounds = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    index = (y.clamp(0, height - 1) * width + x.clamp(0, width - 1)).flatten(-2)  # B S N span^2
    multiply = _multiply_whole_map if whole else _multiply_neighbourhood
    products = multiply(maps, track_feat, index).float().unflatten(-1, (span, span))
    products = products if border else products * in_bounds
    fx, fy = (cells - corner)[..., None, None].unbind(-3)
    along_y = products[..., :-1] * (1 - fy) + products[..., 1:] * fy
    return (along_y[..., :-1, :] * (1 - fx) + along_y[..., 1:, :] * fx).flatten(-2)


def _multiply_whole_map(maps: Tensor, track_feat: Tensor, index: Tensor) -> Tensor:
    """Products B S N K at flat cells `index`: every cell's product, then the K wanted."""
    cells, track_feat = maps.flatten(2, 3), track_feat.to(maps.dtype)  # b S hw C
    if maps.shape[0] == track_feat.shape[0]:
        volume = track_feat @ cells.transpose(-1, -2)
    else:  # all B clips share one video: their points are one long list
        joined = track_feat.transpose(0, 1).flatten(1, 2)  # S BN C
        volume = joined @ cells[0].transpose(-1, -2)
        volume = volume.unflatten(1, (track_feat.shape[0], -1)).transpose(0, 1)
    return volume.gather(-1, index)


def _multiply_neighbourhood(maps: Tensor, track_feat: Tensor, index: Tensor) -> Tensor:
    """Products B S N K at flat cells `index`: the K feature vectors gathered, then multiplied."""
    batch, frames, height, width, channels = maps.shape
    frame = torch.arange(batch * frames, device=maps.device).view(batch, frames, 1, 1)
    rows = maps.reshape(-1, channels)
    return _Products.apply(rows, track_feat, index + frame * (height * width))


class _Products(torch.autograd.Function):
    """Products B S N K of features B S N C with rows (…) C at an index B S N K.

    The rows read are not kept.
    """

    @staticmethod
    def forward(ctx, rows: Tensor, track_feat: Tensor, index: Tensor) -> Tensor:
        ctx.save_for_backward(rows, track_feat, index)
        feat = track_feat.to(rows.dtype)
        count = index[..., 0].numel()
        chunk = runtime.rows_at_once(rows, count, index.shape[-1] * rows.shape[-1])
        if count <= chunk:
            return (F.embedding(index, rows) @ feat[..., None])[..., 0]
        pairs = zip(index.flatten(0, -2).split(chunk), feat.flatten(0, -2)[..., None].split(chunk))
        products = torch.cat([F.embedding(some, rows) @ one for some, one in pairs])
        return products.view(index.shape)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        rows, track_feat, index = ctx.saved_tensors
        # under autocast products are bfloat16, and normalised maps float32
        gradient = gradient.to(rows.dtype)
        of_feat = (gradient[..., None, :] @ F.embedding(index, rows))[..., 0, :]
        each = gradient[..., None] * track_feat[..., None, :].to(rows.dtype)
        of_rows = runtime.sum_rows(each, index, len(rows))
        return of_rows, of_feat.to(track_feat.dtype), None
