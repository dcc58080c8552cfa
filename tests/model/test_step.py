"""A training step in every setting: recomputed gradients, bf16 and its float32 parts, compiled
parts, the benchmark.
"""

import json
from dataclasses import replace

import bench_step
import pytest
import torch
import torch.nn.functional as F
from small_networks import random_queries, random_video, tiny
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from cotracker.model import attention, encoder, fused, runtime
from cotracker.model import cotracker as network
from cotracker.model.correlation import _Products
from cotracker.model.encoder import Encoder
from cotracker.model.hardware import multiplies
from cotracker.model.runtime import compile_transformer
from cotracker.model.windows import split_windows, window_starts


def gradients(model, video, queries, bfloat16=False):
    """Estimates, and all gradients of a loss of them, as one vector."""
    model.zero_grad()
    with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
        estimates = model(video, queries)
    sum((e.tracks[-1] / 10).sin().sum() + e.logits.sum() for e in estimates).backward()
    return estimates, torch.cat([p.grad.flatten() for p in model.parameters()])


def far(a, b):
    return ((a - b).norm() / b.norm()).item()


def _plain_norm(x):
    return (x - x.mean((2, 3), keepdim=True)) * (
        x.var((2, 3), correction=0, keepdim=True) + 1e-5
    ).rsqrt()


def in_both_forms(definition, *arguments):
    """What the faster form gives, then what the definition gives."""
    with runtime.plain():
        right = definition(*arguments)
    return definition(*arguments), right


def assert_forms_agree(name, pair, leaves, exactness=1e-7):
    """Values, and gradients of a random weighting, of the two answers."""
    ours, right = pair
    torch.testing.assert_close(ours, right, rtol=1e-9, atol=1e-9, msg=name)
    rng = torch.Generator().manual_seed(1)
    weight = torch.randn(ours.shape, generator=rng, dtype=ours.dtype)
    found = [
        torch.autograd.grad((answer * weight).sum(), leaves, allow_unused=True)
        for answer in (ours, right)
    ]
    for a, b in zip(*found):
        assert (a is None) == (b is None)
        if a is not None:
            torch.testing.assert_close(a, b, rtol=exactness, atol=exactness, msg=name)


@pytest.mark.parametrize(
    "layout", [torch.contiguous_format, torch.channels_last], ids=["contiguous", "channels_last"]
)
@pytest.mark.parametrize("size", [(6, 9), (1, 1), (1, 5)])
def test_faster_forms_of_the_encoder_are_its_definitions(layout, size):
    """Values and gradients in float64."""
    rng = torch.Generator().manual_seed(0)

    def draw(*shape):
        made = torch.randn(*shape, generator=rng, dtype=torch.float64)
        return made.contiguous(memory_format=layout).requires_grad_()

    x, y, z = draw(3, 4, *size), draw(3, 4, *size), draw(3, 4, 3, 3)
    conv, joining = nn.Conv2d(4, 5, 3, padding=1).double(), nn.Conv2d(8, 5, 3, padding=1).double()
    pairs = {
        "norm_relu": in_both_forms(encoder.norm_relu, x),
        "norm_relu_conv": in_both_forms(encoder.norm_relu_conv, x, conv),
        "residual": in_both_forms(encoder.add_residual, x, y, None),
        "shortcut": in_both_forms(encoder.add_residual, z, y, x),
        "fuse_levels": in_both_forms(encoder.fuse_levels, [x, z], size, joining),
    }
    leaves = [x, y, z, *conv.parameters(), *joining.parameters()]
    for name, pair in pairs.items():
        assert_forms_agree(name, pair, leaves)
    torch.testing.assert_close(encoder.instance_norm(x), _plain_norm(x))


def test_faster_forms_of_the_transformer_are_its_definitions():
    """With gradients in float64; oneDNN's form, which is for inference, in float32."""
    rng = torch.Generator().manual_seed(0)
    x, q, k, v = (
        torch.randn(*shape, generator=rng, dtype=torch.float64).requires_grad_()
        for shape in ((5, 7, 12), *[(5, 2, 7, 6)] * 3)
    )
    bias = attention.key_bias(torch.rand(5, 7, generator=rng) < 0.7).double()
    expand, contract = nn.Linear(12, 20).double(), nn.Linear(20, 12).double()
    leaves = [x, q, k, v, *expand.parameters(), *contract.parameters()]
    pairs = {
        "attend": in_both_forms(attention.attend, q, k, v, None),
        "attend with a mask": in_both_forms(attention.attend, q, k, v, bias),
        "mlp": in_both_forms(attention.mlp, x, expand, contract),
    }
    for name, pair in pairs.items():
        assert_forms_agree(name, pair, leaves)
    with torch.inference_mode():
        arguments = x.float(), expand.float(), contract.float()
        assert runtime.for_onednn(*arguments) or runtime.for_sigmoid(*arguments)
        ours, right = in_both_forms(attention.mlp, *arguments)
    torch.testing.assert_close(ours, right, rtol=1e-5, atol=1e-5)


