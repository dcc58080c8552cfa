"""Layers as tables and textures on a device: where the pixels of tiles come from."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from cotracker.data.synthetic.sprites.layers import Layer

TILE = 16
CHUNK = 1 << 16  # tiles sampled at once on a device: 17 million pixels
CHUNK_ON_CPU = 1 << 11  # what stays in its caches: 2.3 times faster


@dataclass(frozen=True)
class Tiles:
    """Tiles (n,) of the batch, to be rendered with one layer each.

    where: (n,) among all tiles.
    corner: (n, 2) first pixel (x, y).
    row: (n,) of the MotionTable.
    """

    where: Tensor
    corner: Tensor
    row: Tensor

    def split(self) -> list["Tiles"]:
        """The tiles in chunks."""
        chunk = CHUNK_ON_CPU if self.where.device.type == "cpu" else CHUNK
        parts = zip(*(tensor.split(chunk) for tensor in (self.where, self.corner, self.row)))
        return [Tiles(*part) for part in parts]

    def __getitem__(self, chosen: Tensor) -> "Tiles":
        return Tiles(self.where[chosen], self.corner[chosen], self.row[chosen])


class Atlas:
    """Pictures h w c uint8 below one another, sampled bilinearly; transparent outside each."""

    def __init__(self, pictures: list[np.ndarray], device: torch.device):
        width = max(picture.shape[1] for picture in pictures) + 2
        self.sizes = torch.tensor(
            [picture.shape[1::-1] for picture in pictures], device=device, dtype=torch.float32
        )
        starts = np.cumsum([1] + [picture.shape[0] + 2 for picture in pictures])
        self.starts = torch.tensor(starts[:-1], device=device, dtype=torch.float32)
        whole = np.zeros((int(starts[-1]), width, pictures[0].shape[2]), np.uint8)
        for start, picture in zip(starts, pictures):
            whole[start : start + picture.shape[0], 1 : 1 + picture.shape[1]] = picture
        self.maps = torch.from_numpy(whole).to(device).permute(2, 0, 1)[None].float()

    def sample(self, which: Tensor, u: Tensor, v: Tensor) -> Tensor:
        """Values (c, n, p) of picture `which` (n,) at u, v (n, p)."""
        sizes, (height, width) = self.sizes[which], self.maps.shape[2:]
        x = u.maximum(u.new_tensor(-1.0)).minimum(sizes[:, :1]) + 1
        y = v.maximum(v.new_tensor(-1.0)).minimum(sizes[:, 1:]) + self.starts[which][:, None]
        grid = torch.stack([x * (2 / (width - 1)) - 1, y * (2 / (height - 1)) - 1], dim=-1)
        return F.grid_sample(self.maps, grid[None], align_corners=True, padding_mode="zeros")[0]

    def mirror(self, which: Tensor, endless: Tensor, u: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """u, v (n, p) reflected back into the picture where `endless` (n,)."""
        if not endless.any():
            return u, v
        folded = []
        for values, last in zip((u, v), (self.sizes[which] - 1).unbind(1)):
            last = last[:, None]
            reflected = last - (values.remainder(2 * last) - last).abs()
            folded.append(torch.where(endless[:, None], reflected, values))
        return folded[0], folded[1]


class MotionTable:
    """The maps of layers as tables on the device; row r is one shot of one layer."""

    def __init__(self, chosen: list[tuple[int, Layer]], shots: list[int], device: torch.device):
        layers = [layer for _, layer in chosen]
        counts = [shots[b] for b, _ in chosen]

        def table(rows: list) -> Tensor:
            return torch.from_numpy(np.concatenate(rows).astype(np.float32)).to(device)

        self.layer = torch.from_numpy(np.repeat(np.arange(len(layers)), counts)).to(device)
        self.endless = torch.tensor([layer.endless for layer in layers], device=device)
        self.gain = table([layer.gain for layer in layers])
        self.frame_to_object = table([_normalise(layer.frame_to_object) for layer in layers])
        self.object_to_canvas = table([_normalise(layer.object_to_canvas) for layer in layers])
        self.frame_to_canvas = table(
            [_normalise(layer.object_to_canvas @ layer.frame_to_object) for layer in layers]
        )
        bent = [layer.bend is not None for layer in layers]
        self.bent = torch.tensor(np.repeat(bent, counts), device=device)
        self.bend = table([_bend_table(layer, count) for layer, count in zip(layers, counts)])
        revolving = [layer.revolution is not None for layer in layers]
        self.solid = torch.tensor(np.repeat(revolving, counts), device=device)
        self.skin = torch.tensor(np.cumsum(revolving) - 1, device=device)
        self.revolution = table(
            [_revolution_table(layer, count) for layer, count in zip(layers, counts)]
        )

    def canvas_positions(self, tiles: Tiles) -> tuple[Tensor, Tensor]:
        """Canvas u, v (n, 16*16) of every pixel of the tiles."""
        steps = torch.arange(TILE, device=tiles.corner.device, dtype=torch.float32)
        x = (tiles.corner[:, :1, None] + steps[None, None]).expand(-1, TILE, -1).flatten(1)
        y = (tiles.corner[:, 1:, None] + steps[None, :, None]).expand(-1, -1, TILE).flatten(1)
        u, v = _apply_homography(self.frame_to_canvas[tiles.row], x, y)
        bent = torch.nonzero(self.bent[tiles.row]).squeeze(1)
        if len(bent):
            row = tiles.row[bent]
            x, y = _apply_homography(self.frame_to_object[row], x[bent], y[bent])
            x, y = self._unbend(row, x, y)
            u[bent], v[bent] = _apply_homography(self.object_to_canvas[row], x, y)
        return u, v

    def _unbend(self, row: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """As Bend.backward."""
        first, second, early, late, one, two = self.bend[row][:, :, None].unbind(1)
        y = y - second * torch.sin(two * x + late)
        return x - first * torch.sin(one * y + early), y

    def skin_positions(self, tiles: Tiles, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Skin column, row and light (n, p) at canvas x, y: SurfaceOfRevolution.backward."""
        ahead, level, a, b, c, angle, ambient, side, columns = self.revolution[tiles.row][
            :, :, None
        ].unbind(1)
        height = y - level
        radius = (a + height * (b + height * c)).clamp(min=1e-2).sqrt()
        sine = ((x - ahead) / radius).clamp(-1, 1)
        rounds = (sine.asin() - angle) / (2 * torch.pi)
        direct = (1 - sine * sine).sqrt() * side.cos() + sine * side.sin()
        return (rounds - rounds.floor()) * columns, y, ambient + (1 - ambient) * direct.clamp(min=0)


def _normalise(matrices: np.ndarray) -> np.ndarray:
    return matrices / matrices[:, 2:, 2:]


def _bend_table(layer: Layer, count: int) -> np.ndarray:
    """Rows (count, 6): two amplitudes, two phases, two wave numbers."""
    if layer.bend is None:
        return np.zeros((count, 6))
    bend = layer.bend
    return np.concatenate(
        [bend.amplitude, bend.phase, np.tile(bend.wave_number, (count, 1))], axis=1
    )


def _revolution_table(layer: Layer, count: int) -> np.ndarray:
    """Rows (count, 9): axis, quadric, angle, light, columns all round."""
    if layer.revolution is None:
        return np.zeros((count, 9))
    revolution = layer.revolution
    rows = np.tile(
        [*revolution.axis, *revolution.quadric, 0, *revolution.light, revolution.skin.shape[1] - 1],
        (count, 1),
    )
    rows[:, 5] = revolution.angle
    return rows


def _apply_homography(matrix: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """x, y (n, p) through the matrices (n, 3, 3)."""
    a, b, c, d, e, f, g, h, i = matrix.flatten(1)[:, :, None].unbind(1)
    depth = g * x + h * y + i
    return (a * x + b * y + c) / depth, (d * x + e * y + f) / depth
