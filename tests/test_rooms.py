"""Who imports whom: every import is held to the table, so that rooms meet in entry points."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# A file belongs to the longest of these names that begins its module's. It may import itself too.
# The first may be imported by all.
BASE = ["tracks", "types", "geometry", "checks", "files", "stored", "provenance"]
ALLOWED = {
    "cotracker.tracks": ["checks", "files", "geometry", "stored"],
    "cotracker.types": ["tracks"],
    "cotracker.checks": [],
    "cotracker.files": [],
    "cotracker.stored": [],
    "cotracker.provenance": [],
    "cotracker.geometry": ["types"],
    "cotracker.queries": [],
    "cotracker.model": [],
    "cotracker.data": [],
    "cotracker.checkpoint": ["model"],
    "cotracker.trackers": ["model", "checkpoint", "queries"],
    "cotracker.trackers.inputs": ["data.video"],  # of a path
    "cotracker.trackers.named_queries": ["trackers", "queries", "data.video"],
    "cotracker.baselines": [
        "model",
        "checkpoint",
        "queries",
        "trackers.inputs",
        "trackers.tracker",
        "trackers.live",
        "trackers.options",
        "trackers.views",
        "trackers.wrappers",
    ],
    "cotracker.baselines.tapnet": ["baselines", "checkpoint", "data.pickles"],
    "cotracker.baselines.predictions": ["trackers.tracker", "interchange"],
    "cotracker.data.labelled": ["data", "interchange"],
    "cotracker.training": ["model", "queries", "checkpoint"],
    "cotracker.training.validation": [
        "model",
        "queries",
        "checkpoint",
        "training",
        "benchmarks",
        "trackers",
        "visualize",
    ],
    "cotracker.benchmarks": [
        "trackers.inputs",
        "trackers.tracker",
        "trackers.views",
        "trackers.wrappers",
        "queries",
    ],
    "cotracker.benchmarks.failures": [
        "benchmarks",
        "trackers.tracker",
        "trackers.views",
        "visualize",
    ],
    "cotracker.benchmarks.paper": ["benchmarks", "checkpoint", "visualize"],
    "cotracker.visualize": [],
    "cotracker.pseudo": ["data", "trackers", "baselines", "queries"],
    "cotracker.profiling": [
        "model",
        "trackers",
        "baselines",
        "data",
        "checkpoint",
        "queries",
        "visualize",
    ],
    "cotracker.config": [
        "benchmarks",
        "data.kubric.manifest",
        "data.stream",
        "model.config",
        "training.config",
        "training.progress",
        "trackers.options",
    ],
    "cotracker.interchange": ["data.pickles"],
    "cotracker.adapters": ["interchange", "data.video", "trackers"],
    "cotracker.interchange.onnx_graphs": ["model"],
    "cotracker.app": [
        "checkpoint",
        "data.video",
        "interchange",
        "trackers",
        "visualize",
    ],
    "cotracker.predictor": ["trackers", "queries"],
    "cotracker.utils": ["data.video", "visualize"],
    "cotracker": ["trackers"],  # __init__: inside load_tracker only
}
ENTRY_POINTS = [
    "train",
    "evaluate",
    "cotracker.cli",
    "cotracker.__main__",
    "scripts",
]  # may import whatever they like
HYDRA = ["cotracker.config", "cotracker.benchmarks.paper.suite"]
OUTSIDE = {  # packages that only these may import, beside the entry points
    "hydra": HYDRA,
    "omegaconf": HYDRA,
    "cv2": ["cotracker.data", "cotracker.visualize", "cotracker.baselines", "cotracker.pseudo"],
    "tensorboard": ["cotracker.training.log"],
    "torch.utils.tensorboard": ["cotracker.training.log"],
    "safetensors": ["cotracker.checkpoint", "cotracker.model.dinov2"],
    "av": ["cotracker.data.video"],
    "google": ["cotracker.data.kubric.tfrecord"],
    "google_crc32c": ["cotracker.data.kubric.tfrecord"],
    "mujoco": ["cotracker.data.synthetic.scenes3d.mujoco_world"],
    "torch.distributed": ["cotracker.training.distributed"],
    "submitit": ["cotracker.training.distributed"],
    "einops": [],
    "timm": ["cotracker.model.dinov2"],
    "matplotlib": ["cotracker.visualize.plots"],
    "imageio": ["cotracker.visualize"],
    "torchvision": ["cotracker.model.raft"],
    "pandas": ["cotracker.interchange.deeplabcut"],
    "tables": ["cotracker.interchange.deeplabcut"],
    "h5py": ["cotracker.interchange.deeplabcut", "cotracker.interchange.hdf5"],
    "sleap_io": ["cotracker.interchange.sleap"],
    "xarray": ["cotracker.interchange.movement"],
    "h5netcdf": ["cotracker.interchange.movement"],
    "pycolmap": ["cotracker.interchange.colmap"],
    "onnxruntime": ["cotracker.interchange.onnx_graphs"],
    "onnxscript": ["cotracker.interchange.onnx_graphs"],
    "napari_deeplabcut": ["cotracker.adapters.napari_deeplabcut"],
    "bpy": ["cotracker.interchange.blender_import"],
    "gradio": ["cotracker.app.page"],
    "fastapi": ["cotracker.app.server"],
    "uvicorn": ["cotracker.app.server"],
}
FILES = sorted(
    [
        *ROOT.glob("cotracker/**/*.py"),
        *ROOT.glob("scripts/**/*.py"),
        ROOT / "train.py",
        ROOT / "evaluate.py",
    ]
)


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_of(path) for path in FILES}


def imports(source: str, module: str = "x") -> set[str]:
    """Full names of all imported modules, also in functions; `from a import b` may be a.b."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, (
                f"{module} line {node.lineno}: imports are absolute in this house"
            )
            named = [alias.name for alias in node.names if alias.name != "__version__"]
            whole = {f"{node.module}.{name}" for name in named}
            names |= {name if name in MODULES else node.module for name in whole}
    return names


