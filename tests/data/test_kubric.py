"""The Kubric reader on miniatures made as the published files, and in the training stream."""

from collections import Counter
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf.errors import OmegaConfBaseException

from cotracker.data.augment import AugmentConfig
from cotracker.data.augment.sampling import choose_points, random_crop
from cotracker.data.kubric import Kubric
from cotracker.data.loader import make_loader
from cotracker.data.stream import Mixture, TrainingStream
from cotracker.data.video import write_video
from cotracker.types import Clip
from train import run

ROOT = Path(__file__).parents[2]
FRAMES, POINTS, SIZE = 6, 12, (40, 48)  # of the miniature


def write_miniature(root, name="0000", frames=FRAMES, kind="png", seed=0, depth=False):
    """One clip as published; each point is one pixel of its own colour.

    Seen wherever it is said to be seen.

    Colour: red 100 + point, green 200, in every frame; blue of the whole frame is its number.
    Row 0 stays free.
    """
    rng = np.random.default_rng(seed)
    start, step = (
        rng.permuted(np.arange(2, 36).repeat(2).reshape(-1, 2), axis=0)[:POINTS],
        rng.integers(-1, 2, (POINTS, 2)),
    )
    xy = start[:, None] + step[:, None] * np.arange(frames)[:, None]  # N T 2, pixels
    occluded = rng.random((POINTS, frames)) < 0.3
    occluded |= (xy < [0, 1]).any(-1) | (xy > [SIZE[1] - 1, SIZE[0] - 1]).any(-1)
    folder = root / name
    (folder / "frames").mkdir(parents=True)
    images = np.zeros((frames, *SIZE, 3), np.uint8)
    images[..., 2] = np.arange(frames)[:, None, None]
    for point, frame in zip(*np.nonzero(~occluded)):
        x, y = xy[point, frame]
        if images[frame, y, x, 1]:  # another stands there
            occluded[point, frame] = True
        else:
            images[frame, y, x, :2] = 100 + point, 200
    for number, image in enumerate(images):
        cv2.imwrite(str(folder / "frames" / f"{number:03d}.{kind}"), image[..., ::-1])
    if depth:
        (folder / "depth").mkdir()
        cv2.imwrite(str(folder / "depth" / "000.png"), images[0])
    held = {"coords": (xy + 0.5).astype(np.float32), "visibility": occluded}
    np.save(folder / f"{name}.npy", held, allow_pickle=True)
    return xy, occluded


@pytest.fixture
def root(tmp_path):
    for k in range(5):
        write_miniature(tmp_path / "movi", f"{k:04d}", seed=k)
    (tmp_path / "movi" / "manifest.json").write_text("{}")
    return tmp_path / "movi"


def colours(clip: Clip) -> np.ndarray:
    """The colour T N 3 under each point, 0 where it is not within the frame."""
    found = np.zeros((*clip.visible.shape, 3), int)
    height, width = clip.video.shape[-2:]
    for t, n in np.ndindex(*clip.visible.shape):
        x, y = clip.tracks[t, n].tolist()
        assert x == int(x) and y == int(y)
        if 0 <= x < width and 0 <= y < height:
            found[t, n] = clip.video[t, :, int(y), int(x)]
    return found


def same(one: Clip, other: Clip) -> bool:
    return all(
        torch.equal(getattr(one, key), getattr(other, key))
        for key in ("video", "tracks", "visible", "valid")
    )


