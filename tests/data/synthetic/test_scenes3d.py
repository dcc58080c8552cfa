"""3-D scenes: dots, rays, depth and colours confirm the tracks; same seed, same bytes."""

import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from cotracker.data.kubric.tracks import rotations, sample_tracks
from cotracker.data.synthetic.scenes3d import (
    Scenes3D,
    _push_outside,
    creatures,
    elements,
    mujoco_world,
    solids,
)
from cotracker.data.synthetic.scenes3d.camera3d import clearance, visible_share
from cotracker.data.synthetic.scenes3d.mujoco_world import World
from cotracker.data.synthetic.scenes3d.recording import is_in_front, record_surface, to_quaternion
from cotracker.data.synthetic.scenes3d.scene3d import (
    UPRIGHT,
    Body,
    Camera3D,
    Piece,
    Plane,
    Poses,
    Scene3D,
    quaternion_about,
)
from cotracker.geometry import sample_maps

EFFECTS = ("light_field", "light_drift", "low_contrast", "defocus", "noise", "compression")
PLAIN = dict.fromkeys((*EFFECTS, "motion_blur"), 0.0)


def missing_opengl() -> str:
    """Why nothing can be rendered here, or None."""
    try:
        still(World(Scene3D((), steps=1), 16, 16), np.zeros(3), UPRIGHT)
    except ValueError as error:
        return str(error)
    return ""


def still(world: World, position, quaternion, fov: float = 50.0):
    """Frame H W 3, depth H W, seen H W of a world at its start."""
    camera = Camera3D(np.asarray(position, float)[None], np.asarray(quaternion, float)[None], fov)
    frames, depth, seen = world.render(world.simulate(np.zeros(1, int)), camera, np.zeros(1, int))
    return frames[0], depth[0], seen[0]


MISSING = missing_opengl()
RENDERS = [pytest.mark.slow, pytest.mark.skipif(bool(MISSING), reason=MISSING)]


def renders(test):
    """The test, marked as slow, and skipped where nothing can be rendered."""
    for mark in RENDERS:
        test = mark(test)
    return test


def simulate(seed: int, **settings):
    """A Scenes3D without effects, its World, Poses and Camera3D at the frames, and the Surface."""
    source = Scenes3D(**{"frames": 10, "height": 128, "width": 160, **PLAIN, **settings})
    world, poses, camera, exact = source._simulate(np.random.default_rng(seed))
    _, depth, seen = world.render(poses, camera, exact)
    return source, world, poses, camera, record_surface(poses, camera, depth, seen)


def move_points(surface, pixels: np.ndarray) -> np.ndarray:
    """Where the points at pixels (N, 3) are in all frames (T, N, 3), by the boxes alone."""
    recording, found = surface.recording, []
    for t, row, column in pixels:
        point, segment = surface.points[t, row, column], recording.segments[t, row, column]
        if segment == 0:
            found.append(np.repeat(point[None], len(recording.depth), 0))
            continue
        turns, middle = (
            rotations(recording.quaternions[segment - 1]),
            recording.boxes[segment - 1].mean(1),
        )
        found.append(turns @ turns[t].T @ (point - middle[t]) + middle)
    return np.stack(found, axis=1)


def tracks_of(surface, seed: int, count: int):
    """Pixel tracks (T, N, 2), visible (T, N), query pixels (N, 3) t row column."""
    coords, occluded, queries = sample_tracks(
        surface.recording, np.random.default_rng(seed), count, max_segments=255
    )
    return coords.transpose(1, 0, 2) - 0.5, ~occluded.T, np.floor(queries[:, [0, 2, 1]]).astype(int)


@renders
def test_depth_is_exact_and_seen_names_the_piece():
    """A box on the ground, looked at aslant: each ray's length against algebra."""
    box = Body((Piece("box", (0.5, 0.4, 0.3)),), position=(0, 0, 0.3), free=False)
    world = World(Scene3D((box,), (Plane((0, 0, 0), UPRIGHT, (20, 20)),), steps=1), 96, 128)
    eye, turn = np.array([0.3, -3.0, 2.0]), quaternion_about((1.0, 0, 0), 1.0)
    _, depth, seen = still(world, eye, turn)
    focal = 96 / 2 / np.tan(np.radians(25))
    column, row = np.meshgrid(np.arange(128), np.arange(96))
    rays = np.stack(
        [(column + 0.5 - 64) / focal, (48 - row - 0.5) / focal, -np.ones((96, 128))], -1
    )
    rays = rays @ rotations(turn).T
    on_ground, on_top = -eye[2] / rays[..., 2], (0.6 - eye[2]) / rays[..., 2]
    top = eye + on_top[..., None] * rays
    inner = (np.abs(top[..., :2]) < (0.48, 0.38)).all(-1)
    ground = (seen == 0) & (rays[..., 2] < -0.05)
    assert inner.sum() > 200 and ground.sum() > 5000 and (seen[inner] == 1).all()
    assert np.abs(depth[inner] / on_top[inner] - 1).max() < 1e-5
    assert np.abs(depth[ground] / on_ground[ground] - 1).max() < 1e-4


