"""A run's folder: the state from which it resumes, the checkpoint and its card."""

import json
import math
import os
import platform
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import nn

from cotracker import __version__, checkpoint, files, provenance
from cotracker.training.config import TrainConfig, differences
from cotracker.training.distributed import Group
from cotracker.training.parts import Parts

STATE_KEYS = {"model", "objective", "optimiser", "progress", "settings", "random"}
DECAY_KEYS = "steps schedule_extra_steps lr lr_schedule warmup decay_from init_from".split()
CARD_KEYS = "hash data licence steps examples training_hours commit mean_of init_from".split()


@dataclass
class Progress:
    """How far a run is; all of it is in its state."""

    step: int = 0
    examples: int = 0  # over all processes
    seconds: float = 0.0
    block: int = 0  # consecutive examples that come from one source of a mixture
    replaced: int = 0  # bad clips that were replaced
    not_finite: int = 0  # skipped steps
    skipped: int = 0  # the last steps that were skipped in a row
    best: dict = field(default_factory=dict)  # {name, value, step} of evaluation.best
    init_from: dict = field(default_factory=dict)  # of the card of train.init_from

    def count_step(self, examples: int, finite: bool, replaced: int) -> None:
        """Counts a step of so many examples, of which some replaced bad ones."""
        self.step += 1
        self.examples += examples
        self.replaced += replaced
        self.not_finite += not finite
        self.skipped = 0 if finite else self.skipped + 1

    def fix_block(self, batch: int, accumulate: int, mixed: bool) -> int:
        """The examples of one step, which stay the block of a mixture when a run resumes.

        batch: examples of all processes at a time, which must divide a mixture's block.
        """
        self.block = self.block or batch * accumulate
        if mixed and (self.block % batch or self.examples % batch):
            raise ValueError(
                f"this run samples its mixture in blocks of {self.block} examples: train.batch x "
                f"processes must divide that and the {self.examples} examples seen, and {batch} "
                "does not"
            )
        return self.block


def save(out: Path, settings: dict, parts: Parts, progress: Progress, group: Group) -> None:
    """Writes out/last.pt, from which a run resumes, and out/model.safetensors, its (EMA) model."""
    random = group.all_gather_object(torch.get_rng_state())
    if not group.is_main:
        return
    state = parts.state_dict(settings["checkpoint"]["bfloat16_moments"]) | {
        "progress": asdict(progress),
        "settings": json.dumps(settings),
        "random": random,
    }
    checkpoint.save_state(out / "last.pt", state)
    card = make_card(settings, progress)
    checkpoint.save(out / "model.safetensors", parts.optimiser.ema_model, card)


def save_if_best(
    out: Path, settings: dict, model: nn.Module, progress: Progress, value: float | None
) -> None:
    """Writes out/best.safetensors where the value of evaluation.best is the greatest so far.

    value: None or NaN is no value.
    """
    name = settings["evaluation"]["best"]
    before = progress.best if progress.best.get("name") == name else {}
    if value is not None and value > before.get("value", -math.inf):
        progress.best = {"name": name, "value": value, "step": progress.step}
        card = make_card(settings, progress) | {"best": progress.best}
        checkpoint.save(out / "best.safetensors", model, card)


def describe_end(settings: dict, config: TrainConfig, progress: Progress) -> str:
    """What a run prints at its end: why it ended, what it leaves, and what comes next."""
    lines = [f"{settings['out']}/model.safetensors is the model of step {progress.step}"]
    if config.is_over(progress.seconds):
        lines.insert(0, f"{config.budget_minutes} minutes are over at step {progress.step}")
    elif progress.step < config.steps:
        at = f"step {progress.step} of {config.steps}"
        lines.insert(0, f"stopped at {at}: run the same command again to resume")
    elif settings["evaluate_with"]:
        lines.append(f"evaluate it: python evaluate.py {settings['evaluate_with']}")
    return "\n".join(lines)


def make_card(settings: dict, progress: Progress) -> dict:
    """The card of a checkpoint: settings, duration, data, and what it starts from."""
    card = {
        "training": {key: value for key, value in settings.items() if key != "evaluation"},
        "steps": progress.step,
        "examples": progress.examples,
        "training_hours": round(progress.seconds / 3600, 3),
        "commit": provenance.commit(),
        "version": __version__,
        **settings["card"],
    }
    card["data"] = card["data"] or ", ".join(source_names(settings["data"]))
    objective = settings["objective"]
    if objective["confidence_weight"]:
        card["confidence_px"] = objective["confidence_px"]
    if progress.init_from:
        card["init_from"] = progress.init_from
    return card


