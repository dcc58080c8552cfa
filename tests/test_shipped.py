"""The shipped checkpoint is as accurate as before: configs, tracker, protocol and metric."""

from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir

from cotracker.benchmarks.run import evaluate, mean
from cotracker.config.instantiate import build_benchmark, instantiate

CONFIGS = Path(__file__).parents[1] / "configs"
# percent, of the first three clips of sprites_val
ACCURACY = {"aj": 61.4, "delta_avg": 79.8, "oa": 88.0}


@pytest.mark.slow
def test_the_shipped_checkpoint_is_as_accurate_as_it_was():
    """Within 1: processors and libraries move lost points, by less than that in the mean."""
    words = [
        "benchmark=sprites_val",
        "tracker.single_point=false",
        "tracker.local_support_grid=0",
        "tracker.device=cpu",
    ]
    with initialize_config_dir(str(CONFIGS), version_base=None):
        config = compose("evaluate", overrides=words)
    with torch.no_grad():
        rows = evaluate(
            instantiate(config.tracker, "tracker"), build_benchmark(config.benchmark, limit=3)
        )
    assert [row["name"] for row in rows] == ["000", "001", "002"]
    assert {key: mean(rows)[key] for key in ACCURACY} == pytest.approx(ACCURACY, abs=1.0)