def within(module: str, room: str) -> bool:
    return module == room or module.startswith(room + ".")


def room_of(module: str) -> str:
    return max((room for room in ALLOWED if within(module, room)), key=len)


def broken_rules(module: str, source: str) -> list[str]:
    """One line for each import that the tables forbid."""
    if any(within(module, entry) for entry in ENTRY_POINTS):
        return []
    found = imports(source, module)
    room = room_of(module)
    names = ALLOWED[room] if room.split(".")[-1] in BASE else BASE + ALLOWED[room]
    allowed = [f"cotracker.{name}" for name in names] + ([room] if room != "cotracker" else [])
    ours = [name for name in found if within(name, "cotracker")]
    wrong = [
        f"{module} imports {name}" for name in ours if not any(within(name, one) for one in allowed)
    ]
    for package, users in OUTSIDE.items():
        if any(within(name, package) for name in found) and not any(
            within(module, user) for user in users
        ):
            wrong.append(f"{module} imports {package}")
    return sorted(wrong)


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_every_file_keeps_to_the_table(path):
    assert broken_rules(module_of(path), path.read_text()) == []


def test_every_part_of_the_house_is_in_the_table():
    assert len(FILES) > 30
    top = {".".join(module.split(".")[:2]) for module in MODULES if within(module, "cotracker")}
    assert top - set(ALLOWED) - set(ENTRY_POINTS) == set()


@pytest.mark.slow
def test_no_entry_point_is_imported():
    for path in FILES:
        used = {
            entry
            for entry in ENTRY_POINTS
            for name in imports(path.read_text())
            if within(name, entry)
        }
        users = ("scripts", "cotracker.cli", "cotracker.__main__")
        allowed = {"cotracker.cli"} if any(within(module_of(path), one) for one in users) else set()
        assert used <= allowed, f"{path} imports {used}"


def test_the_front_door_is_light():
    """`import cotracker` loads nothing: its imports stand inside load_tracker."""
    tree = ast.parse((ROOT / "cotracker" / "__init__.py").read_text())
    assert not [node for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom))]


@pytest.mark.parametrize("module, source, wrong", [
    ("cotracker.model.encoder", "from cotracker.data.video import x", ["cotracker.data.video"]),
    ("cotracker.model.encoder", "def f():\n    import cotracker.checkpoint",
     ["cotracker.checkpoint"]),
    ("cotracker.checkpoint", "from cotracker import trackers", ["cotracker.trackers"]),
    ("cotracker.trackers.views", "import cv2", ["cv2"]),
    ("cotracker.training.optim", "from omegaconf import OmegaConf", ["omegaconf"]),
    ("cotracker.benchmarks.run", "from cotracker.trackers.cotracker import load",
     ["cotracker.trackers.cotracker"]),
    ("cotracker.benchmarks.run", "from cotracker.trackers.wrappers import Reversed", []),
    ("cotracker.types", "from cotracker.geometry import inside_frame", ["cotracker.geometry"]),
])  # fmt: skip
def test_the_check_itself_sees_what_is_forbidden(module, source, wrong):
    assert broken_rules(module, source) == [f"{module} imports {name}" for name in wrong]


def test_forbidden_words_stay_away():
    """No **kwargs, no hasattr, no seeds at import below the entry points (design.md, Never)."""
    for path in FILES:
        if any(
            within(module_of(path), entry)
            for entry in [*ENTRY_POINTS, "cotracker.profiling.setting"]
        ):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and node.args.kwarg is not None:
                name = node.args.kwarg.arg  # a network may take its config's fields by name
                network = name == "fields" and within(module_of(path), "cotracker.model")
                assert network, f"{path}:{node.lineno} takes **{name}"
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                assert called not in (
                    "hasattr",
                    "torch.manual_seed",
                    "np.random.seed",
                    "random.seed",
                ), f"{path}:{node.lineno} calls {called}"


def test_differences_name_tests_and_options_that_exist():
    text = (ROOT / "docs" / "differences.md").read_text()
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", text)
    assert len(named) >= 14
    for file, test in named:
        assert f"def {test}(" in (ROOT / file).read_text(), (
            f"docs/differences.md names {file}::{test}"
        )
    files = sorted((ROOT / "configs" / "model").glob("*.yaml"))
    fields = "".join(file.read_text() for file in files)
    for option in re.findall(r"model\.(\w+)=", text):
        assert f"\n{option}: " in fields, f"docs/differences.md names model.{option}"