@pytest.fixture
def without_avx512(monkeypatch):
    """The ways of a processor that has AVX2."""
    monkeypatch.setattr("cotracker.model.runtime.has_avx512", lambda: False)
    monkeypatch.setattr("cotracker.model.runtime._FUSES_GELU", False)


@torch.inference_mode()
def test_the_mlp_without_avx512_is_its_definition(without_avx512):
    """For values over all of GELU's bend, also where one part of a cache's size begins."""
    rng = torch.Generator().manual_seed(0)
    expand, contract = nn.Linear(64, 512), nn.Linear(512, 64)
    arguments = 30 * torch.randn(2, 70, 64, generator=rng), expand, contract
    assert runtime.for_sigmoid(*arguments) and not runtime.for_onednn(*arguments)
    ours, right = in_both_forms(attention.mlp, *arguments)
    torch.testing.assert_close(ours, right, rtol=1e-5, atol=1e-5)


@torch.inference_mode()
@pytest.mark.parametrize("size", [(20, 24), (21, 27), (400, 1)])
def test_convolutions_of_tiles_are_their_definitions(size, without_avx512):
    """Sides that are whole tiles or not, for two frames, by each of the encoder's ways to them."""
    rng = torch.Generator().manual_seed(0)
    conv, joining = nn.Conv2d(64, 72, 3, padding=1), nn.Conv2d(128, 64, 3, padding=1)
    x = torch.randn(2, 64, *size, generator=rng).contiguous(memory_format=torch.channels_last)
    assert runtime.for_tiles(x, conv) and not runtime.for_tiles(x[:, :, :19, :20], conv)
    for definition, arguments in [
        (encoder.convolve, (x, conv)),
        (encoder.norm_relu_conv, (x, conv)),
        (encoder.fuse_levels, ([x, x], size, joining)),
    ]:
        ours, right = in_both_forms(definition, *arguments)
        torch.testing.assert_close(ours, right, rtol=1e-4, atol=1e-4)


def test_gradients_and_other_convolutions_take_no_tiles(without_avx512):
    x, conv = torch.zeros(1, 64, 20, 24), nn.Conv2d(64, 64, 3, padding=1)
    assert not runtime.for_tiles(x, conv)
    with torch.inference_mode():
        assert runtime.for_tiles(x, conv)
        assert not runtime.for_tiles(x, nn.Conv2d(64, 64, 3, stride=2, padding=1))
        assert not runtime.for_tiles(x.bfloat16(), conv.bfloat16())


@pytest.mark.parametrize("options", [{}, {"stride": 8}, {"neighbourhood": "square", "radius": 3}])
def test_the_plain_network_is_the_network(options):
    """All that runtime.py chooses at once: tracks, visibility, and gradients of all parameters."""
    model = tiny(**options)
    ours, gradient = gradients(model, random_video(), random_queries())
    with runtime.plain():
        right, plain_gradient = gradients(model, random_video(), random_queries())
    torch.testing.assert_close(ours[-1].tracks[-1], right[-1].tracks[-1], rtol=0, atol=1e-3)
    torch.testing.assert_close(ours[-1].logits, right[-1].logits, rtol=0, atol=1e-3)
    assert far(gradient, plain_gradient) < 1e-3
    assert torch.equal(
        gradients(model, random_video(), random_queries())[1], gradient
    )  # nothing is left behind


def test_windows_hand_their_gradients_back():
    maps = torch.randn(2, 11, 3, 4, 5, generator=torch.Generator().manual_seed(0)).requires_grad_()
    slices = [maps[:, start : start + 8] for start in window_starts(11, 8)]
    windows = [window[0] for window in split_windows([maps], 8)]
    found = []
    for parts in (windows, slices):
        found.append(
            torch.autograd.grad(
                sum((k + 2) * part.sin().sum() for k, part in enumerate(parts)), maps
            )[0]
        )
    assert all(torch.equal(a, b) for a, b in zip(windows, slices)) and torch.allclose(*found)


