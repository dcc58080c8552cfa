"""The published track algorithm against exact ray casting, and against its authors' simpler one."""

from dataclasses import replace
from time import process_time

import movi_fixture
import numpy as np
import pytest

from cotracker.data.kubric.tracks import Recording, allocate, project, rotations, sample_tracks

SIZE = 160


def recording(made: movi_fixture.Scene) -> Recording:
    images = made.images()
    return Recording(
        images["depth"].astype(np.float32),
        images["segments"].astype(np.uint8),
        images["normals"].astype(np.float32),
        images["local"].astype(np.float32),
        made.positions,
        made.quaternions,
        movi_fixture.FOCAL / movi_fixture.SENSOR,
        np.stack([box.corners() for box in made.boxes]),
        np.stack([box.quaternions for box in made.boxes]),
    )


@pytest.fixture(scope="module")
def made():
    return movi_fixture.scene(SIZE)


@pytest.fixture(scope="module")
def drawn(made):
    return sample_tracks(recording(made), np.random.default_rng(0))


def clear(made, coords, far: int = 2):
    """Bool n T: within `far` pixels of coords n T 2 there is one surface, and no border."""
    frames, size = coords.shape[1], made.size
    faces = np.pad(made.images()["faces"], ((0, 0), (far, far), (far, far)), constant_values=-1)
    middle = np.floor(np.clip(coords, 0, size - 1)).astype(int)
    steps = np.arange(2 * far + 1)
    rows, columns = middle[..., 1, None, None] + steps[:, None], middle[..., 0, None, None] + steps
    around = faces[np.arange(frames)[:, None, None], rows, columns].reshape(*coords.shape[:2], -1)
    inside = ((coords > 0) & (coords < size)).all(-1)
    return (around == around[..., :1]).all(-1) & inside


def at_query(flags, queries):
    return flags[np.arange(len(queries)), queries[:, 0].astype(int)]


def test_tracks_are_the_exact_projection(made, drawn):
    coords, _, queries = drawn
    exact, _ = made.track(queries[:, 0].astype(int), queries[:, 1:])
    assert coords.shape == (2048, 24, 2) and coords.dtype == np.float32
    assert np.abs(coords - exact).max() < 0.01
    assert np.abs(at_query(coords, queries) - queries[:, 1:]).max() < 1e-3
    assert np.ptp(coords, axis=1).max(0).min() > 20  # they do move


def test_occlusion_is_exact_away_from_edges(made, drawn):
    coords, occluded, queries = drawn
    exact, visible = made.track(queries[:, 0].astype(int), queries[:, 1:])
    gone = ((exact < -0.1) | (exact > made.size + 0.1)).any(-1)
    trusted = at_query(clear(made, exact), queries)[:, None] & (clear(made, exact) | gone)
    assert trusted.mean() > 0.5
    assert (trusted & visible).sum() > 5000 and (trusted & ~visible).sum() > 1000
    np.testing.assert_array_equal(occluded[trusted], ~visible[trusted])
    assert (occluded == ~visible).mean() > 0.97  # edges and all


@pytest.fixture(scope="module")
def hidden(made):
    """(own, other): bool n T each, points of boxes hidden by their own box, by another surface."""
    queries = sample_tracks(recording(made), np.random.default_rng(1))[2]
    exact, visible = made.track(queries[:, 0].astype(int), queries[:, 1:])
    labels = made.images()["segments"]
    label = labels[tuple(queries[:, [0, 2, 1]].astype(int).T)][:, None]
    there = np.floor(np.clip(exact, 0, made.size - 1)).astype(int)
    covering = labels[np.arange(24), there[..., 1], there[..., 0]]
    clearly = (
        at_query(clear(made, exact), queries)[:, None] & clear(made, exact) & ~visible & (label > 0)
    )
    return clearly & (covering == label), clearly & (covering != label)


def found(one, where):
    return sample_tracks(one, np.random.default_rng(1))[1][where].mean()


def without_depth(whole, normals):
    return replace(whole, depth=np.full_like(whole.depth, 1e3), normals=normals)


def test_depth_and_normals_each_hide_what_is_on_the_far_side(made, hidden):
    """What a box hides of itself: either rule finds it, and the rule by segments alone does not."""
    (own, _), whole = hidden, recording(made)
    none = np.zeros_like(whole.normals)
    assert own.sum() > 250
    assert found(whole, own) == found(without_depth(whole, whole.normals), own) == 1
    assert found(replace(whole, normals=none), own) > 0.9
    assert found(without_depth(whole, none), own) == 0


def test_segments_alone_hide_what_is_behind_another_thing(made, hidden):
    (_, other), whole = hidden, recording(made)
    assert other.sum() > 40
    assert found(without_depth(whole, np.zeros_like(whole.normals)), other) == 1


