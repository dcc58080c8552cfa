"""A window's refinement, as it is written, is a graph for any number of points."""

import pytest
import torch
from torch import nn

from cotracker.model import runtime
from cotracker.model.cotracker import CoTracker

TINY = {
    "channels": 16,
    "widths": (8, 8, 8, 8),
    "fuse_width": 8,
    "hidden": 32,
    "heads": 2,
    "time_layers": 1,
    "group_layers": 1,
    "window": 4,
}


class Refine(nn.Module):
    """Two iterations of a window: the last tracks and the visibility."""

    def __init__(self, model: CoTracker):
        super().__init__()
        self.model = model

    def forward(self, maps, track_feat, tracks, flags, active):
        tracks, logits = self.model.refine(maps, track_feat, tracks, flags, active, None, 2)
        return tracks[-1], logits


def make_window(points: int) -> tuple:
    rng = torch.Generator().manual_seed(points)
    maps = [torch.randn(1, 4, 24 >> level, 32 >> level, 16, generator=rng) for level in range(4)]
    features = torch.randn(1, points, 16, generator=rng)
    tracks = 90 * torch.rand(1, 4, points, 2, generator=rng)
    active = torch.arange(points)[None] > 0
    return maps, features, tracks, torch.ones(1, 4, points, 2), active


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"virtual_tracks": 3}], ids=["v1", "virtual tracks"])
@torch.no_grad()
def test_refine_exports_for_any_number_of_points(options):
    refine = Refine(CoTracker(**TINY, **options).eval())
    points = torch.export.Dim("points", min=4, max=4096)
    shapes = ([None] * 4, {1: points}, {2: points}, {2: points}, {1: points})
    with runtime.plain():
        program = torch.export.export(refine, make_window(7), dynamic_shapes=shapes)
    names = {str(node.target) for node in program.graph.nodes}
    assert not [name for name in names if "mkldnn" in name]  # no other runtime has these
    for ours, right in zip(program.module()(*make_window(30)), refine(*make_window(30))):
        torch.testing.assert_close(ours, right, rtol=1e-4, atol=1e-4)