@renders
def test_sky_is_infinitely_far_and_black_without_one():
    frame, depth, seen = still(World(Scene3D((), steps=1), 16, 16), (0, 0, 1.0), UPRIGHT)
    assert np.isinf(depth).all() and not seen.any() and not frame.any()
    faces = np.full((6 * 8, 8, 3), 200, np.uint8)
    frame, depth, _ = still(World(Scene3D((), sky=faces, steps=1), 16, 16), (0, 0, 1.0), UPRIGHT)
    assert np.isinf(depth).all() and abs(int(frame.min()) - 200) <= 2


def dotted(world: World, surface, poses: Poses, pixels: np.ndarray, radii: np.ndarray) -> World:
    """The World with its objects hidden, but white balls of `radii` (metres) at the `pixels`."""
    segments = surface.recording.segments
    bodies = [
        replace(body, pieces=tuple(replace(p, shown=False, texture=None) for p in body.pieces))
        for body in world.scene.bodies
    ]
    owners = [
        (number, piece) for number, body in enumerate(world.scene.bodies) for piece in body.pieces
    ]
    for (t, row, column), radius in zip(pixels, radii):
        point, segment = surface.points[t, row, column], int(segments[t, row, column])
        ball = Piece("sphere", (radius,) * 3, solid=False)
        if segment == 0:
            bodies.append(Body((ball,), position=tuple(point), free=False))
            continue
        owner, piece = owners[segment - 1]
        local = poses.rotations[segment - 1, t].T @ (point - poses.positions[segment - 1, t])
        ball = replace(ball, position=tuple(rotations(piece.quaternion) @ local + piece.position))
        bodies[owner] = replace(bodies[owner], pieces=(*bodies[owner].pieces, ball))
    dark = replace(
        world.scene, bodies=tuple(bodies), planes=(), lights=(), textures=(), shine=(), sky=None
    )
    return World(dark, *world.size)


def middle_of_ball(
    track: np.ndarray, distance: float, radius: float, focal: float, centre: np.ndarray
) -> np.ndarray:
    """The middle of a ball's image: a little further out than `track`, that of its centre."""
    cos = 1 / (1 + ((track - centre) ** 2).sum() / focal**2)
    return centre + (track - centre) * cos / (cos - (radius / distance) ** 2)


@pytest.mark.slow
@renders
@pytest.mark.parametrize("seed", [0, 1])
def test_dots_fixed_to_the_objects_land_where_the_tracks_say(seed):
    """Balls are fixed to the bodies and rendered alone; the middle of each is the track's pixel."""
    source, world, poses, camera, surface = simulate(
        seed, height=256, width=320, frames=6, meshes=0.0, creatures=0.3
    )
    tracks, _, pixels = tracks_of(surface, seed, 400)
    depth = surface.recording.depth[tuple(pixels.T)]
    own = surface.recording.segments[tuple(pixels.T)]
    near = [np.flatnonzero((own == segment) & (depth < 1000)) for segment in np.unique(own)]
    chosen = np.concatenate([found[: 1 if n else 5] for n, found in enumerate(near)])
    tracks, pixels, own = tracks[:, chosen], pixels[chosen], own[chosen]
    focal, size = surface.recording.focal * source.width, np.array([source.width, source.height])
    radii = 6 * depth[chosen] / focal
    frames, *_ = dotted(world, surface, poses, pixels, radii).render(poses, camera, np.arange(0))
    distance = np.linalg.norm(move_points(surface, pixels) - camera.positions[:, None], axis=-1)
    errors, segments = [], set()
    for t, n in np.ndindex(tracks.shape[:2]):
        reach = int(focal * radii[n] / distance[t, n]) + 6
        apart = np.linalg.norm(tracks[t] - tracks[t, n], axis=1) > 3 * reach
        low = np.round(tracks[t, n]).astype(int) - reach
        if apart.sum() < len(own) - 1 or (low < 0).any() or (low + 2 * reach >= size).any():
            continue
        window = frames[
            t, low[1] : low[1] + 2 * reach + 1, low[0] : low[0] + 2 * reach + 1, 0
        ].astype(float)
        y, x = np.mgrid[: 2 * reach + 1, : 2 * reach + 1]
        found = low + np.array([(window * x).sum(), (window * y).sum()]) / window.sum()
        wanted = middle_of_ball(tracks[t, n], distance[t, n], radii[n], focal, (size - 1) / 2)
        errors.append(np.linalg.norm(found - wanted))
        segments.add(int(own[n]))
    assert len(errors) > 20 and len(segments) > 3 and 0 in segments
    assert max(errors) < 0.1