@pytest.mark.parametrize("bfloat16", [False, True], ids=["float32", "bfloat16"])
def test_recomputed_gradients_are_the_kept_ones(bfloat16, monkeypatch):
    # chunks of five frames, and one of two
    monkeypatch.setattr(runtime, "FRAME_PIXELS", 40 * 56 * 3 * 5)
    kept, again = tiny(), tiny(recompute=True)
    (a, kept_gradient), (b, gradient) = (
        gradients(m, random_video(), random_queries(), bfloat16) for m in (kept, again)
    )
    assert torch.equal(a[-1].tracks[-1], b[-1].tracks[-1])
    assert far(gradient, kept_gradient) < (1e-2 if bfloat16 else 1e-5)
    assert kept.state_dict().keys() == again.state_dict().keys()


def test_recomputing_keeps_less(monkeypatch):
    """Bytes that autograd holds between the passes, each tensor once."""
    monkeypatch.setattr(runtime, "FRAME_PIXELS", 1)
    held = {}

    def count(model):
        seen = {}

        def note(x):
            seen[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
            return x

        with torch.autograd.graph.saved_tensors_hooks(note, lambda x: x):
            estimates = model(random_video(), random_queries())
            held[model] = sum(seen.values())
        return estimates

    kept, again = tiny(), tiny(recompute=True)
    together = [count(kept), count(again)]
    assert len(together) == 2 and held[again] < 0.4 * held[kept]


def test_recomputing_agrees_with_data_parallel_training(tmp_path):
    """One process of a group: no warning (all are errors), and the same gradients in the second
    step too.
    """
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path}/meet", rank=0, world_size=1
    )
    try:
        right = gradients(tiny(), random_video(), random_queries())[1]
        for static in (True, False):
            model = DistributedDataParallel(tiny(recompute=True), static_graph=static)
            for _ in range(2):
                assert far(gradients(model, random_video(), random_queries())[1], right) < 1e-5
    finally:
        torch.distributed.destroy_process_group()


def test_nothing_is_recomputed_without_gradients(monkeypatch):
    monkeypatch.setattr(runtime, "checkpoint", None)
    with torch.no_grad():
        assert tiny(recompute=True)(random_video(), random_queries())


def test_bfloat16_is_near_float32_and_its_gradients_point_the_same_way():
    model = tiny()
    exact, right = gradients(model, random_video(2), random_queries(2))
    half, gradient = gradients(model, random_video(2), random_queries(2), bfloat16=True)
    for ours, theirs in zip(half, exact):
        for a, b in zip(ours.tracks, theirs.tracks):
            assert a.dtype == torch.float32 and a.isfinite().all() and (a - b).abs().max() < 0.5
        assert ours.logits.dtype == torch.float32
    assert not torch.equal(half[-1].tracks[-1], exact[-1].tracks[-1])
    assert F.cosine_similarity(gradient, right, dim=0) > 0.98


def test_what_stays_float32_in_bfloat16(monkeypatch):
    """Positions and weights of correlation, tokens, statistics of norms; while maps and products
    are bfloat16.
    """
    model, seen = tiny(), {}
    interpolated, normalised = network.correlate, fused._normalised

    def watched_correlate(maps, features, cells, *rest):
        out = interpolated(maps, features, cells, *rest)
        seen.update(maps=maps[0].dtype, features=features.dtype, cells=cells.dtype, near=out.dtype)
        return out

    def watched_norm(x):
        out, statistics = normalised(x)
        seen.update(normed=out.dtype, statistics={s.dtype for s in statistics})
        return out, statistics

    monkeypatch.setattr(network, "correlate", watched_correlate)
    monkeypatch.setattr(fused, "_normalised", watched_norm)
    model.transformer.register_forward_hook(
        lambda module, inputs, out: seen.update(tokens=inputs[0].dtype)
    )
    model.transformer.embed.register_forward_hook(
        lambda module, inputs, out: seen.update(embedded=out.dtype)
    )
    gradients(model, random_video(), random_queries(), bfloat16=True)
    assert {name for name, dtype in seen.items() if dtype == torch.bfloat16} == {
        "maps",
        "normed",
        "embedded",
    }
    assert seen["statistics"] == {torch.float32}
    assert all(seen[name] == torch.float32 for name in ("features", "cells", "near", "tokens"))


def test_norms_of_bfloat16_maps_are_as_exact_as_their_dtype():
    """A mean far from zero, which statistics in bfloat16 would lose."""
    x = 100 + torch.randn(2, 4, 16, 24, generator=torch.Generator().manual_seed(0))
    x = x.bfloat16().contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(
        encoder.norm_relu(x).float(), F.relu(_plain_norm(x.double())).float(), rtol=8e-3, atol=8e-3
    )


