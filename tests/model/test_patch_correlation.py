"""Patch correlation against its definition: bilinear reading, then products."""

import pytest
import torch
import torch.nn.functional as F

from cotracker.model import runtime
from cotracker.model.patch_correlation import PatchCorrelation, correlate_patches, read_patches


def drawn(batch=2, frames=3, points=5, size=(7, 9), channels=6, cells=9, dtype=torch.float64):
    """Maps B S h w C, patches B N P C and cells B S N 2, of which some lie far outside."""
    rng = torch.Generator().manual_seed(0)
    maps = torch.randn(batch, frames, *size, channels, generator=rng, dtype=dtype)
    patches = torch.randn(batch, points, cells, channels, generator=rng, dtype=dtype)
    at = torch.rand(batch, frames, points, 2, generator=rng, dtype=dtype) * 14 - 3
    at[0, 0, 0] = torch.tensor([4.0, 2])  # a whole cell
    at[-1, -1, -1] = torch.tensor([-500.0, 1e6])
    return maps, patches, at.float()


def read(maps, cells, radius):
    """Features B S N side side C by PyTorch's own reading, held at the border; x slow."""
    batch, frames, height, width, _ = maps.shape
    reach = torch.arange(-radius, radius + 1.0)
    dx, dy = torch.meshgrid(reach, reach, indexing="ij")
    at = cells[..., None, None, :] + torch.stack([dx, dy], dim=-1)  # B S N side side 2
    grid = 2 * at / torch.tensor([width - 1, height - 1]) - 1
    grid = grid.flatten(0, 1).flatten(2, 3).to(maps.dtype)
    maps = maps.flatten(0, 1).permute(0, 3, 1, 2)
    found = F.grid_sample(maps, grid, padding_mode="border", align_corners=True)
    return found.unflatten(0, (batch, frames)).permute(0, 1, 3, 4, 2)  # B S N side^2 C


def defined(maps, patches, cells, radius):
    return torch.einsum("bsnkc,bnpc->bnskp", read(maps, cells, radius), patches)


@pytest.mark.parametrize("radius", [0, 1, 3])
@pytest.mark.parametrize("plain", [False, True], ids=["fast", "plain"])
def test_products_and_their_gradients_are_the_definition_s(radius, plain, monkeypatch):
    monkeypatch.setattr(runtime, "CACHED_NUMBERS", 3 * 6 * 64 * 2)  # two tracks at a time, or so
    maps, patches, cells = drawn()
    leaves = maps.requires_grad_(), patches.requires_grad_()
    right = defined(maps, patches, cells, radius)
    if plain:
        with runtime.plain():
            ours = correlate_patches(maps, patches, cells, radius)
    else:
        ours = correlate_patches(maps, patches, cells, radius)
    torch.testing.assert_close(ours.double(), right, rtol=0, atol=2e-4)
    weight = torch.randn(right.shape, generator=torch.Generator().manual_seed(1)).double()
    found = torch.autograd.grad((ours * weight).sum(), leaves)
    for one, other in zip(found, torch.autograd.grad((right * weight).sum(), leaves)):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3)


def test_maps_of_one_video_serve_many_sets_of_points():
    maps, patches, cells = drawn()
    shared = correlate_patches(maps[:1], patches, cells, 2)
    torch.testing.assert_close(
        shared, correlate_patches(maps[:1].expand(2, -1, -1, -1, -1), patches, cells, 2)
    )


def test_patches_of_queries_are_read_in_their_own_maps():
    maps, _, cells = drawn()
    which = torch.tensor([[0, 3, 5, 2, 2], [1, 1, 4, 0, 5]])
    ours = read_patches(maps.flatten(0, 1), which, cells[:, 0], 1)
    for b in range(2):
        for n in range(5):
            one = maps.flatten(0, 1)[which[b, n]][None, None]
            right = read(one, cells[b : b + 1, :1, n : n + 1], 1)[0, 0, 0]
            torch.testing.assert_close(ours[b, n], right, rtol=0, atol=1e-4)


@torch.no_grad()
def test_points_taken_in_chunks_give_the_same_features(monkeypatch):
    torch.manual_seed(0)
    maps, _, cells = drawn(dtype=torch.float32)
    levels = [maps, maps[:, :, ::2, ::2]]
    module = PatchCorrelation(2, 1, 1, hidden=12, channels=4, gain=2.0)
    patches = module.read_queries(levels, torch.zeros(2, 5, dtype=torch.long), cells[:, 0])
    whole = module(levels, patches, cells)
    assert whole.shape == (2, 3, 5, 8)
    monkeypatch.setattr(runtime, "VOLUME_NUMBERS", 2 * 2 * 3 * 2 * 81)  # two points at a time
    torch.testing.assert_close(module(levels, patches, cells), whole)


@torch.no_grad()
def test_memory_does_not_grow_with_the_map():
    """The largest tensor made for one point on a map of a million cells is a neighbourhood."""
    maps, patches, cells = drawn(1, 2, 1, (1000, 1000), 4, dtype=torch.float32)
    largest = []

    class Watch(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, function, types, arguments=(), kwargs=None):
            out = function(*arguments, **(kwargs or {}))
            if isinstance(out, torch.Tensor) and out._base is None and out is not maps:
                largest.append(out.numel())
            return out

    with Watch():
        products = correlate_patches(maps, patches, cells * 50, 3)
    assert products.shape == (1, 1, 2, 49, 9) and max(largest) < 2000