def test_normals_are_believed_only_where_they_make_sense(made, hidden):
    """Not if they face away at the query, nor if more than two of four neighbours differ."""
    (own, _), whole = hidden, recording(made)

    def with_stripes(width, step):
        stripe = np.arange(SIZE) // width % 2
        return without_depth(
            whole, whole.normals + (step * stripe[:, None]).astype(np.float32) * (0, 0, 1)
        )

    flipped = without_depth(whole, -whole.normals)
    assert found(flipped, own) == 0
    _, occluded, queries = sample_tracks(flipped, np.random.default_rng(1))
    assert at_query(occluded, queries).mean() < 0.01
    assert found(with_stripes(1, 0.06), own) == 0  # all four differ
    assert found(with_stripes(1, 0.04), own) > 0.95  # but not by enough
    assert found(with_stripes(2, 0.06), own) > 0.95  # only two differ


def test_behind_the_camera_is_hidden(made):
    """Half of the clip by a camera turned away: nothing is visible, and nothing is infinite."""
    whole, half = recording(made), 12
    away = np.concatenate([whole.camera_quaternions[:half], [[0.0, 1, 0, 0]] * half])
    turned = replace(whole, camera_quaternions=away)
    coords, occluded, queries = sample_tracks(turned, np.random.default_rng(0))
    early = queries[:, 0] < half
    assert early.sum() > 500 and occluded[early, half:].all() and not occluded[early, :half].all()
    assert np.isfinite(coords).all()
    assert not project(turned, np.zeros((1, 24, 3)))[1][:, half:].any()


def test_a_window_moves_the_coordinates_and_hides_the_rest(made):
    window = (10, 20, 110, 150)
    coords, occluded, queries = sample_tracks(
        recording(made), np.random.default_rng(0), window=window
    )
    corner, scale = np.array([20, 10]), SIZE / np.array([130, 100])
    exact, _ = made.track(queries[:, 0].astype(int), queries[:, 1:] / scale + corner)
    assert np.abs(coords - (exact - corner) * scale).max() < 0.02
    assert queries[:, 1:].min() > 0 and queries[:, 1:].max() < SIZE
    outside = (coords < -1e-3).any(-1) | (coords > SIZE + 1e-3).any(-1)
    assert outside.sum() > 1000 and occluded[outside].all()


def test_draws_share_the_points_among_segments(made):
    """On a grid of every fourth frame, row and column; at most a tenth of each segment."""
    whole = recording(made)

    def counts(**options):
        t, x, y = sample_tracks(whole, np.random.default_rng(0), **options)[2].T
        assert (
            all(len(np.unique(axis % 4)) == 1 for axis in (t, x, y))
            and (x % 1 == 0.5).all()
            and (y % 1 == 0.5).all()
        )
        return np.bincount(whole.segments[t.astype(int), y.astype(int), x.astype(int)]).tolist()

    assert counts(count=60) == [20, 20, 20]
    assert counts(count=60, max_segments=1)[:2] == [30, 30]
    few = counts(count=600)
    assert sum(few) == 600 and 20 < few[1] < 100 and 20 < few[2] < 100


def test_allocation_starts_with_the_smallest_and_rounds_half_to_even():
    assert allocate(np.array([10000, 0, 200, 50]), 100, 0.1).tolist() == [75, 0, 20, 5]
    assert allocate(np.array([1000, 1000]), 5, 0.1).tolist() == [2, 3]  # 5 / 2 rounds to 2
    assert allocate(np.array([25, 35]), 100, 0.1).tolist() == [
        2,
        4,
    ]  # 2.5 to 2, 3.5 to 4; the rest is lost
    assert allocate(np.array([0, 0]), 7, 0.1).tolist() == [0, 0]


def test_shortage_still_gives_the_count_with_different_points():
    small = movi_fixture.scene(32, 3)
    coords, occluded, queries = sample_tracks(recording(small), np.random.default_rng(3))
    assert (
        coords.shape == (2048, 3, 2) and occluded.shape == (2048, 3) and queries.shape == (2048, 3)
    )
    assert len(np.unique(queries, axis=0)) > 0.8 * 8 * 8  # the grid has 8 x 8 pixels in one frame


def test_same_generator_same_points(made):
    one, two, other = (
        sample_tracks(recording(made), np.random.default_rng(seed)) for seed in (5, 5, 6)
    )
    assert all((a == b).all() for a, b in zip(one, two))
    assert not (one[2] == other[2]).all()


