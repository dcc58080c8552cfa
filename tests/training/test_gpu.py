"""A GPU computes what a CPU does: `pytest tests/training/test_gpu.py -n 0` where there is one."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir

from cotracker import checkpoint
from cotracker.data.loader import make_loader
from cotracker.data.stream import TrainingStream
from cotracker.data.synthetic.sprites import Sprites
from cotracker.data.synthetic.sprites.render_torch import render_batch
from cotracker.model.cotracker import CoTracker
from cotracker.model.cuda_graphs import mapped
from cotracker.trackers.build import lower_precision
from cotracker.trackers.cotracker import CoTrackerPredictor
from cotracker.training.config import ObjectiveConfig
from cotracker.training.cuda_graph import GraphedStep
from cotracker.training.objective import Objective
from cotracker.training.precision import allow_tf32
from cotracker.training.targets import TargetSampler
from train import run

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")
CPU, GPU = torch.device("cpu"), torch.device("cuda")
ROOT = Path(__file__).parents[2]
FILM = Sprites(frames=24, height=96, width=128, points=64)


@pytest.fixture(autouse=True)
def exact():
    """float32 products of 24 bits, as on a CPU; and what PyTorch chose before, after."""
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    allow_tf32(False)
    yield
    torch.set_float32_matmul_precision(before[0])
    torch.backends.cudnn.allow_tf32 = before[1]


def shipped() -> CoTracker:
    return checkpoint.load_model(checkpoint.find("cotracker_small")).eval()


def example() -> tuple[torch.Tensor, torch.Tensor]:
    """A drawn video 1 24 3 96 128, and queries where its points are first visible."""
    clip = FILM.clip(np.random.default_rng(5))
    first = clip.visible.int().argmax(0)
    where = clip.tracks[first, torch.arange(len(first))]
    return clip.video[None], torch.cat([first[:, None].float(), where], dim=-1)[None]


def tracker_of(
    model: CoTracker, device: torch.device, cuda_graphs: bool = False
) -> CoTrackerPredictor:
    return CoTrackerPredictor(model.to(device), 6, cuda_graphs=cuda_graphs)


def tracked(tracker: CoTrackerPredictor) -> tuple[torch.Tensor, torch.Tensor]:
    device = tracker.model.frequencies.device
    answer = tracker(*(value.to(device) for value in example()))
    return answer.xy.cpu(), answer.visibility.cpu()


@pytest.mark.parametrize("cuda_graphs", [False, True])
def test_float32_tracks_are_those_of_a_cpu(cuda_graphs):
    expected = tracked(tracker_of(shipped(), CPU))
    tracker = tracker_of(shipped(), GPU, cuda_graphs)
    for _ in range(2):
        xy, visibility = tracked(tracker)
        error = (xy - expected[0]).norm(dim=-1)
        assert error.quantile(0.99) < 0.01 and error.max() < 0.2
        assert (visibility - expected[1]).abs().quantile(0.99) < 0.01


def test_bfloat16_tracks_are_near():
    expected = tracked(tracker_of(shipped(), CPU))[0]
    tracker = tracker_of(lower_precision(shipped(), "bfloat16"), GPU)
    error = (tracked(tracker)[0] - expected).norm(dim=-1)
    assert error.median() < 0.1 and error.quantile(0.9) < 1


def terms(late_window_prob: float) -> ObjectiveConfig:
    return ObjectiveConfig(
        points=32,
        log_loss_weight=4.0,
        late_window_prob=late_window_prob,
        drift_prob=0.3,
        matching_weight=2.0,
    )


def to(targets, device):
    return mapped(targets, lambda tensor: tensor.to(device))


@pytest.mark.parametrize("late_window_prob", [0.0, 1.0])
def test_a_training_step_has_the_gradients_of_a_cpu(late_window_prob):
    clip = next(iter(make_loader(TrainingStream(FILM, 3), 2)))
    found = []
    for device in (CPU, GPU):
        model = shipped().train().to(device)
        objective = Objective(terms(late_window_prob)).to(device)
        loss, _ = objective(model, to(objective.sample_targets(clip, model.window), device))
        loss.backward()
        found.append((loss.item(), torch.cat([p.grad.flatten().cpu() for p in model.parameters()])))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-3)
    assert (found[0][1] - found[1][1]).norm() < 0.02 * found[0][1].norm()


def test_bfloat16_tracks_as_cuda_graphs_are_those_that_are_not():
    plain, graphed = (
        tracker_of(lower_precision(shipped(), "bfloat16"), GPU, cuda_graphs)
        for cuda_graphs in (False, True)
    )
    expected = tracked(plain)[0]
    for _ in range(2):
        error = (tracked(graphed)[0] - expected).norm(dim=-1)
        assert error.median() < 0.01 and error.quantile(0.9) < 0.1


@pytest.mark.parametrize("late_window_prob, sizes", [(0.0, 1), (1.0, 1), (1.0, 2)])
def test_a_graphed_step_has_the_gradients_of_a_plain_one(late_window_prob, sizes):
    """Two sizes in turn: steps of several shapes share their memory."""
    films = [FILM, replace(FILM, height=128, width=96)][:sizes]
    model = shipped().train().to(GPU)
    objective = Objective(terms(late_window_prob)).to(GPU)
    sampler = TargetSampler(objective.config, model.window, pad_points=True)
    loaders = [iter(make_loader(TrainingStream(film, 3, prepare=sampler), 2)) for film in films]
    batches = [next(loaders[k % sizes]) for k in range(3 * sizes)]
    parameters = [*model.parameters(), *objective.parameters()]
    step, losses = GraphedStep(model, objective, parameters, torch.float32), []
    for batch in batches:
        targets = batch.targets_on(GPU)
        loss, scalars = step(targets)
        found = [
            loss.item(),
            scalars["matching"].item(),
            torch.cat([p.grad.flatten() for p in parameters]),
        ]
        for parameter in parameters:
            parameter.grad = None
        loss, scalars = objective(model, targets)
        loss.backward()
        expected = torch.cat([p.grad.flatten() for p in parameters])
        assert found[:2] == pytest.approx([loss.item(), scalars["matching"].item()], rel=1e-4)
        assert (found[2] - expected).norm() < 0.01 * expected.norm()
        losses.append(loss.item())
    assert len(set(losses)) == 3 * sizes and len(step._graphs) == sizes


def test_scenes_are_rendered_as_on_a_cpu():
    scenes = [FILM.scene(np.random.default_rng((2, k))) for k in range(3)]
    here, there = (render_batch(scenes, device).cpu().int() for device in (CPU, GPU))
    difference = (here - there).abs()
    assert difference.float().mean() < 0.2 and difference.float().quantile(0.999) <= 4


@pytest.mark.parametrize(
    "precision, cuda_graphs, render",
    [
        ("float32", "false", "false"),
        ("float32", "false", "true"),
        ("bfloat16", "true", "false"),
        ("bfloat16", "true", "true"),
        ("float16", "false", "false"),
    ],
)
def test_a_run_is_resumed_and_its_batches_are_pinned(precision, cuda_graphs, render, tmp_path):
    words = [
        "experiment=smoke",
        "train.device=auto",
        f"train.precision={precision}",
        f"train.cuda_graphs={cuda_graphs}",
        f"train.render_on_device={render}",
        f"out={tmp_path}/run",
    ]
    for steps in (4, 8):
        with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
            config = compose(
                "train",
                overrides=[
                    *words,
                    "train.steps=8",
                    "train.save_every=4",
                    "train.workers=2",
                    *(["train.budget_minutes=0"] if steps == 4 else []),
                ],
            )
        run(config)
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, 9))
    assert all(np.isfinite(line["loss"]) for line in lines[2:]) and lines[-1]["peak_memory"] < 8
    prepare = TargetSampler(terms(0.0), window=8)
    batch = next(iter(make_loader(TrainingStream(FILM, prepare=prepare), 2, 1, pinned=True)))
    targets = batch.targets
    assert targets.video.is_pinned() and targets.queries[0].is_pinned()
    assert batch.seed == [(0, 0), (0, 1)]
