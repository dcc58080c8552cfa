"""Trains a tracker: `python train.py experiment=NAME key=value …` (docs/training.md).

Run the same command again to resume from OUT/last.pt. Many GPUs: torchrun train.py …
"""

# ruff: noqa: E402 - words are read before PyTorch is imported
import os
import sys
from pathlib import Path

os.environ.setdefault("GOMP_SPINCOUNT", "3000")  # before PyTorch is loaded: docs/speed.md
if __name__ == "__main__":
    from cotracker.config.entry import begin

    begin(Path(__file__).parent / "configs", "train")

import time
from contextlib import nullcontext
from dataclasses import dataclass, field, replace

import hydra
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from torch.distributed.elastic.multiprocessing.errors import record

from cotracker.config.entry import end_in_a_sentence
from cotracker.config.instantiate import build_benchmarks, instantiate
from cotracker.config.stream import build_stream, find_teachers
from cotracker.data.loader import check_shared_memory, collate_examples, make_loader
from cotracker.data.stream import TrainingStream
from cotracker.profiling.machine import peak_memory
from cotracker.trackers.tracker import resolve_device
from cotracker.training import state, validation
from cotracker.training.config import TrainConfig, check_settings
from cotracker.training.distributed import Group, export_slurm, join_group, own_device
from cotracker.training.folder import hold_folder, prepare_folder
from cotracker.training.log import Log, print_estimate
from cotracker.training.parts import Gradients, Parts, build_parts
from cotracker.training.precision import allow_tf32
from cotracker.training.progress import Progress
from cotracker.training.stopping import Interrupted, Stop
from cotracker.training.targets import TargetSampler, TrainingBatch


@hydra.main(config_path="configs", config_name="train", version_base="1.3")
@record
def main(cfg: DictConfig) -> None:
    stopped = "interrupted; run the same command again to resume"
    with end_in_a_sentence("train.py", stopped, by_torchrun=True):
        signal = run(cfg)
        if signal and HydraConfig.get().mode == RunMode.MULTIRUN:
            sys.exit(128 + signal)  # ends the sweep


def run(cfg: DictConfig) -> int | None:
    """Trains what the config names to its last step, from where cfg.out is, and writes it there.

    Returns the signal that asked this process to end, if one did.
    """
    settings = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    train = check_settings(settings)
    export_slurm()
    group = join_group(resolve_device(own_device(train.device)), train.timeout_minutes)
    if train.threads:
        torch.set_num_threads(train.threads)
    allow_tf32(train.tf32)
    torch.manual_seed(cfg.seed)
    source = instantiate(cfg.data, "data")
    model, objective = instantiate(cfg.model, "model"), instantiate(cfg.objective, "objective")
    parts = build_parts(model, objective, train, group)
    out = Path(cfg.out)
    with nullcontext() if train.dry_run else hold_folder(out, group):
        progress = state.resume(out, settings, parts, group)
        progress.teachers |= find_teachers(settings["data"])
        if progress.step >= train.steps or train.is_over(progress.seconds):
            group.print_rank0(f"{out} is trained: {out}/model.safetensors is the model")
            return group.destroy()
        stop = run_held(cfg, settings, train, source, parts, progress, group)
    return stop.pass_on()


def run_held(
    cfg: DictConfig,
    settings: dict,
    train: TrainConfig,
    source,
    parts: Parts,
    progress: Progress,
    group: Group,
) -> Stop:
    """Trains the parts from where they are, while no other process writes into the run's folder."""
    objective, model = parts.objective, parts.model
    stream = build_stream(cfg, train, source, progress, group.world)
    stream.prepare = TargetSampler(objective.config, model.window, pad_points=train.cuda_graphs)
    first = stream[progress.examples]  # errors in the data come before anything is written
    check_shared_memory(stream.prepare(collate_examples([first])), train.batch, train.workers)
    whole = Run(settings, train, group, stream, parts, progress)
    if train.evaluate_every:
        whole.benchmarks = build_benchmarks(cfg.evaluation.benchmarks, "evaluation.benchmarks")
        validation.check_evaluation(settings["evaluation"], whole.benchmarks, model)
    with Stop(train.budget_minutes, progress.seconds if train.timed else 0.0) as stop:
        if train.dry_run:
            whole.rehearse(stop)
        else:
            prepare_folder(whole.out, OmegaConf.to_yaml(cfg, resolve=True), train.precision, group)
            if not progress.step:  # a killed run resumes, and a full disk is found before the work
                state.save_state(whole.out, settings, parts, progress, group)
            whole.train(stop)
            group.print_rank0(state.describe_end(settings, train, progress))
        del whole  # with what holds the group
        group.destroy()
    return stop