def on_edge(recording, tracks: np.ndarray) -> np.ndarray:
    """Bool (T, N): the 4 x 4 pixels about the track show several segments, or the sky."""
    _, height, width = recording.segments.shape
    corner = np.floor(np.clip(tracks, 1, (width - 3, height - 3))).astype(int)
    frame, steps = np.arange(len(tracks))[:, None], range(-1, 3)
    kind = recording.segments - 1.0 * (recording.depth > 1000)
    around = [kind[frame, corner[..., 1] + y, corner[..., 0] + x] for y in steps for x in steps]
    return np.ptp(np.stack(around), axis=0) > 0


@renders
@pytest.mark.parametrize("seed", [3, 4])
def test_reprojected_depth_agrees_with_the_rendered_depth(seed):
    source, _, _, camera, surface = simulate(seed)
    tracks, visible, pixels = tracks_of(surface, seed, 600)
    points, recording = move_points(surface, pixels), surface.recording
    distance = np.linalg.norm(points - camera.positions[:, None], axis=-1)
    maps = torch.from_numpy(recording.depth)[..., None]
    which = torch.arange(len(maps))[:, None].expand(visible.shape)
    seen = sample_maps(maps, which, torch.from_numpy(tracks))[..., 0].numpy()
    error = np.abs(seen / distance - 1)[visible & ~on_edge(recording, tracks)]
    assert len(error) > 2000
    assert np.median(error) < 1e-4 and np.mean(error < 0.01) > 0.98


@renders
@pytest.mark.parametrize("seed", [6])
def test_visible_is_what_the_physics_engines_own_rays_say(seed):
    """A ray from the camera to each point, through the true shapes instead of the rendered maps."""
    source, world, poses, camera, surface = simulate(seed, meshes=0.0)
    tracks, visible, pixels = tracks_of(surface, seed, 300)
    points, mujoco = move_points(surface, pixels), mujoco_world.load_mujoco()
    groups, geom = np.array([1, 1, 1, 1, 0, 0], np.uint8), np.zeros(1, np.int32)
    inside = ((tracks > 1) & (tracks < (source.width - 2, source.height - 2))).all(-1)
    inside &= is_in_front(surface, pixels) & (surface.recording.depth[tuple(pixels.T)] < 1000)
    inside &= ~on_edge(surface.recording, tracks)
    agree = {True: [], False: []}
    for t in range(source.frames):
        world._set_state(poses, camera, t)
        for n in np.flatnonzero(inside[t]):
            ray = points[t, n] - camera.positions[t]
            hit = mujoco.mj_ray(
                world.model, world.data, camera.positions[t], ray, groups, 1, -1, geom
            )
            clear = hit < 0 or hit > 0.98
            agree[bool(clear)].append(clear == visible[t, n])
    assert len(agree[True]) > 500 and len(agree[False]) > 50
    assert np.mean(agree[True]) > 0.99 and np.mean(agree[False]) > 0.99


@pytest.mark.slow
@renders
@pytest.mark.parametrize("seed", [7])
def test_visible_points_lie_on_their_own_segment_and_hidden_ones_do_not(seed):
    """Against the segmentation alone, pixel by pixel."""
    source, _, _, camera, surface = simulate(seed)
    tracks, visible, pixels = tracks_of(surface, seed, 600)
    recording = surface.recording
    own, size = recording.segments[tuple(pixels.T)], (source.width, source.height)
    checked = {True: 0, False: 0}
    for t in range(source.frames):
        for n, (x, y) in enumerate(tracks[t]):
            if not (0 <= x < size[0] - 1 and 0 <= y < size[1] - 1):
                continue
            around = recording.segments[t, int(y) : int(y) + 2, int(x) : int(x) + 2]
            if (around != own[n]).all():
                assert not visible[t, n]
                checked[False] += 1
            elif visible[t, n]:
                checked[True] += 1
    assert checked[True] > 1000 and checked[False] > 100


