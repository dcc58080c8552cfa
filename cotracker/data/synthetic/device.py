"""Scenes drawn as one batch by grid sampling, on whatever device is named: the same pictures as drawing.py makes.

Workers make Scenes (small, on the CPU): `stream = TrainingStream(Undrawn(Sprites(...)), seed)`, loaded with
collate_fn=list. The process that trains draws them: `batch = clips(scenes, device)`, a Clip with B in front.
Layer number l of all clips is drawn at once, in tiles of 16x16 pixels that its box touches, from one atlas.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from cotracker.data.synthetic.device_look import look_at
from cotracker.data.synthetic.layers import Layer
from cotracker.data.synthetic.scene import Scene
from cotracker.data.synthetic.sprites import Sprites
from cotracker.types import Clip, collate

TILE = 16
AT_ONCE = 1 << 16  # tiles sampled in one go on a device: 17 million pixels
AT_ONCE_ON_CPU = 1 << 11  # what stays in its caches: 2.3 times faster there


@dataclass(frozen=True)
class Undrawn:
    """A Source of Scenes where another gives Clips: the same tracks, its pixels drawn later by `clips`."""

    source: Sprites

    def clip(self, rng: np.random.Generator) -> Scene:
        """Everything about the source's clip of this generator but its pixels."""
        return self.source.scene(rng)


def clips(scenes: list[Scene], device: torch.device) -> Clip:
    """One Clip with B in front, on `device`, of scenes of equal sizes; its video B T 3 H W uint8 is drawn there."""
    return collate([scene.clip(video).to(device) for scene, video in zip(scenes, render_batch(scenes, device))])


def render_batch(scenes: list[Scene], device: torch.device) -> Tensor:
    """Videos B T 3 H W uint8 on `device` of scenes of equal T, H and W; equal to Scene.render within interpolation.

    ValueError: the scenes' sizes differ.
    """
    sizes = {(len(scene.middle), *scene.size) for scene in scenes}
    if len(sizes) != 1:
        raise ValueError(f"a batch's scenes must have equal frames, height and width: {sorted(sizes)}")
    ((frames, height, width),) = sizes
    canvas = _Canvas(scenes, device)
    for number in range(max(len(scene.layers) for scene in scenes)):
        canvas.draw(number)
    video = canvas.frames(frames).view(len(scenes), frames, 3, height, width)
    return look_at([scene.look for scene in scenes], video)


@dataclass(frozen=True)
class _Tiles:
    """Tiles (n,) of the batch to be drawn with one layer each.

    where: (n,) among all tiles.  corner: (n, 2) first pixel (x, y).  row: (n,) of the tables of the layers' motions.
    """

    where: Tensor
    corner: Tensor
    row: Tensor

    def split(self) -> list["_Tiles"]:
        """Themselves in portions."""
        portion = AT_ONCE_ON_CPU if self.where.device.type == "cpu" else AT_ONCE
        parts = zip(*(tensor.split(portion) for tensor in (self.where, self.corner, self.row)))
        return [_Tiles(*part) for part in parts]

    def __getitem__(self, chosen: Tensor) -> "_Tiles":
        return _Tiles(self.where[chosen], self.corner[chosen], self.row[chosen])


