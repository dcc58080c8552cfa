"""The wheel, installed outside the checkout without a network, is all that a user needs."""

import os
import shutil
import subprocess
import sys
import urllib.request
import zipfile
from pathlib import Path

import numpy as np
import pytest
from moving import moving_texture

import cotracker
from cotracker import cli
from cotracker.data.video import write_video

ROOT = Path(__file__).parents[1]
SOURCES = (
    "cotracker",
    "configs",
    "checkpoints",
    "pyproject.toml",
    "setup.py",
    "README.md",
    "LICENSE",
)
OFFLINE = """import socket
def refuse(*words): raise OSError("the network is off")
socket.socket.connect = socket.getaddrinfo = refuse
"""
FIRST_CALL = """import torch, cotracker
from hydra import compose, initialize_config_dir
from importlib.resources import files
tracks = cotracker.load_tracker()(torch.zeros(1, 8, 3, 48, 64), torch.tensor([[[0, 30.0, 20.0]]]))
with initialize_config_dir(str(files("cotracker") / "configs"), version_base=None):
    config = compose("train", overrides=["experiment=paper"])
print(cotracker.__file__, tuple(tracks.xy.shape), config.model.window)
"""


def run(*words, cwd: Path, **variables: str) -> str:
    """What a command prints; a failed one fails the test with what it said."""
    done = subprocess.run(
        [*map(str, words)], cwd=cwd, env=os.environ | variables, capture_output=True, text=True
    )
    assert done.returncode == 0, f"{words}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The wheel, built from a copy of the checkout, which stays as it is."""
    copy, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in SOURCES:
        one = ROOT / name
        if one.is_dir():
            shutil.copytree(one, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(one, copy / name)
    run(
        sys.executable,
        "-c",
        f"from setuptools import build_meta; build_meta.build_wheel({str(out)!r})",
        cwd=copy,
    )
    return next(out.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """A function that runs a command in its own folder, with the installed package, offline."""
    folder = tmp_path_factory.mktemp("installed")
    pip = (
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-index",
        "--no-deps",
        "--target",
        folder / "site",
    )
    run(*pip, wheel, cwd=folder)
    (folder / "offline").mkdir()
    (folder / "offline" / "sitecustomize.py").write_text(OFFLINE)
    path = os.pathsep.join(str(folder / name) for name in ("offline", "site"))
    return lambda *words: run(*words, cwd=folder, PYTHONPATH=path), folder


def test_the_wheel_carries_what_the_checkout_has(wheel):
    held = set(zipfile.ZipFile(wheel).namelist())
    configs = {f"cotracker/{path.relative_to(ROOT)}" for path in ROOT.glob("configs/**/*.yaml")}
    modules = {str(path.relative_to(ROOT)) for path in ROOT.glob("cotracker/**/*.py")}
    names = ("cotracker_small", "generation2")
    weights = {f"cotracker/checkpoints/{name}.safetensors" for name in names}
    assert len(configs) > 50 and configs | modules | weights <= held
    extra = {name for name in held if not name.startswith("cotracker")}
    assert not extra, f"the wheel would put {sorted(extra)} beside the package"


@pytest.mark.slow
def test_the_installed_package_tracks_and_finds_its_configs(installed):
    run, folder = installed
    package = folder / "site" / "cotracker" / "__init__.py"
    assert run(sys.executable, "-c", FIRST_CALL) == f"{package} (1, 8, 1, 2) 8\n"


@pytest.mark.slow
def test_the_installed_commands_work(installed):
    run, folder = installed
    assert (
        run(sys.executable, "-m", "cotracker", "--version")
        == f"cotracker {cotracker.__version__}\n"
    )
    write_video(folder / "clip.mp4", moving_texture(5, 48, 64), 10.0, (48, 64))
    run(
        folder / "site" / "bin" / "cotracker",
        "track",
        "clip.mp4",
        "--out",
        "out",
        "--grid",
        "2",
        "--iters",
        "1",
    )
    with np.load(folder / "out" / "tracks.npz") as file:
        assert file["xy"].shape == (5, 4, 2)


def test_the_version_is_said_in_a_checkout_too(capsys):
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"cotracker {cotracker.__version__}\n"


@pytest.mark.extras
@pytest.mark.slow
def test_the_page_of_the_wheel_in_a_fresh_environment(wheel, tmp_path):
    """With its extra; the packages it needs are those at hand, so that nothing is downloaded."""
    pytest.importorskip("gradio")
    run(sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv", cwd=tmp_path)
    python = tmp_path / "venv" / "bin" / "python"
    site = next((tmp_path / "venv").glob("lib/*/site-packages"))
    beside = [path for path in sys.path if path.endswith("site-packages")]
    (site / "beside.pth").write_text("\n".join(beside))
    pip = (sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-index")
    run(*pip, "--no-deps", "--ignore-installed", wheel, cwd=tmp_path)
    run(*pip, "cotracker[app]", cwd=tmp_path)  # whatever the extra asks for is there
    print_place = "import cotracker; print(cotracker.__file__)"
    where = run(python, "-c", print_place, cwd=tmp_path, PYTHONPATH="")
    assert Path(where.strip()).is_relative_to(site)
    command = [tmp_path / "venv" / "bin" / "cotracker", "app", "--port", "0"]
    variables = os.environ | {"TMPDIR": str(tmp_path), "PYTHONPATH": ""}
    with subprocess.Popen(command, cwd=tmp_path, env=variables, stdout=subprocess.PIPE) as process:
        try:
            address = process.stdout.readline().decode().split()[1]
            with urllib.request.urlopen(address, timeout=60) as page:
                text = page.read().decode()
        finally:
            process.terminate()
        assert page.status == 200 and "Open a video to begin." in text
        assert process.stdout.read() == b"ended; what was uploaded is removed\n"
    assert process.returncode == 0 and not list(tmp_path.glob(".cotracker*"))
