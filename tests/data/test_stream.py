"""The stream: example k is a function of (seed, k), whatever the workers and the start."""

import subprocess
import sys
from dataclasses import replace
from itertools import islice
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from cotracker.data.loader import (
    EndlessSampler,
    _init_worker,
    check_shared_memory,
    make_loader,
)
from cotracker.data.stream import Augmented, Mixture, TrainingStream
from cotracker.data.synthetic.sprites import Sprites
from cotracker.types import Clip

TINY = {"frames": 3, "height": 32, "width": 40, "points": 6}


def blank(value: int, frames: int = 2) -> Clip:
    flags = torch.ones(frames, 1, dtype=torch.bool)
    video = torch.full((frames, 3, 4, 4), value, dtype=torch.uint8)
    return Clip(video, torch.zeros(frames, 1, 2), flags, flags)


class Constant:
    """A source of blank clips of one grey and one length."""

    def __init__(self, value: int, frames: int = 2):
        self.value, self.frames = value, frames

    def clip(self, rng):
        return blank(self.value, self.frames)


class Unlucky:
    """A source whose clips are bad when its die says so."""

    def __init__(self, share: float):
        self.share = share

    def clip(self, rng):
        if rng.random() < self.share:
            raise ValueError("the die fell badly")
        return blank(int(rng.integers(256)))


def first(batches, count: int) -> list[Clip]:
    return list(islice(iter(batches), count))


def assert_equal(some: list[Clip], others: list[Clip]) -> None:
    assert len(some) == len(others)
    for one, other in zip(some, others):
        assert one.seed == other.seed
        for name in ("video", "tracks", "visible", "valid"):
            assert torch.equal(getattr(one, name), getattr(other, name))


def test_example_is_a_function_of_seed_and_number():
    stream = TrainingStream(Sprites(**TINY), seed=5)
    later = stream[9]
    stream[3]
    assert_equal([later], [TrainingStream(Sprites(**TINY), seed=5)[9]])
    assert later.seed == (5, 9)
    assert not torch.equal(later.video, stream[8].video)
    assert not torch.equal(later.video, TrainingStream(Sprites(**TINY), seed=6)[9].video)
    assert torch.equal(later.video, Sprites(**TINY).clip(np.random.default_rng((5, 9))).video)


@pytest.mark.slow
@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_two_workers_give_the_same_batches_as_none(context):
    stream = TrainingStream(Sprites(**TINY))
    alone = first(make_loader(stream, batch=2), 4)
    assert alone[0].video.shape == (2, 3, 3, 32, 40) and alone[1].seed == [(0, 2), (0, 3)]
    assert_equal(alone, first(make_loader(stream, batch=2, workers=2, context=context), 4))


class ManySmallTensors(Dataset):
    """Examples that take a worker long to hand over, so that it is caught in the middle of one."""

    def __len__(self):
        return 10**6

    def __getitem__(self, k):
        return [torch.zeros(3) for _ in range(300)]


@pytest.mark.slow
def test_a_spawned_worker_left_in_the_middle_ends_well():
    """Python's exit ended the thread that hands batches over: it aborted in one of two tries."""
    for _ in range(2):
        settings = {"batch_size": None, "num_workers": 2, "persistent_workers": True}
        batches = iter(
            DataLoader(
                ManySmallTensors(),
                worker_init_fn=_init_worker,
                multiprocessing_context="spawn",
                **settings,
            )
        )
        list(islice(batches, 2))  # one of each: both have begun
        workers = batches._workers
        batches._shutdown_workers()
        assert [worker.exitcode for worker in workers] == [0, 0]


def test_stream_goes_on_from_the_middle():
    stream = TrainingStream(Sprites(**TINY))
    whole = first(make_loader(stream, batch=2), 5)
    assert_equal(whole[3:], first(make_loader(stream, batch=2, start=3 * 2), 2))


def test_ranks_share_the_numbers_without_overlap():
    taken = [list(islice(EndlessSampler(6, rank, 3), 4)) for rank in range(3)]
    assert sorted(sum(taken, [])) == list(range(6, 18))
    assert taken[1] == [7, 10, 13, 16]
    stream = TrainingStream(Constant(0))
    assert first(make_loader(stream, batch=2, start=4, rank=1, world=2), 1)[0].seed == [
        (0, 5),
        (0, 7),
    ]
    with pytest.raises(ValueError, match="rank"):
        EndlessSampler(0, 2, 2)


def test_loader_leaves_the_global_random_state_alone():
    before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()
    first(make_loader(TrainingStream(Sprites(**TINY)), batch=2), 2)
    assert torch.equal(before, torch.get_rng_state())
    assert np.array_equal(numpy_before, np.random.get_state()[1])


def test_bad_clips_are_replaced_and_named_when_all_are_bad():
    stream = TrainingStream(Unlucky(0.4), seed=1)
    clips = [stream[k] for k in range(50)]
    assert_equal(clips, [stream[k] for k in range(50)])
    assert all(clip.seed == (1, k) for k, clip in enumerate(clips))
    assert len({int(clip.video[0, 0, 0, 0]) for clip in clips}) > 30
    with pytest.raises(ValueError, match="example 7 of seed 1: Unlucky .* the die fell badly"):
        TrainingStream(Unlucky(1.0), seed=1)[7]


