"""Synthetic clips: tracks to 0.1 pixel, visibility by brute force, same seed same bytes."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scenes import (
    ALONE,
    BLURRED,
    NEARLY_STILL,
    PLAIN,
    SIZE,
    TOGETHER,
    all_dot_errors,
    brightest,
    lit_alone,
    moving,
)

from cotracker.data.synthetic.scenes3d import Scenes3D
from cotracker.data.synthetic.sprites import Sprites
from cotracker.data.synthetic.sprites.render_opencv import render_layers, render_shot
from cotracker.data.synthetic.sprites.scene import Scene
from cotracker.geometry import sample_maps


@pytest.mark.slow
@pytest.mark.parametrize("name", ALONE)
def test_painted_dots_land_where_the_tracks_say_by_each_motion_alone(name):
    errors, went, seen = all_dot_errors(4, **{**NEARLY_STILL, **ALONE[name]})
    assert len(errors) >= 25 and len(seen) >= 2 and max(went) > 1
    assert max(errors) < 0.1


def test_a_scene_without_motion_stands_still():
    """So that each motion above is alone."""
    errors, went, _ = all_dot_errors(1, **NEARLY_STILL)
    assert len(errors) >= 30 and max(went) < 0.5


@pytest.mark.slow
@pytest.mark.parametrize(("seed", "settings"), [(0, {}), (3, {}), (6, {}), (4, BLURRED)])
def test_painted_dots_land_where_the_tracks_say_by_all_motions_together(seed, settings):
    errors, _, seen = all_dot_errors(seed, **{**TOGETHER, **settings})
    assert len(errors) >= 30 and 0 in seen and len(seen) >= 3
    assert max(errors) < 0.1


@pytest.mark.parametrize("blur", [0.0, 1.0])
def test_a_dot_in_a_whole_clip_is_where_its_tracks_say(blur, monkeypatch):
    """One dot on a fast background without objects: axes, frames and exposures agree."""
    settings = {
        **PLAIN,
        "still_camera": 0.0,
        "camera_speed": (0.04, 0.045),
        "objects": (0, 0),
        "foreground": 0.0,
    }
    source = Sprites(12, *SIZE, **{**settings, "motion_blur": blur})
    layers, frame_of, middle = source.sample_layers(np.random.default_rng(3))
    assert (len(frame_of) > 12) == (blur > 0)
    uv = layers[0].backward(np.array([[80.3, 60.6]]), middle[5:6])[0]
    monkeypatch.setattr(
        source, "sample_layers", lambda rng: (lit_alone(layers, 0, uv), frame_of, middle)
    )
    start = layers[0].forward(uv[None], middle[:1])
    point = (np.zeros(1, int), start, np.zeros(1, int))
    monkeypatch.setattr(Scene, "sample_points", lambda self, rng, *_: point)
    clip = source.clip(np.random.default_rng(0))
    frames, tracks = clip.video.permute(0, 2, 3, 1).numpy(), clip.tracks[:, 0].numpy()
    well_inside = ((tracks > 4) & (tracks < np.array(SIZE[::-1]) - 5)).all(1)
    assert well_inside.sum() >= 4 and clip.visible[well_inside].all()
    for t in np.flatnonzero(well_inside):
        assert np.linalg.norm(brightest(frames[t], tracks[t]) - tracks[t]) < 0.1


@pytest.mark.parametrize("seed", range(2))
def test_forward_undoes_backward_on_every_layer(seed):
    layers, _, middle = moving(seed, **{**TOGETHER, "shadows": 1.0})
    rng = np.random.default_rng(seed)
    for layer in layers:
        xy, k = rng.uniform(-40, 200, (50, 2)), middle[rng.integers(0, len(middle), 50)]
        assert np.abs(layer.from_canvas(layer.to_canvas(xy, k), k) - xy).max() < 1e-6
        if layer.revolution is not None:
            on = layer.alpha_at(xy, k) > 0.99
            uv = layer.backward(xy[on], k[on])
            assert (
                np.abs(layer.forward(uv, k[on]) - xy[on]).max(initial=0) < 1e-6
                and layer.is_front(uv, k[on]).all()
            )


def test_a_cover_hides_its_object_for_as_long_as_asked_and_goes():
    settings = {"covered": 1.0, "cover_frames": (10, 10), "objects": (1, 1), "foreground": 0.0}
    source = Sprites(48, *SIZE, **{**PLAIN, **settings, "returning": 0.0})
    hidden, back = [], 0
    for seed in range(6):
        layers, frame_of, middle = source.sample_layers(np.random.default_rng(seed))
        centre = layers[-2].object_to_frame[:, :2, 2] / layers[-2].object_to_frame[:, 2:, 2]
        covered = layers[-1].alpha_at(centre, np.arange(len(centre))) > 0.5
        hidden.append(covered.sum())
        back += bool(covered.any() and not covered[-1])
    assert np.median(hidden) >= 10 and back >= 2


@pytest.mark.parametrize("seed", (0, 3))
def test_visible_equals_a_layer_test_of_every_pixel(seed):
    layers, frame_of, middle = moving(
        seed, objects=(6, 8), bending=0.7, shadows=0.5, foreground=1.0, revolution=0.0
    )
    scene = Scene(layers, frame_of, middle, SIZE)
    own, xy, moment = scene.sample_points(np.random.default_rng(seed), 64, 0.4)
    tracks, visible = scene.track_points(own, xy, moment)
    assert (
        np.abs(tracks[moment, np.arange(64)] - xy).max() < 1e-6
        and visible[moment, np.arange(64)].all()
    )
    checked = {True: 0, False: 0}
    for t, k in enumerate(middle):
        uppermost = np.zeros(SIZE, int)
        for number, layer in enumerate(layers):
            if number and layer.opaque:
                white = np.dstack([np.full_like(layer.canvas[..., :3], 255), layer.canvas[..., 3]])
                image = np.zeros((*SIZE, 3), np.uint8)
                alone = replace(layer, canvas=white, gain=np.ones_like(layer.gain))
                render_shot([alone], int(k), image)
                uppermost[image[..., 0] > 127] = number
        for n, (x, y) in enumerate(tracks[t]):
            if not (0 <= x <= SIZE[1] - 1 and 0 <= y <= SIZE[0] - 1):
                assert not visible[t, n]
                continue
            pixels = uppermost[int(y) : int(y) + 2, int(x) : int(x) + 2]
            if pixels.min() == pixels.max():  # not on an edge, where a pixel's grid cannot say
                assert visible[t, n] == (pixels[0, 0] <= own[n]), (t, n)
                checked[bool(visible[t, n])] += 1
    assert checked[True] > 300 and checked[False] > 20


def test_points_of_a_turning_solid_are_visible_while_their_dots_are():
    settings = {
        **NEARLY_STILL,
        **ALONE["revolution"],
        "speed": (0.03, 0.03),
        "objects": (1, 1),
        "object_size": (0.35, 0.4),
    }
    seen = {True: 0, False: 0}
    for seed in range(3):
        layers, frame_of, middle = moving(seed, **settings)
        revolution = replace(layers[1].revolution, angle=np.linspace(0, 5, 12, dtype=np.float32))
        layers = [layers[0], replace(layers[1], revolution=revolution)]
        scene = Scene(layers, frame_of, middle, SIZE)
        for share in (0.1, 0.35, 0.6, 0.85):
            uv = np.array([share * (revolution.skin.shape[1] - 1), revolution.skin.shape[0] / 2])
            moment = np.flatnonzero(revolution.is_front(uv[:1], middle))
            if len(moment) == 0:
                continue
            xy = layers[1].forward(uv[None], middle[moment[:1]])
            (track,), (visible,) = (
                a.swapaxes(0, 1) for a in scene.track_points(np.ones(1, int), xy, moment[:1])
            )
            frames = render_layers(lit_alone(layers, 1, uv), frame_of, SIZE)
            slant = np.cos(uv[0] / revolution.columns + revolution.angle[middle])
            for t in np.flatnonzero(
                (np.abs(slant) > 0.25) & ((track > 2) & (track < np.array(SIZE[::-1]) - 3)).all(1)
            ):
                x, y = track[t].round().astype(int)
                assert visible[t] == (frames[t][y, x, 0] > 127), (seed, share, t)
                seen[bool(visible[t])] += 1
    assert min(seen.values()) > 10


def colours_along(clip, offset=0.0) -> np.ndarray:
    """Colours T N 3 of the video at the tracks moved by `offset` pixels; NaN where not visible."""
    maps = clip.video.permute(0, 2, 3, 1).float()
    which = torch.arange(len(maps))[:, None].expand(clip.visible.shape)
    return torch.where(
        clip.visible[..., None], sample_maps(maps, which, clip.tracks + offset), torch.nan
    ).numpy()


def test_colour_under_visible_tracks_is_constant():
    """The whole clip, against the control of tracks three pixels off."""
    changes = {0.0: [], 3.0: []}
    for seed in range(6):
        clip = Sprites(12, *SIZE, **PLAIN, twins=0.5, revolution=0.0).clip(
            np.random.default_rng(seed)
        )
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


@pytest.mark.slow
def test_a_clip_has_the_shapes_and_flags_of_types():
    for seed in range(12):
        clip = Sprites(8, 96, 128, 40).clip(np.random.default_rng(seed))
        assert clip.video.shape == (8, 3, 96, 128) and clip.video.dtype == torch.uint8
        assert clip.tracks.shape == (8, 40, 2) and clip.tracks.dtype == torch.float32
        assert (
            clip.visible.shape == clip.valid.shape == (8, 40)
            and clip.visible.dtype == clip.valid.dtype == torch.bool
        )
        assert torch.isfinite(clip.tracks).all()
        assert clip.visible[:6].any(0).all()
        assert clip.visible[0].sum() >= 40 / 3
        x, y = clip.tracks.unbind(-1)
        assert not (clip.visible & ((x < 0) | (y < 0) | (x > 127) | (y > 95))).any()
        far = (x < -32) | (x > 127 + 32) | (y < -24) | (y > 95 + 24)
        assert torch.equal(clip.valid, ~far)


def crop_corner(layers, scene: Scene) -> np.ndarray:
    """The pixel (x, y) of the whole frame where the scene's first one is."""
    whole, crop = (one[0].object_to_frame[0] for one in (layers, scene.layers))
    return np.round(whole @ np.linalg.inv(crop))[:2, 2]


