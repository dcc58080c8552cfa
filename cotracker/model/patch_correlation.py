"""Patch correlation: the patch around the query against the patch around the estimate (CoTracker3).

Bilinear reading is linear, so products with an estimate's integer neighbourhood are taken first and
interpolated after.  Neighbourhoods are gathered: nothing is computed over a whole map.  A query's
patch is the same in all frames of a window, so that one matrix product serves them all.
"""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from cotracker.model import runtime
from cotracker.model.runtime import as_weight, faster


class PatchCorrelation(nn.Module):
    """Correlation features of all levels: products of two patches, through one MLP for all levels.

    query_radius, search_radius: of the patches around query and estimate, in a level's cells.
    gain: of the products, which are cosines where the maps' cells have norm sqrt(C).
    """

    def __init__(
        self,
        levels: int,
        query_radius: int,
        search_radius: int,
        hidden: int,
        channels: int,
        gain: float = 1.0,
    ):
        super().__init__()
        self.levels, self.gain = levels, gain
        self.query_radius, self.search_radius = query_radius, search_radius
        self.query_cells = (2 * query_radius + 1) ** 2
        self.expand = nn.Linear(self.query_cells * (2 * search_radius + 1) ** 2, hidden)
        self.contract = nn.Linear(hidden, channels)

    def read_queries(self, pyramid: list[Tensor], which: Tensor, cells: Tensor) -> Tensor:
        """Patches around the queries, B N (levels x query cells) C.

        pyramid: maps b S h w C a level.
        which: B N, the flat index of each query's map in b S.
        cells: B N 2, positions in cells of the first level.
        """
        patches = [
            read_patches(maps.flatten(0, 1), which, cells / 2**level, self.query_radius)
            for level, maps in enumerate(pyramid)
        ]
        return torch.cat(patches, dim=2)

    def forward(self, pyramid: list[Tensor], patches: Tensor, cells: Tensor) -> Tensor:
        """Features B S N (levels x channels), level by level.

        pyramid: maps b S h w C a level, b = B, or 1 when all B share one video.
        patches: those of `read_queries`.
        cells: B S N 2, positions in cells of the first level.  They get no gradient.
        """
        volume = cells.shape[0] * cells.shape[1] * self.levels * self.expand.in_features
        chunk = runtime.tracks_at_once(pyramid[0], volume)
        if chunk is None:
            return self._embed(pyramid, patches, cells)
        pairs = zip(patches.split(chunk, dim=1), cells.split(chunk, dim=2))
        return torch.cat([self._embed(pyramid, *pair) for pair in pairs], dim=2)

    def correlate(self, pyramid: list[Tensor], patches: Tensor, cells: Tensor) -> Tensor:
        """What the MLP reads, B N S levels (search cells x query cells); x is slow in both."""
        scaled = patches * (self.gain / patches.shape[-1])
        levels = zip(pyramid, scaled.split(self.query_cells, dim=2))
        volumes = [
            correlate_patches(maps, some, cells / 2**level, self.search_radius)
            for level, (maps, some) in enumerate(levels)
        ]
        return torch.stack(volumes, dim=3).flatten(-2)

    def _embed(self, pyramid: list[Tensor], patches: Tensor, cells: Tensor) -> Tensor:
        x = as_weight(self.correlate(pyramid, patches, cells), self.expand.weight)
        x = self.contract(F.gelu(self.expand(x)))  # B N S levels channels
        return x.flatten(-2).transpose(1, 2).float()


def read_patches(maps: Tensor, which: Tensor, cells: Tensor, radius: int) -> Tensor:
    """Features B N (2 radius + 1)^2 C of maps K h w C around cells B N 2, x the slow index.

    which: B N, the map in which each patch is read.  Maps are held at their border.
    """
    _, height, width, channels = maps.shape
    index, fraction = find_neighbours((height, width), cells, radius)
    index = index + (which * (height * width))[..., None]
    values = F.embedding(index, maps.reshape(-1, channels))
    return interpolate(values, fraction, radius).to(maps.dtype)


def correlate_patches(maps: Tensor, patches: Tensor, cells: Tensor, radius: int) -> Tensor:
    """Products B N S (2 radius + 1)^2 P of patches B N P C with maps b S h w C, at cells B S N 2.

    x is the slow index of the patch around a cell.  Maps are held at their border.
    """
    clips, frames, height, width, channels = maps.shape
    cells = cells.detach().transpose(1, 2)
    index, fraction = find_neighbours((height, width), cells, radius)  # B N S K
    frame = torch.arange(clips * frames, device=maps.device).view(clips, 1, frames, 1)
    rows = maps.reshape(-1, channels)
    index = index + frame * (height * width)
    return multiply_rows(rows, patches.to(maps.dtype), index, fraction, radius)


