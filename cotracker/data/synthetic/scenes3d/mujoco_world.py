"""The only file that knows MuJoCo: a Scene simulated, then filmed, with depth and the number of the piece seen."""

import ctypes.util
import os
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from cotracker.data.synthetic.scenes3d.scene import Body, Camera, Light, Piece, Plane, Poses, Scene

NEAR, FAR = 0.05, 80.0  # metres
FASTEST = 60.0  # metres a second: faster is a physics that went wrong
# Who touches whom, as MuJoCo's pairs of bits: limbs touch no limbs, and what is driven goes through planes.
THING, PLANE, LIMB, DRIVEN = (1, 7), (1, 3), (2, 1), (4, 0)


@lru_cache(maxsize=1)
def library():
    """The module mujoco, with an OpenGL that needs no screen: EGL where a GPU is, OSMesa elsewhere, or MUJOCO_GL.

    ValueError: the package or the system's library of OpenGL is missing.
    """
    _load_triton()
    os.environ.setdefault("MUJOCO_GL", "egl" if _has_gpu() else "osmesa")
    os.environ.setdefault(
        "LP_NUM_THREADS", "0"
    )  # Mesa's own threads: a worker forked after a drawing waits for ever
    try:
        import mujoco
    except ModuleNotFoundError as error:
        raise ValueError(
            '3-D scenes need MuJoCo, which is missing: run pip install -e ".[synth]"'
        ) from error
    except (ImportError, OSError, AttributeError, RuntimeError) as error:
        raise ValueError(_no_opengl(error)) from error
    mujoco.set_mju_user_warning(
        _ignored
    )  # instead of a file MUJOCO_LOG.TXT; `simulate` effects at the counts
    return mujoco


def _load_triton() -> None:
    """Loads Triton, which PyTorch needs for its optimisers, before OSMesa.

    Both bring an LLVM. OSMesa's is open to all that is loaded after it, and Triton on top of it ends the process.
    """
    if find_spec("triton"):
        import_module("triton")


def _ignored(message: str) -> None:
    pass


def _has_gpu() -> bool:
    nvidia = Path("/dev/nvidiactl").exists() and ctypes.util.find_library("EGL_nvidia") is not None
    mesa = any(Path("/dev/dri").glob("renderD*")) and ctypes.util.find_library("EGL") is not None
    return nvidia or mesa


def _no_opengl(error: Exception) -> str:
    kind = os.environ["MUJOCO_GL"].lower()
    package = {"egl": "libegl1", "osmesa": "libosmesa6"}.get(kind)
    advice = f"apt-get install {package}, or set MUJOCO_GL to the other of egl and osmesa"
    reason = str(error).replace("\n", " ").rstrip(". ")
    advice = (
        advice if package else "set MUJOCO_GL to egl (a GPU) or osmesa (none), or leave it unset"
    )
    return f"3-D scenes cannot be drawn with MUJOCO_GL={kind}: {advice} ({type(error).__name__}: {reason})"


