"""Encoded videos: any question encodes nothing again; all pixels, and the flow between frames."""

import numpy as np
import pytest
import torch
from sliding import FRAMES, MODEL, STEP, Drift, H, W, assert_same, chain, some_queries, texture

from cotracker.baselines.static import Static
from cotracker.trackers.cotracker import CoTrackerPredictor
from cotracker.trackers.dense import FILES, pixel_chunks
from cotracker.trackers.resized import Resized
from cotracker.trackers.wrappers import Bidirectional, Chunked, OneByOne, Supported


@pytest.fixture
def encoded_frames():
    """The number of frames in each pass through the encoder."""
    counts = []
    hook = MODEL.encoder.register_forward_hook(lambda _, inputs, __: counts.append(len(inputs[0])))
    yield counts
    hook.remove()


def predictor():
    return CoTrackerPredictor(MODEL, iters=1)


CHAINS = {
    "bare": lambda: predictor(),
    "both": lambda: Bidirectional(Chunked(Resized(Supported(predictor(), 2, 0), (24, 32)), 3)),
    "single": lambda: Resized(OneByOne(predictor()), (24, 32)),
    "flipped": lambda: chain((32, 40), flip_tta=True),
}


@pytest.mark.parametrize("name", CHAINS)
def test_questions_to_an_encoded_video_encode_nothing(name, encoded_frames):
    tracker, queries = CHAINS[name](), some_queries()
    plain = tracker(texture(), queries)
    encoded_frames.clear()
    encoded = tracker.encode(texture())
    assert sum(encoded_frames) == FRAMES * (2 if name == "flipped" else 1)
    encoded_frames.clear()
    for _ in range(2):
        assert_same(tracker(encoded, queries), plain, atol=0)
    assert not encoded_frames


def test_chunks_and_both_directions_encode_once_with_a_cache(encoded_frames):
    tracker = Bidirectional(Chunked(predictor(), 2, cache_bytes=1e9), cache_bytes=1e9)
    tracks = tracker(texture(), some_queries())
    assert sum(encoded_frames) == FRAMES
    without = Bidirectional(Chunked(predictor(), 2))
    assert_same(tracks, without(texture(), some_queries()), atol=0)


def test_the_maps_of_another_network_are_not_taken(encoded_frames):
    from small_networks import tiny

    encoded = predictor().encode(texture())
    other = CoTrackerPredictor(tiny(seed=3), iters=1)
    assert_same(other(encoded, some_queries()), other(texture(), some_queries()), atol=0)


def test_a_tracker_without_an_encoder_takes_an_encoded_video():
    encoded = Static().encode(texture())
    assert_same(Static()(encoded, some_queries()), Static()(texture(), some_queries()), atol=0)


@pytest.mark.parametrize(
    "size, at_once", [((40, 56), 1024), ((7, 5), 6), ((3, 50), 1), ((1, 1), 9)]
)
def test_each_pixel_is_in_one_chunk(size, at_once):
    count, found = np.zeros((1, *size), int), np.zeros((1, *size, 2))
    for queries, place in pixel_chunks(size, at_once, 4):
        assert 0 < queries.shape[1] <= at_once and (queries[..., 0] == 4).all()
        count[place] += 1
        found[place] = queries[0, :, 1:].reshape(1, *count[place].shape[1:], 2).numpy()
    x, y = np.meshgrid(np.arange(size[1]), np.arange(size[0]))
    assert (count == 1).all() and (found[0] == np.stack([x, y], -1)).all()


def test_dense_is_the_answer_to_the_chunks():
    tracker = Bidirectional(Supported(predictor(), 2, 0))
    video, done = texture(1, 6), []
    encoded = tracker.encode(video)
    dense = encoded.dense(frame=3, at_once=300, progress=lambda *counts: done.append(counts))
    rng = np.random.default_rng(0)
    ys, xs = rng.integers(H, size=512), rng.integers(W, size=512)
    for queries, _ in pixel_chunks((H, W), 300, 3):
        asked = tracker(video, queries)
        place = {(int(x), int(y)): n for n, (x, y) in enumerate(queries[0, :, 1:].tolist())}
        for x, y in zip(xs, ys):
            if (x, y) in place:
                n = place[x, y]
                assert np.array_equal(dense.xy[:, y, x], asked.xy[0, :, n].numpy())
                assert np.array_equal(dense.visible[:, y, x], asked.visible[0, :, n].numpy())
    assert done[-1] == (H * W, H * W) and done == sorted(done)
    assert repr(dense) == f"DenseTracks({H}x{W} pixels of frame 3 in 6 frames)"


def test_dense_into_files_equals_dense_in_memory(tmp_path):
    encoded = Drift().encode(texture())
    dense, stored = encoded.dense(frame=3), encoded.dense(frame=3, out=tmp_path / "d")
    assert isinstance(stored.xy, np.memmap) and np.array_equal(stored.xy, dense.xy)
    assert np.array_equal(stored.visible, dense.visible)
    assert sorted(file.name for file in (tmp_path / "d").iterdir()) == sorted(FILES)


def test_flow_is_where_pixels_move_forwards_and_back():
    encoded = Drift().encode(texture())
    field, seen = encoded.flow(2, 5, at_once=100)
    assert field.shape == (H, W, 2) and torch.allclose(field, 3 * torch.tensor(STEP), atol=1e-4)
    x = torch.arange(W) + 3 * STEP[0]
    assert torch.equal(seen[H // 2], x <= W - 1)
    back, _ = encoded.flow(5, 2)  # Drift moves by STEP a frame of the video that it is given
    assert torch.allclose(back, 3 * torch.tensor(STEP), atol=1e-4)
    still, everywhere = encoded.flow(4, 4)
    assert not still.any() and everywhere.all()


def test_what_dense_cannot_do_is_refused():
    with pytest.raises(ValueError, match="one clip, and the video holds 2"):
        Static().encode(texture(2)).dense()
    with pytest.raises(ValueError, match="frame must be a whole number from 0 to 11, not 12"):
        Static().encode(texture()).dense(frame=12)
    with pytest.raises(ValueError, match="stop must be a whole number from 0 to 11"):
        Static().encode(texture()).flow(0, 12)
