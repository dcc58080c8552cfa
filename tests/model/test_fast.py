"""The fast paths of inference, each held to the plain float32 one; and what a window may not do on
a GPU.

Plain is what runs where gradients are wanted: it is what training, and the parity tests, see.
"""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from waits import Waits

from cotracker import checkpoint
from cotracker.benchmarks.metrics import badja
from cotracker.benchmarks.protocols import from_first_frame
from cotracker.data.badja import BADJA
from cotracker.geometry import resize_video
from cotracker.model import runtime
from cotracker.model.attention import mlp
from cotracker.model.cotracker import CoTracker
from cotracker.model.cuda_graphs import MOST, CudaGraphs
from cotracker.model.hardware import best_device, multiplies
from cotracker.model.runtime import compile_transformer
from cotracker.queries import grid
from cotracker.trackers.build import build_chain, load_chain, lower_precision
from cotracker.trackers.cotracker import CoTrackerPredictor
from cotracker.trackers.options import TrackerOptions
from cotracker.trackers.views import FeatureCache, MappedVideo
from cotracker.trackers.wrappers import Chunked, OneByOne, Supported
from cotracker.training.precision import dtype_of

SHIPPED = Path(__file__).parents[2] / "checkpoints" / "cotracker_small.safetensors"
REAL = Path(__file__).parents[3] / "shared" / "data" / "BADJA"
FRAMES, SIZE = 14, (96, 128)
even_if_emulated = pytest.mark.filterwarnings("ignore:bfloat16 is emulated")


def loaded() -> CoTracker:
    return checkpoint.load_model(SHIPPED)