def test_a_crop_is_a_window_of_the_whole_scene():
    settings = {
        **PLAIN,
        "foreground": 1.0,
        "bending": 1.0,
        "revolution": 0.5,
        "speed": (0.01, 0.03),
    }
    for seed in range(3):
        whole = Sprites(6, *SIZE, 40, **settings)
        scene = Sprites(6, *SIZE, 40, crop=(64, 80), **settings).scene(np.random.default_rng(seed))
        clip = scene.to_clip(torch.from_numpy(scene.render()).permute(0, 3, 1, 2))
        assert clip.video.shape == (6, 3, 64, 80) and clip.visible.any(0).all()
        layers, frame_of, middle = whole.sample_layers(np.random.default_rng(seed))
        x, y = crop_corner(layers, scene).astype(int)
        around = render_layers(layers, frame_of, SIZE)[:, y : y + 64, x : x + 80].astype(int)
        assert np.abs(clip.video.permute(0, 2, 3, 1).numpy() - around).mean() < 0.5
        own, xy, moment = scene.sample_points(np.random.default_rng(5), 40, 0.4)
        tracks, visible = scene.track_points(own, xy, moment)
        as_whole, seen = Scene(layers, frame_of, middle, SIZE).track_points(
            own, xy + (x, y), moment
        )
        assert np.abs(tracks + (x, y) - as_whole).max() < 1e-6
        within = ((tracks >= 0) & (tracks <= (79, 63))).all(-1)
        assert np.array_equal(visible, seen & within) and not within.all()


