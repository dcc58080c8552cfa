"""For train.py: how far a run is, the state that continues it, and what its checkpoint says of itself."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import nn

from cotracker import checkpoint, provenance
from cotracker.training.distributed import Group
from cotracker.training.settings import unlike


@dataclass
class Progress:
    """How far a run is; all of it is kept in its state."""

    step: int = 0
    examples: int = 0  # over all processes
    seconds: float = 0.0
    block: int = 0  # examples in a row that come from one source of a mixture
    replaced: int = 0  # bad clips that others took the place of
    not_finite: int = 0  # steps that were not taken
    skipped: int = 0  # the last so many of them in a row
    best: dict = field(default_factory=dict)  # {name, value, step} of evaluation.best
    init_from: dict = field(
        default_factory=dict
    )  # the card of train.init_from, what is kept of it


def save(
    out: Path, settings: dict, parts: dict, progress: Progress, card: dict, group: Group
) -> None:
    """out/last.pt, all that a resumed run needs, and out/model.safetensors, what is used (the running mean if kept).

    card: what the latter says of itself.
    """
    random = group.gathered(torch.get_rng_state())
    if not group.first:
        return
    kept = settings["checkpoint"]
    state = {name: part.state_dict() for name, part in parts.items()}
    if kept["bfloat16_moments"]:
        state["optimiser"] = parts["optimiser"].state_dict(rounded=True)
    state |= {"progress": asdict(progress), "settings": json.dumps(settings), "random": random}
    checkpoint.save_state(out / "last.pt", state, kept["shard_mb"])
    checkpoint.save(out / "model.safetensors", parts["optimiser"].best_model, card)


def card_of(settings: dict, progress: Progress) -> dict:
    """What a checkpoint says of itself: settings, how long, of what, and what it began from."""
    card = {
        "training": {key: value for key, value in settings.items() if key != "evaluation"},
        "steps": progress.step,
        "examples": progress.examples,
        "training_hours": round(progress.seconds / 3600, 3),
        "commit": provenance.commit(),
        **settings["card"],
    }
    card["data"] = card["data"] or ", ".join(sources(settings["data"]))
    return card | ({"init_from": progress.init_from} if progress.init_from else {})


def sources(data: dict) -> list[str]:
    """What the data are made by or read from, each once: the last name of every `_target_` but mixtures, and roots."""
    if "sources" in data:
        return list(dict.fromkeys(name for part in data["sources"] for name in sources(part)))
    if "source" in data:
        return sources(data["source"])
    return [
        " of ".join(
            [data["_target_"].rpartition(".")[2], *([str(data["root"])] if "root" in data else [])]
        )
    ]


def resume(out: Path, settings: dict, parts: dict, group: Group) -> Progress:
    """Puts the state of out/last.pt into the parts, if it is there; returns how far it was. Rank 0 alone reads it."""
    state = group.from_first(read_state(out, settings, parts) if group.first else None)
    if state is None:
        return begin(settings["train"]["init_from"], parts["model"])
    for name, part in parts.items():
        part.load_state_dict(state[name])
    if len(state["random"]) == group.world:
        torch.set_rng_state(state["random"][group.rank])
    progress = Progress(**state["progress"])
    group.tell(f"continuing {out}/last.pt at step {progress.step}")
    return progress


def begin(init_from: str | None, model: nn.Module) -> Progress:
    """A run's start: from the weights of a checkpoint, whose card is noted, or as the model is."""
    if not init_from:
        return Progress()
    kept = "hash data licence steps examples training_hours commit mean_of init_from".split()
    card = checkpoint.read_card(checkpoint.find(init_from))
    model.load_state_dict(_fitting_weights(model, init_from))
    return Progress(init_from={key: card[key] for key in kept if key in card})


def read_state(out: Path, settings: dict, parts: dict) -> dict | None:
    """The state in out/last.pt, None where there is none; ValueError where it is another run's."""
    path = out / "last.pt"
    if not path.exists():
        return None
    state = checkpoint.load_state(path)
    if (
        not isinstance(state, dict)
        or not {"settings", "progress", "random", *parts} <= state.keys()
    ):
        raise ValueError(
            f"{path} is not the state of a training run: name another folder with out="
        )
    differing = unlike(json.loads(state["settings"]), settings)
    if differing:
        raise ValueError(
            f"{out} holds a run with other settings ({differing}): name another folder with out="
        )
    return state


def _fitting_weights(model: torch.nn.Module, name: str) -> dict:
    weights = checkpoint.load_model(checkpoint.find(name)).state_dict()
    difference = checkpoint.keys_difference(model, weights)
    if difference:
        raise ValueError(
            f"train.init_from={name} does not fit the model of this config:\n{difference}"
        )
    return weights