def film(frames: int = FRAMES, size: tuple[int, int] = SIZE) -> Tensor:
    """uint8 1 T 3 H W: smooth noise with fine detail that moves by (1.5, 0.5) pixels a frame, read
    between pixels.
    """
    rng = torch.Generator().manual_seed(3)
    height, width = size[0] + 2 * frames, size[1] + 2 * frames
    layers = [
        F.interpolate(
            torch.rand(1, 3, height // k, width // k, generator=rng),
            (height, width),
            mode="bicubic",
        )
        for k in (4, 8, 16)
    ]
    picture, out = sum(layers) / 3, []
    y, x = torch.meshgrid(torch.arange(float(size[0])), torch.arange(float(size[1])), indexing="ij")
    for t in range(frames):
        place = torch.stack(
            [2 * (x + 1.5 * t) / (width - 1) - 1, 2 * (y + 0.5 * t) / (height - 1) - 1], dim=-1
        )
        out.append(F.grid_sample(picture, place[None], align_corners=True)[0])
    return (255 * torch.stack(out)[None]).clamp(0, 255).round().byte()


VIDEO, QUERIES = film(), grid(5, SIZE, margin=12)
QUERIES[0, ::4, 0] = 5


@pytest.fixture(scope="module")
def plain() -> Tensor:
    return plainly(VIDEO, QUERIES)


def plainly(video: Tensor, queries: Tensor) -> Tensor:
    """xy B T N 2 of the plain path, window by window as the predictor stitches them."""
    model, xy = loaded(), torch.zeros(1, video.shape[1], queries.shape[1], 2)
    assert torch.is_grad_enabled()  # which chooses the plain ways
    model.encoder.requires_grad_(False)
    for estimate in model(video, queries, 6):
        window = estimate.tracks[-1].detach()
        part = xy[:, estimate.start : estimate.start + window.shape[1]]
        part.copy_(torch.where(estimate.active[:, None, :, None], window, part))
    return xy


def deviation(tracks: Tensor, plain: Tensor) -> Tensor:
    """Pixels, of every point in every frame after its query's."""
    after = torch.arange(FRAMES)[:, None] > QUERIES[0, :, 0]
    return (tracks - plain).norm(dim=-1)[0][after]


def test_the_film_can_be_followed(plain):
    """So that what follows is no agreement about nothing."""
    since = (torch.arange(FRAMES)[:, None] - QUERIES[0, :, 0]).clamp(min=0)[..., None]
    truth = QUERIES[0, :, 1:] - since * torch.tensor([1.5, 0.5])
    inside = ((truth > 3) & (truth < torch.tensor([SIZE[1] - 4, SIZE[0] - 4]))).all(-1)
    assert deviation(truth[None], plain).median() < 1.5 and inside.float().mean() > 0.8


PATHS = {
    "inference": (lambda model: CoTrackerPredictor(model), 2e-3, 2e-3),
    "shared frames": (lambda model: _Shared(CoTrackerPredictor(model)), 2e-3, 2e-3),
    "compiled": (lambda model: CoTrackerPredictor(_compiled(model)), 2e-3, 2e-3),
    "bfloat16": (lambda model: CoTrackerPredictor(lower_precision(model, "bfloat16")), 0.5, 1.0),
}


class _Shared(nn.Module):
    """Asks a predictor about a video whose frames are encoded once for all who ask."""

    def __init__(self, tracker):
        super().__init__()
        self.tracker = tracker

    def forward(self, video, queries):
        shared = MappedVideo(video, cache=FeatureCache())
        self.tracker(shared, queries)
        return self.tracker(shared, queries)


def _compiled(model: CoTracker) -> CoTracker:
    compile_transformer(model, backend="eager")  # traced as for inductor, without its compiler
    return model


@pytest.mark.slow
@even_if_emulated
@pytest.mark.parametrize("name", PATHS)
def test_each_fast_path_gives_what_the_plain_one_does(name, plain):
    make, high, most = PATHS[name]
    error = deviation(make(loaded())(VIDEO, QUERIES).xy, plain)
    assert error.quantile(0.999) <= high and error.max() <= most
    assert (error.median() > 1e-3) == (
        name == "bfloat16"
    )  # or it would not have been another precision


@pytest.mark.slow
@pytest.mark.skipif(not REAL.is_dir(), reason=f"no BADJA in {REAL}")
def test_the_numbers_of_badja_are_those_of_the_plain_path():
    """The first 24 frames of a horse that jumps, at half the size: seg and 3px, in percent of the
    joints there.
    """
    clip, size = BADJA(REAL)[2], (240, 432)
    parts = {
        name: getattr(clip, name)[:24] for name in ("video", "tracks", "visible", "valid", "masks")
    }
    parts["tracks"] = parts["tracks"] * torch.tensor(
        [size[1] / clip.video.shape[-1], size[0] / clip.video.shape[-2]]
    )
    clip = replace(clip, **parts)
    clip = replace(clip, video=resize_video(clip.video, size).round().byte())
    asked = from_first_frame(clip)
    asked_for = ("inference", "bfloat16") if multiplies(torch.bfloat16) else ("inference",)
    ways = {name: PATHS[name][0](loaded()) for name in asked_for}
    found = {name: way(clip.video[None], asked.queries) for name, way in ways.items()}
    found["plain"] = replace(found["inference"], xy=plainly(clip.video[None], asked.queries))
    numbers = {name: badja(tracks, asked, clip) for name, tracks in found.items()}
    assert numbers["plain"]["seg"] > 40
    one = 100 / int(
        (asked.eval_mask & asked.target.visible).sum()
    )  # a joint on a limit may fall on either side of it
    for key, value in numbers["plain"].items():
        assert abs(numbers["inference"][key] - value) < 1.01 * one
        assert "bfloat16" not in numbers or abs(numbers["bfloat16"][key] - value) < 4.01 * one


@pytest.mark.slow
def test_the_single_point_protocol_is_that_of_each_query_alone():
    tracker = Supported(CoTrackerPredictor(loaded()), 3, 3)
    queries = QUERIES[:, 3:6]
    together = OneByOne(tracker, at_once=2)(VIDEO, queries).xy
    for n in range(3):
        start = int(queries[0, n, 0])
        query = torch.cat([torch.zeros(1, 1, 1), queries[:, n : n + 1, 1:]], dim=-1)
        alone = tracker(VIDEO[:, start:], query).xy
        assert (together[:, start:, n] - alone[:, :, 0]).abs().max() < 5e-3


def load_bare(**settings):
    options = TrackerOptions(resolution=None, support_grid=0, device="cpu", **settings)
    return load_chain(SHIPPED, options)


@even_if_emulated
def test_what_is_approximate_is_off_by_default_and_named():
    exact, lower = (load_bare(precision=name) for name in ("float32", "bfloat16"))
    assert exact.model.dtype == torch.float32 and "precision" not in exact.describe()
    assert lower.describe() == exact.describe() | {"precision": "bfloat16"}


def test_cuda_graphs_change_nothing_on_a_cpu():
    plain, graphed = (load_bare(cuda_graphs=switch) for switch in (False, True))
    assert isinstance(graphed.refine, CudaGraphs) and graphed.describe() == plain.describe()
    assert torch.equal(graphed(VIDEO, QUERIES).xy, plain(VIDEO, QUERIES).xy)


def test_the_last_shapes_used_are_replayed_and_no_others():
    captured = []

    class Recorded(CudaGraphs):
        """Captures on no GPU: its graph computes the answer anew."""

        def _capture(self, arguments):
            places, answer = [arguments[0].clone()], torch.empty_like(arguments[0])
            captured.append(len(places[0]))
            graph = SimpleNamespace(replay=lambda: answer.copy_(self.function(places[0])))
            return graph, places, answer

    doubled = Recorded(lambda values: 2 * values, nn.Identity())

    def ask(length: int):
        values = torch.rand(length)
        assert torch.equal(doubled._replay((values,), [values]), 2 * values)

    for length in (*range(1, MOST + 1), 1, MOST + 1, 1, 2, *range(4, MOST + 2)):
        ask(length)
    assert captured == [
        *range(1, MOST + 2),
        2,
    ]  # 1 was used again, so 2 went for a ninth, then 3 for 2
    with torch.inference_mode():
        ask(1)
    assert (
        captured[-1] == 1 and len(captured) == MOST + 3
    )  # what is made in inference mode is for that alone


def test_a_model_that_moves_is_captured_anew():
    layer, values = nn.Linear(3, 3), torch.rand(2, 3)
    captured = []

    class Recorded(CudaGraphs):
        def _capture(self, arguments):
            captured.append(self.module.weight.dtype)
            return SimpleNamespace(replay=lambda: None), [torch.empty_like(values)], values

    graphs = Recorded(layer, layer)
    for change in (nn.Module.double, nn.Module.double, nn.Module.float):
        change(layer)
        graphs._replay((values,), [values])
    assert captured == [torch.float64, torch.float32] and len(graphs._held) == 1


@even_if_emulated
def test_coordinates_stay_float32_in_bfloat16(monkeypatch):
    model, seen = lower_precision(loaded(), "bfloat16"), {}

    def watch(name):
        return lambda module, inputs, _: seen.update({name: inputs[0].dtype})

    model.transformer.register_forward_hook(watch("tokens"))
    model.transformer.time[0].register_forward_hook(watch("blocks"))
    model.transformer.head.register_forward_hook(watch("head"))
    answer = CoTrackerPredictor(model, 1)(VIDEO[:, :4], QUERIES[:, 1:3])
    assert answer.xy.dtype == answer.visibility.dtype == torch.float32
    assert seen == {"tokens": torch.float32, "blocks": torch.bfloat16, "head": torch.float32}
    assert model.encode(VIDEO[:, :1])[0].dtype == model.dtype == torch.bfloat16


@pytest.mark.parametrize("dtype, near", [(torch.float32, 1e-5), (torch.bfloat16, 3e-2)])
def test_the_mlp_of_inference_is_its_definition(dtype, near):
    expand, contract = nn.Linear(24, 40).to(dtype), nn.Linear(40, 24).to(dtype)
    x = 3 * torch.randn(2, 7, 24, generator=torch.Generator().manual_seed(0)).to(dtype)
    with torch.inference_mode():
        ours = mlp(x, expand, contract)
        with runtime.plain():
            right = mlp(x.float(), expand.float(), contract.float())
    assert ours.dtype == dtype and (ours.float() - right).abs().max() < near * right.abs().max()


EMULATED = """
import torch
from cotracker.model.attention import mlp
from cotracker.model.hardware import has_avx512, multiplies
assert not has_avx512() and not multiplies(torch.bfloat16) and not multiplies(torch.float16)
layers = torch.nn.Linear(24, 40).bfloat16(), torch.nn.Linear(40, 24).bfloat16()
with torch.inference_mode():
    assert mlp(torch.randn(2, 7, 24).bfloat16(), *layers).isfinite().all()
"""


@pytest.mark.slow
@pytest.mark.parametrize("taken_away", ["ONEDNN_MAX_CPU_ISA=AVX2", "ATEN_CPU_CAPABILITY=avx2"])
def test_without_the_instructions_the_plain_way_is_taken(taken_away):
    """A processor without them, as the variables of oneDNN and PyTorch imitate it."""
    name, value = taken_away.split("=")
    done = subprocess.run(
        [sys.executable, "-c", EMULATED], env=os.environ | {name: value}, capture_output=True
    )
    assert done.returncode == 0, done.stderr


def test_emulation_is_said_in_one_sentence(monkeypatch):
    monkeypatch.setattr("cotracker.model.hardware.multiplies", lambda *_: False)
    sentence = (
        "bfloat16 is emulated on this processor and slower than float32: "
        "choose precision auto or float32"
    )
    with pytest.warns(UserWarning, match=sentence):
        lower_precision(loaded(), "bfloat16")
    with pytest.warns(UserWarning, match=sentence):
        assert dtype_of("bfloat16", torch.device("cpu")) == torch.bfloat16


@pytest.mark.parametrize("there, chosen", [(True, torch.bfloat16), (False, torch.float32)])
def test_auto_is_bfloat16_where_the_hardware_has_it(there, chosen, monkeypatch):
    """In training and in inference."""
    monkeypatch.setattr("cotracker.model.hardware.multiplies", lambda *_: there)
    assert dtype_of("auto", torch.device("cpu")) == chosen
    assert lower_precision(loaded(), "auto").dtype == chosen


@pytest.mark.parametrize("cuda, mps, name", [(1, 1, "cuda"), (0, 1, "mps"), (0, 0, "cpu")])
def test_auto_is_a_gpu_of_any_maker_where_there_is_one(cuda, mps, name, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: bool(cuda))
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: bool(mps))
    assert best_device() == name


