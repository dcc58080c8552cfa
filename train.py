"""Trains a tracker: `python train.py experiment=NAME key=value …`. Whatever stopped it, the same words continue it.

One process, or many: `torchrun --nproc-per-node 8 train.py …`. docs/training.md says more.
"""

import json
import os
import platform
import sys
import time
from contextlib import nullcontext
from pathlib import Path

os.environ.setdefault(
    "GOMP_SPINCOUNT", "3000"
)  # before PyTorch is loaded: docs/speed.md, beside other work

import hydra
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException
from torch import nn
from torch.distributed.elastic.multiprocessing.errors import record

from cotracker import __version__, checkpoint, files, provenance
from cotracker.config.instantiate import build, build_benchmark
from cotracker.config.overrides import refuse_misspelt
from cotracker.data.loader import make_loader
from cotracker.data.stream import Mixture, TrainingStream
from cotracker.model.runtime import compile_transformer
from cotracker.profiling.machine import peak_memory
from cotracker.trackers.tracker import resolve_device
from cotracker.training.cuda_graph import GraphedStep
from cotracker.training.distributed import Group, export_slurm, join, local_rank
from cotracker.training.log import Log
from cotracker.training.optim import Optimiser
from cotracker.training.precision import dtype_of, let_tf32
from cotracker.training.settings import check
from cotracker.training.state import Progress, card_of, resume, save
from cotracker.training.stopping import Stop
from cotracker.training.validation import check_evaluation, render_pictures, validate
from cotracker.types import Clip


@hydra.main(config_path="configs", config_name="train", version_base="1.3")
@record
def main(cfg: DictConfig) -> None:
    try:
        asked = run(cfg)
        if asked and HydraConfig.get().mode == RunMode.MULTIRUN:
            sys.exit(128 + asked)  # the sweep's later runs are not wanted either
    except MissingMandatoryValue as error:
        key = error.full_key.replace("[", ".").replace("]", "")
        print(f"train.py: {key} is missing: say {key}=…", file=sys.stderr)
        sys.exit(2)
    except (ValueError, OSError, OmegaConfBaseException) as error:
        if int(os.environ.get("WORLD_SIZE", 1)) > 1:
            raise  # torchrun says which rank was the first to fail, and why
        print(f"train.py: {error}", file=sys.stderr)
        sys.exit(2)


def run(cfg: DictConfig) -> int | None:
    """Builds what the config names, continues what is in cfg.out, trains to cfg.train.steps, writes the checkpoint.

    Returns the signal that asked this process to end, if one did.
    """
    t, settings = cfg.train, OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    check(settings)
    export_slurm()
    group = join(resolve_device(_own_device(t.device)), t.timeout_minutes)
    if t.threads:
        torch.set_num_threads(t.threads)
    let_tf32(t.tf32)
    torch.manual_seed(cfg.seed)
    source = build(cfg, "data")
    parts = build_parts(cfg, group)
    progress = resume(Path(cfg.out), settings, parts, group)
    if progress.step >= t.steps:
        group.tell(f"{cfg.out} has its {t.steps} steps: {cfg.out}/model.safetensors is the model")
        return group.leave()
    if used_up(settings["train"], progress):
        group.tell(
            f"{cfg.out} has had its {t.budget_minutes} minutes: {cfg.out}/model.safetensors is the model"
        )
        return group.leave()
    stream = build_stream(cfg, source, progress, group)
    stream[progress.examples]  # what is wrong with the data is said before anything is written
    if t.dry_run:
        Run(cfg, settings, group, stream, parts, progress).rehearse()
        return group.leave()
    whole = Run(cfg, settings, group, stream, parts, progress)
    if group.first:
        prepare_folder(Path(cfg.out), cfg)
    stop = whole.train()
    del whole
    group.leave()
    return stop.hand_on()


def _own_device(name: str) -> str:
    """`auto` and `cuda` are this process's own GPU; where Slurm shows each process one alone, that is its first."""
    own = name in ("auto", "cuda") and torch.cuda.is_available()
    return f"cuda:{local_rank() % torch.cuda.device_count()}" if own else name


