"""A Scene3D as a compiled model of MuJoCo; the module is an argument: it loads OpenGL."""

import numpy as np

from cotracker.data.synthetic.scenes3d.scene3d import Body, Light, Piece, Plane, Scene3D

NEAR, FAR = 0.05, 80.0  # metres
# Who collides with whom, as MuJoCo's pairs of bits: limbs do not with limbs, and what is driven
# passes through planes.
OBJECT, PLANE, LIMB, DRIVEN = (1, 7), (1, 3), (2, 1), (4, 0)


def list_pieces(scene: Scene3D) -> list[Piece]:
    """The pieces of all bodies, in order."""
    return [piece for body in scene.bodies for piece in body.pieces]


def compile_model(mj, scene: Scene3D, height: int, width: int):
    """The MjModel of `scene`, which renders height x width.  ValueError: it cannot be built."""
    spec = mj.MjSpec()
    spec.compiler.usethread = False  # each process makes its own clips
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
        raise ValueError(f"this scene cannot be built ({str(error).splitlines()[0]})") from error


def _add_textures(mj, spec, scene: Scene3D) -> None:
    kinds = mj.mjtTexture
    cube = kinds.mjTEXTURE_CUBE
    images = [(f"texture{n}", image, cube) for n, image in enumerate(scene.textures)]
    if scene.sky is not None:
        images.append(("sky", scene.sky, kinds.mjTEXTURE_SKYBOX))
    for name, image, kind in images:
        texture = spec.add_texture(name=name)
        texture.height, texture.width, texture.nchannel = image.shape
        flat = kind == cube and texture.height != 6 * texture.width
        texture.type = kinds.mjTEXTURE_2D if flat else kind
        texture.data = np.ascontiguousarray(image).tobytes()
    for n, shine in enumerate(scene.shine):
        material = spec.add_material(name=f"texture{n}")
        material.textures[mj.mjtTextureRole.mjTEXROLE_RGB] = f"texture{n}"
        material.specular, material.shininess = shine, 0.2 + 0.6 * shine


def _add_plane(mj, spec, plane: Plane) -> None:
    geom = spec.worldbody.add_geom(type=mj.mjtGeom.mjGEOM_PLANE, size=[*plane.size, 1.0])
    geom.pos, geom.quat = plane.position, plane.quaternion
    geom.contype, geom.conaffinity = PLANE
    geom.friction = (0.8, 0.005, 0.0005)
    if plane.texture is not None:
        material = spec.material(f"texture{plane.texture}")
        material.texrepeat = plane.repeat
        geom.material = material.name


def _add_light(mj, spec, light: Light) -> None:
    colours = {"diffuse": light.diffuse, "specular": light.specular}
    lamp = spec.worldbody.add_light(dir=light.direction, **colours)
    lamp.ambient = (0, 0, 0)
    lamp.castshadow = light.shadow
    lamp.cutoff, lamp.exponent = 70, 1
    if light.position is None:
        lamp.type = mj.mjtLightType.mjLIGHT_DIRECTIONAL
        lamp.pos = -7 * (np.asarray(light.direction) / np.linalg.norm(light.direction))
    else:
        lamp.type = mj.mjtLightType.mjLIGHT_SPOT
        lamp.pos = light.position


def _add_bodies(mj, spec, scene: Scene3D) -> None:
    nodes = []
    number = 0
    for n, body in enumerate(scene.bodies):
        parent = spec.worldbody if body.parent is None else nodes[body.parent]
        node = parent.add_body(name=f"body{n}", pos=body.position, quat=body.quaternion)
        nodes.append(node)
        if body.parent is not None:
            hinge = mj.mjtJoint.mjJNT_HINGE
            joint = node.add_joint(name=f"joint{n}", type=hinge, axis=body.axis)
            _set_coefficient(joint, "stiffness", body.stiffness)
            _set_coefficient(joint, "damping", body.damping)
        elif body.free:
            node.add_freejoint(name=f"joint{n}")
        for piece in body.pieces:
            geom = _add_geom(mj, spec, node, f"piece{number}", piece)
            _set_material(spec, geom, piece)
            _set_contact(geom, body, piece)
            number += 1


def _set_coefficient(joint, name: str, value: float) -> None:
    """Sets a joint's coefficient, which some versions of MuJoCo hold as a polynomial's first."""
    old = getattr(joint, name)
    setattr(joint, name, value if np.ndim(old) == 0 else [value] + [0.0] * (len(old) - 1))


def _add_geom(mj, spec, node, name: str, piece: Piece):
    kind = getattr(mj.mjtGeom, f"mjGEOM_{piece.kind.upper()}")
    geom = node.add_geom(name=name, type=kind, size=piece.size)
    geom.pos, geom.quat = piece.position, piece.quaternion
    geom.group = 0 if piece.shown else 4
    if piece.mesh is not None:
        vertices, faces = piece.mesh
        mesh = spec.add_mesh(name=name, scale=piece.size)
        mesh.uservert = vertices.ravel()
        if len(faces):
            mesh.userface = faces.ravel()
        mesh.inertia = mj.mjtMeshInertia.mjMESH_INERTIA_CONVEX
        geom.meshname = name
    return geom


def _set_material(spec, geom, piece: Piece) -> None:
    if piece.texture is not None:
        geom.material = f"texture{piece.texture}"
        return
    material = spec.add_material(name=geom.name)
    material.rgba = (*piece.colour, 1.0)
    material.emission, material.specular = 1.0, 0.0
    geom.material = geom.name


def _set_contact(geom, body: Body, piece: Piece) -> None:
    if piece.solid:
        kind = DRIVEN if body.motion is not None else LIMB if body.limb else OBJECT
        geom.contype, geom.conaffinity = kind
        geom.density = body.density
    else:
        geom.contype, geom.conaffinity = 0, 0
        geom.mass = 0.0
    geom.friction = (body.friction, 0.005, 0.0005)
    geom.solref = (0.012, max(1 - 0.9 * body.bounce, 0.1))