@renders
def test_colour_under_visible_tracks_is_constant_where_light_is():
    """Under even light, against the control of tracks three pixels off."""
    changes = {0.0: [], 3.0: []}
    for seed in (9, 10):
        source = Scenes3D(6, 160, 160, **PLAIN)
        world, poses, camera, exact = source._simulate(np.random.default_rng(seed))
        scene = world.scene
        even = replace(
            scene, lights=(), ambient=(1.0, 1.0, 1.0), shine=(0.0,) * len(scene.textures)
        )
        frames, depth, seen = World(even, *world.size).render(poses, camera, exact)
        tracks, visible, pixels = tracks_of(record_surface(poses, camera, depth, seen), seed, 500)
        maps, which = (
            torch.from_numpy(frames).float(),
            torch.arange(6)[:, None].expand(visible.shape),
        )
        visible &= ((tracks >= 0) & (tracks <= 159 - 3)).all(-1)
        first = frames[tuple(pixels.T)].astype(float)
        for offset, found in changes.items():
            here = sample_maps(maps, which, torch.from_numpy(tracks + np.float32(offset))).numpy()
            found.append(np.abs(here - first)[visible].mean(-1))
    steady, off = (np.concatenate(found) for found in changes.values())
    assert np.median(steady) < 4 and np.quantile(steady, 0.75) < 12
    assert np.median(off) > 3 * np.median(steady)


@pytest.mark.slow
@renders
def test_same_rng_gives_identical_bytes():
    first, second = (
        Scenes3D(3, 48, 64, 16, 400).clip(np.random.default_rng((7, 3))) for _ in range(2)
    )
    for name in ("video", "tracks", "visible", "valid"):
        assert torch.equal(getattr(first, name), getattr(second, name))
    whole = Scenes3D(3, 48, 64, 400, 400).clip(np.random.default_rng((7, 3)))
    assert torch.equal(whole.video, first.video) and whole.tracks.shape == (3, 400, 2)
    other = Scenes3D(3, 48, 64, 16, 400).clip(np.random.default_rng((7, 4)))
    assert not torch.equal(first.video, other.video) and not torch.equal(first.tracks, other.tracks)


@pytest.mark.slow
@renders
def test_a_worker_forked_after_rendering_renders_the_same():
    """In a process of its own: a clip here, then the same from a worker, which once hung."""
    program = """
import numpy as np, torch
from cotracker.data.loader import make_loader
from cotracker.data.stream import TrainingStream
from cotracker.data.synthetic.scenes3d import Scenes3D
stream = TrainingStream(Scenes3D(2, 32, 32, 4, 50))
here, there = stream[0], next(iter(make_loader(stream, 1, workers=1, context="fork")))
print(torch.equal(here.video, there.video[0]) and torch.equal(here.tracks, there.tracks[0]))
"""
    environment = {
        key: value for key, value in os.environ.items() if key not in ("LP_NUM_THREADS",)
    }
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.stdout.strip() == "True", done.stderr


@pytest.mark.slow
@renders
def test_clip_and_recording_have_the_shapes_and_flags_of_types():
    for seed in range(2):
        source = Scenes3D(8, 64, 96, 40, 500)
        clip = source.clip(np.random.default_rng(seed))
        whole, by_products = source.recording(np.random.default_rng(seed))
        assert torch.equal(whole.video, clip.video) and clip.video.shape == (8, 3, 64, 96)
        assert whole.tracks.shape == (8, 500, 2) and clip.tracks.shape == (8, 40, 2)
        assert clip.video.dtype == torch.uint8 and clip.tracks.dtype == torch.float32
        assert {tuple(track) for track in clip.tracks[0].tolist()} <= {
            tuple(t) for t in whole.tracks[0].tolist()
        }
        assert clip.visible[0].sum() >= 40 / 3 and clip.visible[:6].any(0).all()
        x, y = clip.tracks.unbind(-1)
        assert not (clip.visible & ((x < 0) | (y < 0) | (x > 95) | (y > 63))).any()
        assert not (clip.visible & ~clip.valid).any() and torch.isfinite(whole.tracks).all()
        assert by_products["depth"].shape == by_products["segments"].shape == (8, 64, 96)
        assert (
            by_products["depth"].dtype == np.float32 and by_products["segments"].dtype == np.uint8
        )
        assert by_products["segments"].max() >= 3 and (by_products["depth"] > 0).all()
        assert clip.video.float().std() > 10 and 25 < clip.video.float().mean() < 235