def test_crops_differ_in_place_and_fit():
    corners = set()
    for seed in range(8):
        rng, same = np.random.default_rng(seed), np.random.default_rng(seed)
        scene = Sprites(4, 64, 96, 8, crop=(64, 48), **PLAIN).scene(rng)
        layers, _, _ = Sprites(4, 64, 96, 8, **PLAIN).sample_layers(same)
        x, y = crop_corner(layers, scene)
        corners.add(x)
        assert y == 0 and 0 <= x <= 48
    assert len(corners) > 4
    for crop in ((64, 100), (64,), (8, 48), (64.5, 48)):
        with pytest.raises(ValueError, match="crop of Sprites must be"):
            Sprites(4, 64, 96, 8, crop=crop)


def speeds(height: int, width: int, count: int, monkeypatch) -> tuple:
    """Over scenes without pixels: speeds (px a frame) of visible points by clip, shares, drifts."""
    source = Sprites(24, height, width, 64, motion_blur=0.0)
    monkeypatch.setattr(
        source._textures, "sample", lambda rng, high, wide: np.zeros((high, wide, 3), np.uint8)
    )
    steps, visible, lost_and_found, drift = [], [], 0, []
    for seed in range(count):
        scene = source.scene(np.random.default_rng((11, seed)))
        both = scene.visible[1:] & scene.visible[:-1]
        step = np.diff(scene.tracks, axis=0)
        steps.append(np.linalg.norm(step, axis=-1)[both])
        drift.append(step[both].mean(0))
        visible.append(scene.visible.mean())
        change = np.diff(scene.visible.astype(int), axis=0)
        lost_and_found += ((change < 0).any(0) & (change > 0).any(0)).mean() / count
    return steps, visible, lost_and_found, drift


