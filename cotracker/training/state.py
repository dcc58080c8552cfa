"""What a run saves: the state from which it resumes, the checkpoint and its card."""

import json
import math
from dataclasses import asdict
from pathlib import Path

import torch
from torch import nn

from cotracker import __version__, checkpoint, files, provenance
from cotracker.model.hardware import choose_precision
from cotracker.training.config import TrainConfig, differences
from cotracker.training.distributed import Group
from cotracker.training.parts import Parts
from cotracker.training.progress import Progress

STATE_KEYS = {"model", "objective", "optimiser", "progress", "settings", "random"}
DECAY_KEYS = "steps schedule_extra_steps lr lr_schedule warmup ema decay_from init_from".split()
CARD_KEYS = (
    "hash source data licence steps examples training_hours commit mean_of init_from".split()
)


def save(out: Path, settings: dict, parts: Parts, progress: Progress, group: Group) -> None:
    """Writes out/last.pt, from which a run resumes, and out/model.safetensors, its (EMA) model."""
    save_state(out, settings, parts, progress, group)
    if group.is_main:
        model = parts.optimiser.ema_model
        card = make_card(settings, progress, device_of(model))
        checkpoint.save(out / "model.safetensors", model, card)


def save_state(out: Path, settings: dict, parts: Parts, progress: Progress, group: Group) -> None:
    """Writes out/last.pt, from which a run resumes."""
    random = group.all_gather_object(torch.get_rng_state())
    if not group.is_main:
        return
    state = parts.state_dict(settings["checkpoint"]["bfloat16_moments"]) | {
        "progress": asdict(progress),
        "settings": json.dumps(settings),
        "random": random,
    }
    checkpoint.save_state(out / "last.pt", state)


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
        card = make_card(settings, progress, device_of(model)) | {"best": progress.best}
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


def device_of(model: nn.Module) -> torch.device:
    """Where the parameters are."""
    return next(model.parameters()).device


def make_card(settings: dict, progress: Progress, device: torch.device) -> dict:
    """The card of a checkpoint: settings, duration, data, precision, and what it starts from."""
    card = {
        "training": {key: value for key, value in settings.items() if key != "evaluation"},
        "steps": progress.step,
        "examples": progress.examples,
        "training_hours": round(progress.seconds / 3600, 3),
        "precision": choose_precision(settings["train"]["precision"], device.type),
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
    if progress.teachers:
        card["teachers"] = list(progress.teachers.values())
    parents = [one for one in (progress.init_from, *progress.teachers.values()) if one]
    parents = [one.get("licence") or "unknown" for one in parents]
    card["licence"] = provenance.strictest_licence([card["licence"], *parents])
    return card


def source_names(data: dict) -> list[str]:
    """The sources of the data, each once: the class of every node but mixtures, and its folders."""
    if "sources" in data:
        found = [name for source in data["sources"] for name in source_names(source)]
        return list(dict.fromkeys(found))
    if "source" in data:
        return source_names(data["source"])
    name = data["_target_"].rpartition(".")[2]
    folders = data.get("textures") or []
    folders = [folders] if isinstance(folders, str) else folders
    photographs = [f"photographs of {folder}" for folder in folders]
    return [f"{name} of {data['root']}" if "root" in data else name, *photographs]


def resume(out: Path, settings: dict, parts: Parts, group: Group) -> Progress:
    """How far the run in `out` is, its state loaded into the parts; a new run's where it has none.

    Rank 0 alone reads the state.
    """
    state = read_state(out, settings) if group.is_main else None
    state = group.broadcast_object(state)
    if state is None:
        return begin(settings, parts, group)
    progress = load_state(out / "last.pt", state, parts, group)
    group.print_rank0(f"resuming {out}/last.pt at step {progress.step}")
    return progress


def load_state(
    path: Path, state: dict, parts: Parts, group: Group, schedule: bool = True
) -> Progress:
    """The progress of a state, which is loaded into the parts; ValueError where it does not fit."""
    try:
        progress = Progress.read(state["progress"])
        parts.load_state_dict(state, schedule)
        if schedule and len(state["random"]) == group.world:
            torch.set_rng_state(state["random"][group.rank])
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as e:
        reason = (str(e).splitlines() or [type(e).__name__])[0]
        raise ValueError(
            f"{path} does not fit the run, or was changed ({reason}): pass another folder with out="
        ) from e
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
    before = load_state(folder / "last.pt", state, parts, group, schedule=False)
    card = checkpoint.read_card(folder / "model.safetensors")
    kept = {key: card[key] for key in CARD_KEYS if key in card}
    return Progress(examples=before.examples, block=before.block, init_from=kept)


def begin_from(init_from: str, model: nn.Module) -> Progress:
    """A new run's progress: from the weights of a checkpoint, whose card it keeps."""
    loaded, card = checkpoint.load(checkpoint.find(init_from))
    weights = loaded.state_dict()
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
    try:
        assert isinstance(state, dict) and STATE_KEYS <= state.keys()
        theirs = files.parse_json(state["settings"])
        theirs["train"] |= own or {}
    except (AssertionError, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path} is not the state of a training run: pass another folder with out="
        ) from error
    found = differences(theirs, settings)
    if found:
        raise ValueError(
            f"{out} holds a run with other settings ({found}): pass another folder with out="
        )
    return state
