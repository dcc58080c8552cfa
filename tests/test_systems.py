"""What Windows and macOS lack is not needed: hidden here, all imports, tracks and trains."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# Packages of others come first, as they ask for the system by its name
WITHOUT_POSIX = """
import importlib, multiprocessing, os, pkgutil, signal, sys
import cv2, filelock, hydra, av, psutil, torch, torch.utils.tensorboard, torchvision
import torch.distributed.elastic.multiprocessing.errors
for name in ("fcntl", "grp", "posix", "pty", "pwd", "resource", "syslog", "termios", "tty"):
    sys.modules[name] = None
for name in ("SIGHUP", "SIGKILL", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIG_BLOCK", "SIG_SETMASK",
             "alarm", "pthread_sigmask"):
    delattr(signal, name)
for name in ("fork", "getuid", "setsid", "killpg", "sysconf", "uname", "sched_getaffinity"):
    delattr(os, name)
multiprocessing.get_all_start_methods = lambda: ["spawn"]
assert not [name for name in sys.modules if name.startswith("cotracker")]
"""

IMPORTS = """
import cotracker
for module in pkgutil.walk_packages(cotracker.__path__, "cotracker."):
    if module.name.rpartition(".")[2] not in ("__main__", "blender_import", "napari_deeplabcut"):
        try:
            importlib.import_module(module.name)
        except ModuleNotFoundError as error:
            if error.name not in ("fastapi", "gradio", "uvicorn"):  # of the extra `app`
                raise
import evaluate, generate, train
"""

TRACKS = """
import cotracker
from cotracker.data import workers
video = torch.randint(0, 256, (1, 8, 3, 48, 64), dtype=torch.uint8)
tracks = cotracker.load_tracker(resolution=None)(video, torch.tensor([[[0, 30.0, 20.0]]]))
assert tracks.xy.shape == (1, 8, 1, 2)
assert workers._make_context().get_start_method() == "spawn"
"""

TRAINS = """
import runpy
sys.argv[0] = "train.py"
runpy.run_path("train.py", run_name="__main__")
"""


def run(code: str, *words: str) -> str:
    """What the code prints after the system's parts are hidden; a failure fails the test."""
    paths = os.pathsep.join(map(str, (ROOT, ROOT / "scripts")))
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_POSIX + code, *words],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done.stdout


@pytest.mark.slow
def test_everything_imports_and_tracks_without_posix():
    run(IMPORTS + TRACKS)


@pytest.mark.slow
def test_a_step_is_trained_without_posix(tmp_path):
    words = "experiment=smoke train.steps=1 train.batch=1 train.workers=0"
    run(TRAINS, *words.split(), f"out={tmp_path / 'run'}", f"hydra.run.dir={tmp_path}")
    assert (tmp_path / "run" / "model.safetensors").is_file()