@renders
def test_scenes_hold_the_objects_asked_for_and_cameras_stand_free():
    counts, shares, speeds = [], [], []
    for seed in range(8):
        source = Scenes3D(24, 64, 64)
        world, poses, camera, exact = source._simulate(np.random.default_rng(seed))
        counts.append(sum(body.parent is None for body in world.scene.bodies))
        shares.append(visible_share(camera.at(exact), poses.at(exact), 1.0))
        speeds.append(
            np.median(np.linalg.norm(np.diff(poses.at(exact).positions, axis=1), axis=-1))
        )
        assert (camera.positions[:, 2] > 0.1).all() and clearance(
            camera, poses, world.scene.planes
        ) >= 0.25
    assert min(counts) >= 5 and max(counts) <= 20 and len(set(counts)) > 3
    assert np.mean(shares) > 0.5 and np.median(speeds) > 0.01
    empty = Scenes3D(2, 32, 32, 8, 100, objects=(0, 0), walls=0.0).clip(np.random.default_rng(0))
    assert empty.tracks.shape == (2, 8, 2)
    world, *_ = Scenes3D(2, 32, 32, objects=(2, 2), creatures=1.0)._simulate(
        np.random.default_rng(0)
    )
    assert (
        len(world.scene.bodies) > 8 and sum(body.parent is None for body in world.scene.bodies) == 2
    )


@renders
def test_driven_limbs_follow_their_motion():
    """A creature of two parts: the trunk along x, its limb half a turn about y."""
    trunk_motion = np.tile([0.0, 0, 2.0, 1, 0, 0, 0], (41, 1))
    trunk_motion[:, 0] = np.linspace(0, 1, 41)
    piece = Piece("capsule", (0.05, 0.2, 0.0), position=(0, 0, -0.2))
    trunk = Body((Piece("box", (0.1, 0.1, 0.1)),), position=(0, 0, 2.0), motion=trunk_motion)
    limb = Body((piece,), parent=0, motion=np.linspace(0, np.pi, 41))
    poses = World(Scene3D((trunk, limb), steps=41), 16, 16).simulate(np.array([0, 20, 40]))
    assert np.allclose(poses.positions[0], [[0, 0, 2], [0.5, 0, 2], [1, 0, 2]], atol=1e-9)
    assert np.allclose(poses.positions[1], [[0, 0, 1.8], [0.3, 0, 2], [1, 0, 2.2]], atol=1e-9)
    assert np.allclose(poses.half[1], (0.05, 0.05, 0.25))


@renders
def test_thrown_objects_fly_spin_and_fall():
    turn = elements.sample_rotation(np.random.default_rng(1))
    ball = Body((Piece("sphere", (0.1,) * 3),), (0, 0, 5.0), turn, velocity=(1.0, 0, 0, 0, 0, 2.0))
    poses = World(Scene3D((ball,), steps=49), 16, 16).simulate(np.array([0, 48]))
    assert np.allclose(poses.positions[0, 1], (0.2, 0, 5 - 9.81 * 0.2**2 / 2), atol=0.01)
    turned = poses.rotations[0, 1] @ poses.rotations[0, 0].T
    assert np.allclose(turned, rotations(quaternion_about((0, 0, 1.0), 0.4)), atol=1e-3)


@renders
def test_a_physics_that_diverges_is_a_bad_clip():
    inside_out = tuple(
        Body((Piece("box", (0.5,) * 3),), position=(0, 0, 0.01 * k), density=1e-3) for k in range(3)
    )
    fast = replace(inside_out[0], velocity=(500.0, 0, 0, 0, 0, 0))
    with pytest.raises(ValueError, match="physics of this scene diverged"):
        World(Scene3D((*inside_out[1:], fast), steps=30), 16, 16).simulate(np.array([0, 29]))


