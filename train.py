"""Trains a tracker: `python train.py experiment=NAME key=value …`. Whatever stopped it, the same words continue it."""

import json
import platform
import signal
import sys
import time
from pathlib import Path

import hydra
import torch
from omegaconf import DictConfig, OmegaConf

from cotracker import __version__, checkpoint
from cotracker.benchmarks import results
from cotracker.data.stream import TrainingStream, loader
from cotracker.overrides import refuse_misspelt
from cotracker.training.log import Log
from cotracker.training.optim import Optimiser

# Settings that a continued run may change: they do not touch what is computed.
FREE = ("train.log_every", "train.save_every", "train.workers", "train.threads", "train.budget_minutes", "card")


@hydra.main(config_path="configs", config_name="train", version_base="1.3")
def main(cfg: DictConfig) -> None:
    try:
        run(cfg)
    except ValueError as error:
        print(f"train.py: {error}", file=sys.stderr)
        sys.exit(2)


def run(cfg: DictConfig) -> None:
    """Builds what the config names, continues what is in cfg.out, trains to cfg.train.steps, writes the checkpoint."""
    out, t = Path(cfg.out), cfg.train
    settings = OmegaConf.to_container(cfg, resolve=True)
    device = t.device if t.device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(device)
    if t.threads:
        torch.set_num_threads(t.threads)
    torch.manual_seed(cfg.seed)
    stream = TrainingStream(hydra.utils.instantiate(cfg.data), seed=cfg.seed)
    model = hydra.utils.instantiate(cfg.model).to(device)
    objective = hydra.utils.instantiate(cfg.objective).to(device)
    if t.init_from:
        model.load_state_dict(_fitting_weights(model, t.init_from))
    optimiser = Optimiser([model, objective], t.steps, t.lr, t.weight_decay, t.warmup, t.clip, t.ema)
    parts = {"model": model, "objective": objective, "optimiser": optimiser}
    step, examples, seconds = resume(out, settings, parts)
    if step >= t.steps:
        print(f"{out} has its {t.steps} steps: {out}/model.safetensors is the model")
        return
    out.mkdir(parents=True, exist_ok=True)
    note_run(out, cfg)
    train(out, settings, device, stream, parts, step, examples, seconds)


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
    """True once the time is spent or the process was asked to end (SIGTERM): then save and leave."""

    def __init__(self, minutes: float | None):
        self.deadline = None if minutes is None else time.monotonic() + 60 * minutes
        self.asked = False
        signal.signal(signal.SIGTERM, self._ask)

    def _ask(self, *_) -> None:
        self.asked = True

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
    } | settings["card"]
    checkpoint.save(out / "model.safetensors", parts["optimiser"].best_model, card)


def resume(out: Path, settings: dict, parts: dict) -> tuple[int, int, float]:
    """Puts the state of out/last.pt into the parts, if it is there; returns steps, examples and seconds done."""
    path = out / "last.pt"
    if not path.exists():
        return 0, 0, 0.0
    state = checkpoint.load_state(path)
    then, now = _flat(json.loads(state["settings"])), _flat(settings)
    unlike = [k for k in sorted(then.keys() | now.keys()) if not k.startswith(FREE) and then.get(k) != now.get(k)]
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