@pytest.mark.filterwarnings("ignore:This DataLoader will create 4 worker processes")
@pytest.mark.parametrize("workers", [0, 4])
def test_a_clip_counts_the_bad_ones_it_replaces(workers):
    stream = TrainingStream(Unlucky(0.4), seed=1)
    batches = first(make_loader(stream, batch=5, workers=workers), 8)
    counts = [count for batch in batches for count in batch.replaced]
    expected = []
    for k in range(40):
        attempts = [(1, k), *((1, k, attempt) for attempt in range(1, 11))]
        expected.append(
            [np.random.default_rng(numbers).random() < 0.4 for numbers in attempts].index(False)
        )
    assert counts == expected and max(counts) > 1
    reasons = [reason for batch in batches for reason in batch.reason]
    assert reasons == ["the die fell badly" if count else "" for count in counts]
    assert stream[0].replaced == counts[0]


def test_a_clip_that_augment_refuses_is_replaced_and_named():
    def picky(clip, rng):
        if rng.random() < 0.5:
            raise ValueError("too dull")
        return clip

    clips = [TrainingStream(Shelf(4), augment=picky)[k] for k in range(40)]
    assert {clip.replaced for clip in clips} >= {0, 1, 2}
    assert {clip.reason for clip in clips} - {""} == {
        f"clip {n}, augmented: too dull" for n in range(4)
    }
    assert_equal(clips, [TrainingStream(Augmented(Shelf(4), picky))[k] for k in range(40)])


class Shelf:
    """A Reader of blank clips, each with its number as name and grey."""

    def __init__(self, count: int):
        self.count = count

    def __len__(self):
        return self.count

    def clip_at(self, position, rng):
        return replace(blank(position), name=str(position))


def test_in_a_mixture_only_augmented_sources_are_augmented():
    def inverted(clip, rng):
        return replace(clip, video=255 - clip.video)

    mixture = Mixture([Augmented(Shelf(3), inverted), Constant(9)], [1, 1])
    stream = TrainingStream(mixture, seed=4)
    found = [int(stream[k].video.max()) for k in range(60)]
    assert set(found) == {9, 255, 254, 253} and 15 < found.count(9) < 45
    read = [grey for grey in found if grey != 9]
    assert all(
        set(read[k : k + 3]) == {255, 254, 253} for k in range(0, len(read) - 2, 3)
    )  # once in a pass still
    with pytest.raises(
        ValueError, match="Augmented needs a reader of clips, and Constant makes them"
    ):
        Augmented(Constant(9), inverted)


def test_augment_gets_the_examples_own_generator():
    def brighten(clip, rng):
        return blank(int(rng.integers(256)))

    stream = TrainingStream(Constant(3), seed=2, augment=brighten)
    expected = [int(np.random.default_rng((2, k)).integers(256)) for k in range(5)]
    assert [int(stream[k].video.max()) for k in range(5)] == expected


def test_a_mixture_samples_one_source_for_each_block():
    mixture = Mixture([Constant(1, frames=2), Constant(2, frames=5)], weights=[3, 1], block=4)
    stream = TrainingStream(mixture)
    batches = first(make_loader(stream, batch=4), 200)
    values = [set(batch.video.flatten().tolist()) for batch in batches]
    assert all(len(value) == 1 for value in values)
    assert 0.65 < np.mean([value == {1} for value in values]) < 0.85
    assert_equal(batches[50:53], first(make_loader(stream, batch=4, start=200), 3))
    ranks = [first(make_loader(stream, batch=2, rank=rank, world=2), 30) for rank in range(2)]
    assert [batch.video.shape for batch in ranks[0]] == [batch.video.shape for batch in ranks[1]]


def test_mixture_refuses_weights_that_do_not_fit():
    for sources, weights in (([], []), ([Constant(1)], [1, 2]), ([Constant(1)], [-1])):
        with pytest.raises(ValueError, match="as many weights"):
            Mixture(sources, weights)
    with pytest.raises(ValueError, match="block"):
        Mixture([Constant(1)], [1], block=0)


@pytest.mark.slow
def test_an_error_ends_the_process_though_workers_run():
    """Workers ignore SIGTERM, by which Python ends them; a traceback kept the loader alive."""
    program = """
import numpy as np, torch
from cotracker.data.loader import make_loader
from cotracker.data.stream import TrainingStream
from cotracker.data.synthetic.sprites import Sprites
source = Sprites(frames=2, height=32, width=32, points=4)
batches = iter(make_loader(TrainingStream(source), 1, workers=1))
next(batches)
raise TypeError("as any error would")
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 1 and "as any error would" in done.stderr


def test_too_little_shared_memory_is_said_before_the_first_step(monkeypatch):
    """Docker's 64 MB: 2 workers that make 2 batches each, and one in use, of 16 MB."""
    one = replace(blank(0), video=torch.zeros(20, 3, 256, 256, dtype=torch.uint8))
    room = SimpleNamespace(free=64 * 10**6)
    monkeypatch.setattr("cotracker.data.loader.shutil.disk_usage", lambda _: room)
    monkeypatch.setattr("cotracker.data.loader.SHARED_MEMORY", Path("/"))
    check_shared_memory(one, batch=4, workers=0)
    check_shared_memory(one, batch=3, workers=2)
    with pytest.raises(ValueError, match="2 workers take 79 MB: pass train.workers=1, or make it"):
        check_shared_memory(one, batch=4, workers=2)
