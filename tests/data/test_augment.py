"""Augmentations: painted dots stay under their tracks; parameters are distributed as published."""

import cv2
import numpy as np
import pytest
import torch
import torchvision.transforms.functional as reference
from PIL import Image

import cotracker.data.augment.photometric as photometric
from cotracker.data.augment import AugmentConfig, ChoosePoints, no_augmentation
from cotracker.data.augment.photometric import (
    Blur,
    Colour,
    ColourJitter,
    Eraser,
    Rectangles,
    Replace,
    recolour,
)
from cotracker.data.augment.spatial import Flip, Pad, Roll, ScaleAndCrop
from cotracker.geometry import inside_frame, resize_video
from cotracker.types import Clip

SMALL = {"crop": {"height": 96, "width": 128}, "points": {"count": 8, "least": 1}}
EFFECTS = [
    Eraser(Rectangles(0.9, (2, 5), (3, 30))),
    Replace(Rectangles(0.9, (2, 5), (3, 30)), ColourJitter()),
    ColourJitter(1.0),
    Blur(1.0),
    Pad(9),
    ScaleAndCrop(96, 128),
    Flip(1.0, 0.0),
    Flip(0.0, 1.0),
    Flip(1.0, 1.0),
    ChoosePoints(4),
]
MOVING = EFFECTS[4:9]
PLAIN = EFFECTS[:4]


def small_chain(**settings) -> AugmentConfig:
    return AugmentConfig(**SMALL, **settings)