def test_answers_can_be_written_to():
    tracks = build_chain(loaded(), TrackerOptions(iters=1, resolution=None, support_grid=0))(
        VIDEO[:, :4], QUERIES[:, 1:3]
    )
    tracks.xy.add_(1)  # a tensor of inference_mode would refuse
    assert not tracks.xy.is_inference()


@pytest.mark.parametrize("kind", [{}, {"neighbourhood": "square"}, {"repeat_last_frame": True}])
def test_nothing_in_a_window_waits_for_the_device(kind):
    model = CoTracker(
        channels=16,
        widths=(8, 8, 12, 12),
        fuse_width=16,
        hidden=32,
        heads=2,
        time_layers=1,
        group_layers=1,
        motion_waves=4,
        **kind,
    )
    with torch.inference_mode():
        maps = model.encode(VIDEO[:, :8])
        state = model.begin(QUERIES)
        state, _ = model.step(state, maps, 2)
        with Waits() as waits:
            model.step(state, maps, 2)
            model.encode(VIDEO[:, :1])
    assert waits.found == []
    with Waits() as waits:
        torch.ones(3).sum().item()
    assert waits.found


def test_memory_of_a_window_does_not_grow_with_the_video(monkeypatch):
    """Frames and maps alive at once; tests/profiling/test_bench.py measures whole processes."""
    model = loaded()
    most, inner = [], type(model).step

    def step(self, state, maps, *rest, **named):
        most.append(maps[0].shape[1])
        return inner(self, state, maps, *rest, **named)

    monkeypatch.setattr(type(model), "step", step)
    Chunked(CoTrackerPredictor(model, 1), 2)(
        film(30, (40, 56)), QUERIES[:, 1:4] * torch.tensor([1, 0.3, 0.3])
    )
    assert max(most) == model.window
