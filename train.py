"""Trains a tracker: `python train.py experiment=NAME key=value …`. Whatever stopped it, the same words continue it."""

import json
import platform
import signal
import sys
import time
from pathlib import Path

import hydra
import torch
from hydra.errors import InstantiationException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from cotracker import __version__, checkpoint
from cotracker.benchmarks import results
from cotracker.data.stream import TrainingStream, loader
from cotracker.overrides import refuse_misspelt
from cotracker.trackers.tracker import usable_device
from cotracker.training.log import Log
from cotracker.training.optim import Optimiser

# Settings that a continued run may change: they do not touch what is computed.
FREE = {f"train.{name}" for name in ("log_every", "save_every", "workers", "threads", "budget_minutes")} | {"out"}

WHOLE, NUMBER = int, (int, float)
LIMITS = {  # of train.*: kind, least and largest value; None where null is allowed
    "steps": (WHOLE, 1, 10**9),
    "extra_steps": (WHOLE, 1, 10**9),
    "batch": (WHOLE, 1, 10**5),
    "workers": (WHOLE, 0, 1000),
    "threads": (WHOLE, 1, 1000, None),
    "lr": (NUMBER, 0, 10),
    "warmup": (NUMBER, 0, 1),
    "weight_decay": (NUMBER, 0, 10),
    "clip": (NUMBER, 1e-9, 1e9),
    "ema": (NUMBER, 0, 0.999999),
    "most_skipped": (WHOLE, 1, 10**9),
    "log_every": (WHOLE, 1, 10**9),
    "save_every": (WHOLE, 1, 10**9),
    "budget_minutes": (NUMBER, 0, 10**9, None),
}


@hydra.main(config_path="configs", config_name="train", version_base="1.3")
def main(cfg: DictConfig) -> None:
    try:
        run(cfg)
    except MissingMandatoryValue as error:
        print(f"train.py: {error.full_key} is missing: say {error.full_key}=…", file=sys.stderr)
        sys.exit(2)
    except (ValueError, OSError, OmegaConfBaseException) as error:
        print(f"train.py: {error}", file=sys.stderr)
        sys.exit(2)


def run(cfg: DictConfig) -> None:
    """Builds what the config names, continues what is in cfg.out, trains to cfg.train.steps, writes the checkpoint."""
    out, t = Path(cfg.out), cfg.train
    settings = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    check(settings)
    device = usable_device(t.device)
    if t.threads:
        torch.set_num_threads(t.threads)
    torch.manual_seed(cfg.seed)
    stream = TrainingStream(build(cfg, "data"), seed=cfg.seed)
    model = build(cfg, "model").to(device)
    objective = build(cfg, "objective").to(device)
    if t.init_from:
        model.load_state_dict(_fitting_weights(model, t.init_from))
    optimiser = Optimiser([model, objective], t.steps, t.extra_steps, t.lr, t.weight_decay, t.warmup, t.clip, t.ema)
    parts = {"model": model, "objective": objective, "optimiser": optimiser}
    step, examples, seconds = resume(out, settings, parts)
    if step >= t.steps:
        print(f"{out} has its {t.steps} steps: {out}/model.safetensors is the model")
        return
    stream[examples]  # what is wrong with the data is said before anything is written
    out.mkdir(parents=True, exist_ok=True)
    for leftover in out.glob(f"*{checkpoint.PARTIAL}"):  # of a run that was killed while it saved
        leftover.unlink()
    note_run(out, cfg)
    train(out, settings, device, stream, parts, step, examples, seconds)


def check(settings: dict) -> None:
    """ValueError, one sentence, for a value of `seed` or `train` that no run can have."""
    if type(settings["seed"]) is not int or settings["seed"] < 0:
        raise ValueError(f"seed must be a whole number, 0 or more, not {settings['seed']}")
    t = settings["train"]
    for name, (kind, least, largest, *null) in LIMITS.items():
        value = t[name]
        if value is None and null:
            continue
        if isinstance(value, bool) or not isinstance(value, kind) or not least <= value <= largest:
            noun = "a whole number" if kind is WHOLE else "a number"
            raise ValueError(f"train.{name} must be {noun} from {least} to {largest}, not {value}")
    if t["precision"] not in ("float32", "bfloat16"):
        raise ValueError(f"train.precision must be float32 or bfloat16, not {t['precision']}")


def build(cfg: DictConfig, group: str):
    """What the config's group describes; ValueError with the reason alone where it cannot be made."""
    try:
        return hydra.utils.instantiate(cfg[group])
    except InstantiationException as error:
        cause = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        raise ValueError(f"{group} cannot be built: {str(cause).splitlines()[0]}") from error