def test_agrees_with_the_composition_of_poses(made, drawn):
    """formats.md 6.4: z-buffer points carried by pose_t pose_q^-1 in cameras that look along +Z."""
    coords, occluded, queries = drawn
    images, size, frames = made.images(), made.size, len(made.positions)
    t_query, pixels = queries[:, 0].astype(int), queries[:, 1:]
    column, row = (pixels - 0.5).astype(int).T
    label = images["segments"][t_query, row, column]
    focal = movi_fixture.FOCAL / movi_fixture.SENSOR * size
    grid = np.stack(np.meshgrid(np.arange(size) + 0.5, np.arange(size) + 0.5), -1)
    rays = np.concatenate([(grid - size / 2) / focal, np.ones((size, size, 1))], -1)
    z_buffer = images["depth"] / np.linalg.norm(rays, axis=-1)
    at_first = rays[row, column] * z_buffer[t_query, row, column][:, None]

    def rigid(turns, positions):
        made_of = np.tile(np.eye(4), (frames, 1, 1))
        made_of[:, :3, :3], made_of[:, :3, 3] = turns, positions
        return made_of

    to_camera = np.linalg.inv(
        rigid(rotations(made.quaternions) @ np.diag([1, -1, -1]), made.positions)
    )
    still = np.tile(np.eye(4), (frames, 1, 1))
    bodies = np.stack(
        [still, *[rigid(rotations(box.quaternions), box.centres) for box in made.boxes]]
    )
    poses = to_camera @ bodies  # label t 4 4
    relative = poses[label] @ np.linalg.inv(poses[label, t_query])[:, None]
    seen = np.einsum("ntij,nj->nti", relative, np.column_stack([at_first, np.ones(len(at_first))]))
    xy = seen[..., :2] / seen[..., 2:3] * focal + size / 2
    assert np.abs(xy - coords).max() < 0.02
    inside = ((xy > 0.5) & (xy < size - 0.5)).all(-1)
    near = np.floor(np.clip(xy - 0.5, 0, size - 1.001)).astype(int)
    (x, y), (right, down) = (
        np.moveaxis(near, -1, 0),
        np.moveaxis(np.clip(xy - 0.5, 0, size - 1.001) - near, -1, 0),
    )
    t = np.arange(frames)
    upper = (1 - right) * z_buffer[t, y, x] + right * z_buffer[t, y, x + 1]
    lower = (1 - right) * z_buffer[t, y + 1, x] + right * z_buffer[t, y + 1, x + 1]
    visible = inside & (seen[..., 2] <= 1.01 * ((1 - down) * upper + down * lower))
    agree = visible == ~occluded
    assert (
        agree.mean() > 0.95
        and agree[clear(made, xy) & at_query(clear(made, xy), queries)[:, None]].mean() > 0.99
    )


def test_two_thousand_points_take_no_more_than_seconds():
    frames, size, instances, rng = 24, 256, 10, np.random.default_rng(0)
    segments = np.zeros((frames, size, size), np.uint8)
    segments[:] = np.arange(size) // 24 % (instances + 1)
    maps = rng.standard_normal((frames, size, size, 3), dtype=np.float32)
    turns = rng.normal(size=(instances + 1, frames, 4))
    boxes = rng.normal(size=(instances, frames, 8, 3))
    depth = np.full(segments.shape, 5, np.float32)
    one = Recording(
        depth, segments, maps, maps, np.zeros((frames, 3)), turns[0], 1.1, boxes, turns[1:]
    )
    began = process_time()
    assert sample_tracks(one, rng)[0].shape == (2048, frames, 2)
    assert process_time() - began < 3


@pytest.mark.parametrize(
    "name, value, words",
    [
        ("depth", np.full((24, SIZE, SIZE), np.inf, np.float32), "depth is not finite"),
        (
            "segments",
            np.full((24, SIZE, SIZE), 9, np.uint8),
            "segments name instance 8, but only 2",
        ),
        ("boxes", np.zeros((2, 23, 8, 3)), r"boxes has the shape \(2, 23, 8, 3\)"),
        ("quaternions", np.zeros((2, 24, 4)), "a quaternion .* is zero"),
    ],
)
def test_what_does_not_fit_is_named(made, name, value, words):
    with pytest.raises(ValueError, match=words):
        sample_tracks(replace(recording(made), **{name: value}), np.random.default_rng(0))


def test_rotations_are_those_of_the_axis_and_angle():
    matrices, quaternions = movi_fixture.turn((1, -2, 0.5), np.linspace(-3, 3, 7))
    assert np.abs(rotations(quaternions * 2.5) - matrices).max() < 1e-12
    assert np.abs(matrices[-1] @ (1, -2, 0.5) - (1, -2, 0.5)).max() < 1e-12