@pytest.mark.parametrize("seed, size", [(0, (None, None)), (1, (24, 30))])
def test_points_stay_on_their_pixels(root, seed, size):
    """Raster to pixel, transposition, the inverted flag, frames, crop and points, all at once."""
    reader = Kubric(root, frames=4, height=size[0], width=size[1], points=3)
    clip = reader.clip_at(2, np.random.default_rng(seed))
    assert (
        clip.video.shape == (4, 3, size[0] or SIZE[0], size[1] or SIZE[1])
        and clip.video.dtype == torch.uint8
    )
    assert (
        clip.tracks.shape == (4, 3, 2) and clip.tracks.dtype == torch.float32 and clip.valid.all()
    )
    assert clip.name == "0002"
    under = colours(clip)
    seen = clip.visible.numpy()
    number = under[seen][:, 0].min() if seen.any() else 0
    assert seen.any() and number >= 100 and (under[seen][:, 1] == 200).all()
    for n in range(
        3
    ):  # a point keeps its own colour, and where it is not seen, that colour is not there
        own = set(under[seen[:, n], n, 0])
        assert len(own) == 1 and own.isdisjoint(under[~seen[:, n], n, 0])


def test_all_points_of_whole_clips_are_as_published(root):
    reader = Kubric(root, frames=FRAMES, height=None, width=None, points=None)
    held = np.load(root / "0001" / "0001.npy", allow_pickle=True).item()
    clip = reader.clip_at(1, np.random.default_rng(0))
    assert np.array_equal(clip.tracks.numpy(), held["coords"].swapaxes(0, 1) - 0.5)
    assert np.array_equal(clip.visible.numpy(), ~held["visibility"].T)
    assert same(
        clip, reader.clip_at(1, np.random.default_rng(5))
    )  # nothing is drawn, and nothing was written to


def test_every_start_is_drawn_the_last_one_too(root):
    reader = Kubric(root, frames=4, height=None, width=None, points=None)
    starts = Counter(
        int(reader.clip_at(0, np.random.default_rng(k)).video[0, 2, 0, 0]) for k in range(60)
    )
    assert set(starts) == {0, 1, 2} and min(starts.values()) >= 8
    clip = reader.clip_at(0, np.random.default_rng(1))
    assert clip.video[:, 2, 0, 0].diff().tolist() == [1, 1, 1]


def test_the_crop_is_anywhere_and_hides_what_leaves(root):
    whole = Kubric(root, frames=FRAMES, height=None, width=None, points=None).clip_at(
        0, np.random.default_rng(0)
    )
    corners = set()
    for k in range(80):
        clip = random_crop(whole, 38, 44, np.random.default_rng(k))
        (x, y) = (whole.tracks - clip.tracks)[0, 0].int().tolist()
        assert torch.equal(clip.video, whole.video[..., y : y + 38, x : x + 44])
        inside = ((clip.tracks >= 0) & (clip.tracks <= torch.tensor([43.0, 37.0]))).all(-1)
        assert torch.equal(clip.visible, whole.visible & inside)
        corners.add((x, y))
    assert corners == {(x, y) for x in range(5) for y in range(3)}


def test_points_are_those_of_the_first_or_the_middle_frame_each_once():
    visible = torch.tensor(
        [[1, 1, 0, 0, 0], [0, 0, 0, 1, 1], [0, 1, 1, 0, 0], [1, 0, 0, 0, 1]], dtype=torch.bool
    )
    tracks = torch.arange(5.0)[None, :, None].expand(4, 5, 2)
    clip = Clip(
        torch.zeros(4, 3, 8, 8, dtype=torch.uint8), tracks, visible, torch.ones_like(visible)
    )
    orders = set()
    for k in range(40):
        chosen = choose_points(clip, 3, np.random.default_rng(k))
        numbers = chosen.tracks[0, :, 0].int().tolist()
        assert sorted(numbers) == [0, 1, 2] and torch.equal(chosen.visible, visible[:, numbers])
        orders.add(tuple(numbers))
    assert len(orders) == 6
    with pytest.raises(
        ValueError, match="only 3 of its points are visible in the first or the middle frame, 4 are"
    ):
        choose_points(clip, 4, np.random.default_rng(0))


