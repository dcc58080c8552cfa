"""The closed-form count of operations, held to PyTorch's own counter."""

from dataclasses import replace

import pytest
import torch
from networks3 import FORMS, tiny3
from small_networks import tiny
from torch.utils.flop_counter import FlopCounterMode

from cotracker.model import runtime
from cotracker.model.cotracker import CoTracker
from cotracker.profiling import flops

SMALL = {
    "channels": 16,
    "widths": (8, 12, 12, 16),
    "fuse_width": 24,
    "hidden": 32,
    "heads": 2,
    "motion_waves": 4,
    "levels": 3,
}
SQUARE = {"neighbourhood": "square", "radius": 2, "time_layers": 3, "group_layers": 1}
REPEATED = {"mlp_ratio": 3.5, "repeat_last_frame": True, "time_layers": 2, "group_layers": 2}
CASES = {
    "tiny": ({}, 13, (33, 50)),
    "one window": ({}, 4, (40, 56)),
    "stride 8, window 16": ({"stride": 8, "window": 16}, 20, (31, 47)),
    "square, uneven layers": (SQUARE, 13, (33, 50)),
    "wide MLP, last frame repeated": (REPEATED, 20, (31, 47)),
}


@pytest.fixture
def local(monkeypatch):
    """Correlation read locally at every level, as the closed form counts it."""
    monkeypatch.setattr(runtime, "WHOLE_MAP_CELLS", 0)


@pytest.mark.parametrize("case", CASES)
def test_counted_as_pytorch_counts(case, local):
    settings, frames, size = CASES[case]
    model = CoTracker(**(SMALL | settings))
    queries = torch.tensor([[[0.0, 5, 6], [0, 20, 9], [0, 7, 22]]])
    with FlopCounterMode(display=False) as counter:
        model(torch.zeros(1, frames, 3, *size), queries, 2)
    assert flops.run(model, 3, frames, size, 2) == counter.get_total_flops()


KINDS3 = FORMS | {
    "stride 8": {"stride": 8},
    "all see all, uneven layers": {"virtual_tracks": 0, "time_layers": 3, "group_layers": 1},
    "virtual tracks, uneven layers": {"time_layers": 1, "group_layers": 3, "mlp_ratio": 3.5},
    "last frame repeated": {"repeat_last_frame": True},
    "updated and refined": {"track_feat": "updated"},
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS3)
@pytest.mark.parametrize("frames, size", [(4, (40, 56)), (13, (33, 50)), (20, (31, 47))])
def test_cotracker3_counted_as_pytorch_counts(kind, frames, size):
    model = tiny3(**KINDS3[kind])
    queries = torch.tensor([[[0.0, 5, 6], [0, 20, 9], [0, 7, 22]]])
    with FlopCounterMode(display=False) as counter:
        model(torch.zeros(1, frames, 3, *size), queries, 2)
    assert flops.run(model, 3, frames, size, 2) == counter.get_total_flops()


def test_sets_of_points_over_one_video(local):
    model = tiny()
    with FlopCounterMode(display=False) as counter:
        model.track(model.encode(torch.zeros(1, 9, 3, 40, 56)), torch.zeros(4, 5, 3), 3)
    assert flops.run(model, 5, 9, (40, 56), 3, sets=4) == counter.get_total_flops()


def test_operations_of_the_papers_model():
    """256 points, 24 frames of 384x512, 6 iterations: about 3.8 TFLOP, a third the encoder's."""
    model = CoTracker()
    whole, encoder = flops.run(model, 256, 24, (384, 512), 6), 24 * flops.encode(model, (384, 512))
    assert 3.6e12 < whole < 4.1e12 and 0.28 < encoder / whole < 0.36


def test_other_encoders_are_refused():
    model = tiny()
    model.config = replace(model.config, encoder="dinov2")
    with pytest.raises(ValueError, match="of the encoder 'dinov2' are not counted"):
        flops.encode(model, (40, 56))