@pytest.mark.slow
def test_motions_cover_those_of_people_and_animals_at_the_size_tracked_at(monkeypatch):
    """BADJA at 384x512: medians of 1.5 to 7.3 px a frame, 95th percentiles of 4 to 15."""
    steps, visible, lost_and_found, drift = speeds(384, 512, 60, monkeypatch)
    medians, fast = [np.median(s) for s in steps], [np.quantile(s, 0.95) for s in steps]
    low, middle, high = np.quantile(medians, (0.15, 0.5, 0.9))
    assert low < 2.2 and 2 < middle < 6 and high > 6
    assert np.quantile(fast, 0.1) < 7.5 and np.quantile(fast, 0.75) > 12
    assert np.mean(np.array(medians) < 0.5) < 0.1
    assert 0.65 < np.mean(visible) < 0.95
    assert lost_and_found > 0.1
    assert np.abs(np.mean(drift, axis=0)).max() < 1.5


@pytest.mark.slow
def test_a_frame_of_any_size_moves_alike(monkeypatch):
    large, small = (
        np.median([np.median(s) for s in speeds(h, w, 25, monkeypatch)[0]])
        for h, w in ((288, 384), (144, 192))
    )
    assert 1.6 < large / small < 2.5


def test_impossible_settings_are_refused():
    with pytest.raises(
        ValueError, match="frames of Sprites must be a whole number from 2 to 16384"
    ):
        Sprites(frames=1)
    with pytest.raises(ValueError, match="objects of Sprites must be two whole numbers"):
        Sprites(objects=(5, 3))
    with pytest.raises(ValueError, match="speed of Sprites must be two numbers from .* to 1"):
        Sprites(speed=(0.3, 12.0))


@pytest.mark.parametrize("generator", [Sprites, Scenes3D])
def test_what_is_no_probability_is_refused(generator):
    with pytest.raises(
        ValueError, match="^compression of .* must be a number from 0 to 1, not 1.1"
    ):
        generator(compression=1.1)
