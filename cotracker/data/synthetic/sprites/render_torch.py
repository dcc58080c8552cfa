"""Scenes drawn as one batch by grid sampling, on whatever device is named: the same pictures as drawing.py makes.

Workers make Scenes (small, on the CPU): `loader(TrainingStream(Undrawn(Sprites(...)), seed), …)` gives UndrawnClips,
and the process that trains draws them: `batch.to(device)`, a Clip with B in front.
Layer number l of all clips is drawn at once, in tiles of 16x16 pixels that its box touches, from one atlas.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from cotracker.data.synthetic.sprites import Sprites
from cotracker.data.synthetic.sprites.layers import Layer
from cotracker.data.synthetic.sprites.render_torch_effects import look_at
from cotracker.data.synthetic.sprites.render_torch_tiles import TILE, Atlas, Motions, Tiles
from cotracker.data.synthetic.sprites.scene import Scene
from cotracker.types import Clip, collate


@dataclass(frozen=True)
class Undrawn:
    """A Source of Scenes where another gives Clips: the same tracks, its pixels drawn later by `clips`."""

    source: Sprites

    def clip(self, rng: np.random.Generator) -> Scene:
        """Everything about the source's clip of this generator but its pixels."""
        return self.source.scene(rng)


@dataclass(frozen=True)
class UndrawnClips:
    """A batch of Scenes of equal sizes in the place of the Clip with B in front that `.to(device)` draws there."""

    scenes: Sequence[Scene]

    @property
    def seed(self) -> list[tuple]:
        return [scene.seed for scene in self.scenes]

    @property
    def replaced(self) -> list[int]:
        return [scene.replaced for scene in self.scenes]

    @property
    def reason(self) -> list[str]:
        return [scene.reason for scene in self.scenes]

    def pin_memory(self) -> "UndrawnClips":
        """Itself: what a device needs of a scene is put together when it is drawn."""
        return self

    def without_video(self) -> Clip:
        """The Clip before it is rendered: its video, on the meta device, has a shape and no pixels."""
        clips = []
        for scene in self.scenes:
            shape = len(scene.middle), 3, *scene.size
            clips.append(scene.clip(torch.empty(shape, dtype=torch.uint8, device="meta")))
        return collate(clips)

    def to(self, device: torch.device, non_blocking: bool = False) -> Clip:
        """The Clip, drawn on `device`, which is waited for; non_blocking is there as in Clip.to and changes nothing."""
        return clips(list(self.scenes), torch.device(device))


def clips(scenes: list[Scene], device: torch.device) -> Clip:
    """One Clip with B in front, on `device`, of scenes of equal sizes; its video B T 3 H W uint8 is drawn there."""
    return collate(
        [scene.clip(video).to(device) for scene, video in zip(scenes, render_batch(scenes, device))]
    )


def render_batch(scenes: list[Scene], device: torch.device) -> Tensor:
    """Videos B T 3 H W uint8 on `device` of scenes of equal T, H and W; equal to Scene.render within interpolation.

    ValueError: the scenes' sizes differ.
    """
    sizes = {(len(scene.middle), *scene.size) for scene in scenes}
    if len(sizes) != 1:
        raise ValueError(
            f"a batch's scenes must have equal frames, height and width: {sorted(sizes)}"
        )
    ((frames, height, width),) = sizes
    canvas = _Canvas(scenes, device)
    for number in range(max(len(scene.layers) for scene in scenes)):
        canvas.draw(number)
    video = canvas.frames(frames).view(len(scenes), frames, 3, height, width)
    return look_at([scene.look for scene in scenes], video)


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
        present = [
            (b, scene.layers[number])
            for b, scene in enumerate(self.scenes)
            if number < len(scene.layers)
        ]
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
            mean = torch.zeros(total, *tiles.shape[1:], device=self.device).index_add_(
                0, index, tiles
            )
            tiles = mean / torch.bincount(index, minlength=total)[:, None, None, None]
        tiles = tiles.view(total, -1, self.across, 3, TILE, TILE)
        whole = tiles.permute(0, 3, 1, 4, 2, 5).reshape(total, 3, -1, self.across * TILE)
        return whole[:, :, : self.size[0], : self.size[1]]

    def _draw(self, chosen: list[tuple[int, Layer]], opaque: bool) -> None:
        table = Motions(chosen, self.shots, self.device)
        atlas = Atlas([layer.canvas for _, layer in chosen], self.device)
        turning = [layer for _, layer in chosen if layer.lathe is not None]
        skins = Atlas([layer.lathe.skin for layer in turning], self.device) if turning else None
        for tiles in self._tiles(chosen).split():
            u, v = table.canvas_positions(tiles)
            if opaque:
                self._blend(tiles, table, atlas, skins, u, v)
            else:
                self._shadow(tiles, atlas.sample(table.layer[tiles.row], u, v)[3])

    def _blend(
        self, tiles: Tiles, table: "Motions", atlas: "Atlas", skins: "Atlas | None", u, v
    ) -> None:
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

    def _shadow(self, tiles: Tiles, alpha: Tensor) -> None:
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

    def _tiles(self, chosen: list[tuple[int, Layer]]) -> Tiles:
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
        return Tiles(*(torch.from_numpy(values).to(self.device) for values in (where, corner, row)))
