"""The settings of a training run: defaults, ranges, and what may change on resume.

Each field has its check; a value outside its range raises a ValueError that names the setting.
The defaults are the paper's; configs/train.yaml and configs/objective/paper.yaml show the same.
"""

import re
from dataclasses import dataclass, fields
from typing import Any, ClassVar

from cotracker import checks
from cotracker.training.extra import check_terms
from cotracker.training.settings import Settings, from_section, setting

MANY = 10**9
PRECISIONS = ("auto", "float32", "bfloat16", "float16")


def device(name: str, value: Any) -> str:
    """The value, the name of a device; whether it is there, PyTorch says."""
    known = r"auto|cpu|mps|(cuda|xpu)(:\d+)?"
    if not isinstance(value, str) or not re.fullmatch(known, value):
        raise ValueError(f"{name} must be auto, cpu, mps, cuda or one such as cuda:1, not {value}")
    return value


@dataclass(frozen=True)
class TrainConfig(Settings):
    """Settings `train.*`: the schedule, the machine, and how often a run saves and reports."""

    SECTION: ClassVar[str] = "train"

    steps: int = setting(50_000, checks.whole, 1, MANY)
    schedule_extra_steps: int = setting(100, checks.whole, 0, MANY)
    batch: int = setting(1, checks.whole, 1, 10**5, may_change=True)
    accumulate: int = setting(1, checks.whole, 1, 10**5, may_change=True)
    workers: int = setting(2, checks.whole, 0, 1000, may_change=True)
    render_on_device: bool = setting(False, checks.switch, may_change=True)
    device: str = setting("auto", device, may_change=True)
    threads: int | None = setting(None, checks.whole, 1, 1000, may_change=True)
    precision: str = setting("float32", checks.choice, PRECISIONS)
    tf32: bool = setting(False, checks.switch)
    cuda_graphs: bool = setting(False, checks.switch, may_change=True)
    compile: bool = setting(False, checks.switch)
    lr: float = setting(5e-4, checks.number, 0, 10)
    warmup: float = setting(0.05, checks.share)
    weight_decay: float = setting(1e-5, checks.number, 0, 10)
    clip: float = setting(10.0, checks.number, 1e-9, MANY)
    ema: float = setting(0.0, checks.number, 0, 0.999999)
    max_skipped_steps: int = setting(20, checks.whole, 1, MANY, may_change=True)
    log_every: int = setting(20, checks.whole, 1, MANY, may_change=True)
    save_every: int = setting(200, checks.whole, 1, MANY, may_change=True)
    evaluate_every: int = setting(0, checks.whole, 0, MANY, may_change=True)
    pictures_every: int = setting(0, checks.whole, 0, MANY, may_change=True)
    budget_minutes: float | None = setting(None, checks.number, 0, MANY, may_change=True)
    lr_schedule: str = setting("steps", checks.choice, ("steps", "time", "constant"))
    timeout_minutes: float = setting(30, checks.number, 0.01, 10**5, may_change=True)
    init_from: str | None = setting(None, checks.text)
    decay_from: str | None = setting(None, checks.text)
    trainable: tuple[str, ...] | None = setting(None, checks.names)
    dry_run: bool = setting(False, checks.switch, may_change=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.timed and not self.budget_minutes:
            raise ValueError("train.lr_schedule=time needs train.budget_minutes above 0")
        if self.decay_from and (self.init_from or self.lr_schedule == "time"):
            raise ValueError(
                "train.decay_from takes weights and schedule from another run: "
                "leave train.init_from=null and train.lr_schedule=steps"
            )
        plain = self.accumulate == 1 and self.precision != "float16" and not self.compile
        if self.cuda_graphs and not plain:
            raise ValueError(
                "train.cuda_graphs=true needs train.accumulate=1, train.compile=false and a "
                "train.precision other than float16"
            )

    @property
    def timed(self) -> bool:
        """Whether the schedule follows the time, and budget_minutes is that of the whole run."""
        return self.lr_schedule == "time"

    def describe_batch(self, processes: int) -> str:
        """How many clips a step sees, and why."""
        clips = self.batch * self.accumulate * processes
        factors = f"{self.batch} x {self.accumulate} x {processes}"
        return f"a step sees {clips} clips: batch x accumulate x processes = {factors}"

    def steps_left(self, step: int, seconds: float, seconds_per_step: float) -> int:
        """How many steps come after step `step`, which the run reached after so many seconds."""
        left = self.steps - step
        if self.timed:
            left = min(left, int((60 * self.budget_minutes - seconds) / seconds_per_step))
        return left

    def is_over(self, seconds: float) -> bool:
        """Whether a run on a schedule of time has used its budget, over all its processes."""
        return self.timed and seconds >= 60 * self.budget_minutes


@dataclass(frozen=True)
class ObjectiveConfig(Settings):
    """Settings `objective.*`: the loss of section 3.3, that of CoTracker3, and additions.

    gamma: discount of early iterations (eq. 2).
    unrolled: windows follow each other through a clip; False trains each by itself (table 5).
    late_queries: share of points whose query is at any frame where they are visible; the others'
        is at their first (appendix A).
    tracks_weight, visibility_weight, confidence_weight: of the terms; a network without confidence
        needs 0.
    huber_px: the loss of visible points is Huber's of this many pixels; None: their |error|.
    hidden_share: visible and hidden frames are averaged by themselves, and the hidden ones weigh
        this much, from 0 to 1; None: all are one mean, as in eq. 2.
    confidence_px: confidence is the probability of an error of at most so many pixels.
    log_loss_weight: adds this times log(1 + |error|) to the |error| of eq. 2, in pixels.
    late_window_prob: share of the batches that train one late window by itself, see late_window.py;
        of clips of at least 1.5 windows. It is drawn once a batch.
    init_noise_px: least and greatest error of that window's initial tracks; pixels at width 512.
    drift_prob: share of its points whose initial track has drifted to a point nearby.
    matching_weight: of the matching loss; 0 is none.  matching_frames: frames a clip that it takes.
    points: tracked points a clip at most, None for all. The matching loss takes all points in any
        case; with 0 it is alone, and trains the encoder.
    extra: losses of your own, name: {function: module.function, weight: number}; each function
        takes one window's Estimate and the Clip of the batch, and gives a number (docs/extend.md).
    """

    SECTION: ClassVar[str] = "objective"

    gamma: float = setting(0.8, checks.number, 0, MANY)
    unrolled: bool = setting(True, checks.switch)
    tracks_weight: float = setting(1.0, checks.number, 0, MANY)
    huber_px: float | None = setting(None, checks.number, 1e-9, MANY)
    hidden_share: float | None = setting(None, checks.share)
    visibility_weight: float = setting(10.0, checks.number, 0, MANY)
    confidence_weight: float = setting(0.0, checks.number, 0, MANY)
    confidence_px: float = setting(12.0, checks.number, 1e-9, MANY)
    late_queries: float = setting(0.25, checks.share)
    log_loss_weight: float = setting(0.0, checks.number, 0, MANY)
    late_window_prob: float = setting(0.0, checks.share)
    init_noise_px: tuple[float, float] = setting((0.2, 24.0), checks.pair, 1e-9, MANY)
    drift_prob: float = setting(0.0, checks.share)
    matching_weight: float = setting(0.0, checks.number, 0, MANY)
    matching_frames: int = setting(8, checks.whole, 1)
    points: int | None = setting(None, checks.whole, 0)
    extra: dict[str, dict] | None = setting(None, check_terms)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.points == 0 and not self.matching_weight:
            raise ValueError(
                "objective.points=0 trains by the matching loss alone: "
                "set objective.matching_weight above 0"
            )
        if self.late_window_prob == 1 and not self.unrolled:
            raise ValueError(
                "objective.late_window_prob=1 leaves no batch for objective.unrolled=false"
            )


@dataclass(frozen=True)
class CheckpointConfig(Settings):
    """Settings `checkpoint.*` of the state that a run resumes from."""

    SECTION: ClassVar[str] = "checkpoint"

    bfloat16_moments: bool = setting(False, checks.switch, may_change=True)


def check_settings(settings: dict) -> TrainConfig:
    """The settings under train; ValueError, one sentence, for a setting that no run can have."""
    checks.whole("seed", settings["seed"], 0, 2**63 - 1)
    if settings["out"] == "":
        raise ValueError("out is empty: pass out=DIR, the folder of the run")
    checks.text("out", settings["out"])
    train = from_section(TrainConfig, settings["train"])
    from_section(CheckpointConfig, settings["checkpoint"])
    for section in ("evaluation", "card"):
        if not isinstance(settings[section], dict):
            raise ValueError(f"{section} must be a section {section}.NAME=…, not null or a value")
    if train.cuda_graphs and settings["model"].get("recompute"):
        raise ValueError("train.cuda_graphs=true needs model.recompute=false")
    return train


MAY_CHANGE = {"out", "data.root", "data.weights", "evaluate_with", "model.recompute"} | {
    f"{kind.SECTION}.{one.name}"
    for kind in (TrainConfig, CheckpointConfig)
    for one in fields(kind)
    if one.metadata["may_change"]
}
MAY_CHANGE_SECTIONS = ("card.", "evaluation.")


def differences(before: dict, now: dict) -> str:
    """`key was … and is now …` for up to five settings that a resumed run may not change, or ""."""
    before, now = flat(before), flat(now)
    fixed = {"train.budget_minutes"} if now.get("train.lr_schedule") == "time" else set()
    free = MAY_CHANGE - fixed
    keys = sorted(key for key in before.keys() | now.keys() if key not in free)
    keys = [key for key in keys if not key.startswith(MAY_CHANGE_SECTIONS)]
    found = [key for key in keys if before.get(key) != now.get(key)]
    return ", ".join(f"{key} was {before.get(key)} and is now {now.get(key)}" for key in found[:5])


def flat(settings: dict, prefix: str = "") -> dict:
    """The settings with dotted keys: {"train.lr": 0.0005, …}."""
    result = {}
    for key, value in settings.items():
        nested = isinstance(value, dict)
        result |= flat(value, f"{prefix}{key}.") if nested else {prefix + key: value}
    return result