def generator(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def clip_of(frames: np.ndarray, tracks, visible=None, valid=None) -> Clip:
    """A Clip of frames T H W 3; by default visible is inside the frame, and all is valid."""
    tracks = torch.as_tensor(tracks).float()
    inside = inside_frame(tracks, frames.shape[1:3])
    video = torch.from_numpy(frames).permute(0, 3, 1, 2)
    valid = torch.ones_like(inside) if valid is None else valid
    return Clip(
        video,
        tracks,
        inside if visible is None else visible & inside,
        valid,
        name="dots",
        seed=(3, 4),
    )


def dots(seed=0, frames=5, size=(160, 176), points=12) -> Clip:
    """White dots on black of sigma 3, moving steadily, at least 26 pixels apart; some leave.

    Visible are those that are whole.
    """
    rng, (height, width) = generator(seed), size
    while True:
        start = rng.uniform((-5, -5), (width + 4, height + 4), (points, 2))
        tracks = start + np.arange(frames)[:, None, None] * rng.uniform(-3, 3, (points, 2))
        apart = np.linalg.norm(tracks[:, :, None] - tracks[:, None], axis=-1) + 1e3 * np.eye(points)
        if apart.min() > 26:
            break
    y, x = np.mgrid[:height, :width]
    square = (x - tracks[..., 0, None, None]) ** 2 + (y - tracks[..., 1, None, None]) ** 2
    grey = np.rint(250 * np.exp(-square / 18).max(1)).astype(np.uint8)
    whole = inside_frame(torch.from_numpy(tracks - 11), (height - 22, width - 22))
    return clip_of(np.repeat(grey[..., None], 3, axis=-1), tracks, whole)


def noise(seed=0, frames=4, size=(40, 48)) -> Clip:
    """Smooth noise, and a point at each pixel."""
    frames = np.stack(
        [
            cv2.GaussianBlur(f, (0, 0), 1)
            for f in generator(seed).integers(0, 256, (frames, *size, 3), np.uint8)
        ]
    )
    y, x = np.mgrid[: size[0], : size[1]]
    return clip_of(frames, np.repeat(np.stack([x, y], -1).reshape(1, -1, 2), len(frames), 0))


def offsets(clip: Clip, reach: int = 10) -> torch.Tensor:
    """How far (x, y) each visible dot is from its track, (K, 2); not those near the border."""
    grey = clip.video.float().mean(1)
    height, width = grey.shape[1:]
    found = []
    for t, n in clip.visible.nonzero().tolist():
        column, row = clip.tracks[t, n].round().int().tolist()
        if reach <= column < width - reach and reach <= row < height - reach:
            patch = grey[t, row - reach : row + reach + 1, column - reach : column + reach + 1]
            weight = (patch - patch.max() / 4).clamp(min=0)
            steps = torch.arange(-reach, reach + 1).float()
            centre = (
                torch.stack([(weight.sum(0) * steps).sum(), (weight.sum(1) * steps).sum()])
                / weight.sum()
            )
            found.append(centre + torch.tensor([column, row]) - clip.tracks[t, n])
    return torch.stack(found) if found else torch.zeros(0, 2)


def same(one: Clip, other: Clip) -> bool:
    return all(
        torch.equal(getattr(one, key), getattr(other, key))
        for key in ("video", "tracks", "visible", "valid")
    )


def test_the_dots_are_where_the_tracks_say_before_anything():
    assert offsets(dots()).abs().max() < 0.02


# Where points go


def test_a_rolled_frame_holds_each_point_where_its_track_says():
    """Each point has a colour of its own; outside the frame its truth is unknown afterwards."""
    rng = np.random.default_rng(0)
    tracks = torch.from_numpy(rng.integers(-6, 40, (12, 30, 2)))
    frames = np.zeros((12, 28, 36, 3), np.uint8)
    inside = inside_frame(tracks.float(), (28, 36))
    for t, n in torch.nonzero(inside).tolist():
        x, y = tracks[t, n].tolist()
        frames[t, y, x] = n + 1
    latest = torch.zeros_like(inside)
    for t, n in torch.nonzero(inside).tolist():
        x, y = tracks[t, n].tolist()
        latest[t, n] = int(frames[t, y, x, 0]) == n + 1
    clip = Roll(1.0, (0.05, 0.2))(clip_of(frames, tracks, visible=latest), rng)
    assert torch.equal(clip.valid, inside) and torch.equal(clip.visible, latest)
    for t, n in torch.nonzero(latest).tolist():
        x, y = clip.tracks[t, n].int().tolist()
        assert clip.video[t, 0, y, x] == n + 1
    steps = (clip.tracks[1:] - tracks[1:]) - (clip.tracks[:-1] - tracks[:-1])
    both = latest[1:] & latest[:-1]
    assert (steps[both].abs().max() > 20) and (steps[both] != 0).any(), "nothing went round"


@pytest.mark.slow
@pytest.mark.parametrize("effect", MOVING, ids=str)
def test_points_stay_on_their_dots(effect):
    """Scale is that of the corner centres, and a flip is W-1-x: not W'/W, not W-x."""
    count, errors = 0, []
    for seed in range(12):
        before = dots(seed)
        after = effect(before, generator(seed))
        assert after.video.shape[2:] != before.video.shape[2:] or not torch.equal(
            after.tracks, before.tracks
        )
        assert after.tracks.dtype == torch.float32 and after.video.dtype == torch.uint8
        assert torch.equal(
            after.visible, before.visible & inside_frame(after.tracks, after.video.shape[-2:])
        )
        assert torch.equal(after.valid, before.valid) and (after.name, after.seed) == (
            "dots",
            (3, 4),
        )
        errors.append(offsets(after))
        count += len(errors[-1])
    errors = torch.cat(errors)
    assert count > 150 and errors.abs().max() < 0.1 and errors.mean(0).abs().max() < 0.01


@pytest.mark.slow
def test_points_stay_on_their_dots_through_the_whole_chain():
    never, half = {"probability": 0.0}, {"probability": 0.5}
    chain = small_chain(eraser=never, replace=never, colour=half, blur=half)
    errors = []
    for seed in range(40):
        after = chain(dots(seed), generator(seed))
        assert after.video.shape == (5, 3, 96, 128) and 1 <= after.tracks.shape[1] <= 8
        errors.append(offsets(after, 11))
    errors = torch.cat(errors)
    assert len(errors) > 400 and errors.abs().max() < 0.1 and errors.mean(0).abs().max() < 0.01


def test_a_point_visible_after_the_whole_chain_is_seen_there():
    """With rectangles that cover and paste dots: at a visible point stands a dot all the same."""
    seen = 0
    for seed in range(30):
        rectangles = {"count": (2, 6), "side": (5, 40)}
        after = small_chain(eraser=rectangles, replace=rectangles)(dots(seed), generator(seed))
        assert not (after.visible & ~inside_frame(after.tracks, (96, 128))).any()
        t, n = after.visible.nonzero().T
        x, y = after.tracks[t, n].round().long().T
        assert (after.video[t, :, y, x].float().mean(1) > 75).all()
        seen += len(t)
    assert seen > 300


def test_scale_is_that_of_resize_video():
    before = noise(size=(32, 40))
    after = ScaleAndCrop(48, 60, (1.5, 1.5), 0.0, 0, 0)(before, generator(0))
    difference = (after.video - resize_video(before.video, (48, 60))).abs()
    assert difference.max() <= 1.5 and difference.mean() <= 0.5  # OpenCV 4.11 rounds the weights
    assert torch.allclose(after.tracks, before.tracks * torch.tensor([59 / 39, 47 / 31]), atol=1e-5)


def test_a_crop_alone_cuts_whole_pixels():
    before = dots(1)
    after = ScaleAndCrop(96, 128, (1.0, 1.0), 0.0, 15)(before, generator(1))
    shift = before.tracks - after.tracks
    assert torch.equal(shift, shift.round()) and len(shift[:, 0].unique(dim=0)) > 1
    for t in range(5):
        x, y = shift[t, 0].int().tolist()
        assert torch.equal(after.video[t], before.video[t, :, y : y + 96, x : x + 128])


def test_flips_mirror_every_pixel():
    before = noise()
    height, width = before.video.shape[-2:]
    for flip, axes in ((EFFECTS[6], [-1]), (EFFECTS[7], [-2]), (EFFECTS[8], [-1, -2])):
        after = flip(before, generator(0))
        assert torch.equal(after.video, before.video.flip(axes)) and after.visible.all()
        x, y = after.tracks[2].long().T
        assert torch.equal(after.video[2][:, y, x], before.video[2].flatten(1))


def test_padding_is_black_and_keeps_every_pixel():
    before = noise()
    after = Pad(9)(before, generator(2))
    left, top = after.tracks[0, 0].int().tolist()
    assert torch.equal(after.video[..., top : top + 40, left : left + 48], before.video)
    assert after.video.sum() == before.video.sum() and after.visible.all()


def test_the_crop_never_shows_what_is_not_there():
    bright = clip_of(np.full((8, 60, 70, 3), 200, np.uint8), np.zeros((8, 1, 2)))
    for seed in range(30):
        assert (ScaleAndCrop(40, 50, room=3)(bright, generator(seed)).video == 200).all()


def test_the_crop_is_centred_on_the_visible_and_valid_points_of_the_first_frame():
    tracks = np.array([[[100, 90], [140, 110], [260, 170], [250, 5]]] * 2, float)
    flags = (
        torch.tensor([[True, True, False, True]] * 2),
        torch.tensor([[True, True, True, False]] * 2),
    )
    clip = clip_of(np.zeros((2, 200, 300, 3), np.uint8), tracks, *flags)
    crop = ScaleAndCrop(51, 61, (1.0, 1.0), 0.0, 0)
    assert crop(clip, generator(0)).tracks[0].tolist() == [
        [10, 15],
        [50, 35],
        [170, 95],
        [160, -70],
    ]
    clip = clip_of(
        np.zeros((2, 201, 301, 3), np.uint8), tracks, torch.zeros(2, 4, dtype=torch.bool)
    )
    assert (clip.tracks - crop(clip, generator(0)).tracks)[0, 0].tolist() == [120, 75]  # the middle
    clip = clip_of(np.zeros((2, 200, 300, 3), np.uint8), tracks * 0 + (2.0, 199.0))
    assert crop(clip, generator(0)).tracks[0, 0].tolist() == [2, 50]  # held within the frame


def test_small_frames_are_scaled_up_to_the_crop_and_room():
    after = ScaleAndCrop(96, 128, room=10)(dots(0, size=(90, 100), points=4), generator(0))
    first = after.tracks[0] - after.tracks[0, :1]
    before = dots(0, size=(90, 100), points=4).tracks[0]
    factor = first[1:] / (before - before[:1])[1:]
    assert torch.allclose(factor, torch.tensor([137 / 99, 105 / 89]).expand(3, 2), atol=1e-3)


# What rectangles hide


def test_erased_points_are_exactly_those_inside():
    board = np.indices((6, 60, 70)).sum(0) % 2 * 255
    before = noise(frames=6, size=(60, 70))
    before = clip_of(np.repeat(board[..., None], 3, -1).astype(np.uint8), before.tracks)
    hidden = 0
    for seed in range(10):
        after = Eraser(Rectangles(0.5, (1, 4), (4, 20)))(before, generator(seed))
        changed = (after.video != before.video).any(1).flatten(1)
        assert torch.equal(after.visible, ~changed) and not changed[0].any()
        assert torch.equal(after.tracks, before.tracks) and torch.equal(after.valid, before.valid)
        hidden += changed.sum()
    assert hidden > 1000


def test_a_rectangle_hides_the_area_of_its_pixels():
    frames = np.zeros((2, 40, 50, 3), np.uint8)
    frames[1, ::2] = 255
    after = Eraser(Rectangles(1.0, (1, 1), (8, 8)))(
        clip_of(frames, np.zeros((2, 1, 2))), generator(3)
    )
    rows, columns = np.nonzero((after.video[1, 0] != torch.from_numpy(frames[1, ..., 0])).numpy())
    box = [columns.min() - 0.5, rows.min() - 0.5, columns.max() + 0.5, rows.max() + 0.5]
    middle = [(box[0] + box[2]) / 2, (box[1] + box[3]) / 2]
    sides = [
        (0, box[0], 1),
        (0, box[2], -1),
        (1, box[1], 1),
        (1, box[3], -1),
    ]  # axis, where, which way is inwards
    points = []
    for inwards in (0.01, -0.01):
        points += [
            [place + way * inwards if k == axis else middle[k] for k in (0, 1)]
            for axis, place, way in sides
        ]
    clip = clip_of(frames, [points] * 2)
    after = Eraser(Rectangles(1.0, (1, 1), (8, 8)))(clip, generator(3))
    assert after.visible[0].all() and after.visible[1].tolist() == [False] * 4 + [True] * 4


def test_erased_rectangles_have_their_mean_colour():
    before = noise(3, size=(64, 64))
    after = Eraser(Rectangles(1.0, (1, 1), (12, 20)))(before, generator(1))
    for t in range(1, 4):
        place = ~after.visible[t].reshape(64, 64)
        new, old = after.video[t][:, place].float(), before.video[t][:, place].float()
        assert (new == new[:, :1]).all() and (new[:, 0] - old.mean(1)).abs().max() <= 0.5


def test_replaced_rectangles_come_from_anywhere_in_the_clip_and_hide_what_is_inside():
    """Each pixel says its own place: red x, green y, blue the frame."""
    t, y, x = np.indices((8, 60, 70))
    before = clip_of(
        np.stack([x, y, 20 * t], -1).astype(np.uint8), noise(frames=8, size=(60, 70)).tracks
    )
    effect = Replace(Rectangles(0.5, (1, 3), (4, 20)), ColourJitter(0.25, 0.0, 0.0, 0.0, 0.0))
    sources = set()
    for seed in range(20):
        after = effect(before, generator(seed))
        changed = (after.video != before.video).any(1).flatten(1)
        assert torch.equal(after.visible, ~changed) and not changed[0].any()
        frames, pixels = changed.nonzero().T
        found = after.video.flatten(2)[frames, :, pixels]
        assert (
            (found[:, 0] < 70).all() and (found[:, 1] < 60).all() and (found[:, 2] % 20 == 0).all()
        )
        sources |= set(found[:, 2].tolist())
    assert sources == set(range(0, 160, 20))


def test_replaced_rectangles_are_recoloured_twice():
    before = clip_of(np.full((20, 40, 40, 3), 120, np.uint8), np.zeros((20, 1, 2)))
    for colour in (ColourJitter(0.0, 0.2, 0.0, 0.0, 0.0), ColourJitter(0.0, 0.0, 0.0, 0.0, 0.0)):
        after = Replace(Rectangles(1.0, (3, 3), (9, 9)), colour)(before, generator(0))
        greys = after.video.unique()
        assert len(greys) > 10 or (not colour.brightness and greys.tolist() == [120])
        assert greys.max() <= 173 and greys.min() >= 77  # 120 * 1.2 ** 2
        assert (
            not colour.brightness or greys.max() > 148 or greys.min() < 92
        )  # once reaches 144 and 96


# Colours


@pytest.mark.parametrize("effect", PLAIN, ids=lambda effect: type(effect).__name__)
def test_colours_move_no_point(effect):
    before = dots(2)
    after = effect(before, generator(1))
    assert torch.equal(after.tracks, before.tracks) and torch.equal(after.valid, before.valid)
    assert after.video.shape == before.video.shape and not torch.equal(after.video, before.video)
    assert torch.equal(after.visible, before.visible) or isinstance(effect, (Eraser, Replace))
    assert not (after.visible & ~before.visible).any()


@pytest.mark.parametrize("effect", [ColourJitter(1.0), Blur(1.0)], ids=str)
def test_dots_stay_where_they_are_under_colour_and_blur(effect):
    errors = torch.cat([offsets(effect(dots(seed), generator(seed)), 11) for seed in range(6)])
    assert len(errors) > 100 and errors.abs().max() < 0.1


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 1, 0, 2)])
def test_recolour_is_as_torchvision_has_it(order):
    image = noise(5, size=(64, 64)).video[0].permute(1, 2, 0).numpy()
    colour = Colour(1.15, 0.85, 1.18, -0.07, order)
    expected = Image.fromarray(image)
    functions = (
        reference.adjust_brightness,
        reference.adjust_contrast,
        reference.adjust_saturation,
        reference.adjust_hue,
    )
    for step in order:
        expected = functions[step](expected, colour[step])
    ours, _ = recolour(image, colour)
    difference = np.abs(ours.astype(int) - np.asarray(expected))
    assert difference.mean() < 2.5 and np.quantile(difference, 0.99) <= 8
    for step in range(3):  # by itself each but hue agrees to the rounding
        alone = Colour(*(colour[k] if k == step else 1 - k // 3 for k in range(4)), (step,))
        one = np.asarray(functions[step](Image.fromarray(image), colour[step])).astype(int)
        assert np.abs(recolour(image, alone)[0] - one).max() <= 1


def test_colours_change_in_the_sampled_order_and_in_each_frame_otherwise():
    image = noise(5, size=(64, 64)).video[0].permute(1, 2, 0).numpy()
    for order in ((0, 1, 2, 3), (2, 1, 3, 0), (1, 0, 2, 3)):
        colour, expected = Colour(1.5, 0.5, 2.0, 0.2, order), image
        for step in order:
            expected, _ = recolour(expected, colour._replace(order=(step,)))
        assert np.array_equal(recolour(image, colour)[0], expected)
    still = clip_of(np.repeat(image[None], 5, 0), np.zeros((5, 1, 2)))
    assert len(ColourJitter(1.0)(still, generator(0)).video.unique(dim=0)) == 5


def test_a_part_is_recoloured_as_the_whole():
    image = noise(6, size=(80, 80)).video[0].permute(1, 2, 0).numpy().copy()
    image[:40] //= 3  # the part is darker than the whole
    colour = ColourJitter(1.0).sample(generator(4))
    part, whole = recolour(image[8:40, 16:50], colour, image)
    assert np.array_equal(whole, recolour(image, colour)[0]) and np.array_equal(
        part, whole[8:40, 16:50]
    )


def test_a_sharp_frame_is_blurred_by_the_sampled_sigma(monkeypatch):
    frames = np.zeros((1, 41, 41, 3), np.uint8)
    frames[0, 20, 20] = 255
    after = (
        Blur(1.0, (1.5, 1.5))(clip_of(frames, np.zeros((1, 1, 2))), generator(0))
        .video[0, 0]
        .double()
    )
    variance = (after * (torch.arange(41) - 20) ** 2).sum() / after.sum()
    assert abs(variance.sqrt() - 1.5) < 0.1 and (after[20] > 0).sum() <= 11


# Distributions: appendix A


def within(share: float, expected: float, count: int) -> bool:
    """A share of `count` draws lies within four standard deviations of what is expected."""
    return abs(share - expected) < 4 * (expected * (1 - expected) / count) ** 0.5


def uniform(values, least: float, most: float, whole: bool = False) -> bool:
    """Mean and variance fit a uniform distribution on [least, most], nearly up to its ends."""
    values, width = np.asarray(values, float), most - least + whole
    good = least <= values.min() and values.max() <= most
    variance = (width**2 - whole) / 12
    good &= abs(values.mean() - (least + most) / 2) < 4 * (variance / len(values)) ** 0.5
    good &= abs(values.var() / variance - 1) < 5 / len(values) ** 0.5
    return bool(good and values.min() < least + width / 20 and values.max() > most - width / 20)


def test_rectangles_are_distributed_as_published():
    rng, clips = generator(0), 400
    sampled = [list(Rectangles().sample((24, 512, 512, 3), rng)) for _ in range(clips)]
    counts = np.array(
        [[sum(one.frame == t for one in clip) for t in range(24)] for clip in sampled]
    )
    assert not counts[:, 0].any() and within((counts[:, 1:] > 0).mean(), 0.5, clips * 23)
    assert uniform(counts[counts > 0], 1, 10, whole=True)
    boxes = np.array([one for clip in sampled for one in clip])
    free = boxes[((boxes[:, 1:3] > 0) & (boxes[:, 3:] < 512)).all(1)]  # not cut
    assert (free[:, 3:] - free[:, 1:3]).min() == 2 and (free[:, 3:] - free[:, 1:3]).max() == 99
    central = boxes[np.abs((boxes[:, 1] + boxes[:, 3]) // 2 - 256) < 200]  # never cut
    assert len(central) > 10000 and uniform(central[:, 3] - central[:, 1], 2, 99, whole=True)
    covered = np.zeros((512, 512))
    for _, left, top, right, bottom in boxes:
        assert 0 <= left < right <= 512 and 0 <= top < bottom <= 512
        covered[top:bottom, left:right] += 1
    assert covered[100:-100, 100:-100].std() / covered[100:-100, 100:-100].mean() < 0.12
    assert (
        covered.min() > 0 and 0.4 < covered[:, 0].mean() / covered[100:-100, 100:-100].mean() < 0.65
    )
    assert (Eraser().rectangles, Replace().rectangles) == (Rectangles(), Rectangles())


def test_colours_are_distributed_as_published():
    rng = generator(1)
    sampled = [ColourJitter().sample(rng) for _ in range(4000)]
    for name, middle, spread in (
        ("brightness", 1, 0.2),
        ("contrast", 1, 0.2),
        ("saturation", 1, 0.2),
        ("hue", 0, 0.0796),
    ):
        assert uniform([getattr(one, name) for one in sampled], middle - spread, middle + spread), (
            name
        )
    orders, counts = np.unique([one.order for one in sampled], axis=0, return_counts=True)
    assert len(orders) == 24 and counts.min() > 110


def test_sigmas_are_distributed_as_published_a_frame_each(monkeypatch):
    sigmas = []
    monkeypatch.setattr(
        photometric.cv2,
        "GaussianBlur",
        lambda frame, kernel, sigma, dst: sigmas.append((*kernel, sigma)),
    )
    clip = clip_of(np.zeros((5, 2, 2, 3), np.uint8), np.zeros((5, 1, 2)))
    rng = generator(2)
    for _ in range(4000):
        Blur()(clip, rng)
    kernels = np.array(sigmas)
    assert within(len(sigmas) / 5 / 4000, 0.25, 4000) and (kernels[:, :2] == 11).all()
    assert uniform(kernels[:, 2], 0.1, 2.0) and len(set(kernels[:5, 2])) == 5


@pytest.mark.parametrize(
    "effect, share",
    [
        (ColourJitter(), 0.25),
        (Flip(0.5, 0.0), 0.5),
        (Flip(), 0.75),
        (ColourJitter(0.0), 0),
    ],
)
def test_the_share_of_changed_clips(effect, share):
    clip, rng = noise(frames=1, size=(8, 9)), generator(3)
    changed = [not torch.equal(effect(clip, rng).video, clip.video) for _ in range(1500)]
    assert abs(np.mean(changed) - share) <= 4 * (share * (1 - share) / 1500) ** 0.5


def test_padding_is_distributed_as_published():
    clip, rng, sides = (
        clip_of(np.zeros((1, 4, 5, 3), np.uint8), np.zeros((1, 1, 2))),
        generator(4),
        [],
    )
    for _ in range(3000):
        after = Pad()(clip, rng)
        (left, top), (high, wide) = after.tracks[0, 0].tolist(), after.video.shape[-2:]
        sides.append((left, top, wide - 5 - left, high - 4 - top))
    sides = np.array(sides)
    assert all(uniform(side, 0, 24, whole=True) for side in sides.T)
    assert np.abs(np.corrcoef(sides.T) - np.eye(4)).max() < 0.08


def paths(
    effect: ScaleAndCrop, clips: int, size=(512, 512), frames=8
) -> tuple[np.ndarray, np.ndarray]:
    """Factors and corners, clips T 2 each, from the tracks of two opposite corners."""
    ends = np.array([[[0, 0], [size[1] - 1, size[0] - 1]]] * frames, float)
    clip, rng = clip_of(np.zeros((frames, *size, 3), np.uint8), ends), generator(5)
    tracks = np.stack([effect(clip, rng).tracks.double().numpy() for _ in range(clips)])
    factors = (tracks[:, :, 1] - tracks[:, :, 0]) / (np.array(size[::-1]) - 1)
    return factors, -tracks[:, :, 0]


def test_scale_is_distributed_as_published():
    factors, _ = paths(ScaleAndCrop(8, 8, crop_drift=0), 1500)
    first, steps = factors[:, 0].mean(-1), np.diff(factors, axis=1)
    assert uniform(first, 0.747, 1.25) and np.abs(factors[:, 0, 0] - factors[:, 0, 1]).max() < 1e-6
    whole = factors * 511 + 1
    assert np.abs(whole - whole.round()).max() < 1e-3  # sizes are whole numbers of pixels
    together = steps.mean(-1)  # of both axes
    assert (
        abs(together[:, 0].std() / (0.05 / 6**0.5) - 1) < 0.06
        and np.abs(together[:, 0]).max() < 0.053
    )
    apart = steps[:, 0, 0] - steps[:, 0, 1]  # half of it is taken back
    assert abs(apart.std() / (0.05 / 6**0.5) - 1) < 0.06
    slope = (together[:, 1] * together[:, 0]).mean() / (together[:, 0] ** 2).mean()
    assert abs(slope - 0.8) < 0.03
    rest = together[:, 1] - 0.8 * together[:, 0]
    assert abs(rest.std() / (0.2 * 0.05 / 6**0.5) - 1) < 0.12


def test_scale_ends_at_its_limits():
    factors, _ = paths(ScaleAndCrop(8, 8, (0.2, 2.0), 0.3, 0), 200, size=(128, 128), frames=12)
    sizes = factors * 127 + 1
    assert round(sizes.min()) == int(0.2 * 128) and 254 <= round(sizes.max()) <= 256


def test_scale_drifts_from_where_the_crop_held_it():
    factors, _ = paths(ScaleAndCrop(108, 108, (0.8, 0.8), 0.05, 0), 200, size=(128, 128), frames=2)
    sizes = (factors * 127 + 1).round()
    assert (sizes[:, 0] == 118).all() and sizes.min() == 118 and (sizes[:, 1] > 118).mean() > 0.25


@pytest.mark.slow
def test_the_window_wanders_as_published():
    _, corners = paths(ScaleAndCrop(20, 20, (1.0, 1.0), 0.0), 1500, size=(120, 120), frames=3)
    steps = np.diff(corners, axis=1).round()
    assert (corners[:, 0] == 50).all()
    assert uniform(steps[:, 0, 0], -15, 15, whole=True) and uniform(
        steps[:, 0, 1], -15, 15, whole=True
    )
    slope = (steps[:, 1] * steps[:, 0]).mean() / (steps[:, 0] ** 2).mean()
    assert 0.72 < slope < 0.8  # 0.8, cut to whole pixels towards zero
    assert np.abs(steps[:, 1] - 0.8 * steps[:, 0]).max() < 4
    _, corners = paths(ScaleAndCrop(500, 100, (1.0, 1.0), 0.0), 60, frames=24)
    assert (
        corners[..., 1].min() == 0 and corners[..., 1].max() == 12
    )  # 512 - 500: the last place too


# Points


def test_points_are_those_of_the_first_or_the_middle_frame():
    clip = dots()
    visible = torch.zeros(5, 12, dtype=torch.bool)
    visible[0, [1, 3]] = visible[2, [3, 7]] = visible[1, :] = True
    valid = torch.ones(5, 12, dtype=torch.bool)
    clip = clip_of(
        clip.video.permute(0, 2, 3, 1).numpy(),
        torch.full((5, 12, 2), 9.0) + torch.arange(12)[:, None],
        visible,
        valid,
    )
    kept = [
        ChoosePoints(3)(clip, generator(seed)).tracks[0, :, 0].sub(9).int().tolist()
        for seed in range(20)
    ]
    assert all(sorted(one) == [1, 3, 7] for one in kept) and len({tuple(one) for one in kept}) > 3
    with pytest.raises(ValueError, match="only 3 of its points .* 4 are wanted"):
        ChoosePoints(4)(clip, generator(0))
    assert ChoosePoints(8, 3)(clip, generator(0)).tracks.shape == (5, 3, 2)
    assert ChoosePoints(2, 1)(clip, generator(0)).tracks.shape == (5, 2, 2)
    with pytest.raises(ValueError, match="only 3 of its points .* 4 are wanted"):
        ChoosePoints(8, 4)(clip, generator(0))
    valid[0, 1] = False  # visible, but not valid
    assert ChoosePoints(8, 1)(clip, generator(0)).tracks.shape == (5, 2, 2)


# All of them


@pytest.mark.parametrize(
    "effect",
    [EFFECTS[1], EFFECTS[3], EFFECTS[5], EFFECTS[6], EFFECTS[-1], small_chain()],
    ids=lambda effect: type(effect).__name__,
)
def test_the_same_generator_gives_the_same_and_nothing_is_written(effect):
    clip = dots(4)
    before = Clip(
        *(getattr(clip, name).clone() for name in ("video", "tracks", "visible", "valid"))
    )
    state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()
    one = effect(clip, generator(7))
    assert same(clip, before)
    assert same(one, effect(clip, generator(7)))
    planar = Clip(clip.video.contiguous(), clip.tracks, clip.visible, clip.valid)
    assert not planar.video.permute(0, 2, 3, 1).is_contiguous()
    assert same(one, effect(planar, generator(7))) and same(planar, before)
    assert isinstance(effect, Flip) or any(
        not same(one, effect(clip, generator(seed))) for seed in (8, 9, 10)
    )
    assert torch.equal(state, torch.get_rng_state()) and np.array_equal(
        numpy_state, np.random.get_state()[1]
    )


def test_a_chain_is_its_effects_one_after_the_other_with_one_generator():
    chain, rng = small_chain(), generator(6)
    names = "Eraser Replace ColourJitter Blur Pad ScaleAndCrop Flip ChoosePoints"
    assert [type(effect).__name__ for effect in chain.effects()] == names.split()
    clip = dots(6)
    for effect in chain.effects():
        clip = effect(clip, rng)
    assert same(clip, chain(dots(6), generator(6)))
    assert no_augmentation() is None


def test_each_setting_of_a_config_reaches_its_effect():
    chain = AugmentConfig(
        eraser={"probability": 0.1, "count": (2, 3), "side": (4, 5)},
        replace={"probability": 0.2},
        colour={"probability": 0.3, "hue": 0.14},
        blur={"sigma": [0.5, 0.6]},
        pad={"max_pixels": 7},
        crop={"height": 30, "width": 40},
        flip={"vertical": 0.6},
        points={"count": 5, "least": 2},
    )
    jitter = ColourJitter(0.3, hue=0.14)
    assert chain.effects() == (
        Eraser(Rectangles(0.1, (2, 3), (4, 5))),
        Replace(Rectangles(0.2), jitter),
        jitter,
        Blur(sigma=[0.5, 0.6]),
        Pad(7),
        ScaleAndCrop(30, 40),
        Flip(vertical=0.6),
        ChoosePoints(5, 2),
    )
    with pytest.raises(ValueError, match="blur.sigmas is no setting of augment: use .*sigma"):
        AugmentConfig(blur={"sigmas": (1, 2)})


@pytest.mark.parametrize(
    "field, setting, value",
    [
        ("eraser", "count", (4, 3)),
        ("colour", "saturation", None),
        ("colour", "hue", 0.6),
        ("blur", "sigma", (0, 1)),
        ("blur", "kernel", 10),
        ("pad", "max_pixels", -1),
        ("crop", "scale", (1.2, 0.9)),
        ("flip", "vertical", "half"),
        ("points", "least", 300),
    ],
)
def test_impossible_values_are_refused_in_one_sentence(field, setting, value):
    with pytest.raises(ValueError, match=f"{setting} must be .*, not ") as refusal:
        AugmentConfig(**{field: {setting: value}})
    assert "\n" not in str(refusal.value) and str(value) in str(refusal.value)


def test_frames_too_small_to_scale_are_refused():
    thin = clip_of(np.zeros((1, 1, 9, 3), np.uint8), np.zeros((1, 1, 2)))
    with pytest.raises(ValueError, match="1x9 .*2 pixels a side"):
        ScaleAndCrop(4, 4)(thin, generator(0))
