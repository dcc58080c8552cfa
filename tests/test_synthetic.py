"""The synthetic clips: tracks to a tenth of a pixel, visibility by brute force, the same seed the same bytes."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from cotracker.data.synthetic.layers import hidden
from cotracker.data.synthetic.sprites import Sprites
from cotracker.data.textures import Textures, dead_leaves, fractal_noise, photograph, tiles, waves
from cotracker.geometry import sample_maps

TEXTURES = Path(__file__).parents[2] / "shared" / "data" / "textures"
EFFECTS = ("light_drift", "light_field", "low_contrast", "defocus", "noise", "compression")
PLAIN = dict.fromkeys((*EFFECTS, "shading", "shadows", "motion_blur"), 0.0)
AROUND = np.array([(x, y) for x in range(-3, 4) for y in range(-3, 4)])


def scene(seed: int, **settings):
    """A Sprites without effects, its layers, and the times (T, s) of its frames."""
    source = Sprites(12, 128, 160, **{**PLAIN, **settings})
    return source, *source._scene(np.random.default_rng(seed))


def lit_alone(layers, chosen: int, uv):
    """The layers black but for one Gaussian dot painted on the canvas of layer `chosen` at `uv`."""
    black = []
    for number, layer in enumerate(layers):
        canvas = layer.canvas.copy()
        canvas[..., :3] = 0
        if number == chosen:
            y, x = np.mgrid[: canvas.shape[0], : canvas.shape[1]]
            dot = 255 * np.exp(-((x - uv[0]) ** 2 + (y - uv[1]) ** 2) / (2 * 2.5**2))
            canvas[..., :3] = dot[..., None].round()
        black.append(replace(layer, canvas=canvas))
    return black


def brightest(frame: np.ndarray, near: np.ndarray) -> np.ndarray:
    """The sub-pixel peak of the dot (x, y), by a paraboloid fitted to the logarithm around `near`."""
    x0, y0 = np.round(near).astype(int)
    rows, columns = np.mgrid[y0 - 2 : y0 + 3, x0 - 2 : x0 + 3]
    value = np.maximum(frame[rows, columns, 0].astype(float), 1).ravel()
    x, y = columns.ravel() - x0, rows.ravel() - y0
    terms = np.column_stack([np.ones(25), x, y, x * x, x * y, y * y])
    weight = value[:, None] ** 2  # near the peak a bent dot is still a paraboloid
    _, bx, by, axx, axy, ayy = np.linalg.lstsq(weight * terms, weight[:, 0] * np.log(value), rcond=None)[0]
    return np.linalg.solve([[2 * axx, axy], [axy, 2 * ayy]], [-bx, -by]) + (x0, y0)


def deep_within(rng: np.random.Generator, layer) -> np.ndarray:
    """A position between pixels of the layer's canvas that is far from its edge."""
    depth = cv2.distanceTransform((layer.canvas[..., 3] > 250).astype(np.uint8), cv2.DIST_L2, 5)
    if layer.endless:
        return rng.uniform(0.3, 0.7, 2) * depth.shape[::-1]
    row, column = np.unravel_index(depth.argmax(), depth.shape)
    return np.array([column, row]) + rng.uniform(-0.5, 0.5, 2)