def test_the_120_frame_successor_and_jpg(tmp_path):
    xy, occluded = write_miniature(tmp_path, "long", frames=120, kind="jpg", depth=True)
    clip = Kubric(tmp_path, frames=24, height=None, width=None, points=None).clip_at(
        0, np.random.default_rng(3)
    )
    start = next(
        s for s in range(97) if np.array_equal(clip.tracks.numpy(), xy.swapaxes(0, 1)[s : s + 24])
    )
    assert clip.video.shape == (24, 3, *SIZE) and np.array_equal(
        clip.visible.numpy(), ~occluded.T[start : start + 24]
    )
    assert start > 24 and abs(float(clip.video[0, 2, :2].float().mean()) - start) < 12


def test_an_mp4_instead_of_frames(tmp_path):
    write_miniature(tmp_path, "a")
    frames = sorted((tmp_path / "a" / "frames").iterdir())
    images = [cv2.imread(str(file))[..., ::-1].copy() for file in frames]
    for file in frames:
        file.unlink()
    (tmp_path / "a" / "frames").rmdir()
    write_video(tmp_path / "a" / "a.mp4", images, 12, SIZE)
    clip = Kubric(tmp_path, frames=3, height=32, width=32, points=2).clip_at(
        0, np.random.default_rng(0)
    )
    assert clip.video.shape == (3, 3, 32, 32) and clip.tracks.shape == (3, 2, 2)


def test_what_is_missing_is_said_in_one_sentence(tmp_path, root):
    (tmp_path / "empty").mkdir()
    (root / "0009").mkdir()
    for folder, said in [
        (tmp_path / "none", "none does not exist: data.root must be the folder of the clips"),
        (tmp_path / "empty", "holds no clip"),
        (root, r"0009\.npy is missing"),
        (root.parent, r"empty\.npy is missing: each folder in data.root must be one clip"),
    ]:
        with pytest.raises(ValueError, match=said) as caught:
            Kubric(folder)
        assert "\n" not in str(caught.value)
    (root / "0009").rmdir()
    with pytest.raises(ValueError, match="data.points must be a whole number of at least 1, not 0"):
        Kubric(root, points=0)


@pytest.mark.parametrize(
    "field, said",
    [
        ({"frames": 7}, "0003 has 6 frames: data.frames=7 are too many"),
        (
            {"height": 41},
            r"0003: its frames are 40x48 \(height x width\), smaller than the crop of 41x20",
        ),
        (
            {"points": 13},
            "0003: only .* are visible in the first or the middle frame, 13 are wanted",
        ),
    ],
)
def test_what_a_clip_cannot_give_names_it(root, field, said):
    with pytest.raises(ValueError, match=said):
        Kubric(root, **{"frames": 4, "height": 20, "width": 20, "points": 3} | field).clip_at(
            3, np.random.default_rng(0)
        )


def test_clips_with_few_points_are_kept_where_that_is_allowed(root):
    def shapes(**fields):
        stream = TrainingStream(Kubric(str(root), 4, 24, 30, **fields))
        clips = [stream[k] for k in range(30)]
        return {clip.tracks.shape[1] for clip in clips}, sum(clip.replaced for clip in clips)

    alike, replaced = shapes(points=8)
    assert alike == {8} and replaced > 0
    ragged, fewer = shapes(points=8, least_points=4)
    assert len(ragged) > 2 and min(ragged) >= 4 and max(ragged) == 8 and fewer < replaced
    for least, points in ((0, 8), (9, 8), (2.0, 8), (1, None)):
        with pytest.raises(ValueError, match="data.least_points must be (null|a whole number)"):
            Kubric(str(root), points=points, least_points=least)


