"""Layers as tables and pictures on a device: where the pixels of tiles come from, and their colours."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from cotracker.data.synthetic.sprites.layers import Layer

TILE = 16
AT_ONCE = 1 << 16  # tiles sampled in one go on a device: 17 million pixels
AT_ONCE_ON_CPU = 1 << 11  # what stays in its caches: 2.3 times faster there


@dataclass(frozen=True)
class Tiles:
    """Tiles (n,) of the batch to be drawn with one layer each.

    where: (n,) among all tiles.  corner: (n, 2) first pixel (x, y).  row: (n,) of the tables of the layers' motions.
    """

    where: Tensor
    corner: Tensor
    row: Tensor

    def split(self) -> list["Tiles"]:
        """Themselves in portions."""
        portion = AT_ONCE_ON_CPU if self.where.device.type == "cpu" else AT_ONCE
        parts = zip(*(tensor.split(portion) for tensor in (self.where, self.corner, self.row)))
        return [Tiles(*part) for part in parts]

    def __getitem__(self, chosen: Tensor) -> "Tiles":
        return Tiles(self.where[chosen], self.corner[chosen], self.row[chosen])


class Atlas:
    """Pictures h w c uint8 below one another, with clear rows between, read bilinearly; clear outside each."""

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

    def mirrored(
        self, which: Tensor, endless: Tensor, u: Tensor, v: Tensor
    ) -> tuple[Tensor, Tensor]:
        """u, v (n, p) folded back into the picture, as between mirrors, where `endless` (n,)."""
        if not endless.any():
            return u, v
        folded = []
        for values, last in zip((u, v), (self.sizes[which] - 1).unbind(1)):
            last = last[:, None]
            folded.append(
                torch.where(
                    endless[:, None], last - (values.remainder(2 * last) - last).abs(), values
                )
            )
        return folded[0], folded[1]


class Motions:
    """The maps of layers over their shots as tables on the device; row r is one shot of one layer."""

    def __init__(self, chosen: list[tuple[int, Layer]], shots: list[int], device: torch.device):
        layers, counts = [layer for _, layer in chosen], [shots[b] for b, _ in chosen]

        def table(rows: list) -> Tensor:
            return torch.from_numpy(np.concatenate(rows).astype(np.float32)).to(device)

        self.layer = torch.from_numpy(np.repeat(np.arange(len(layers)), counts)).to(device)
        self.endless = torch.tensor([layer.endless for layer in layers], device=device)
        self.gain = table([layer.gain for layer in layers])
        self.views_back = table([_scaled(layer.views_back) for layer in layers])
        self.places_back = table([_scaled(layer.places_back) for layer in layers])
        self.whole_back = table([_scaled(layer.places_back @ layer.views_back) for layer in layers])
        bent = [layer.bend is not None for layer in layers]
        self.bent = torch.tensor(np.repeat(bent, counts), device=device)
        self.bend = table([_bend_table(layer, count) for layer, count in zip(layers, counts)])
        turning = [layer.lathe is not None for layer in layers]
        self.solid = torch.tensor(np.repeat(turning, counts), device=device)
        self.skin = torch.tensor(np.cumsum(turning) - 1, device=device)
        self.lathe = table([_lathe_table(layer, count) for layer, count in zip(layers, counts)])

    def canvas_positions(self, tiles: Tiles) -> tuple[Tensor, Tensor]:
        """Canvas u, v (n, 16*16) of every pixel of the tiles."""
        steps = torch.arange(TILE, device=tiles.corner.device, dtype=torch.float32)
        x = (tiles.corner[:, :1, None] + steps[None, None]).expand(-1, TILE, -1).flatten(1)
        y = (tiles.corner[:, 1:, None] + steps[None, :, None]).expand(-1, -1, TILE).flatten(1)
        u, v = _through(self.whole_back[tiles.row], x, y)
        bent = torch.nonzero(self.bent[tiles.row]).squeeze(1)
        if len(bent):
            row = tiles.row[bent]
            u[bent], v[bent] = _through(
                self.places_back[row],
                *self._unbent(row, *_through(self.views_back[row], x[bent], y[bent])),
            )
        return u, v

    def _unbent(self, row: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """As Bend.backward."""
        first, second, early, late, one, two = self.bend[row][:, :, None].unbind(1)
        y = y - second * torch.sin(two * x + late)
        return x - first * torch.sin(one * y + early), y

    def skin_positions(self, tiles: Tiles, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Skin column, row and light (n, p) of solids at canvas x, y: as Lathe.backward."""
        ahead, level, a, b, c, turn, ambient, side, columns = self.lathe[tiles.row][
            :, :, None
        ].unbind(1)
        height = y - level
        radius = (a + height * (b + height * c)).clamp(min=1e-2).sqrt()
        sine = ((x - ahead) / radius).clamp(-1, 1)
        rounds = (sine.asin() - turn) / (2 * torch.pi)
        direct = (1 - sine * sine).sqrt() * side.cos() + sine * side.sin()
        return (rounds - rounds.floor()) * columns, y, ambient + (1 - ambient) * direct.clamp(min=0)


def _scaled(matrices: np.ndarray) -> np.ndarray:
    return matrices / matrices[:, 2:, 2:]


def _bend_table(layer: Layer, count: int) -> np.ndarray:
    """Rows (count, 6): two amplitudes, two phases, two wave numbers."""
    if layer.bend is None:
        return np.zeros((count, 6))
    bend = layer.bend
    return np.concatenate([bend.amplitude, bend.phase, np.tile(bend.number, (count, 1))], axis=1)


def _lathe_table(layer: Layer, count: int) -> np.ndarray:
    """Rows (count, 9): axis, quadric, turn, light, columns all round."""
    if layer.lathe is None:
        return np.zeros((count, 9))
    lathe = layer.lathe
    rows = np.tile(
        [*lathe.axis, *lathe.quadric, 0, *lathe.light, lathe.skin.shape[1] - 1], (count, 1)
    )
    rows[:, 5] = lathe.turn
    return rows


def _through(matrix: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """x, y (n, p) through the matrices (n, 3, 3)."""
    a, b, c, d, e, f, g, h, i = matrix.flatten(1)[:, :, None].unbind(1)
    depth = g * x + h * y + i
    return (a * x + b * y + c) / depth, (d * x + e * y + f) / depth