def dot_errors(source, layers, times, own: int, uv: np.ndarray) -> list[float]:
    """Distances (pixels) between a dot painted at `uv` and its track, in the frames that show all around it."""
    painted, middle = lit_alone(layers, own, uv), times[:, times.shape[1] // 2]
    tracks = painted[own].forward(np.tile(uv, (len(middle), 1)), middle)
    around, k = (tracks[:, None] + AROUND).reshape(-1, 2), np.repeat(middle, len(AROUND))
    clear = ~hidden(painted, np.full(len(k), own), around, k) & (painted[own].alpha_at(around, k) > 0.99)
    clear &= ((around >= 0) & (around <= (source.width - 1, source.height - 1))).all(1)
    good = np.flatnonzero(clear.reshape(len(middle), -1).all(1))
    frames = source._render(painted, times) if len(good) else None
    return [float(np.linalg.norm(brightest(frames[t], tracks[t]) - tracks[t])) for t in good]


@pytest.mark.parametrize(
    ("seed", "settings"),
    [(seed, {}) for seed in range(4)] + [(4, {"motion_blur": 1.0, "speed": (0.3, 4), "camera_speed": (0.2, 4)})],
)
def test_painted_dots_land_where_the_tracks_say(seed, settings):
    source, layers, times = scene(seed, bending=1.0, tilting=1.0, articulated=0.5, **settings)
    rng = np.random.default_rng(seed)
    errors, seen = [], set()
    for own in [0, 0, 0, *range(1, len(layers))]:
        found = dot_errors(source, layers, times, own, deep_within(rng, layers[own]))
        errors += found
        seen |= {own} if found else set()
    assert len(errors) >= 40 and 0 in seen and len(seen) >= 3
    assert max(errors) < 0.1


@pytest.mark.parametrize("blur", [0.0, 1.0])
def test_a_dot_in_a_whole_clip_is_where_its_tracks_say(blur, monkeypatch):
    """One dot on a fast background and no things, through the public door: axes, frames and exposures agree."""
    source, layers, times = scene(3, motion_blur=blur, still_camera=0.0, camera_speed=(6, 7), objects=(0, 0))
    middle = times[:, times.shape[1] // 2]
    uv = layers[0].backward(np.array([[80.3, 60.6]]), middle[5:6])[0]
    monkeypatch.setattr(source, "_scene", lambda rng: (lit_alone(layers, 0, uv), times))
    start = layers[0].forward(uv[None], middle[:1])
    monkeypatch.setattr(source, "_choose", lambda rng, layers, times: (np.zeros(1, int), start, times[:1]))
    clip = source.clip(np.random.default_rng(0))
    frames, tracks = clip.video.permute(0, 2, 3, 1).numpy(), clip.tracks[:, 0].numpy()
    well_inside = ((tracks > 4) & (tracks < np.array([source.width, source.height]) - 5)).all(1)
    assert well_inside.sum() >= 4 and clip.visible[well_inside].all()
    for t in np.flatnonzero(well_inside):
        assert np.linalg.norm(brightest(frames[t], tracks[t]) - tracks[t]) < 0.1


@pytest.mark.parametrize("seed", range(6))
def test_forward_undoes_backward_on_every_layer(seed):
    source, layers, _ = scene(seed, bending=1.0, tilting=1.0, shadows=1.0)
    rng = np.random.default_rng(seed)
    for layer in layers:
        xy, k = rng.uniform(-40, 200, (50, 2)), rng.integers(0, len(layer.view), 50)
        assert np.abs(layer.forward(layer.backward(xy, k), k) - xy).max() < 1e-6


@pytest.mark.parametrize("seed", range(4))
def test_visible_equals_a_layer_test_of_every_pixel(seed):
    source, layers, times = scene(seed, objects=(6, 8), bending=0.7, shadows=0.5)
    tracks, visible = source._follow(np.random.default_rng(seed), layers, times[:, 0])
    own, *_ = source._choose(np.random.default_rng(seed), layers, times[:, 0])
    checked = {True: 0, False: 0}
    for t, k in enumerate(times[:, 0]):
        uppermost = np.zeros((source.height, source.width), int)
        for number, layer in enumerate(layers):
            if number and layer.opaque:
                white = replace(
                    layer, canvas=np.dstack([np.full_like(layer.canvas[..., :3], 255), layer.canvas[..., 3]])
                )
                image = np.zeros((source.height, source.width, 3), np.uint8)
                replace(white, gain=np.ones_like(layer.gain)).draw(image, int(k))
                uppermost[image[..., 0] > 127] = number
        for n, (x, y) in enumerate(tracks[t]):
            if not (0 <= x <= source.width - 1 and 0 <= y <= source.height - 1):
                assert not visible[t, n]
                continue
            pixels = uppermost[int(y) : int(y) + 2, int(x) : int(x) + 2]
            if pixels.min() == pixels.max():  # not on an edge, where a pixel's grid cannot say
                assert visible[t, n] == (pixels[0, 0] <= own[n]), (t, n)
                checked[bool(visible[t, n])] += 1
    assert checked[True] > 300 and checked[False] > 20


def colours_along(clip, offset=0.0) -> np.ndarray:
    """Colours T N 3 of the video at the tracks moved by `offset` pixels; NaN where not visible."""
    maps = clip.video.permute(0, 2, 3, 1).float()
    which = torch.arange(len(maps))[:, None].expand(clip.visible.shape)
    return torch.where(clip.visible[..., None], sample_maps(maps, which, clip.tracks + offset), torch.nan).numpy()


def test_colour_under_visible_tracks_is_constant():
    """Through the public door: the whole assembly, against the control of tracks three pixels off."""
    changes = {0.0: [], 3.0: []}
    for seed in range(6):
        clip = Sprites(12, 128, 160, **PLAIN, twins=0.5).clip(np.random.default_rng(seed))
        first = clip.visible.float().argmax(0)
        for offset, found in changes.items():
            here = colours_along(clip, offset)
            there = colours_along(clip)[first, np.arange(len(first))]
            found.append(np.abs(here - there)[clip.visible.numpy()].mean(-1))
    steady, off = (np.concatenate(found) for found in changes.values())
    assert np.median(steady) < 3 and np.quantile(steady, 0.8) < 10
    assert np.median(off) > 3 * np.median(steady)


def test_same_rng_gives_identical_bytes():
    first, second = (Sprites(6, 64, 96, 16).clip(np.random.default_rng((7, 3))) for _ in range(2))
    for name in ("video", "tracks", "visible", "valid"):
        assert torch.equal(getattr(first, name), getattr(second, name))
    other = Sprites(6, 64, 96, 16).clip(np.random.default_rng((7, 4)))
    assert not torch.equal(first.video, other.video) and not torch.equal(first.tracks, other.tracks)


def test_clip_keeps_the_house_shapes_and_promises():
    for seed in range(12):
        clip = Sprites(8, 96, 128, 40).clip(np.random.default_rng(seed))
        assert clip.video.shape == (8, 3, 96, 128) and clip.video.dtype == torch.uint8
        assert clip.tracks.shape == (8, 40, 2) and clip.tracks.dtype == torch.float32
        assert (
            clip.visible.shape == clip.valid.shape == (8, 40) and clip.visible.dtype == clip.valid.dtype == torch.bool
        )
        assert torch.isfinite(clip.tracks).all()
        assert clip.visible[:6].any(0).all()
        assert clip.visible[0].sum() >= 40 / 3
        x, y = clip.tracks.unbind(-1)
        assert not (clip.visible & ((x < 0) | (y < 0) | (x > 127) | (y > 95))).any()
        far = (x < -32) | (x > 127 + 32) | (y < -24) | (y > 95 + 24)
        assert torch.equal(clip.valid, ~far)


def test_statistics_are_sane(monkeypatch):
    """Speeds cover the real videos' range, most points are visible, few clips stand still; no pictures needed."""
    source = Sprites(24, 192, 256)
    monkeypatch.setattr(source, "_render", lambda layers, times: np.zeros((24, 192, 256, 3), np.uint8))
    monkeypatch.setattr(source, "_effects", lambda rng, frames: frames)
    monkeypatch.setattr(source._textures, "draw", lambda rng, height, width: np.zeros((height, width, 3), np.uint8))
    medians, speeds, visible, lost_and_found, drift = [], [], [], 0, []
    for seed in range(80):
        clip = source.clip(np.random.default_rng((11, seed)))
        both = clip.visible[1:] & clip.visible[:-1]
        step = clip.tracks.diff(dim=0)
        speed = step.norm(dim=-1)[both].numpy()
        medians.append(np.median(speed))
        speeds.append(speed)
        drift.append(step[both].mean(0).numpy())
        visible.append(clip.visible.float().mean().item())
        change = clip.visible.int().diff(dim=0)
        lost_and_found += ((change < 0).any(0) & (change > 0).any(0)).float().mean().item() / 80
    assert 2 < np.median(medians) < 5 and np.quantile(medians, 0.9) > 5
    assert 8 < np.quantile(np.concatenate(speeds), 0.95) < 16
    assert np.mean(np.array(medians) < 0.5) < 0.1
    assert 0.6 < np.mean(visible) < 0.95
    assert lost_and_found > 0.1
    assert np.abs(np.mean(drift, axis=0)).max() < 1.0


def test_every_pattern_has_contrast_and_its_size():
    for draw in (fractal_noise, dead_leaves, waves, tiles):
        for seed in range(4):
            image = draw(np.random.default_rng(seed), 61, 83)
            assert image.shape == (61, 83, 3) and image.dtype == np.uint8
            assert image.std(axis=(0, 1)).max() > 4, draw.__name__


def test_photographs_are_read_once_shrunk_and_never_written(tmp_path):
    truth = np.random.default_rng(0).integers(0, 256, (30, 1500, 3)).astype(np.uint8)
    truth[:, :, 0] = 255
    (tmp_path / "deep").mkdir()
    cv2.imwrite(str(tmp_path / "deep" / "a.png"), truth[..., ::-1])
    textures = Textures(tmp_path, procedural=0.0)
    levels = photograph(str(tmp_path / "deep" / "a.png"))
    assert levels[0].shape == (20, 1024, 3) and (levels[0][..., 0] == 255).all()
    assert levels[0] is photograph(str(tmp_path / "deep" / "a.png"))[0]
    before = levels[0].copy()
    for seed in range(5):
        assert textures.draw(np.random.default_rng(seed), 50, 70).shape == (50, 70, 3)
    assert np.array_equal(levels[0], before) and not levels[0].flags.writeable


def test_folders_without_photographs_are_refused_by_name(tmp_path):
    with pytest.raises(ValueError, match="nowhere does not exist"):
        Textures(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=f"{tmp_path.name} holds no jpg or png"):
        Textures([str(tmp_path)])
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    with pytest.raises(ValueError, match="broken.jpg cannot be read"):
        Textures(tmp_path, procedural=0.0).draw(np.random.default_rng(0), 8, 8)


@pytest.mark.skipif(not TEXTURES.is_dir(), reason="needs the photographs of shared/data/textures")
def test_photographs_make_clips():
    source = Sprites(4, 64, 96, 16, textures=str(TEXTURES), procedural=0.0)
    clip = source.clip(np.random.default_rng(0))
    assert clip.video.float().std() > 10


def test_impossible_settings_are_refused():
    with pytest.raises(ValueError, match="frames >= 2"):
        Sprites(frames=1)