class _Canvas:
    """All shots of a batch as tiles (n, 3, 16*16) float in 0..255, and the shade that waits to fall on each."""

    def __init__(self, scenes: list[Scene], device: torch.device):
        self.scenes, self.device, self.size = scenes, device, scenes[0].size
        self.across = -(-self.size[1] // TILE)
        self.per_shot = self.across * -(-self.size[0] // TILE)
        self.shots = [len(scene.frame_of) for scene in scenes]
        self.first = np.concatenate([[0], np.cumsum(self.shots)])
        count = int(self.first[-1]) * self.per_shot
        self.image = torch.zeros(count, 3, TILE * TILE, device=device)
        self.shade: dict[int, Tensor] = {}

    def draw(self, number: int) -> None:
        """Draws layer `number` of every clip that has so many."""
        present = [(b, scene.layers[number]) for b, scene in enumerate(self.scenes) if number < len(scene.layers)]
        for b, layer in present:
            if layer.opaque:
                self._darken(b)
        for opaque in (False, True):
            chosen = [(b, layer) for b, layer in present if layer.opaque == opaque]
            if chosen:
                self._draw(chosen, opaque)
        for b, layer in present:
            if not layer.opaque and number + 1 == len(self.scenes[b].layers):
                self._darken(b)

    def frames(self, count: int) -> Tensor:
        """The mean of each frame's shots, (B*T, 3, H, W) float in 0..255."""
        which = [b * count + scene.frame_of for b, scene in enumerate(self.scenes)]
        index = torch.from_numpy(np.concatenate(which)).to(self.device)
        total = len(self.scenes) * count
        tiles = self.image.view(len(index), self.per_shot, 3, TILE * TILE)
        if len(index) > total:
            mean = torch.zeros(total, *tiles.shape[1:], device=self.device).index_add_(0, index, tiles)
            tiles = mean / torch.bincount(index, minlength=total)[:, None, None, None]
        tiles = tiles.view(total, -1, self.across, 3, TILE, TILE)
        whole = tiles.permute(0, 3, 1, 4, 2, 5).reshape(total, 3, -1, self.across * TILE)
        return whole[:, :, : self.size[0], : self.size[1]]

    def _draw(self, chosen: list[tuple[int, Layer]], opaque: bool) -> None:
        table = _Motions(chosen, self.shots, self.device)
        atlas = _Atlas([layer.canvas for _, layer in chosen], self.device)
        turning = [layer for _, layer in chosen if layer.lathe is not None]
        skins = _Atlas([layer.lathe.skin for layer in turning], self.device) if turning else None
        for tiles in self._tiles(chosen).split():
            u, v = table.canvas_positions(tiles)
            if opaque:
                self._blend(tiles, table, atlas, skins, u, v)
            else:
                self._shadow(tiles, atlas.sample(table.layer[tiles.row], u, v)[3])

    def _blend(self, tiles: _Tiles, table: "_Motions", atlas: "_Atlas", skins: "_Atlas | None", u, v) -> None:
        layer = table.layer[tiles.row]
        endless = table.endless[layer]
        patch = atlas.sample(layer, *atlas.mirrored(layer, endless, u, v))
        colour, alpha = patch[:3], patch[3] / 255
        solid = torch.nonzero(table.solid[tiles.row]).squeeze(1) if skins is not None else ()
        if len(solid):
            column, row, light = table.skin_positions(tiles[solid], u[solid], v[solid])
            colour[:, solid] = skins.sample(table.skin[layer[solid]], column, row)[:3] * light
        colour = (colour * table.gain[tiles.row][:, None]).clamp(0, 255)
        alpha = torch.where(endless[:, None], torch.ones((), device=self.device), alpha)
        below = self.image[tiles.where]
        self.image[tiles.where] = torch.lerp(below, colour.transpose(0, 1), alpha[:, None])

    def _shadow(self, tiles: _Tiles, alpha: Tensor) -> None:
        """Keeps the darkest of the shadows that follow one another, clip by clip."""
        ends = torch.from_numpy(self.first[1:] * self.per_shot).to(self.device)
        owner = torch.bucketize(tiles.where, ends, right=True)
        for b in owner.unique().tolist():
            mine, start = owner == b, int(self.first[b]) * self.per_shot
            count = self.shots[b] * self.per_shot
            shade = self.shade.setdefault(b, torch.zeros(count, TILE * TILE, device=self.device))
            where = tiles.where[mine] - start
            shade[where] = torch.maximum(shade[where], alpha[mine] / 255)

    def _darken(self, b: int) -> None:
        shade = self.shade.pop(b, None)
        if shade is not None:
            start = int(self.first[b]) * self.per_shot
            self.image[start : start + len(shade)] *= (1 - shade)[:, None]

    def _tiles(self, chosen: list[tuple[int, Layer]]) -> _Tiles:
        """The tiles that the layers' boxes touch."""
        down, boxes, first, row = self.per_shot // self.across, [], [], 0
        for b, layer in chosen:
            for k in range(self.shots[b]):
                box = layer.box(k, self.size)
                boxes += [(0, 0, 0, 0) if box is None else box]
                first += [(int(self.first[b]) + k) * self.per_shot]
        left, top, right, bottom = np.array(boxes).T
        columns, rows = np.arange(self.across) * TILE, np.arange(down) * TILE
        across = (columns < right[:, None]) & (columns + TILE > left[:, None])
        upright = (rows < bottom[:, None]) & (rows + TILE > top[:, None])
        row, y, x = np.nonzero(upright[:, :, None] & across[:, None, :])
        where = np.array(first)[row] + y * self.across + x
        corner = np.stack([x * TILE, y * TILE], axis=1).astype(np.float32)
        return _Tiles(*(torch.from_numpy(values).to(self.device) for values in (where, corner, row)))


class _Atlas:
    """Pictures h w c uint8 below one another, with clear rows between, read bilinearly; clear outside each."""

    def __init__(self, pictures: list[np.ndarray], device: torch.device):
        width = max(picture.shape[1] for picture in pictures) + 2
        self.sizes = torch.tensor([picture.shape[1::-1] for picture in pictures], device=device, dtype=torch.float32)
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

    def mirrored(self, which: Tensor, endless: Tensor, u: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """u, v (n, p) folded back into the picture, as between mirrors, where `endless` (n,)."""
        if not endless.any():
            return u, v
        folded = []
        for values, last in zip((u, v), (self.sizes[which] - 1).unbind(1)):
            last = last[:, None]
            folded.append(torch.where(endless[:, None], last - (values.remainder(2 * last) - last).abs(), values))
        return folded[0], folded[1]


class _Motions:
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

    def canvas_positions(self, tiles: _Tiles) -> tuple[Tensor, Tensor]:
        """Canvas u, v (n, 16*16) of every pixel of the tiles."""
        steps = torch.arange(TILE, device=tiles.corner.device, dtype=torch.float32)
        x = (tiles.corner[:, :1, None] + steps[None, None]).expand(-1, TILE, -1).flatten(1)
        y = (tiles.corner[:, 1:, None] + steps[None, :, None]).expand(-1, -1, TILE).flatten(1)
        u, v = _through(self.whole_back[tiles.row], x, y)
        bent = torch.nonzero(self.bent[tiles.row]).squeeze(1)
        if len(bent):
            row = tiles.row[bent]
            u[bent], v[bent] = _through(
                self.places_back[row], *self._unbent(row, *_through(self.views_back[row], x[bent], y[bent]))
            )
        return u, v

    def _unbent(self, row: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """As Bend.backward."""
        first, second, early, late, one, two = self.bend[row][:, :, None].unbind(1)
        y = y - second * torch.sin(two * x + late)
        return x - first * torch.sin(one * y + early), y

    def skin_positions(self, tiles: _Tiles, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Skin column, row and light (n, p) of solids at canvas x, y: as Lathe.backward."""
        ahead, level, a, b, c, turn, ambient, side, columns = self.lathe[tiles.row][:, :, None].unbind(1)
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
    rows = np.tile([*lathe.axis, *lathe.quadric, 0, *lathe.light, lathe.skin.shape[1] - 1], (count, 1))
    rows[:, 5] = lathe.turn
    return rows


def _through(matrix: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """x, y (n, p) through the matrices (n, 3, 3)."""
    a, b, c, d, e, f, g, h, i = matrix.flatten(1)[:, :, None].unbind(1)
    depth = g * x + h * y + i
    return (a * x + b * y + c) / depth, (d * x + e * y + f) / depth
