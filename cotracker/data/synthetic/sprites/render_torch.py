"""Scenes rendered as one batch by grid sampling, on any device: the pictures of render_opencv.

Layer l of all clips is rendered at once, in tiles of 16x16 pixels that its box touches, from one
atlas of canvases.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from cotracker.data.synthetic.sprites.layers import Layer
from cotracker.data.synthetic.sprites.render_torch_effects import apply_effects
from cotracker.data.synthetic.sprites.render_torch_tiles import TILE, Atlas, MotionTable, Tiles

if TYPE_CHECKING:
    from cotracker.data.synthetic.sprites.scene import Scene


def render_batch(scenes: Sequence["Scene"], device: torch.device) -> Tensor:
    """Videos B T 3 H W uint8 on `device` of scenes of equal T, H and W.

    They equal Scene.render within interpolation.  ValueError: the scenes' sizes differ.
    """
    sizes = {(len(scene.middle), *scene.size) for scene in scenes}
    if len(sizes) != 1:
        raise ValueError(
            f"a batch's scenes must have equal frames, height and width: {sorted(sizes)}"
        )
    ((frames, height, width),) = sizes
    canvas = _TiledShots(scenes, device)
    for number in range(max(len(scene.layers) for scene in scenes)):
        canvas.render_layer(number)
    video = canvas.mean_frames(frames).view(len(scenes), frames, 3, height, width)
    return apply_effects([scene.effects for scene in scenes], video)


class _TiledShots:
    """All shots of a batch as tiles (n, 3, 16*16) float in 0..255.

    shade: the shadows of each clip that the next opaque layer lets fall.
    """

    def __init__(self, scenes: Sequence["Scene"], device: torch.device):
        self.scenes = scenes
        self.device = device
        self.size = scenes[0].size
        self.across = -(-self.size[1] // TILE)
        self.per_shot = self.across * -(-self.size[0] // TILE)
        self.shots = [len(scene.frame_of) for scene in scenes]
        self.first = np.concatenate([[0], np.cumsum(self.shots)])
        count = int(self.first[-1]) * self.per_shot
        self.image = torch.zeros(count, 3, TILE * TILE, device=device)
        self.shade: dict[int, Tensor] = {}

    def render_layer(self, number: int) -> None:
        """Renders layer `number` of every clip that has it."""
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
                self._render(chosen, opaque)
        for b, layer in present:
            if not layer.opaque and number + 1 == len(self.scenes[b].layers):
                self._darken(b)

    def mean_frames(self, count: int) -> Tensor:
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

    def _render(self, chosen: list[tuple[int, Layer]], opaque: bool) -> None:
        table = MotionTable(chosen, self.shots, self.device)
        atlas = Atlas([layer.canvas for _, layer in chosen], self.device)
        revolving = [layer for _, layer in chosen if layer.revolution is not None]
        skins = (
            Atlas([layer.revolution.skin for layer in revolving], self.device)
            if revolving
            else None
        )
        for tiles in self._touched_tiles(chosen).split():
            u, v = table.canvas_positions(tiles)
            if opaque:
                self._blend(tiles, table, atlas, skins, u, v)
            else:
                self._add_shadow(tiles, atlas.sample(table.layer[tiles.row], u, v)[3])

    def _blend(
        self, tiles: Tiles, table: MotionTable, atlas: Atlas, skins: Atlas | None, u, v
    ) -> None:
        layer = table.layer[tiles.row]
        endless = table.endless[layer]
        patch = atlas.sample(layer, *atlas.mirror(layer, endless, u, v))
        colour, alpha = patch[:3], patch[3] / 255
        solid = torch.nonzero(table.solid[tiles.row]).squeeze(1) if skins is not None else ()
        if len(solid):
            column, row, light = table.skin_positions(tiles[solid], u[solid], v[solid])
            colour[:, solid] = skins.sample(table.skin[layer[solid]], column, row)[:3] * light
        colour = (colour * table.gain[tiles.row][:, None]).clamp(0, 255)
        alpha = torch.where(endless[:, None], torch.ones((), device=self.device), alpha)
        below = self.image[tiles.where]
        self.image[tiles.where] = torch.lerp(below, colour.transpose(0, 1), alpha[:, None])

    def _add_shadow(self, tiles: Tiles, alpha: Tensor) -> None:
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

    def _touched_tiles(self, chosen: list[tuple[int, Layer]]) -> Tiles:
        """The tiles that the layers' boxes touch."""
        boxes, first = [], []
        for b, layer in chosen:
            for k in range(self.shots[b]):
                boxes.append(layer.clip_box(k, self.size) or (0, 0, 0, 0))
                first.append((int(self.first[b]) + k) * self.per_shot)
        left, top, right, bottom = np.array(boxes).T
        columns = np.arange(self.across) * TILE
        rows = np.arange(self.per_shot // self.across) * TILE
        across = (columns < right[:, None]) & (columns + TILE > left[:, None])
        upright = (rows < bottom[:, None]) & (rows + TILE > top[:, None])
        row, y, x = np.nonzero(upright[:, :, None] & across[:, None, :])
        where = np.array(first)[row] + y * self.across + x
        corner = np.stack([x * TILE, y * TILE], axis=1).astype(np.float32)
        return Tiles(*(torch.from_numpy(values).to(self.device) for values in (where, corner, row)))