def test_whole_frames_go_through_the_published_chain(root):
    """The reader gives all; the chain crops and chooses; too few points: another clip."""
    reader = Kubric(str(root), 4, None, None, None)
    rectangles = {"side": (2, 9)}
    crop = {"height": 30, "width": 36}
    augment = AugmentConfig(
        rectangles, rectangles, pad={"max_pixels": 4}, crop=crop, points={"count": 8}
    )
    stream = TrainingStream(reader, augment=augment)
    clips = [stream[k] for k in range(20)]
    assert {(*clip.video.shape, clip.tracks.shape[1]) for clip in clips} == {(4, 3, 30, 36, 8)}
    said = {clip.reason for clip in clips} - {""}
    assert sum(clip.replaced for clip in clips) > 0
    assert all("augmented: only" in reason and "8 are wanted" in reason for reason in said)
    batches = first(make_loader(TrainingStream(reader, augment=augment), batch=4, workers=2), 5)
    assert [count for batch in batches for count in batch.replaced] == [
        clip.replaced for clip in clips
    ]
    assert all(
        torch.equal(batches[k // 4].video[k % 4], clip.video) for k, clip in enumerate(clips)
    )


def test_kubric_and_drawn_scenes_in_one_mixture(root):
    small = ["data.sources.1.frames=4", "data.sources.1.height=30", "data.sources.1.width=36"]
    small += [
        "data.sources.1.points=5",
        f"data.sources.0.source.root={root}",
        "data.sources.0.source.frames=4",
    ]
    small += [
        f"data.sources.0.augment.{name}={value}"
        for name, value in (("crop.height", 30), ("crop.width", 36), ("points.count", 5))
    ]
    node = composed("data=kubric_and_sprites", "train.batch=2", *small)
    batches = first(make_loader(TrainingStream(instantiate(node.data)), batch=2), 16)
    assert {batch.video.shape for batch in batches} == {(2, 4, 3, 30, 36)}
    read = [set(batch.name) <= {f"{k:04d}" for k in range(5)} for batch in batches]
    assert 0 < sum(read) < 16
    whole = composed("data=kubric_and_sprites").data.sources
    assert [whole[1][key] for key in ("frames", "height", "width", "points")] == [24, 384, 512, 256]
    augment = whole[0].augment
    sizes = [augment.crop.height, augment.crop.width, augment.points["count"]]
    assert sizes == [384, 512, 256]


# Sets of clips in the stream


class Set:
    """A Reader of `count` blank clips, grey by number, with random tracks; some are bad."""

    def __init__(self, count, bad=(), shade=0):
        self.count, self.bad, self.shade = count, bad, shade

    def __len__(self):
        return self.count

    def clip_at(self, position, rng):
        if position in self.bad:
            raise ValueError(f"clip {position} is bad")
        known = torch.ones(2, 1, dtype=torch.bool)
        video = torch.full((2, 3, 4, 4), position + self.shade, dtype=torch.uint8)
        return Clip(video, torch.from_numpy(rng.random((2, 1, 2), np.float32)), known, known)


class Drawn:
    """A Source of blank clips of grey 255."""

    def clip(self, rng):
        known = torch.ones(2, 1, dtype=torch.bool)
        video = torch.full((2, 3, 4, 4), 255, dtype=torch.uint8)
        return Clip(video, torch.from_numpy(rng.random((2, 1, 2), np.float32)), known, known)


def greys(stream, numbers):
    return [int(stream[k].video[0, 0, 0, 0]) for k in numbers]


def first(batches, count):
    return list(islice(iter(batches), count))


def test_each_clip_comes_once_in_a_pass_in_orders_of_their_own():
    stream = TrainingStream(Set(7), seed=3)
    passes = [greys(stream, range(7 * turn, 7 * turn + 7)) for turn in range(5)]
    assert all(sorted(one) == list(range(7)) for one in passes)
    assert len({tuple(one) for one in passes}) == 5
    assert passes[0] != greys(TrainingStream(Set(7), seed=4), range(7))
    assert stream[9].seed == (3, 9)


def test_a_clip_is_drawn_anew_in_each_pass_and_as_the_design_says():
    stream = TrainingStream(Set(1), seed=3)
    tracks = [stream[k].tracks for k in range(4)]
    assert len({float(one.sum()) for one in tracks}) == 4
    expected = np.random.default_rng((3, 2, 2)).random((2, 1, 2), np.float32)  # (seed, pass, k)
    assert np.array_equal(tracks[2].numpy(), expected)


def test_bad_clips_are_replaced_by_others_and_named_when_there_are_none():
    stream = TrainingStream(Set(6, bad={1, 4}))
    found = greys(stream, range(60))
    assert set(found) == {0, 2, 3, 5} and found == greys(stream, range(60))
    with pytest.raises(
        ValueError, match="example 5 of seed 0: Set gave 11 bad clips in a row, the last .* is bad"
    ):
        TrainingStream(Set(2, bad={0, 1}))[5]


def test_a_set_within_a_mixture_is_read_once_in_a_pass():
    mixture = Mixture([Drawn(), Set(6), Set(4, shade=100)], [1, 2, 1], block=2)
    stream = TrainingStream(mixture, seed=1)
    found = greys(stream, range(240))
    for low, high, count in ((0, 99, 6), (100, 199, 4)):
        ours = [value - low for value in found if low <= value <= high]
        whole = len(ours) // count * count
        assert whole >= 2 * count
        assert (np.sort(np.reshape(ours[:whole], (-1, count)), 1) == np.arange(count)).all()
    assert 30 < found.count(255) < 90
    again = TrainingStream(
        Mixture([Drawn(), Set(6), Set(4, shade=100)], [1, 2, 1], block=2), seed=1
    )
    assert greys(again, range(239, 229, -1)) == found[239:229:-1]  # from the middle, backwards


@pytest.mark.parametrize("workers", [0, 2])
def test_workers_ranks_and_resuming_give_the_same_stream(root, workers):
    def make():
        reader = Kubric(str(root), frames=4, height=24, width=32, points=2)
        return TrainingStream(Mixture([reader, Kubric(str(root), 4, 24, 32, 2)], [2, 1], block=4))

    alone = [make()[k] for k in range(24)]
    batches = first(make_loader(make(), batch=2, workers=workers), 12)
    whole = [(b.video[i], b.tracks[i], b.name[i]) for b in batches for i in range(2)]
    assert all(
        torch.equal(v, c.video) and torch.equal(t, c.tracks) and n == c.name
        for (v, t, n), c in zip(whole, alone)
    )
    later = first(make_loader(make(), batch=2, workers=workers, start=14), 3)
    assert all(same(one, other) for one, other in zip(later, batches[7:10]))
    ranks = [
        first(make_loader(make(), batch=2, workers=workers, rank=rank, world=2), 6)
        for rank in range(2)
    ]
    assert [
        name for pair in zip(*ranks) for b in zip(*(one.name for one in pair)) for name in b
    ] == [c.name for c in alone]


def composed(*overrides):
    with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
        return compose("train", overrides=list(overrides))


def test_the_config_gives_batches(root):
    node = composed(
        "data=kubric",
        f"data.root={root}",
        "data.frames=4",
        "data.height=24",
        "data.width=32",
        "data.points=3",
    )
    batch = first(make_loader(TrainingStream(instantiate(node.data)), batch=2), 1)[0]
    assert batch.video.shape == (2, 4, 3, 24, 32) and batch.tracks.shape == (2, 4, 3, 2)
    defaults = composed("data=kubric").data
    assert [defaults[key] for key in ("frames", "height", "width", "points")] == [24, 384, 512, 256]
    assert Kubric(root) == Kubric(root, 24, 384, 512, 256)


def test_training_runs_on_a_folder(root, tmp_path):
    small = [
        "data.frames=4",
        "data.height=32",
        "data.width=40",
        "data.points=4",
        "train.threads=null",
    ]
    run(
        composed(
            "experiment=smoke",
            "data=kubric",
            f"data.root={root}",
            *small,
            "train.steps=2",
            f"out={tmp_path}/run",
        )
    )
    assert len((tmp_path / "run" / "log.jsonl").read_text().splitlines()) == 2


def test_training_without_a_folder_names_the_setting(tmp_path):
    with pytest.raises((ValueError, OmegaConfBaseException), match="data.root"):
        run(composed("experiment=smoke", "data=kubric", f"out={tmp_path}/run"))
    assert not (tmp_path / "run").exists()