@dataclass
class Run:
    """One run in one process: its parts, its stream, its progress."""

    settings: dict
    config: TrainConfig
    group: Group
    stream: TrainingStream
    parts: Parts
    progress: Progress
    benchmarks: dict = field(default_factory=dict)
    log: Log | None = None  # on rank 0

    def __post_init__(self):
        config, group = self.config, self.group
        self.out = Path(self.settings["out"])
        self.gradients = Gradients(self.parts, config, group)
        place = {"start": self.progress.examples, "rank": group.rank, "world": group.world}
        place["pinned"] = group.device.type == "cuda"
        self.batches = iter(make_loader(self.stream, config.batch, config.workers, **place))
        self.examples_per_step = config.batch * config.accumulate * group.world

    def train(self, stop: Stop) -> None:
        """The loop: steps, and every so often a checkpoint, an evaluation, a picture."""
        config, progress, group = self.config, self.progress, self.group
        if group.is_main:
            self.log = Log(self.out, progress.step, config.steps, config.log_every)
        group.print_rank0(config.describe_batch(group.world))
        started = time.monotonic() - progress.seconds
        stopping = False
        while progress.step < config.steps and not stopping:
            try:
                scalars, stopping = self.step(stop)
            except Interrupted:
                self.save()
                break
            progress.seconds = time.monotonic() - started
            if self.log:
                self.log.step(progress.step, scalars)
            last = progress.step == config.steps
            if self.benchmarks and (last or progress.step % config.evaluate_every == 0):
                self.save()  # the evaluation may fail
                self.evaluate()
                self.save()  # with progress.best
            elif last or stopping or progress.step % config.save_every == 0:
                self.save()
            if self.log and config.pictures_every and progress.step % config.pictures_every == 0:
                self.draw()
        if self.log:
            self.log.close()

    def step(self, stop: Stop) -> tuple[dict[str, float], bool]:
        """One step on every rank: scalars averaged over ranks, and whether any rank is to stop."""
        group, optimiser = self.group, self.parts.optimiser
        started, waited, lr = time.monotonic(), 0.0, optimiser.lr
        batches, scalars = [], []
        for number in range(1, self.config.accumulate + 1):
            waiting = time.monotonic()
            with stop.interrupts(group.world == 1):  # other ranks would wait for this one
                batch = next(self.batches)
            waited += time.monotonic() - waiting
            targets = batch.targets_on(group.device)
            scalars.append(self.gradients.add(targets, last=number == self.config.accumulate))
            batches.append(replace(batch, targets=None))
        norm = optimiser.clip_gradients()
        means = {name: torch.stack([one[name] for one in scalars]).mean() for name in scalars[0]}
        reduced = group.all_reduce_sum(
            {name: value / group.world for name, value in means.items()}
            | {
                "gradient": norm / group.world,
                "data_wait": waited / group.world,
                "stopping": float(stop.is_due()),
                "elapsed": stop.elapsed / group.world if self.config.timed else 0.0,
                "replaced": sum(count for batch in batches for _, count, _ in batch.bad),
                "finite": norm.isfinite() & means["loss"].isfinite(),
            }
        )
        finite = reduced.pop("finite") == group.world
        stopping = reduced.pop("stopping") > 0
        optimiser.step(finite, reduced.pop("elapsed"))
        self.progress.count_step(self.examples_per_step, finite, int(reduced["replaced"]))
        self.report(batches, finite, reduced["replaced"] > 0)
        seconds = time.monotonic() - started
        clips_per_second = self.examples_per_step / seconds
        speed = {
            "lr": lr,
            "seconds": seconds,
            "clips_per_second": clips_per_second,
            "frames_per_second": clips_per_second * batches[-1].length,
            "peak_memory": peak_memory(group.device) / 1e9,
            "replaced": self.progress.replaced,
            "not_finite": self.progress.not_finite,
        }
        return reduced | speed, stopping

    def report(self, batches: list[TrainingBatch], finite: bool, replaced: bool) -> None:
        """Logs replaced clips and a skipped step of all ranks; ValueError after too many skips."""
        group, progress = self.group, self.progress
        if replaced:
            rows = group.all_gather_list([row for batch in batches for row in batch.bad])
            if self.log:
                self.log.replaced(progress.step, rows)
        if finite:
            return
        examples = group.all_gather_list([list(k) for batch in batches for k in batch.seed])
        if self.log:
            self.log.not_finite(progress.step, examples)
        if progress.skipped >= self.config.max_skipped_steps:
            raise ValueError(
                f"{progress.skipped} steps in a row were not finite: lower train.lr, or look at "
                f"examples {examples}"
            )

    def save(self) -> None:
        state.save(self.out, self.settings, self.parts, self.progress, self.group)

    def evaluate(self) -> None:
        """Evaluates the model on every benchmark, over all ranks, and keeps the best so far."""
        model, options = self.parts.optimiser.ema_model, self.settings["evaluation"]
        for name, benchmark in self.benchmarks.items():
            means = validation.validate(model, benchmark, options, self.group)
            if self.log:
                self.log.evaluation(self.progress.step, name, means)
                value = validation.best_value(options["best"], name, means)
                state.save_if_best(self.out, self.settings, model, self.progress, value)

    def draw(self) -> None:
        """Logs pictures of the first example of the step."""
        example = self.stream[self.progress.examples - self.examples_per_step]
        clip = collate_examples([example]).to(self.group.device)
        for name, picture in validation.render_pictures(self.parts.model, clip).items():
            self.log.picture(self.progress.step, name, picture)

    def rehearse(self, stop: Stop, steps: int = 3) -> None:
        """Takes a few steps, writes nothing, and prints what the whole run will take."""
        done, seconds = self.progress.step, self.progress.seconds
        self.step(stop)  # slower than the others
        taken = [self.step(stop)[0] for _ in range(steps)]
        left = self.config.steps_left(done, seconds, taken[-1]["seconds"])
        print_estimate(self.group, self.parts.model, taken, left)


if __name__ == "__main__":
    main()
