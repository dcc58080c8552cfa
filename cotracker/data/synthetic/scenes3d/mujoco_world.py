"""A Scene3D simulated and rendered, with depth and segments; the only file that imports MuJoCo."""

import ctypes.util
import os
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from cotracker.data.synthetic.scenes3d.mujoco_model import FAR, compile_model, list_pieces
from cotracker.data.synthetic.scenes3d.scene3d import Body, Camera3D, Poses, Scene3D

FASTEST = 60.0  # metres a second: faster means that the physics diverged
OPENGL_PACKAGES = {"egl": "libegl1", "osmesa": "libosmesa6"}


@lru_cache(maxsize=1)
def load_mujoco():
    """The module mujoco, with an OpenGL that needs no screen.

    That is EGL where a GPU is, OSMesa elsewhere, or what MUJOCO_GL names.
    ValueError: the package or the system's library of OpenGL is missing.
    """
    _load_triton()
    os.environ.setdefault("MUJOCO_GL", "egl" if _has_gpu() else "osmesa")
    # Mesa's own threads: a worker that is forked after rendering waits for them for ever
    os.environ.setdefault("LP_NUM_THREADS", "0")
    try:
        import mujoco
    except ModuleNotFoundError as error:
        raise ValueError(
            '3-D scenes need MuJoCo, which is missing: run pip install -e ".[synth]"'
        ) from error
    except (ImportError, OSError, AttributeError, RuntimeError) as error:
        raise ValueError(_explain_no_opengl(error)) from error
    # instead of writing MUJOCO_LOG.TXT; `simulate` looks at the counts of warnings
    mujoco.set_mju_user_warning(lambda message: None)
    return mujoco


def _load_triton() -> None:
    """Loads Triton, which PyTorch needs for its optimisers, before OSMesa.

    Both bring an LLVM.  OSMesa's is visible to all that is loaded after it, and Triton on top of it
    ends the process.
    """
    if find_spec("triton"):
        import_module("triton")


def _has_gpu() -> bool:
    nvidia = Path("/dev/nvidiactl").exists() and ctypes.util.find_library("EGL_nvidia") is not None
    mesa = any(Path("/dev/dri").glob("renderD*")) and ctypes.util.find_library("EGL") is not None
    return nvidia or mesa


def _explain_no_opengl(error: Exception) -> str:
    kind = os.environ["MUJOCO_GL"].lower()
    advice = "set MUJOCO_GL to egl (a GPU) or osmesa (none), or leave it unset"
    if kind in OPENGL_PACKAGES:
        package = OPENGL_PACKAGES[kind]
        advice = f"apt-get install {package}, or set MUJOCO_GL to the other of egl and osmesa"
    reason = str(error).replace("\n", " ").rstrip(". ")
    return (
        f"3-D scenes cannot be rendered with MUJOCO_GL={kind}: {advice} "
        f"({type(error).__name__}: {reason})"
    )


