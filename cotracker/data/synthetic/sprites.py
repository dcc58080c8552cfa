"""Layered 2-D scenes: textured things, whole and articulated, over a background, with exact tracks and visibility."""

from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from numpy.random import Generator

from cotracker.data.synthetic import appearance, motion, shapes
from cotracker.data.synthetic.layers import Bend, Layer, hidden, top_layer
from cotracker.data.textures import Textures
from cotracker.types import Clip


@dataclass(frozen=True)
class Camera:
    """How the frame moves over the scene: path (K, 2) pixels, turn (K, 3, 3) zoom and roll about the frame's centre."""

    path: np.ndarray
    turn: np.ndarray

    def at_depth(self, parallax: float) -> np.ndarray:
        """Scene -> frame (K, 3, 3) for things that follow `parallax` of the camera's path (the background: 1)."""
        return self.turn @ motion.shift(parallax * self.path)


@dataclass
class Sprites:
    """Clips of layered scenes; `clip(rng)` is a pure function of the generator it is given.

    frames, height, width, points: the sizes of a clip.  textures: folder(s) of photographs, None for patterns only;
    procedural: the share of patterns when there are photographs.  objects: fewest and most.  object_size: radius over
    the frame's shorter side.  speed, camera_speed: pixels a frame, log-uniform.  tilt: degrees out of the plane.
    background_points: the share of points wanted on the background.  All the others are probabilities: of a clip's
    camera being still, the camera following a thing, a thing being a figure with joints, bending, tilting, turning,
    being drawn twice (twins), casting a shadow, changing its shading, darkening
    towards its rim, sharing the background's texture; of each effect
    on the frames.
    """

    frames: int = 24
    height: int = 192
    width: int = 256
    points: int = 64
    textures: str | list[str] | None = None
    procedural: float = 0.3
    objects: tuple[int, int] = (3, 8)
    object_size: tuple[float, float] = (0.1, 0.4)
    speed: tuple[float, float] = (0.3, 12.0)
    camera_speed: tuple[float, float] = (0.2, 10.0)
    tilt: float = 50.0
    background_points: float = 0.4
    still_camera: float = 0.12
    shaking_camera: float = 0.3
    followed: float = 0.25
    articulated: float = 0.4
    bending: float = 0.4
    tilting: float = 0.5
    turning: float = 0.6
    twins: float = 0.1
    shadows: float = 0.3
    shading: float = 0.5
    rounded: float = 0.3
    camouflage: float = 0.08
    motion_blur: float = 0.25
    light_drift: float = 0.6
    light_field: float = 0.25
    low_contrast: float = 0.15
    defocus: float = 0.3
    noise: float = 0.5
    compression: float = 0.35

    def __post_init__(self):
        if self.frames < 2 or self.points < 1 or min(self.height, self.width) < 16:
            raise ValueError("Sprites needs frames >= 2, points >= 1, and height and width of at least 16 pixels")
        self._textures = Textures(self.textures, self.procedural)

    def clip(self, rng: Generator) -> Clip:
        """One Clip: video T 3 H W uint8 RGB, tracks T N 2, visible and valid T N; all drawn from `rng`.

        Visible: within the frame and under no layer. Valid: at most a quarter of the frame outside it.
        """
        layers, exposures = self._scene(rng)
        frames = self._effects(rng, self._render(layers, exposures))
        middle = exposures[:, exposures.shape[1] // 2]
        tracks, visible = self._follow(rng, layers, middle)
        extent = np.array([self.width, self.height])
        outside = np.maximum(-tracks, tracks - (extent - 1)) / extent
        return Clip(
            video=torch.from_numpy(np.ascontiguousarray(frames.transpose(0, 3, 1, 2))),
            tracks=torch.from_numpy(tracks.astype(np.float32)),
            visible=torch.from_numpy(visible),
            valid=torch.from_numpy((outside <= 0.25).all(-1)),
            name="sprites",
        )

    def _scene(self, rng: Generator) -> tuple[list[Layer], np.ndarray]:
        """The layers from the back, and the times (T, s) whose mean each frame is; the middle one is its truth."""
        samples, shutter = (3, rng.uniform(0.2, 0.7)) if rng.random() < self.motion_blur else (1, 0.0)
        offsets = shutter * (np.arange(samples) - samples // 2) / samples
        times = (np.arange(self.frames)[:, None] + offsets).ravel()
        camera = self._camera(rng, times)
        layers = [self._background(rng, times, camera)]
        nearness = np.sort(rng.uniform(1.0, 1.8, rng.integers(self.objects[0], self.objects[1] + 1)))
        for parallax in nearness:
            layers += self._object(rng, times, camera, parallax, layers[0].canvas)
        return layers, np.arange(len(times)).reshape(self.frames, samples)

    def _camera(self, rng: Generator, times: np.ndarray) -> Camera:
        pan, zoom, roll = np.zeros((len(times), 2)), np.ones(len(times)), np.zeros(len(times))
        if rng.random() >= self.still_camera:
            pan = motion.path(rng, times, motion.log_uniform(rng, *self.camera_speed), (16, 80))
            drift = (times - times.mean()) / len(times)
            zoom = np.exp(motion.wave(rng, times, 0.15) + np.clip(rng.normal(0, 0.15), -0.3, 0.3) * drift)
            roll = motion.wave(rng, times, 0.12) + rng.normal(0, 0.1) * drift
        if rng.random() < self.shaking_camera:
            pan = pan + motion.path(rng, times, motion.log_uniform(rng, 0.2, 2), (2.5, 7))
        centre = np.array([self.width - 1, self.height - 1]) / 2
        turn = motion.shift(centre) @ motion.similarity(zoom, roll) @ motion.shift(-centre)
        return Camera(pan, turn)

    def _background(self, rng: Generator, times: np.ndarray, camera: Camera) -> Layer:
        tilt = np.radians(self.tilt) * 0.3 * (rng.random() < self.tilting)
        yaw, pitch = (motion.wave(rng, times, tilt) for _ in range(2))
        turned = motion.card(1.0, 1.0, 0.0, yaw, pitch, focal=3.5 * self.width)
        view = camera.at_depth(1.0) @ motion.shift(np.array([self.width, self.height]) / 2) @ turned
        corner, (width, height) = self._seen(view)
        colour = self._textures.draw(rng, height, width)
        bend = self._bend(rng, times, min(self.width, self.height), 0.5) if rng.random() < 0.5 * self.bending else None
        place = np.broadcast_to(motion.shift(corner), view.shape)
        canvas = np.dstack([colour, np.full((height, width), 255, np.uint8)])
        return Layer(canvas, place, view, np.ones(len(times)), bend, endless=True)

    def _seen(self, view: np.ndarray) -> tuple[np.ndarray, tuple[int, int]]:
        """First corner (x, y) and size of the ground that the frames show, at most 2.4 frames a side."""
        corners = np.array([(x, y) for x in (0.0, self.width) for y in (0.0, self.height)])
        ground = motion.project(np.linalg.inv(view)[:, None], corners).reshape(-1, 2)
        low, high = ground.min(0) - 4, ground.max(0) + 4
        size = np.minimum(high - low, 2.4 * np.array([self.width, self.height])).astype(int)
        return (low + high - size) / 2, (int(size[0]), int(size[1]))

    def _object(self, rng: Generator, times, camera: Camera, parallax: float, behind: np.ndarray) -> list[Layer]:
        """The layers of one thing from the back: perhaps a shadow, its parts, perhaps a twin elsewhere."""
        radius = motion.log_uniform(rng, *self.object_size) * min(self.height, self.width)
        parts = shapes.thing(rng, self.articulated)
        texture = self._texture(rng, int(2.8 * radius) + 8, behind)
        canvases = [_cut(texture, *shapes.mask(part, radius)) for part in parts]
        if rng.random() < self.rounded:
            canvases = [(_rounded(canvas, rng.uniform(0.3, 0.8)), offset) for canvas, offset in canvases]
        layers = self._moving(rng, times, camera, parallax, radius, parts, canvases)
        if rng.random() < self.twins:
            layers += self._moving(rng, times, camera, parallax, radius, parts, canvases)
        return layers

    def _texture(self, rng: Generator, size: int, behind: np.ndarray) -> np.ndarray:
        if rng.random() < self.camouflage:
            rows, columns = behind.shape[:2]
            top, left = rng.integers(0, max(rows - size, 1)), rng.integers(0, max(columns - size, 1))
            crop = behind[top : top + size, left : left + size, :3]
            return cv2.resize(crop, (size, size))
        return self._textures.draw(rng, size, size)

    def _moving(self, rng: Generator, times, camera: Camera, parallax, radius, parts, canvases) -> list[Layer]:
        view = self._view(rng, times, camera, parallax, radius)
        bend = self._bend(rng, times, 2 * radius, 1.0) if rng.random() < self.bending else None
        gain = (
            np.exp(rng.normal(0, 0.1) + motion.wave(rng, times, 0.35)) if rng.random() < self.shading else 1 + 0 * times
        )
        rhythm, force = self._rhythm(rng, radius)
        layers = []
        for part, (canvas, offset) in zip(parts, canvases):
            place = motion.shift(offset)[0]
            for x, y, share, phase in reversed(part.joints):
                angle = force * share * np.sin(2 * np.pi * (times / rhythm + phase))
                place = motion.swing(np.array([x, y]) * radius, angle) @ place
            layers.append(Layer(canvas, np.broadcast_to(place, view.shape), view, gain, bend))
        if rng.random() < self.shadows:
            return self._shadows(rng, layers, radius) + layers
        return layers

    def _view(self, rng: Generator, times, camera: Camera, parallax: float, radius: float) -> np.ndarray:
        """Thing -> frame (K, 3, 3): own path, turn and tilt under the camera, within the frame at some early time."""
        if rng.random() < self.followed:
            parallax = 0.0
        seen = camera.at_depth(parallax)
        walk = motion.path(rng, times, motion.log_uniform(rng, *self.speed))
        moment = rng.integers(0, max(len(times) * 6 // 10, 1))
        wanted = rng.uniform(0.08, 0.92, 2) * (self.width, self.height)
        walk = walk - walk[moment] + motion.project(np.linalg.inv(seen[moment]), wanted)
        scale = np.exp(rng.uniform(-0.2, 0.2) + motion.wave(rng, times, 0.3))
        stretch = np.exp(motion.wave(rng, times, 0.15))
        roll = rng.normal(0, 0.4) + motion.wave(rng, times, 0.4) * (rng.random() < self.turning)
        if rng.random() < 0.5 * self.turning:
            roll = roll + rng.choice((-1, 1)) * motion.log_uniform(rng, 0.005, 0.1) * times
        tilt = np.radians(self.tilt) * (rng.random() < self.tilting)
        yaw, pitch = (rng.uniform(-0.3, 0.3) * tilt + motion.wave(rng, times, 0.7 * tilt, (8, 50)) for _ in range(2))
        turned = motion.card(scale, stretch, roll, yaw, pitch, focal=rng.uniform(4, 8) * radius)
        return seen @ motion.shift(walk) @ turned

    def _rhythm(self, rng: Generator, radius: float) -> tuple[float, float]:
        """The period in frames and the amplitude in radians of a figure's limbs, their tips within the speed range."""
        period = motion.log_uniform(rng, 6, 36)
        fastest = motion.log_uniform(rng, *self.speed) * 1.5
        return period, min(0.9, fastest * period / (2 * np.pi * radius))

    def _bend(self, rng: Generator, times: np.ndarray, size: float, strength: float) -> Bend:
        """Travelling waves of 0.5 to 2 periods over `size` pixels; amplitude times wave number stays under 0.45."""
        number = 2 * np.pi * rng.uniform(0.5, 2, 2) / size
        steady = rng.random() < 0.5
        swell = np.stack(
            [np.ones(len(times)) if steady else motion.wave(rng, times, 1.0, (6, 40)) for _ in range(2)], 1
        )
        amplitude = strength * rng.uniform(0.05, 0.45, 2) / number * swell
        travel = rng.uniform(-1, 1, 2) * 2 * np.pi / motion.log_uniform(rng, 10, 60)
        phase = np.mod(rng.uniform(0, 2 * np.pi, 2) + np.outer(times, travel), 2 * np.pi)
        return Bend(amplitude.astype(np.float32), number.astype(np.float32), phase.astype(np.float32))

    def _shadows(self, rng: Generator, layers: list[Layer], radius: float) -> list[Layer]:
        """Soft dark copies of the layers, shifted in the frame, that hide nothing."""
        away = motion.shift(rng.uniform(-0.6, 0.6, 2) * radius)
        dark, soft = rng.uniform(0.2, 0.45), max(0.06 * radius, 1.0)
        shadows = []
        for layer in layers:
            canvas = np.zeros_like(layer.canvas)
            canvas[..., 3] = cv2.GaussianBlur(cv2.convertScaleAbs(layer.canvas[..., 3], alpha=dark), (0, 0), soft)
            canvas[[0, -1], :, 3] = canvas[:, [0, -1], 3] = 0
            shadows.append(replace(layer, canvas=canvas, view=away @ layer.view, opaque=False))
        return shadows

    def _render(self, layers: list[Layer], exposures: np.ndarray) -> np.ndarray:
        """Frames T H W 3 uint8, each the mean of its exposures."""
        frames = np.empty((self.frames, self.height, self.width, 3), np.uint8)
        sample = np.empty(frames.shape[1:], np.uint8)
        for frame, moments in zip(frames, exposures):
            total = np.zeros(frame.shape, np.float32) if len(moments) > 1 else None
            for k in moments:
                for layer in layers:
                    layer.draw(sample, int(k))
                if total is not None:
                    cv2.accumulate(sample, total)
            frame[:] = sample if total is None else cv2.convertScaleAbs(total, alpha=1 / len(moments))
        return frames

    def _effects(self, rng: Generator, frames: np.ndarray) -> np.ndarray:
        effects = ("light_drift", "light_field", "low_contrast", "defocus", "noise", "compression")
        for name in effects:
            if rng.random() < getattr(self, name):
                frames = getattr(appearance, name)(rng, frames)
        return frames

    def _follow(self, rng: Generator, layers: list[Layer], times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Tracks (T, N, 2) and visible (T, N) of points chosen in the first three quarters, two fifths in frame 0."""
        own, start, moment = self._choose(rng, layers, times)
        count, total = len(own), len(times)
        tracks = np.empty((total, count, 2))
        for number in np.unique(own):
            mine = np.flatnonzero(own == number)
            uv = layers[number].backward(start[mine], moment[mine])
            k = np.repeat(times, len(mine))
            tracks[:, mine] = layers[number].forward(np.tile(uv, (total, 1)), k).reshape(total, -1, 2)
        flat, k = tracks.reshape(-1, 2), np.repeat(times, count)
        inside = ((flat >= 0) & (flat <= (self.width - 1, self.height - 1))).all(1)
        visible = inside & ~hidden(layers, np.tile(own, total), flat, k)
        return tracks, visible.reshape(total, count)

    def _choose(self, rng: Generator, layers: list[Layer], times: np.ndarray) -> tuple[np.ndarray, ...]:
        """Layer (N,), pixel (N, 2) and time index (N,) where each point is surely visible."""
        first = -(-2 * self.points // 5)
        late = max(3 * self.frames // 4, 1)
        picks = [self._pick(rng, layers, times[:1], first), self._pick(rng, layers, times[:late], self.points - first)]
        return tuple(np.concatenate(values) for values in zip(*picks))

    def _pick(self, rng: Generator, layers: list[Layer], times: np.ndarray, count: int) -> tuple[np.ndarray, ...]:
        """`count` points at `times` from many candidates: small layers count for more than their area."""
        candidates = 12 * count + 64
        xy = rng.random((candidates, 2)) * (self.width - 1, self.height - 1)
        k = times[rng.integers(len(times), size=candidates)]
        own = top_layer(layers, xy, k)
        area = np.bincount(own, minlength=len(layers))
        weight = 1 / np.sqrt(area[own])
        behind = own == 0
        if 0 < behind.sum() < candidates:
            weight[behind] *= self.background_points / weight[behind].sum()
            weight[~behind] *= (1 - self.background_points) / weight[~behind].sum()
        chosen = rng.choice(candidates, count, replace=False, p=weight / weight.sum())
        return own[chosen], xy[chosen], k[chosen]


def _cut(texture: np.ndarray, alpha: np.ndarray, offset: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The part's canvas h w 4, cut from the thing's texture where its alpha lies, and its offset."""
    middle, (height, width) = (np.array(texture.shape[1::-1]) // 2 + offset).astype(int), alpha.shape
    rows = np.arange(middle[1], middle[1] + height) % texture.shape[0]
    columns = np.arange(middle[0], middle[0] + width) % texture.shape[1]
    return np.dstack([texture[np.ix_(rows, columns)], alpha]), offset


def _rounded(canvas: np.ndarray, depth: float) -> np.ndarray:
    """The canvas h w 4 darker by `depth` towards the rim, as round things are."""
    inner = cv2.distanceTransform((canvas[..., 3] > 127).astype(np.uint8), cv2.DIST_L2, 3)
    light = 1 - depth * (1 - np.minimum(inner / max(0.7 * inner.max(), 1), 1)) ** 2
    return np.dstack([(canvas[..., :3] * light[..., None]).astype(np.uint8), canvas[..., 3]])
