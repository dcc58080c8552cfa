"""Small CoTracker3 networks of random weights, in the forms that their fields allow."""

import torch

from cotracker.model.cotracker3 import CoTracker3

TINY3 = dict(channels=16, widths=(8, 8, 12, 12), fuse_width=16, levels=3, query_radius=1,
             search_radius=2, iters=2, corr_hidden=24, corr_channels=12, corr_gain=4.0, hidden=32,
             heads=2, time_layers=2, group_layers=2, virtual_tracks=5)  # fmt: skip
LIKE_V1 = dict(window=8, track_feat="fixed", iterate_visibility=False, motion="first_frame",
               position_code=True, query_flag=True, virtual_tracks=0)  # fmt: skip
FORMS = {
    "online": {"window": 8},
    "offline": {"window": None, "time_table": 60},
    "like v1": LIKE_V1,
    "features updated": LIKE_V1 | {"track_feat": "updated"},
    "relative time": LIKE_V1 | {"time_code": "relative", "heads": 4},
    "all refined": LIKE_V1
    | {"time_code": "relative", "iterate_visibility": True, "velocity_start": True},
}


def tiny3(seed=0, **options):
    """A small CoTracker3 with random weights of its own, calm enough to compare."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = CoTracker3(**(TINY3 | options))
        with torch.no_grad():
            model.transformer.head.weight.mul_(0.01)
            model.transformer.head.weight[:2].mul_(50)  # points do move: by a pixel or so
    return model.eval()