def build_parts(cfg: DictConfig, group: Group) -> dict:
    """The model, the objective and the optimiser, on the group's device."""
    t = cfg.train
    model = build(cfg, "model").to(group.device)
    objective = build(cfg, "objective").to(group.device)
    if objective.points == 0:  # the encoder alone is trained: what takes no part takes no gradient
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(parameter.requires_grad and name.startswith("encoder."))
    if t.only is not None:
        train_only(model, list(t.only))
    if t.compile:
        compile_transformer(model)
    if t.cuda_graphs and (group.device.type != "cuda" or group.world > 1):
        raise ValueError("train.cuda_graphs=true is for one process on a GPU: leave it out elsewhere")
    scaled = t.precision == "float16"
    modules = [model, objective]
    optimiser = Optimiser(
        modules, t.steps, t.extra_steps, t.lr, t.weight_decay, t.warmup, t.clip, t.ema, scaled
    )
    return {"model": model, "objective": objective, "optimiser": optimiser}


def train_only(model: nn.Module, parts: list[str]) -> None:
    """Leaves a gradient to the parameters of these parts alone; ValueError for a part that has none to train."""
    for part in parts:
        if not any(p.requires_grad and _is_of(name, part) for name, p in model.named_parameters()):
            raise ValueError(
                f"train.only={part} is no part of the model: its parts are {', '.join(part_names(model))}"
            )
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(
            parameter.requires_grad and any(_is_of(name, part) for part in parts)
        )


def _is_of(parameter: str, part: str) -> bool:
    return f"{parameter}.".startswith(f"{part}.")


def part_names(model: nn.Module) -> list[str]:
    return list(
        dict.fromkeys(name.split(".")[0] for name, p in model.named_parameters() if p.requires_grad)
    )


def build_stream(cfg: DictConfig, source, progress: Progress, group: Group) -> TrainingStream:
    """The stream of examples; a mixture's blocks are a step's examples, and stay what they were in a continued run."""
    t, augment = cfg.train, build(cfg, "augment")
    if t.draw_on_device:
        if augment is not None:
            raise ValueError(
                "train.draw_on_device=true leaves nothing to augment before the device: say augment=none"
            )
        mixture = source if isinstance(source, Mixture) else Mixture([source], [1.0])
        source = mixture.with_deferred_rendering()
    at_once = t.batch * group.world
    progress.block = progress.block or at_once * t.accumulate
    if isinstance(source, Mixture) and len(source.sources) > 1:
        if progress.block % at_once or progress.examples % at_once:
            raise ValueError(
                f"{cfg.out} draws its mixture in blocks of {progress.block} examples: train.batch x processes must "
                f"divide that and the {progress.examples} examples seen, and {t.batch} x {group.world} does not"
            )
        source = source.in_blocks(progress.block)
    return TrainingStream(source, cfg.seed, augment)


class Trainee(nn.Module):
    """The model and its objective as one module, so that DistributedDataParallel sees one forward: clip -> loss."""

    def __init__(self, model: nn.Module, objective: nn.Module, dtype: torch.dtype):
        super().__init__()
        self.model, self.objective, self.dtype = model, objective, dtype

    def forward(self, clip: Clip) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        with torch.autocast(
            clip.video.device.type, self.dtype, enabled=self.dtype != torch.float32
        ):
            return self.objective(self.model, clip)