def source_names(data: dict) -> list[str]:
    """The sources of the data, each once: the class of every node but mixtures, and its root."""
    if "sources" in data:
        found = [name for source in data["sources"] for name in source_names(source)]
        return list(dict.fromkeys(found))
    if "source" in data:
        return source_names(data["source"])
    name = data["_target_"].rpartition(".")[2]
    return [f"{name} of {data['root']}" if "root" in data else name]


def resume(out: Path, settings: dict, parts: Parts, group: Group) -> Progress:
    """How far the run in `out` is, its state loaded into the parts; a new run's where it has none.

    Rank 0 alone reads the state.
    """
    state = read_state(out, settings) if group.is_main else None
    state = group.broadcast_object(state)
    if state is None:
        return begin(settings, parts, group)
    parts.load_state_dict(state)
    if len(state["random"]) == group.world:
        torch.set_rng_state(state["random"][group.rank])
    progress = Progress(**state["progress"])
    group.print_rank0(f"resuming {out}/last.pt at step {progress.step}")
    return progress


def begin(settings: dict, parts: Parts, group: Group) -> Progress:
    """A new run's progress; its weights are new, a checkpoint's, or another run's and its state."""
    train = settings["train"]
    if train["decay_from"]:
        return begin_decay(Path(train["decay_from"]), settings, parts, group)
    return begin_from(train["init_from"], parts.model) if train["init_from"] else Progress()


def begin_decay(folder: Path, settings: dict, parts: Parts, group: Group) -> Progress:
    """A decay's progress: weights, moments and place in the stream are those of a run's last state.

    That run is left as it is, and can go on. ValueError where it has no state, or other settings.
    """
    own = {key: settings["train"][key] for key in DECAY_KEYS}
    state = read_state(folder, settings, own) if group.is_main else None
    state = group.broadcast_object(state)
    if state is None:
        raise ValueError(f"train.decay_from={folder} has no last.pt: pass the folder of a run")
    parts.load_state_dict(state, schedule=False)
    before = Progress(**state["progress"])
    card = checkpoint.read_card(folder / "model.safetensors")
    kept = {key: card[key] for key in CARD_KEYS if key in card}
    return Progress(examples=before.examples, block=before.block, init_from=kept)


def begin_from(init_from: str, model: nn.Module) -> Progress:
    """A new run's progress: from the weights of a checkpoint, whose card it keeps."""
    path = checkpoint.find(init_from)
    card = checkpoint.read_card(path)
    weights = checkpoint.load_model(path).state_dict()
    difference = checkpoint.keys_difference(model, weights)
    if difference:
        raise ValueError(
            f"train.init_from={init_from} does not fit the model of this config:\n{difference}"
        )
    model.load_state_dict(weights)
    return Progress(init_from={key: card[key] for key in CARD_KEYS if key in card})


def read_state(out: Path, settings: dict, own: dict | None = None) -> dict | None:
    """The state in out/last.pt, None where there is none; ValueError where it is another run's.

    own: settings of `train` in which that run may differ.
    """
    path = out / "last.pt"
    if not path.exists():
        return None
    state = checkpoint.load_state(path)
    if not isinstance(state, dict) or not STATE_KEYS <= state.keys():
        raise ValueError(
            f"{path} is not the state of a training run: pass another folder with out="
        )
    theirs = json.loads(state["settings"])
    theirs["train"] |= own or {}
    found = differences(theirs, settings)
    if found:
        raise ValueError(
            f"{out} holds a run with other settings ({found}): pass another folder with out="
        )
    return state


def prepare_folder(out: Path, config: str, group: Group) -> None:
    """Makes `out` with config.yaml and environment.json, on rank 0; removes partial files.

    config: the text of config.yaml.
    """
    if not group.is_main:
        return
    out.mkdir(parents=True, exist_ok=True)
    for leftover in out.glob(f"*{files.PARTIAL}"):
        leftover.unlink()
    files.write_text(out / "config.yaml", config)
    cpu = platform.processor() or platform.machine()
    environment = {
        "commit": provenance.commit(),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else cpu,
        "threads": torch.get_num_threads(),
        **provenance.versions(),
        "processes": int(os.environ.get("WORLD_SIZE", 1)),
    }
    files.write_json(out / "environment.json", environment)