def train(
    out: Path,
    settings: dict,
    device: torch.device,
    stream: TrainingStream,
    parts: dict,
    step: int,
    examples: int,
    seconds: float,
) -> None:
    """The loop: batch, loss, step, note; every save_every steps, and when asked to stop, a checkpoint."""
    t = settings["train"]
    model, objective, optimiser = parts.values()
    model.train()
    log = Log(out, step, t["steps"], t["log_every"])
    stopping = _Stop(t["budget_minutes"])
    began = time.monotonic() - seconds
    batches = iter(loader(stream, t["batch"], t["workers"], start=examples))
    skipped = 0
    while step < t["steps"] and not stopping:
        waited = time.monotonic()
        clip = next(batches)
        waited = time.monotonic() - waited
        clip = clip.to(device, non_blocking=True)
        with torch.autocast(device.type, torch.bfloat16, enabled=t["precision"] == "bfloat16"):
            loss, scalars = objective(model, clip)
        norm, finite = optimiser.step(loss)
        skipped = 0 if finite else skipped + 1
        if skipped:
            print(f"step {step}: not finite, no step taken; examples {clip.seed}", file=sys.stderr)
        if skipped >= t["most_skipped"]:
            raise ValueError(f"{skipped} steps in a row were not finite: lower train.lr, or see examples {clip.seed}")
        step, examples = step + 1, examples + t["batch"]
        numbers = {name: value.item() for name, value in scalars.items()}
        rate = optimiser.schedule.get_last_lr()[0]
        log.step(step, numbers | {"gradient": norm.item(), "lr": rate, "data_wait": waited})
        if step % t["save_every"] == 0 or step == t["steps"]:
            save(out, settings, parts, step, examples, time.monotonic() - began)
    if step % t["save_every"] and step < t["steps"]:
        save(out, settings, parts, step, examples, time.monotonic() - began)
        print(f"stopped at step {step} of {t['steps']}: the same command continues it")
    log.close()
    print(f"{out}/model.safetensors holds the model of step {step}")


class _Stop:
    """True once the time is spent or the process was asked to end (SIGTERM, Ctrl-C once): then save and leave."""

    def __init__(self, minutes: float | None):
        self.deadline = None if minutes is None else time.monotonic() + 60 * minutes
        self.asked = False
        signal.signal(signal.SIGTERM, self._ask)
        signal.signal(signal.SIGINT, self._ask)

    def _ask(self, *_) -> None:
        self.asked = True
        signal.signal(signal.SIGINT, signal.default_int_handler)

    def __bool__(self) -> bool:
        return self.asked or (self.deadline is not None and time.monotonic() > self.deadline)


def save(out: Path, settings: dict, parts: dict, step: int, examples: int, seconds: float) -> None:
    """out/last.pt, all that a resumed run needs, and out/model.safetensors, what is used (the running mean if kept)."""
    state = {name: part.state_dict() for name, part in parts.items()}
    state |= {"step": step, "examples": examples, "seconds": seconds, "settings": json.dumps(settings)}
    state["torch_rng"] = torch.get_rng_state()
    checkpoint.save_state(out / "last.pt", state)
    card = {
        "training": settings,
        "steps": step,
        "examples": examples,
        "training_hours": round(seconds / 3600, 3),
        "commit": results.commit(),
        "version": __version__,
        **settings["card"],
    }
    card["data"] = card["data"] or ", ".join(sources(settings["data"]))
    checkpoint.save(out / "model.safetensors", parts["optimiser"].best_model, card)


def sources(data: dict) -> list[str]:
    """What the data are made by or read from, each once: the last name of every `_target_` but mixtures, and roots."""
    if "sources" in data:
        return list(dict.fromkeys(name for part in data["sources"] for name in sources(part)))
    return [" of ".join([data["_target_"].rpartition(".")[2], *([str(data["root"])] if "root" in data else [])])]


def resume(out: Path, settings: dict, parts: dict) -> tuple[int, int, float]:
    """Puts the state of out/last.pt into the parts, if it is there; returns steps, examples and seconds done."""
    path = out / "last.pt"
    if not path.exists():
        return 0, 0, 0.0
    state = checkpoint.load_state(path)
    if (
        not isinstance(state, dict)
        or not {"settings", "step", "examples", "seconds", "torch_rng", *parts} <= state.keys()
    ):
        raise ValueError(f"{path} is not the state of a training run: name another folder with out=")
    then, now = _flat(json.loads(state["settings"])), _flat(settings)
    free = FREE | {key for key in then.keys() | now.keys() if key.startswith("card.")}
    unlike = [k for k in sorted((then.keys() | now.keys()) - free) if then.get(k) != now.get(k)]
    if unlike:
        said = ", ".join(f"{k} was {then.get(k)} and is now {now.get(k)}" for k in unlike[:5])
        raise ValueError(f"{out} holds a run with other settings ({said}): name another folder with out=")
    for name, part in parts.items():
        part.load_state_dict(state[name])
    torch.set_rng_state(state["torch_rng"])
    print(f"continuing {path} at step {state['step']}")
    return state["step"], state["examples"], state["seconds"]


def note_run(out: Path, cfg: DictConfig) -> None:
    """out/config.yaml and out/environment.json: what was asked, and where it ran."""
    checkpoint.write_atomically(out / "config.yaml", OmegaConf.to_yaml(cfg, resolve=True).encode())
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else platform.processor() or platform.machine()
    place = {"commit": results.commit(), "device": device, "threads": torch.get_num_threads()} | results.versions()
    checkpoint.write_atomically(out / "environment.json", json.dumps(place, indent=1).encode())


def _fitting_weights(model: torch.nn.Module, name: str) -> dict:
    weights = checkpoint.load_model(checkpoint.find(name)).state_dict()
    difference = checkpoint.keys_difference(model, weights)
    if difference:
        raise ValueError(f"train.init_from={name} does not fit the model of this config:\n{difference}")
    return weights


def _flat(settings: dict, prefix: str = "") -> dict:
    flat = {}
    for key, value in settings.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return flat


if __name__ == "__main__":
    refuse_misspelt(Path(__file__).parent / "configs", "train", sys.argv[1:])
    main()
