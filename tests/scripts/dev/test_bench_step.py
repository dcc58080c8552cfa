import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parents[3] / "scripts/dev/bench_step.py"


@pytest.mark.slow
def test_the_step_of_an_experiment_is_measured():
    size = "--frames 8 --height 32 --width 48 --points 4 --batch 2 --threads 1 --repeats 1"
    words = ["--experiment", "smoke", *size.split(), "--settings", "float32+recompute"]
    said = subprocess.run(
        [sys.executable, PROGRAM, *words], capture_output=True, text=True, timeout=120, check=True
    ).stdout
    title, _, row = said.strip().splitlines()[-3:]
    assert "2 x 8 frames 32 x 48, 4 points, smoke" in title
    seconds, forward, backward, optimiser = map(float, row.split()[1:5])
    assert 0 < seconds < 60 and seconds >= max(forward, backward, optimiser)