class World:
    """A Scene3D that MuJoCo simulates; `render` its states as often as needed."""

    def __init__(self, scene: Scene3D, height: int, width: int):
        self.mujoco = load_mujoco()
        self.size = height, width
        self.model = compile_model(self.mujoco, scene, height, width)
        self.data = self.mujoco.MjData(self.model)
        self.scene = scene
        pieces = enumerate(list_pieces(scene))
        self._shown = [self.model.geom(f"piece{n}").id for n, piece in pieces if piece.shown]

    def simulate(self, steps: np.ndarray) -> Poses:
        """The Poses at `steps` (M,) in ascending order.  ValueError: the physics diverged."""
        mj, model, data = self.mujoco, self.model, self.data
        mj.mj_resetData(model, data)
        for number, _, speed in self._joints(driven=False):
            data.qvel[speed] = _initial_velocity(self.scene.bodies[number])
        recorded, poses = set(steps.tolist()), []
        driven = self._joints(driven=True)
        for step in range(steps[-1] + 1):
            self._drive(step, driven)
            if step in recorded:
                mj.mj_kinematics(model, data)
                poses.append(self._read_pose())
            mj.mj_step(model, data)
        positions, rotations, states = zip(*poses)
        positions = np.stack(positions, axis=1)
        self._check_physics(positions, np.diff(steps))
        half = self.model.geom_aabb[self._shown, 3:]
        return Poses(positions, np.stack(rotations, axis=1), half, np.stack(states))

    def _check_physics(self, positions: np.ndarray, steps: np.ndarray) -> None:
        kinds = self.mujoco.mjtWarning
        bad = (kinds.mjWARN_BADQPOS, kinds.mjWARN_BADQVEL, kinds.mjWARN_BADQACC)
        warned = any(self.data.warning[int(kind)].number for kind in bad)
        moved = np.abs(np.diff(positions, axis=1)).max(initial=0, axis=(0, 2))
        if warned or (moved > FASTEST * self.scene.step * steps).any():
            raise ValueError("the physics of this scene diverged (something flew off)")

    def render(
        self, poses: Poses, camera: Camera3D, exact: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Frames M H W 3 uint8 of all states; depth and seen, T H W, of the states `exact` (T,).

        depth: float32 along the camera's axis, infinite in the sky.
        seen: uint8, 0 for planes and sky, else one more than the index of the shown piece.
        """
        shape = (len(exact), *self.size)
        frames = np.empty((len(poses.states), *self.size, 3), np.uint8)
        depth = np.empty(shape, np.float32)
        seen = np.empty(shape, np.uint8)
        number = np.zeros(self.model.ngeom + 1, np.uint8)  # the last is that of no geom at all, -1
        number[self._shown] = np.arange(1, len(self._shown) + 1)
        self.model.cam_fovy[0] = camera.fov
        with self._renderer() as renderer:
            for moment, frame in enumerate(frames):
                self._set_state(poses, camera, moment)
                renderer.update_scene(self.data, camera=0)
                renderer.render(out=frame)
                for row in np.flatnonzero(exact == moment):
                    depth[row], seen[row] = self._render_exactly(renderer, number)
        return frames, depth, seen

    def _renderer(self):
        errors = (ImportError, OSError, AttributeError, RuntimeError, self.mujoco.FatalError)
        try:
            return self.mujoco.Renderer(self.model, *self.size)
        except errors as error:
            raise ValueError(_explain_no_opengl(error)) from error

    def _render_exactly(self, renderer, number: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Depth H W and piece H W: rendered again, without smoothing at edges."""
        renderer.enable_depth_rendering()
        depth = renderer.render()
        renderer.enable_segmentation_rendering()
        seen = number[renderer.render()[..., 0]]
        renderer.disable_segmentation_rendering()
        return np.where(depth < 0.999 * FAR, depth, np.inf), seen

    def _set_state(self, poses: Poses, camera: Camera3D, moment: int) -> None:
        self.data.qpos[:] = poses.states[moment]
        self.model.cam_pos[0] = camera.positions[moment]
        self.model.cam_quat[0] = camera.quaternions[moment]
        self.mujoco.mj_kinematics(self.model, self.data)
        self.mujoco.mj_comPos(self.model, self.data)
        self.mujoco.mj_camlight(self.model, self.data)

    def _joints(self, driven: bool) -> list[tuple[int, slice, slice]]:
        """Of each body with a motion (not `driven`: that flies free), its index and joint.

        The joint is its slices of qpos and qvel.
        """
        found = []
        for n, body in enumerate(self.scene.bodies):
            root = body.parent is None
            moves = body.motion is not None
            if moves if driven else (root and body.free and not moves):
                joint = self.model.joint(f"joint{n}").id
                start = self.model.jnt_qposadr[joint]
                speed = self.model.jnt_dofadr[joint]
                position = slice(start, start + (7 if root else 1))
                found.append((n, position, slice(speed, speed + (6 if root else 1))))
        return found

    def _drive(self, step: int, driven: list[tuple[int, slice, slice]]) -> None:
        """Puts the bodies that have a motion at its pose of this step, with its velocity."""
        if not driven:
            return
        model, data = self.model, self.data
        after, speed = data.qpos.copy(), np.zeros(model.nv)
        for n, position, _ in driven:
            motion = self.scene.bodies[n].motion
            data.qpos[position] = motion[step]
            after[position] = motion[min(step + 1, len(motion) - 1)]
        self.mujoco.mj_differentiatePos(model, speed, model.opt.timestep, data.qpos, after)
        for _, _, part in driven:
            data.qvel[part] = speed[part]

    def _read_pose(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        rotations = self.data.geom_xmat[self._shown].reshape(-1, 3, 3).copy()
        middle = np.einsum("kij,kj->ki", rotations, self.model.geom_aabb[self._shown, :3])
        return self.data.geom_xpos[self._shown] + middle, rotations, self.data.qpos.copy()


def _initial_velocity(body: Body) -> np.ndarray:
    """(6,) as MuJoCo has it: the spin is about the body's own axes."""
    w, v = body.quaternion[0], -np.asarray(body.quaternion[1:])
    spin = np.asarray(body.velocity[3:], float)
    own = spin + 2 * w * np.cross(v, spin) + 2 * np.cross(v, np.cross(v, spin))
    return np.concatenate([body.velocity[:3], own])