class World:
    """A Scene made ready: `simulate`, then `film` its states as often as wanted."""

    def __init__(self, scene: Scene, height: int, width: int):
        self.mujoco = library()
        self.size = height, width
        self.model = _compiled(self.mujoco, scene, height, width)
        self.data = self.mujoco.MjData(self.model)
        self.scene = scene
        self._shown = [
            self.model.geom(f"piece{n}").id for n, piece in enumerate(_pieces(scene)) if piece.shown
        ]

    def simulate(self, moments: np.ndarray) -> Poses:
        """The Poses at `moments` (M,), numbers of steps in ascending order. ValueError: the physics went wrong."""
        mj, model, data = self.mujoco, self.model, self.data
        mj.mj_resetData(model, data)
        for number, _, speed in self._joints(driven=False):
            data.qvel[speed] = _velocity(self.scene.bodies[number])
        wanted, poses, driven = set(moments.tolist()), [], self._joints(driven=True)
        for step in range(moments[-1] + 1):
            self._drive(step, driven)
            if step in wanted:
                mj.mj_kinematics(model, data)
                poses.append(self._pose())
            mj.mj_step(model, data)
        positions, rotations, states = (
            np.stack(values, axis=axis) for values, axis in zip(zip(*poses), (1, 1, 0))
        )
        way = np.abs(np.diff(positions, axis=1)).max(initial=0, axis=(0, 2))
        wrong = (
            mj.mjtWarning.mjWARN_BADQPOS,
            mj.mjtWarning.mjWARN_BADQVEL,
            mj.mjtWarning.mjWARN_BADQACC,
        )
        if (
            any(data.warning[int(kind)].number for kind in wrong)
            or (way > FASTEST * self.scene.step * np.diff(moments)).any()
        ):
            raise ValueError(
                "the physics of this scene went wrong (something flew off): draw another"
            )
        return Poses(positions, rotations, self.model.geom_aabb[self._shown, 3:], states)

    def film(
        self, poses: Poses, camera: Camera, exact: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Frames M H W 3 uint8 of all states; of the states `exact` (T,), depth T H W and seen T H W.

        depth: float32 along the camera's axis, infinite in the sky.  seen: uint8, 0 for planes and sky, else one more
        than the number of the shown piece.
        """
        (height, width), count = self.size, len(poses.states)
        frames = np.empty((count, height, width, 3), np.uint8)
        depth, seen = (
            np.empty((len(exact), height, width), np.float32),
            np.empty((len(exact), height, width), np.uint8),
        )
        number = np.zeros(self.model.ngeom + 1, np.uint8)  # the last is that of no geom at all, -1
        number[self._shown] = np.arange(1, len(self._shown) + 1)
        self.model.cam_fovy[0] = camera.fov
        with self._renderer() as renderer:
            for moment in range(count):
                self._pose_as(
                    poses.states[moment], camera.positions[moment], camera.quaternions[moment]
                )
                renderer.update_scene(self.data, camera=0)
                renderer.render(out=frames[moment])
                for row in np.flatnonzero(exact == moment):
                    depth[row], seen[row] = self._exactly(renderer, number)
        return frames, depth, seen

    def _renderer(self):
        try:
            return self.mujoco.Renderer(self.model, *self.size)
        except (
            ImportError,
            OSError,
            AttributeError,
            RuntimeError,
            self.mujoco.FatalError,
        ) as error:
            raise ValueError(_no_opengl(error)) from error

    def _exactly(self, renderer, number: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Depth H W and piece H W: a second look without smoothing at edges."""
        renderer.enable_depth_rendering()
        depth = renderer.render()
        renderer.enable_segmentation_rendering()
        seen = number[renderer.render()[..., 0]]
        renderer.disable_segmentation_rendering()
        return np.where(depth < 0.999 * FAR, depth, np.inf), seen

    def _pose_as(self, state: np.ndarray, position: np.ndarray, quaternion: np.ndarray) -> None:
        self.data.qpos[:] = state
        self.model.cam_pos[0], self.model.cam_quat[0] = position, quaternion
        self.mujoco.mj_kinematics(self.model, self.data)
        self.mujoco.mj_comPos(self.model, self.data)
        self.mujoco.mj_camlight(self.model, self.data)

    def _joints(self, driven: bool) -> list[tuple[int, slice, slice]]:
        """Of each body that has a motion (or, not `driven`, flies free): its number, and its part of qpos and qvel."""
        found = []
        for n, body in enumerate(self.scene.bodies):
            root = body.parent is None
            if (
                (body.motion is not None)
                if driven
                else (root and body.free and body.motion is None)
            ):
                joint = self.model.joint(f"joint{n}").id
                place, speed = self.model.jnt_qposadr[joint], self.model.jnt_dofadr[joint]
                found.append(
                    (
                        n,
                        slice(place, place + (7 if root else 1)),
                        slice(speed, speed + (6 if root else 1)),
                    )
                )
        return found

    def _drive(self, step: int, driven: list[tuple[int, slice, slice]]) -> None:
        """Puts the bodies that have a motion where it says, moving as it says."""
        if not driven:
            return
        model, data = self.model, self.data
        after, speed = data.qpos.copy(), np.zeros(model.nv)
        for n, place, _ in driven:
            motion = self.scene.bodies[n].motion
            data.qpos[place], after[place] = motion[step], motion[min(step + 1, len(motion) - 1)]
        self.mujoco.mj_differentiatePos(model, speed, model.opt.timestep, data.qpos, after)
        for _, _, part in driven:
            data.qvel[part] = speed[part]

    def _pose(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        rotations = self.data.geom_xmat[self._shown].reshape(-1, 3, 3).copy()
        middle = np.einsum("kij,kj->ki", rotations, self.model.geom_aabb[self._shown, :3])
        return self.data.geom_xpos[self._shown] + middle, rotations, self.data.qpos.copy()


def _velocity(body: Body) -> np.ndarray:
    """(6,) as MuJoCo has it: the spin about the body's own axes."""
    w, v = body.quaternion[0], -np.asarray(body.quaternion[1:])
    spin = np.asarray(body.velocity[3:], float)
    own = spin + 2 * w * np.cross(v, spin) + 2 * np.cross(v, np.cross(v, spin))
    return np.concatenate([body.velocity[:3], own])


def _pieces(scene: Scene) -> list[Piece]:
    return [piece for body in scene.bodies for piece in body.pieces]


def _compiled(mj, scene: Scene, height: int, width: int):
    """The model of `scene`."""
    spec = mj.MjSpec()
    spec.compiler.usethread = False  # clips are made side by side, one process each
    spec.option.timestep = scene.step
    spec.option.integrator = mj.mjtIntegrator.mjINT_IMPLICITFAST
    spec.stat.extent, spec.stat.center = 6.0, (0.0, 0.0, 0.5)
    spec.visual.map.znear, spec.visual.map.zfar = NEAR / 6, FAR / 6
    spec.visual.map.shadowclip = 3.0
    spec.visual.global_.offheight, spec.visual.global_.offwidth = height, width
    quality = spec.visual.quality
    quality.shadowsize = int(np.clip(4 * max(height, width), 256, 2048))
    quality.offsamples, quality.numslices, quality.numstacks, quality.numquads = 4, 40, 24, 8
    light = spec.visual.headlight
    light.ambient, light.diffuse, light.specular = scene.ambient, (0, 0, 0), (0, 0, 0)
    _add_textures(mj, spec, scene)
    spec.worldbody.add_camera(name="camera")
    for plane in scene.planes:
        _add_plane(mj, spec, plane)
    for light in scene.lights:
        _add_light(mj, spec, light)
    _add_bodies(mj, spec, scene)
    try:
        return spec.compile()
    except ValueError as error:
        raise ValueError(
            f"this scene cannot be built ({str(error).splitlines()[0]}): draw another"
        ) from error


def _add_textures(mj, spec, scene: Scene) -> None:
    kinds = mj.mjtTexture
    images = [
        (f"texture{n}", image, kinds.mjTEXTURE_CUBE) for n, image in enumerate(scene.textures)
    ]
    if scene.sky is not None:
        images.append(("sky", scene.sky, kinds.mjTEXTURE_SKYBOX))
    for name, image, kind in images:
        texture = spec.add_texture(name=name)
        texture.height, texture.width, texture.nchannel = image.shape
        flat = kind == kinds.mjTEXTURE_CUBE and texture.height != 6 * texture.width
        texture.type = kinds.mjTEXTURE_2D if flat else kind
        texture.data = np.ascontiguousarray(image).tobytes()
    for n, shine in enumerate(scene.shine):
        material = spec.add_material(name=f"texture{n}")
        material.textures[mj.mjtTextureRole.mjTEXROLE_RGB] = f"texture{n}"
        material.specular, material.shininess = shine, 0.2 + 0.6 * shine


def _add_plane(mj, spec, plane: Plane) -> None:
    geom = spec.worldbody.add_geom(type=mj.mjtGeom.mjGEOM_PLANE, size=[*plane.size, 1.0])
    geom.pos, geom.quat, geom.contype, geom.conaffinity = plane.position, plane.quaternion, *PLANE
    geom.friction = (0.8, 0.005, 0.0005)
    if plane.texture is not None:
        material = spec.material(f"texture{plane.texture}")
        material.texrepeat = plane.repeat
        geom.material = material.name


def _add_light(mj, spec, light: Light) -> None:
    made = spec.worldbody.add_light(
        dir=light.direction, diffuse=light.diffuse, specular=light.specular
    )
    made.ambient, made.castshadow = (0, 0, 0), light.shadow
    made.type = (
        mj.mjtLightType.mjLIGHT_DIRECTIONAL
        if light.position is None
        else mj.mjtLightType.mjLIGHT_SPOT
    )
    along = np.asarray(light.direction) / np.linalg.norm(light.direction)
    made.pos = -7 * along if light.position is None else light.position
    made.cutoff, made.exponent = 70, 1


def _add_bodies(mj, spec, scene: Scene) -> None:
    made, number = [], 0
    for n, body in enumerate(scene.bodies):
        parent = spec.worldbody if body.parent is None else made[body.parent]
        made.append(parent.add_body(name=f"body{n}", pos=body.position, quat=body.quaternion))
        if body.parent is not None:
            joint = made[-1].add_joint(
                name=f"joint{n}", type=mj.mjtJoint.mjJNT_HINGE, axis=body.axis
            )
            _set(joint, "stiffness", body.stiffness)
            _set(joint, "damping", body.damping)
        elif body.free:
            made[-1].add_freejoint(name=f"joint{n}")
        for piece in body.pieces:
            _add_piece(mj, spec, made[-1], f"piece{number}", body, piece)
            number += 1


def _set(joint, name: str, value: float) -> None:
    """Sets a joint's coefficient, which some versions of MuJoCo hold as a polynomial's first."""
    old = getattr(joint, name)
    setattr(joint, name, value if np.ndim(old) == 0 else [value] + [0.0] * (len(old) - 1))


def _add_piece(mj, spec, body, name: str, owner: Body, piece: Piece) -> None:
    geom = body.add_geom(
        name=name, type=getattr(mj.mjtGeom, f"mjGEOM_{piece.kind.upper()}"), size=piece.size
    )
    geom.pos, geom.quat, geom.group = piece.position, piece.quaternion, 0 if piece.shown else 4
    if piece.mesh is not None:
        mesh = spec.add_mesh(name=name, scale=piece.size)
        mesh.uservert = piece.mesh[0].ravel()
        if len(piece.mesh[1]):
            mesh.userface = piece.mesh[1].ravel()
        mesh.inertia = mj.mjtMeshInertia.mjMESH_INERTIA_CONVEX
        geom.meshname = name
    if piece.texture is not None:
        geom.material = f"texture{piece.texture}"
    else:
        material = spec.add_material(name=name)
        material.rgba, material.emission, material.specular = (*piece.colour, 1.0), 1.0, 0.0
        geom.material = name
    if piece.solid:
        geom.contype, geom.conaffinity = (
            DRIVEN if owner.motion is not None else LIMB if owner.limb else THING
        )
        geom.density = owner.density
    else:
        geom.contype, geom.conaffinity, geom.mass = 0, 0, 0.0
    geom.friction = (owner.friction, 0.005, 0.0005)
    geom.solref = (0.012, max(1 - 0.9 * owner.bounce, 0.1))
