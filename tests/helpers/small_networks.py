"""Small networks of random weights, and inputs for them."""

import torch

from cotracker.model.cotracker import CoTracker

TINY = dict(
    channels=16,
    widths=(8, 8, 12, 12),
    fuse_width=16,
    hidden=32,
    heads=2,
    time_layers=2,
    group_layers=2,
    motion_waves=8,
    radius=2,
    iters=2,
)


def tiny(seed=0, **options):
    """A small CoTracker with random weights of its own, calm enough to compare."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = CoTracker(**(TINY | options))
        with torch.no_grad():
            model.transformer.head.weight.mul_(0.01)
            model.transformer.head.weight[:2].mul_(50)  # points do move: by a pixel or so
    return model.eval()


def random_video(batch=1, frames=12, height=40, width=56, seed=0):
    rng = torch.Generator().manual_seed(seed)
    coarse = torch.rand(batch * frames, 3, height // 4, width // 4, generator=rng)
    smooth = torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear")
    return (255 * smooth).byte().unflatten(0, (batch, frames))


def random_queries(batch=1, frames=12, points=6, height=40, width=56, seed=1):
    """Queries B N 3 at mixed frames; the first point of each set at frame 0."""
    rng = torch.Generator().manual_seed(seed)
    time = torch.randint(0, frames, (batch, points, 1), generator=rng).float()
    time[:, 0] = 0
    return torch.cat(
        [
            time,
            torch.rand(batch, points, 2, generator=rng) * torch.tensor([width - 1.0, height - 1]),
        ],
        -1,
    )


def assert_same(ours, theirs, atol=1e-3):
    """Two lists of Estimates tell the same: tracks and logits of each iteration, who is active."""
    assert [e.start for e in ours] == [e.start for e in theirs]
    for a, b in zip(ours, theirs):
        assert torch.equal(a.active, b.active)
        for one, other in zip(_outputs(a), _outputs(b), strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=atol)


def select(estimates, items=slice(None), points=slice(None), frames=slice(None)):
    """The Estimates of some clips and points."""

    def some(values):
        return [value[items][:, frames][:, :, points] for value in values]

    return [
        e._replace(
            tracks=some(e.tracks),
            logits=some([e.logits])[0],
            active=e.active[items][:, points],
            visibility=None if e.visibility is None else some(e.visibility),
            confidence=None if e.confidence is None else some(e.confidence),
        )
        for e in estimates
    ]


def _outputs(estimate):
    return [
        *estimate.tracks,
        estimate.logits,
        *(estimate.visibility or []),
        *(estimate.confidence or []),
    ]
