"""docs/extend.md: its Python and its configs run, and what does not fit is refused at the door."""

import importlib
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from omegaconf import OmegaConf
from small_networks import tiny

from cotracker.benchmarks.run import evaluate
from cotracker.config.instantiate import build_benchmark, instantiate
from cotracker.data.stream import TrainingStream
from cotracker.data.video import write_video
from cotracker.training.config import ObjectiveConfig
from cotracker.training.objective import Objective
from cotracker.types import collate

PAGE = (Path(__file__).parents[1] / "docs/extend.md").read_text()
CODE = re.findall(r"^```python\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)
CONFIGS = re.findall(r"configs/(\w+)/mine.yaml:\n\n```yaml\n(.*?)```", PAGE, flags=re.DOTALL)
CONFIGS = {group: yaml.safe_load(text) for group, text in CONFIGS}


@pytest.fixture(scope="module")
def mine(tmp_path_factory):
    """The module of the page's Python."""
    folder = tmp_path_factory.mktemp("extend")
    (folder / "mine.py").write_text("\n\n".join(CODE))
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        yield importlib.import_module("mine")
        patch.delitem(importlib.sys.modules, "mine")


def benchmark(**changes):
    return build_benchmark(OmegaConf.create(CONFIGS["benchmark"] | changes))


def batch(source):
    return collate([TrainingStream(source, seed=1)[0]])


def test_the_tracker_and_the_benchmark_are_measured(mine):
    assert set(CONFIGS) == {"tracker", "benchmark", "data", "objective"} and len(CODE) == 5
    for speed, error in ((0.0, 3.0), (1.0, 0.0)):
        tracker = instantiate(CONFIGS["tracker"] | {"speed": speed}, "tracker")
        rows = evaluate(tracker, benchmark())
        assert [row["name"] for row in rows] == ["square0", "square1"]
        assert rows[0]["error"] == pytest.approx(error)


def test_the_data_set_and_the_loss_train(mine):
    source = instantiate(CONFIGS["data"], "data")
    extra = CONFIGS["objective"]["extra"]
    model, clip = tiny(window=4), batch(source)
    with_term, without = Objective(ObjectiveConfig(extra=extra)), Objective(ObjectiveConfig())
    targets = with_term.sample_targets(clip, 4)
    (loss, scalars), (plain, _) = with_term(model, targets), without(model, targets)
    assert loss.item() == pytest.approx((plain + 0.1 * scalars["smoothness"]).item(), rel=1e-5)
    assert scalars["smoothness"] > 0
    loss.backward()
    assert any(p.grad is not None and p.grad.any() for p in model.parameters())


def test_the_reader_of_files_trains(mine, tmp_path):
    tracks = torch.arange(12.0)[:, None, None].expand(12, 2, 2) + torch.tensor([[3.0, 4], [20, 9]])
    write_video(tmp_path / "a.mp4", np.zeros((12, 48, 64, 3), np.uint8), 10, (48, 64))
    rows = [
        f"{n},{t},{x},{y},{int(t > 1)}" for t in range(12) for n, (x, y) in enumerate(tracks[t])
    ]
    (tmp_path / "a.csv").write_text("\n".join(["point,frame,x,y,visible", *rows]))
    reader = mine.Folder(tmp_path)
    clip = TrainingStream(reader, seed=1)[0]
    start = int(clip.tracks[0, 0, 0]) - 3
    assert clip.video.shape == (8, 3, 48, 64) and clip.name == "a"
    torch.testing.assert_close(clip.tracks, tracks[start : start + 8])
    assert clip.valid.all() and clip.visible.sum() == 2 * (8 - max(0, 2 - start))
    with pytest.raises(ValueError, match="Folder has no clips: its length is 0"):
        TrainingStream(mine.Folder(tmp_path / "absent"))


class NoTracks:
    """Answers of trackers that do not fit, by the message they are refused with."""

    ANSWERS = [
        ("must give cotracker.tracks.Tracks, not tuple", lambda t: (t.xy, t.visible)),
        ("must give xy of shape .1, 6, 2, 2., B T N", lambda t: replace(t, xy=t.xy[0])),
        ("must give visibility of shape", lambda t: replace(t, visibility=t.visibility[:, 1:])),
        ("must give visible as bool", lambda t: replace(t, visible=t.visibility)),
    ]


@pytest.mark.parametrize("message, spoil", NoTracks.ANSWERS)
def test_a_wrong_answer_of_a_tracker_is_refused(mine, message, spoil):
    class Wrong(mine.Mine):
        def forward(self, video, queries):
            return spoil(super().forward(video, queries))

    with pytest.raises(ValueError, match=f"Wrong {message}"):
        evaluate(Wrong(), benchmark())
    with pytest.raises(ValueError, match=f"Wrong {message}"):
        Wrong()(mine.Squares()[0].video, [[0, 10, 10], [0, 12, 10]])


def test_a_wrong_benchmark_is_refused(mine, monkeypatch):
    def refused(message, **changes):
        with pytest.raises(ValueError, match=message):
            evaluate(mine.Mine(), benchmark(**changes))

    refused("benchmark.metric=mine.absent names no function", metric="mine.absent")
    refused("the protocol system cannot be called as benchmark.protocol is", protocol="os.system")
    refused("the metric len cannot be called as benchmark.metric is", metric="builtins.len")
    refused("benchmark.protocol=first names no function", protocol="first")
    refused(
        "MovingSquares is no reader of a benchmark: it has no length",
        clips={"_target_": "mine.MovingSquares"},
    )
    monkeypatch.setattr(mine, "mean_error", lambda *_: 3.0)
    refused("the metric <lambda> must give numbers by name, a dict, not 3.0")
    monkeypatch.undo()
    monkeypatch.setattr(mine, "first", lambda clip: clip, raising=False)
    refused("the protocol <lambda> must give EvalTargets, not Clip", protocol="mine.first")
    monkeypatch.delattr(mine.Squares, "names", raising=False)
    monkeypatch.setattr(mine.Squares, "__init__", lambda self: None)
    monkeypatch.setattr(mine.Squares, "__len__", lambda self: 1)
    refused("Squares is no reader of a benchmark: it lacks names")


def test_a_wrong_clip_is_refused_in_a_benchmark_and_in_training(mine):
    good = mine.Squares()[0]
    for message, clip in [
        ("must give a cotracker.types.Clip, not tuple", (good.video, good.tracks)),
        ("must give a video T 3 H W", replace(good, video=good.video[:, 0])),
        ("must give tracks T N 2 float32 .* not .5, 2, 2.", replace(good, tracks=good.tracks[1:])),
        ("must give visible T N bool", replace(good, visible=good.visible.float())),
    ]:
        source = mine.MovingSquares()
        source.squares = [clip]
        with pytest.raises(ValueError, match=f"MovingSquares {message}"):
            batch(source)
    with pytest.raises(ValueError, match="Mine gives no clips to train on: it needs clip.rng."):
        TrainingStream(mine.Mine())


@pytest.mark.parametrize(
    "extra, message",
    [
        (
            {"a": {"function": "mine.absent", "weight": 1}},
            "a.function=mine.absent names no function",
        ),
        ({"a": {"function": "mine.smoothness"}}, "a must have function and weight, not function"),
        ({"a": {"function": "mine.smoothness", "weight": -1}}, "a.weight must be a number"),
        ({"a": {"function": "mine.CODE", "weight": 1}}, "names no function"),
        ({"a": 3}, "objective.extra.a must be a section of names and values, not 3"),
        ("mine.smoothness", "objective.extra must be a section of names and values"),
    ],
)
def test_a_wrong_loss_is_refused_before_the_run(mine, extra, message):
    with pytest.raises(ValueError, match=message):
        ObjectiveConfig(extra=extra)


def test_a_loss_that_gives_no_number_is_refused(mine, monkeypatch):
    monkeypatch.setattr(mine, "smoothness", lambda estimate, clip: estimate.logits)
    objective = Objective(ObjectiveConfig(extra=CONFIGS["objective"]["extra"]))
    targets = objective.sample_targets(batch(mine.MovingSquares()), 4)
    with pytest.raises(ValueError, match="the loss smoothness must give one number"):
        objective(tiny(window=4), targets)
