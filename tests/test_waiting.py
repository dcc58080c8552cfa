"""Entry points let idle threads sleep: one that spins for another without a core makes tracking ten times as slow."""

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LIBGOMP = any((Path(find_spec("torch").origin).parent / "lib").glob("libgomp*"))
pytestmark = pytest.mark.skipif(not LIBGOMP, reason="this PyTorch does not bring GNU's OpenMP, which says its settings")


@pytest.mark.parametrize("words", [["-m", "cotracker.cli"], ["evaluate.py"], ["train.py"], ["scripts/demo.py"]])
@pytest.mark.parametrize("said", [None, "ACTIVE"])
def test_threads_sleep_where_nobody_said_otherwise(words, said):
    """As libgomp read it when it was loaded, which it prints itself: how often a thread looks before it sleeps."""
    unset = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
    environment = {key: value for key, value in os.environ.items() if key not in unset}
    environment |= {"OMP_DISPLAY_ENV": "VERBOSE"} | ({"OMP_WAIT_POLICY": said} if said else {})
    command = [sys.executable, *words, "--help"]
    done = subprocess.run(command, cwd=ROOT, env=environment, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    (spins,) = re.findall(r"GOMP_SPINCOUNT = '(\d+)'", done.stderr)
    assert (int(spins) == 0) == (said is None)  # 300000 where nothing is set