class Run:
    """One run in one process: its parts, its stream, how far it is."""

    def __init__(
        self,
        cfg: DictConfig,
        settings: dict,
        group: Group,
        stream: TrainingStream,
        parts: dict,
        progress: Progress,
    ):
        self.out, self.settings, self.group, self.parts, self.progress = (
            Path(cfg.out),
            settings,
            group,
            parts,
            progress,
        )
        self.t = t = settings["train"]
        self.model, self.optimiser = parts["model"], parts["optimiser"]
        dtype = dtype_of(t["precision"], group.device)
        trainee = Trainee(self.model, parts["objective"], dtype).train()
        self.trainee = group.wrapped(trainee, static=t["accumulate"] == 1)
        self.graphed_step = None
        if t["cuda_graphs"]:
            parts = self.model, parts["objective"], self.optimiser.parameters
            self.graphed_step = GraphedStep(*parts, dtype)
        pinned = group.device.type == "cuda"
        self.clips = make_loader(
            stream,
            t["batch"],
            t["workers"],
            start=progress.examples,
            rank=group.rank,
            world=group.world,
            pinned=pinned,
        )
        at = "evaluation.benchmarks"
        named = cfg.evaluation.benchmarks.items() if t["evaluate_every"] else ()
        self.benchmarks = {name: build_benchmark(node, f"{at}.{name}") for name, node in named}
        if self.benchmarks:
            check_evaluation(settings["evaluation"], self.benchmarks, self.model)
        self.examples_a_step = t["batch"] * t["accumulate"] * group.world

    def train(self) -> Stop:
        """The loop: a step, what it notes, and every so often a checkpoint, a measurement, a picture."""
        t, progress, group = self.t, self.progress, self.group
        self.log = Log(self.out, progress.step, t["steps"], t["log_every"]) if group.first else None
        stop, asked = (
            Stop(t["budget_minutes"], progress.seconds if t["lr_by_budget"] else 0.0),
            False,
        )
        began = time.monotonic() - progress.seconds
        batches = iter(self.clips)
        dealt = f"{t['batch']} x {t['accumulate']} x {group.world}"
        group.tell(
            f"a step sees {self.examples_a_step} clips: batch x accumulate x processes = {dealt}"
        )
        while progress.step < t["steps"] and not asked:
            numbers, asked, clip = self.step(batches, stop)
            progress.seconds = time.monotonic() - began
            if self.log:
                self.log.step(progress.step, numbers)
            last = progress.step == t["steps"]
            if t["evaluate_every"] and (last or progress.step % t["evaluate_every"] == 0):
                self.save()  # whatever the measurement meets
                self.evaluate()
                self.save()  # with what is best now
            elif last or asked or progress.step % t["save_every"] == 0:
                self.save()
            if self.log and t["pictures_every"] and progress.step % t["pictures_every"] == 0:
                for name, picture in render_pictures(self.model, clip).items():
                    self.log.picture(progress.step, name, picture)
        if used_up(t, progress):
            group.tell(f"the {t['budget_minutes']} minutes are over after {progress.step} steps")
        elif progress.step < t["steps"]:
            group.tell(
                f"stopped at step {progress.step} of {t['steps']}: the same command continues it"
            )
        if self.log:
            self.log.close()
        group.tell(f"{self.out}/model.safetensors holds the model of step {progress.step}")
        return stop

    def step(self, batches, stop: Stop) -> tuple[dict[str, float], bool, Clip]:
        """One step on every rank: the scalars' means over ranks, whether any was asked to stop, the last clip."""
        t, progress, group = self.t, self.progress, self.group
        began, waited, seeds = time.monotonic(), 0.0, []
        rate, parts, bad = self.optimiser.rate, [], []
        for turn in range(t["accumulate"]):
            waiting = time.monotonic()
            clip = next(batches)
            waited += time.monotonic() - waiting
            seeds += clip.seed
            bad += [list(z) for z in zip(clip.seed, clip.replaced, clip.reason) if z[1]]
            clip = clip.to(group.device, non_blocking=True)
            more = turn + 1 < t["accumulate"] and group.world > 1
            if self.graphed_step:
                scalars = self.graphed_step(clip)[1]
            else:
                with self.trainee.no_sync() if more else nullcontext():
                    loss, scalars = self.trainee(clip)
                    self.optimiser.backward(loss / t["accumulate"])
            parts.append(scalars)
        norm = self.optimiser.norm()
        means = {
            name: torch.stack([part[name] for part in parts]).mean() / group.world
            for name in parts[0]
        }
        counts = [
            norm.isfinite() & means["loss"].isfinite(),
            float(bool(stop)),
            sum(count for _, count, _ in bad),
        ]
        spent = stop.spent if t["lr_by_budget"] else 0.0
        means |= {"gradient": norm / group.world}
        shares = [spent / group.world, waited / group.world]
        finite, asked, replaced, spent, waited, *values = group.sums(
            [*counts, *shares, *means.values()]
        )
        finite = finite == group.world
        self.optimiser.step(finite, spent)
        progress.step, progress.examples = (
            progress.step + 1,
            progress.examples + self.examples_a_step,
        )
        self._count(finite, seeds, int(replaced), bad)
        seconds = time.monotonic() - began
        rates = {"lr": rate, "data_wait": waited, "seconds": seconds}
        rates["clips_per_second"] = self.examples_a_step / seconds
        rates["frames_per_second"] = rates["clips_per_second"] * clip.video.shape[1]
        rates["peak_memory"] = peak_memory(group.device) / 1e9
        totals = {"replaced": progress.replaced, "not_finite": progress.not_finite}
        return dict(zip(means, values)) | rates | totals, asked > 0, clip

    def _count(self, finite: bool, seeds: list, replaced: int, bad: list) -> None:
        """Counts, on every rank alike, a step not taken and clips replaced; ValueError after too many of the first."""
        progress, group = self.progress, self.group
        speaks = group.first and not self.t["dry_run"]
        if replaced:
            progress.replaced += replaced
            bad = [clip for part in group.gathered(bad) for clip in part]
            if speaks:
                self.log.replaced(progress.step, bad)
        progress.skipped = 0 if finite else progress.skipped + 1
        if progress.skipped:
            progress.not_finite += 1
            seeds = [list(seed) for part in group.gathered(seeds) for seed in part]
            if speaks:
                self.log.not_finite(progress.step, seeds)
        if progress.skipped >= self.t["most_skipped"]:
            raise ValueError(
                f"{progress.skipped} steps in a row were not finite: lower train.lr, or see examples {seeds}"
            )

    def save(self) -> None:
        """Writes what continues the run and what is used of it, on rank 0."""
        card = self.card() if self.group.first else {}
        save(self.out, self.settings, self.parts, self.progress, card, self.group)

    def card(self) -> dict:
        return card_of(self.settings, self.progress) | {"version": __version__}

    def evaluate(self) -> None:
        """Measures the model on every benchmark, over all ranks, and keeps it where it is the best so far."""
        progress, evaluation = self.progress, self.settings["evaluation"]
        for name, benchmark in self.benchmarks.items():
            values = validate(self.optimiser.best_model, benchmark, evaluation, self.group)
            if not self.log:
                continue
            self.log.measured(progress.step, name, values)
            benchmark_of, _, metric = str(evaluation["best"]).partition("/")
            if benchmark_of == name and metric not in values:
                print(
                    f"evaluation.best: {name} measures no {metric}, only {', '.join(values)}; no best is kept"
                )
            same = progress.best.get("name") == evaluation["best"]
            best = progress.best["value"] if same else float("-inf")
            for key, value in values.items():
                if f"{name}/{key}" == evaluation["best"] and value > best:
                    progress.best = {
                        "name": evaluation["best"],
                        "value": value,
                        "step": progress.step,
                    }
                    card = self.card() | {"best": progress.best}
                    checkpoint.save(self.out / "best.safetensors", self.optimiser.best_model, card)

    def rehearse(self, steps: int = 3) -> None:
        """Takes a few steps, writes nothing, and says what the whole run will take."""
        t, group = self.t, self.group
        batches, stop = iter(self.clips), Stop(None)
        self.step(batches, stop)
        taken = [self.step(batches, stop)[0] for _ in range(steps)]
        seconds = sorted(numbers["seconds"] for numbers in taken)[steps // 2]
        memory = max(group.gathered(peak_memory(group.device) / 1e9))
        parameters = [p.numel() for p in self.model.parameters()]
        trained = [p.numel() for p in self.model.parameters() if p.requires_grad]
        left = max(t["steps"] - self.progress.step + steps + 1, 0)
        if t["lr_by_budget"]:
            left = min(left, int((60 * t["budget_minutes"] - self.progress.seconds) / seconds))
        waited = taken[-1]["data_wait"]
        group.tell(f"{sum(parameters)} parameters, of which {sum(trained)} are trained")
        group.tell(
            f"{self.examples_a_step} clips a step; processes: {group.world}, on {group.device.type}"
        )
        group.tell(
            f"{memory:.2f} GB at most in a process, {seconds:.2f} s a step, {waited:.2f} of them waiting for data",
        )
        group.tell(
            f"{left * seconds / 3600:.2f} hours for the {left} steps to come; nothing was written"
        )
        stop.hand_on()


def used_up(t: dict, progress: Progress) -> bool:
    """Whether a run whose rate follows its minutes has had them, over all the processes that it was continued in."""
    return t["lr_by_budget"] and progress.seconds >= 60 * t["budget_minutes"]


def prepare_folder(out: Path, cfg: DictConfig) -> None:
    """Makes out/, rid of what a killed run left half written, with config.yaml and environment.json: what ran where."""
    out.mkdir(parents=True, exist_ok=True)
    for leftover in out.glob(f"*{files.PARTIAL}"):
        leftover.unlink()
    files.write_bytes(out / "config.yaml", OmegaConf.to_yaml(cfg, resolve=True).encode())
    device = (
        torch.cuda.get_device_name()
        if torch.cuda.is_available()
        else platform.processor() or platform.machine()
    )
    place = {
        "commit": provenance.commit(),
        "device": device,
        "threads": torch.get_num_threads(),
    } | provenance.versions()
    place["processes"] = int(os.environ.get("WORLD_SIZE", 1))
    files.write_bytes(out / "environment.json", json.dumps(place, indent=1).encode())


if __name__ == "__main__":
    refuse_misspelt(Path(__file__).parent / "configs", "train", sys.argv[1:])
    main()
