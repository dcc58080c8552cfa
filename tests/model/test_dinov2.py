"""Table 6's frozen encoder: where it looks, what learns, what a checkpoint holds, and how it is
refused.

With random weights in a file of their own: the published ones are not needed for any of this.
"""

import sys
from dataclasses import replace

import pytest
import safetensors.torch
import torch
from small_networks import TINY, random_queries, random_video

from cotracker import checkpoint
from cotracker.model import dinov2
from cotracker.model.cotracker import CoTracker

timm = pytest.importorskip("timm")


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("dinov2") / "vits14.safetensors"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = timm.create_model(dinov2.NAME, pretrained=False, num_classes=0)
    safetensors.torch.save_file(
        {name: value.contiguous() for name, value in network.state_dict().items()}, path
    )
    return str(path)


@pytest.fixture(scope="module")
def model(weights):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return CoTracker(**TINY, stride=8, encoder="dinov2", encoder_weights=weights)


def test_only_the_projection_learns(model):
    model.train()
    estimates = model(random_video(1, 8, 56, 84), random_queries(1, 8, 4, 56, 84))
    sum(e.tracks[-1].square().mean() + e.logits.mean() for e in estimates).backward()
    names = [name for name, _ in model.named_parameters() if name.startswith("encoder.")]
    assert names == ["encoder.project.weight", "encoder.project.bias"]
    assert [name for name in model.state_dict() if name.startswith("encoder.")] == names
    assert model.encoder.project.weight.grad.norm() > 0
    frozen = model.encoder._frozen[0]
    assert not frozen.training and not any(
        p.requires_grad or p.grad is not None for p in frozen.parameters()
    )


@torch.no_grad()
def test_a_marked_patch_is_found_where_it_is(model, monkeypatch):
    """The patch whose centre is at pixel (14 * 3 + 6.5, 14 * 2 + 6.5), at every stride."""
    marked = torch.zeros(1, dinov2.WIDTH, 6, 8)
    marked[..., 2, 3] = 1
    monkeypatch.setattr(model.encoder._frozen[0], "forward_intermediates", lambda *a, **k: [marked])
    project = model.encoder.project
    for stride in (2, 4, 8, 16):
        monkeypatch.setattr(model.encoder, "stride", stride)
        maps = (model.encoder(torch.zeros(1, 3, 84, 112))[0, 0] - project.bias[0]) / project.weight[
            0
        ].sum()
        assert tuple(maps.shape) == (-(-84 // stride), -(-112 // stride))
        y, x = torch.meshgrid(*(stride * torch.arange(side) for side in maps.shape), indexing="ij")
        hat = (1 - (x - 48.5).abs() / 14).clamp(min=0) * (1 - (y - 34.5).abs() / 14).clamp(min=0)
        torch.testing.assert_close(maps, hat, rtol=0, atol=1e-5)


@torch.no_grad()
def test_its_maps_are_timms_features_of_normalised_frames(model):
    frames = random_video(1, 2, 56, 84)[0]
    network, pixels = model.encoder._frozen[0], frames / 255
    pixels = (pixels - torch.tensor(dinov2.MEAN)[:, None, None]) / torch.tensor(dinov2.DEVIATION)[
        :, None, None
    ]
    features = network.forward_intermediates(
        pixels, indices=12, norm=True, intermediates_only=True
    )[8]
    expected = model.encoder.project(features)
    ours = model.encoder(
        frames * (2 / 255) - 1
    )  # the cell at pixel 16 lies between the patches centred at 6.5, 20.5
    assert torch.allclose(ours[..., 0, 0], expected[..., 0, 0], atol=1e-4)
    between = 4.5 / 14 * expected[..., 0, 0] + 9.5 / 14 * expected[..., 0, 1]
    assert torch.allclose(ours[..., 0, 2], between, atol=1e-4)


def test_a_checkpoint_holds_the_projection_and_finds_the_rest(model, tmp_path, weights):
    checkpoint.save(tmp_path / "a.safetensors", model, {})
    assert (tmp_path / "a.safetensors").stat().st_size < 1e6
    loaded = checkpoint.load_model(tmp_path / "a.safetensors")
    with torch.no_grad():
        for ours, theirs in zip(
            loaded.encode(random_video(1, 1, 56, 84)), model.encode(random_video(1, 1, 56, 84))
        ):
            assert torch.equal(ours, theirs)
    kept = model.config
    model.config = replace(kept, encoder_weights=str(tmp_path / "gone.pth"))
    checkpoint.save(tmp_path / "b.safetensors", model, {})
    model.config = kept
    with pytest.raises(
        ValueError, match="gone.pth does not exist: it must hold the weights of timm's vit_small"
    ):
        checkpoint.load_model(tmp_path / "b.safetensors")


def test_what_cannot_be_is_refused_in_one_sentence(model, weights, tmp_path, monkeypatch):
    def refused(match, **options):
        with pytest.raises(ValueError, match=match) as caught:
            CoTracker(**TINY, **{"encoder": "dinov2", "encoder_weights": weights, **options})
        assert "\n" not in str(caught.value)

    with pytest.raises(
        ValueError, match=r"must be multiples of 14 \(378 x 504 in the paper\), not 40 x 56"
    ):
        model(random_video(), random_queries())
    refused("model.encoder must be cnn or dinov2, not vit", encoder="vit")
    refused("needs model.encoder_weights=FILE", encoder_weights=None)
    refused("model.encoder_layer must be a whole number from 0 to 11, not 12", encoder_layer=12)
    (tmp_path / "text.pth").write_text("no weights")
    refused(
        "text.pth cannot be read as a file of tensors", encoder_weights=str(tmp_path / "text.pth")
    )
    torch.save({"a": torch.zeros(1)}, tmp_path / "other.pth")
    refused(
        "other.pth does not hold the weights of timm's", encoder_weights=str(tmp_path / "other.pth")
    )
    monkeypatch.setitem(sys.modules, "timm", None)
    refused("needs timm: pip install", encoder_weights=weights)