def test_every_mesh_is_closed_and_seen_from_outside():
    for build in (solids.sample_rock, solids.sample_vase, solids.sample_prism, solids.sample_ring):
        for seed in range(4):
            vertices, faces = build(np.random.default_rng(seed))
            edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
            assert len(np.unique(edges, axis=0)) == len(edges) > 100, build.__name__
            assert {tuple(e) for e in edges.tolist()} == {tuple(e[::-1]) for e in edges.tolist()}, (
                build.__name__
            )
            a, b, c = (vertices[faces[:, k]] for k in range(3))
            assert np.einsum("ni,ni->", a, np.cross(b, c)) > 0
    for seed in range(10):
        vertices, _ = solids.sample_solid(np.random.default_rng(seed))
        assert np.isclose(np.linalg.norm(vertices, axis=1).max(), 1, atol=1e-5)


def test_objects_start_apart_and_above_the_ground():
    for seed in range(5):
        rng = np.random.default_rng(seed)
        sizes = rng.uniform(0.2, 0.6, 15)
        positions = elements.sample_positions(rng, sizes, [(np.zeros(3), 0.5)])
        distances = np.linalg.norm(positions[:, None] - positions, axis=-1) + 1e3 * np.eye(15)
        gaps = distances - sizes - sizes[:, None]
        assert (
            gaps.min() > 0
            and (np.linalg.norm(positions, axis=1) > sizes + 0.5).all()
            and (positions[:, 2] >= sizes).all()
        )


def test_creatures_stand_on_their_feet_and_hang_together():
    for seed in range(12):
        rng = np.random.default_rng(seed)
        bodies = creatures.sample_creature(rng, 1.0, 4, [3], np.arange(10) / 240)
        assert bodies[0].parent is None and all(
            4 <= body.parent < 4 + n for n, body in enumerate(bodies) if n
        )
        assert 0.03 < creatures.depth_below(bodies, 4) < 1.2 and len(bodies) >= 5
        assert all(len(body.motion) == 10 for body in bodies[1:])


def test_turns_and_their_quaternions_agree():
    turns = np.random.default_rng(0).normal(size=(20, 4))
    matrices = rotations(turns)
    assert np.allclose(rotations(to_quaternion(matrices)), matrices, atol=1e-12)


def test_what_went_behind_the_camera_is_put_far_outside():
    """A point 1 left of the axis and 0.5 behind projects to the right: it left on the left."""
    mirrored, size = np.array([[[64 + 2 * 100.0, 48.0]]]), np.array([128, 96])
    beyond = _push_outside(mirrored, size)
    assert beyond[0, 0, 0] < -128 and beyond[0, 0, 1] == 48


def test_without_mujoco_one_sentence_says_what_to_install(monkeypatch):
    mujoco_world.load_mujoco.cache_clear()
    monkeypatch.setitem(sys.modules, "mujoco", None)
    with pytest.raises(ValueError, match=r"pip install -e \"\.\[synth\]\""):
        Scenes3D(2, 32, 32).clip(np.random.default_rng(0))
    mujoco_world.load_mujoco.cache_clear()


def test_without_opengl_one_sentence_names_the_package(monkeypatch):
    monkeypatch.setenv("MUJOCO_GL", "osmesa")
    assert "apt-get install libosmesa6" in mujoco_world._explain_no_opengl(
        AttributeError("no\nlibrary")
    )
    monkeypatch.setenv("MUJOCO_GL", "egl")
    message = mujoco_world._explain_no_opengl(ImportError("no"))
    assert "apt-get install libegl1" in message and "\n" not in message


def test_impossible_settings_are_refused():
    with pytest.raises(ValueError, match="frames of Scenes3D must be a whole number"):
        Scenes3D(frames=1)
    with pytest.raises(ValueError, match="points=100 of sampled=64"):
        Scenes3D(points=100, sampled=64)
    with pytest.raises(
        ValueError, match="objects of Scenes3D must be two whole numbers from 0 to 24"
    ):
        Scenes3D(objects=(5, 40))


@pytest.mark.slow
@renders
def test_a_process_that_has_rendered_can_still_train():
    """PyTorch's optimisers load Triton, whose LLVM and OSMesa's in one process ended it."""
    script = (
        "import numpy, torch; from cotracker.data.synthetic.scenes3d import Scenes3D; "
        "Scenes3D(frames=2, height=32, width=32).clip(numpy.random.default_rng(3)); "
        "torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))]); print('trains')"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0 and "trains" in done.stdout, done.stderr
