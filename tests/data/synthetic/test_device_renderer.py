"""Scenes rendered by grid sampling: as by OpenCV, dots on their tracks, batches as single clips."""

from dataclasses import dataclass, fields, replace

import numpy as np
import pytest
import torch
from scenes import ALONE, BLURRED, EFFECTS, NEARLY_STILL, PLAIN, SIZE, TOGETHER, all_dot_errors

from cotracker.data.loader import make_loader
from cotracker.data.stream import Mixture, TrainingStream
from cotracker.data.synthetic.camera_effects import CameraEffects
from cotracker.data.synthetic.sprites import Sprites
from cotracker.data.synthetic.sprites.render_torch import render_batch
from cotracker.data.synthetic.sprites.scene import Scene, SceneBatch
from cotracker.types import Clip

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")
RICH = {
    "foreground": 0.7,
    "shadows": 0.6,
    "revolution": 0.3,
    "motion_blur": 0.5,
    "bending": 0.6,
    "objects": (3, 6),
}
EFFECT_CHANCES = {
    "light_field": "light_field",
    "tone_curve": "light_drift",
    "blur_sigma": "defocus",
    "noise": "noise",
    "jpeg_quality": "compression",
}


def sample_scenes(seeds, frames: int = 4, size: tuple[int, int] = SIZE, **settings) -> list:
    source = Sprites(frames, *size, 16, **settings)
    return [source.scene(np.random.default_rng((21, seed))) for seed in seeds]


def deferred(source: Sprites) -> Mixture:
    return Mixture([source], [1.0], defer_rendering=True)


def differences(rendered: list) -> list[np.ndarray]:
    """Grey levels between both renderers, scene by scene."""
    batch = render_batch(rendered, CPU).permute(0, 1, 3, 4, 2).numpy()
    return [np.abs(scene.render().astype(int) - video) for scene, video in zip(rendered, batch)]


def test_both_renderers_give_the_same_pixels():
    rendered = sample_scenes(range(6), **PLAIN | RICH)
    assert (
        len({len(scene.layers) for scene in rendered}) > 2
        and len({len(scene.frame_of) for scene in rendered}) > 1
    )
    layers = [layer for scene in rendered for layer in scene.layers]
    assert any(layer.bend for layer in layers) and any(layer.revolution for layer in layers)
    assert not all(layer.opaque for layer in layers)
    for difference in differences(rendered):
        assert difference.mean() < 0.5 and np.quantile(difference, 0.999) <= 3


@pytest.mark.parametrize("name", ["zoom and roll", "tilt", "bend", "limbs", "revolution"])
def test_both_renderers_agree_on_each_motion(name):
    for difference in differences(sample_scenes([1, 2], **PLAIN | NEARLY_STILL | ALONE[name])):
        assert difference.mean() < 0.5 and np.quantile(difference, 0.999) <= 3


@pytest.mark.parametrize("effect", EFFECT_CHANCES)
def test_both_renderers_apply_each_effect_the_same(effect):
    settings = dict.fromkeys((*EFFECTS, "motion_blur"), 0.0) | {EFFECT_CHANCES[effect]: 1.0}
    rendered = sample_scenes(range(3), size=(100, 150), **settings)  # not whole blocks of anything
    assert all(getattr(scene.effects, effect) is not None for scene in rendered)
    plain = [replace(scene, effects=CameraEffects()).render() for scene in rendered]
    # Rounding changes some of JPEG's coefficients by one step: a few grey levels of ten to twenty
    mean, most = (2.0, 15) if effect == "jpeg_quality" else (0.6, 3)
    share = 0.35 if effect == "noise" else 0.2  # noise of one level: roundings of OpenCV 4.8 count
    for scene, difference, before in zip(rendered, differences(rendered), plain):
        changed = np.abs(scene.render().astype(int) - before).mean()
        assert (
            difference.mean() < min(mean, share * changed) and np.quantile(difference, 0.99) <= most
        )


def test_both_renderers_make_the_same_clips_of_the_default_distribution():
    found = differences(sample_scenes(range(12), size=(64, 96)))
    assert np.mean(found) < 0.7 and max(difference.mean() for difference in found) < 2


def test_every_effect_is_compared():
    assert set(EFFECT_CHANCES) == {field.name for field in fields(CameraEffects)}


