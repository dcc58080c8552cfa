"""Entry points let waiting threads sleep soon: spinning ones make tracking ten times slower."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LIBGOMP = any((Path(find_spec("torch").origin).parent / "lib").glob("libgomp*"))
pytestmark = pytest.mark.skipif(not LIBGOMP, reason="this PyTorch has no GNU OpenMP")


@pytest.mark.slow
@pytest.mark.parametrize(
    "words", [["-m", "cotracker"], ["evaluate.py"], ["train.py"], ["scripts/demo.py"]]
)
@pytest.mark.parametrize("said", [None, "7"])
def test_waiting_threads_sleep_by_default(words, said):
    """How often a thread looks before it sleeps, as libgomp prints it when it is loaded."""
    environment = {key: value for key, value in os.environ.items() if key != "GOMP_SPINCOUNT"}
    environment |= {"OMP_DISPLAY_ENV": "VERBOSE"} | ({"GOMP_SPINCOUNT": said} if said else {})
    command = [sys.executable, *words, "--help"]
    done = subprocess.run(command, cwd=ROOT, env=environment, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert f"GOMP_SPINCOUNT = '{said or 3000}'" in done.stderr  # 300000 where nothing is set