def test_an_encoder_alone_takes_maps_of_either_layout():
    network = Encoder(4, 8, (4, 4, 6, 6), 8, False)
    frames = torch.rand(2, 3, 24, 40, generator=torch.Generator().manual_seed(0))
    ours = network(frames.contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(ours, network(frames))


@pytest.mark.slow
@pytest.mark.filterwarnings(
    "ignore:The .grad attribute:UserWarning"
)  # torch.compile's own look at its inputs
@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
def test_compiled_parts_are_the_same_network(backend):
    """With generated code (inductor) only the least of one, as a compiler takes tens of seconds for
    it.
    """
    layers = dict(time_layers=1, group_layers=0 if backend == "inductor" else 1)
    plain, compiled = tiny(**layers), tiny(**layers)
    compile_transformer(compiled, backend)
    assert plain.state_dict().keys() == compiled.state_dict().keys()
    for frames, points in ((8, 4), (10, 5)):
        (a, right), (b, gradient) = (
            gradients(m, random_video(1, frames, 24, 40), random_queries(1, frames, points, 24, 40))
            for m in (plain, compiled)
        )
        torch.testing.assert_close(b[-1].tracks[-1], a[-1].tracks[-1], rtol=0, atol=1e-4)
        assert far(gradient, right) < 1e-4
        # and the second time with every iteration computed anew
        compiled.config = replace(compiled.config, recompute=True)
    torch.compiler.reset()


@pytest.mark.slow
def test_the_benchmark_measures_every_setting(tmp_path, capsys):
    """In bfloat16 where the processor has it: its peak takes minutes where it is emulated."""
    dtype = "bfloat16" if multiplies(torch.bfloat16) else "float32"
    words = "--experiment smoke --batch 2 --frames 5 --height 32 --width 48 --points 3"
    words += " --threads 1 --repeats 1 --device cpu"
    (row,) = bench_step.main(
        [*words.split(), "--settings", f"{dtype}+recompute", "--json", f"{tmp_path}/a"]
    )
    assert (
        json.loads((tmp_path / "a").read_text())["rows"] == [row]
        and row["setting"] == f"{dtype}+recompute"
    )
    said = capsys.readouterr().out
    assert row["setting"] in said and "2 x 5 frames 32 x 48, 3 points, smoke" in said
    kept = bench_step.measure("float32", bench_step.parse(words.split()))
    for found in (row, kept):
        assert (
            found["seconds"]["step"] > 0 and found["gigabytes"] > 0.1 and found["peak_gflops"] > 1
        )
        assert found["of_peak"] == pytest.approx(
            found["gflop"] / found["seconds"]["step"] / found["peak_gflops"]
        )
    assert row["gflop"] > 1.2 * kept["gflop"] > 0  # what is recomputed counts


def test_gradients_of_the_shortcuts_are_right_at_widths_that_corrupted_memory():
    """PyTorch 2.14: a strided 1x1 convolution of 8 channels, channels last, wrote beyond its memory
    at this size.
    """
    torch.manual_seed(0)
    encoder = Encoder(4, 8, (8, 8, 8, 8), 8, False)
    frames, weights = torch.rand(1, 3, 192, 256), torch.randn(1, 8, 48, 64)
    (encoder(frames) * weights).sum().backward()
    whole = Encoder(4, 8, (8, 8, 8, 8), 8, False).double()
    whole.load_state_dict(encoder.state_dict())
    (whole(frames.double()) * weights).sum().backward()
    for (name, ours), right in zip(encoder.named_parameters(), whole.parameters()):
        if name.endswith("weight"):  # biases before a norm have no gradient but rounding
            likeness = torch.nn.functional.cosine_similarity(
                ours.grad.double().flatten(), right.grad.flatten(), dim=0
            )
            assert likeness > 0.9999 and ours.grad.norm() == pytest.approx(
                right.grad.norm().item(), rel=1e-3
            ), name


def test_normalised_maps_that_are_read_around_points_train_in_bfloat16():
    """Their products are bfloat16 and their rows float32, on maps too large for the product with
    every cell.
    """
    torch.manual_seed(0)
    rows, features = (
        torch.randn(60, 8, requires_grad=True),
        torch.randn(1, 2, 3, 8, requires_grad=True),
    )
    index = torch.randint(60, (1, 2, 3, 4))
    with torch.autocast("cpu", torch.bfloat16):
        found = _Products.apply(rows, features, index)
    found.float().square().sum().backward()
    ours = rows.grad.clone(), features.grad.clone()
    rows.grad = features.grad = None
    (rows[index] * features[..., None, :]).sum(-1).square().sum().backward()
    for one, right in zip(ours, (rows.grad, features.grad)):
        assert torch.nn.functional.cosine_similarity(one.flatten(), right.flatten(), dim=0) > 0.99