def test_a_clip_of_a_batch_is_the_clip_alone():
    rendered = sample_scenes(range(3), **RICH)
    together = render_batch(rendered, CPU)
    for scene, video in zip(rendered, together):
        apart = (render_batch([scene], CPU)[0].int() - video.int()).abs()
        assert (
            apart.float().mean() < 0.02 and apart.max() <= 3
        )  # an atlas of another size rounds differently


def test_a_batch_of_clips_has_the_truth_of_its_scenes():
    rendered = sample_scenes(range(2), **RICH)
    batch = SceneBatch(rendered).to(CPU)
    assert batch.video.shape == (2, 4, 3, *SIZE) and batch.video.dtype == torch.uint8
    for b, scene in enumerate(rendered):
        np.testing.assert_array_equal(batch.tracks[b].numpy(), scene.tracks.astype(np.float32))
        np.testing.assert_array_equal(batch.visible[b].numpy(), scene.visible)
    with pytest.raises(ValueError, match="equal frames, height and width"):
        render_batch([rendered[0], *sample_scenes([0], frames=5)], CPU)


def test_a_stream_of_scenes_gives_the_clips_of_the_stream_that_draws():
    source = Sprites(4, 64, 96, 16)
    rendered, later = TrainingStream(source, seed=5), TrainingStream(deferred(source), seed=5)
    batch = SceneBatch([later[3], later[9]]).to(CPU)
    assert batch.seed == [(5, 3), (5, 9)] and batch.replaced == [0, 0] and batch.reason == ["", ""]
    for b, k in enumerate((3, 9)):
        for name in ("tracks", "visible", "valid"):
            assert torch.equal(getattr(batch, name)[b], getattr(rendered[k], name))
        assert (batch.video[b].int() - rendered[k].video.int()).abs().float().mean() < 2


class Halved(Sprites):
    """Half of its scenes are bad."""

    def scene(self, rng):
        scene = super().scene(rng)
        if scene.tracks[0, 0, 0] % 4 < 2:
            raise ValueError("this scene is bad")
        return scene


class Never(Sprites):
    def scene(self, rng):
        raise ValueError("never")


@dataclass
class Few:
    """A Reader of three clips."""

    source: Sprites

    def __len__(self):
        return 3

    def clip_at(self, position, rng):
        return self.source.clip(np.random.default_rng(position))


def test_a_mixture_defers_the_rendering_of_its_sprites_only():
    """In blocks, beside a reader, with spawned workers; bad clips are counted."""
    mixture = Mixture(
        [Halved(3, 64, 96, 8), Halved(3, 64, 80, 8), Few(Sprites(3, 48, 48, 8))], [1, 1, 1], block=2
    )
    rendered = make_loader(TrainingStream(mixture, seed=1), 2)
    later = make_loader(
        TrainingStream(mixture.with_deferred_rendering(), seed=1), 2, workers=1, context="spawn"
    )
    kinds, reasons = set(), set()
    for there, here, _ in zip(rendered, later, range(10)):
        kinds.add((type(here), there.video.shape[-1]))
        reasons |= set(here.reason)
        assert (
            here.seed == there.seed
            and here.replaced == there.replaced
            and here.reason == there.reason
        )
        clip = here.to("cpu")
        for name in ("tracks", "visible", "valid"):
            assert torch.equal(getattr(clip, name), getattr(there, name))
        assert clip.video.shape == there.video.shape
    assert kinds == {(SceneBatch, 96), (SceneBatch, 80), (Clip, 48)} and reasons == {
        "",
        "this scene is bad",
    }
    with pytest.raises(
        ValueError, match="seed 0: Never gave 11 bad clips in a row, the last because: never"
    ):
        TrainingStream(deferred(Never(3, 64, 96, 8)))[0]


def on_device(layers, frame_of, size) -> np.ndarray:
    """As render_layers, by the other renderer."""
    scene = Scene(layers, frame_of, np.arange(frame_of[-1] + 1), size)
    return render_batch([scene], CPU)[0].permute(0, 2, 3, 1).numpy()


@pytest.mark.parametrize(("seed", "settings"), [(0, {}), (4, BLURRED)])
def test_painted_dots_land_where_the_tracks_say(seed, settings):
    errors, _, seen = all_dot_errors(seed, on_device, **TOGETHER | settings)
    assert len(errors) >= 30 and 0 in seen and len(seen) >= 3
    assert max(errors) < 0.1