def find_neighbours(size: tuple[int, int], cells: Tensor, radius: int) -> tuple[Tensor, Tensor]:
    """Flat indices (..., (2 radius + 2)^2) of whole cells around `cells` (..., 2), and fractions.

    Fractions (..., 2) are of the way from one to the next.  Beyond a map of `size` (h, w) the
    indices are those of its border.
    """
    height, width = size
    far = max(height, width) + radius + 2  # beyond it all is border; an integer can hold it
    cells = cells.float().clamp(-far, far)
    corner = cells.floor()
    reach = torch.arange(-radius, radius + 2, device=cells.device)
    x = (corner[..., :1].long() + reach).clamp(0, width - 1)
    y = (corner[..., 1:].long() + reach).clamp(0, height - 1)
    return (y[..., None, :] * width + x[..., :, None]).flatten(-2), cells - corner


def interpolate(values: Tensor, fraction: Tensor, radius: int) -> Tensor:
    """Values (..., (2 radius + 1)^2, P) between those (..., (2 radius + 2)^2, P) of whole cells."""
    span = 2 * radius + 2
    values = values.float().unflatten(-2, (span, span))
    fx, fy = fraction[..., None, None, None].unbind(-4)
    along_y = torch.lerp(values[..., :-1, :], values[..., 1:, :], fy)
    return torch.lerp(along_y[..., :-1, :, :], along_y[..., 1:, :, :], fx).flatten(-3, -2)


def _multiply_in_chunks(
    rows: Tensor, patches: Tensor, index: Tensor, fraction: Tensor, radius: int
) -> Tensor:
    return _Products.apply(rows, patches, index, fraction, radius)


@faster(_multiply_in_chunks)
def multiply_rows(
    rows: Tensor, patches: Tensor, index: Tensor, fraction: Tensor, radius: int
) -> Tensor:
    """Products B N S side^2 P of patches B N P C with rows (…) C read between an index.

    index: B N S span^2.  fraction: B N S 2.
    """
    read = F.embedding(index, rows)  # B N S span^2 C
    return interpolate(read @ patches[:, :, None].transpose(-1, -2), fraction, radius)


class _Products(torch.autograd.Function):
    """Some tracks at a time, as a cache holds them; the rows read are not kept but read again."""

    @staticmethod
    def forward(
        ctx, rows: Tensor, patches: Tensor, index: Tensor, fraction: Tensor, radius: int
    ) -> Tensor:
        ctx.save_for_backward(rows, patches, index, fraction)
        ctx.radius = radius
        parts = []
        for read, patch, where, between in _chunks(rows, patches, index, fraction):
            products = read @ patch.transpose(-1, -2)  # t (S span^2) P
            parts.append(interpolate(products.unflatten(1, where.shape[1:]), between, radius))
        return torch.cat(parts).unflatten(0, patches.shape[:2])

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, ...]:
        rows, patches, index, fraction = ctx.saved_tensors
        of_rows, of_patches = torch.zeros_like(rows, dtype=torch.float32), []
        gradients = gradient.flatten(0, 1).split(_tracks_at_once(rows, index))
        for one, chunk in zip(gradients, _chunks(rows, patches, index, fraction)):
            read, patch, where, between = chunk
            one = _spread(one, between, ctx.radius).flatten(1, 2).to(rows.dtype)
            of_patches.append(one.transpose(-1, -2) @ read)
            each = (one @ patch).flatten(0, 1).float()
            of_rows.scatter_add_(0, where.flatten()[:, None].expand_as(each), each)
        return of_rows.to(rows.dtype), torch.cat(of_patches).view_as(patches), None, None, None


def _chunks(
    rows: Tensor, patches: Tensor, index: Tensor, fraction: Tensor
) -> Iterator[tuple[Tensor, ...]]:
    """For t tracks at a time: rows read t (S span^2) C, patches, index and fractions."""
    chunk = _tracks_at_once(rows, index)
    parts = [part.flatten(0, 1).split(chunk) for part in (patches, index, fraction)]
    for patch, where, between in zip(*parts):
        yield F.embedding(where.flatten(1), rows), patch, where, between


def _tracks_at_once(rows: Tensor, index: Tensor) -> int:
    batch, points, frames, taps = index.shape
    return runtime.rows_at_once(rows, batch * points, frames * taps * rows.shape[1])


def _spread(gradient: Tensor, fraction: Tensor, radius: int) -> Tensor:
    """The adjoint of `interpolate`: (..., span^2, P) of a gradient (..., side^2, P)."""
    side = 2 * radius + 1
    gradient = F.pad(gradient.float().unflatten(-2, (side, side)), (0, 0, 1, 1, 1, 1))
    fx, fy = fraction[..., None, None, None].unbind(-4)
    along_y = torch.lerp(gradient[..., 1:, :], gradient[..., :-1, :], fy)
    return torch.lerp(along_y[..., 1:, :, :], along_y[..., :-1, :, :], fx).flatten(-3, -2)
