"""The log of a run: TensorBoard, a line of JSON a step, a line on the console."""

import json
import sys
import time
from pathlib import Path

import numpy as np
from torch import nn
from torch.utils.tensorboard import SummaryWriter

from cotracker.files import write_text
from cotracker.training.distributed import Group

LOGS = ("log.jsonl", "evaluations.jsonl", "replaced.jsonl", "not_finite.jsonl")
NOT_PRINTED = ("seconds", "frames_per_second", "peak_memory")
PRINTED_IF_ANY = ("replaced", "not_finite")


class Log:
    """Logs each step's scalars in `out`/log.jsonl; every `every` steps TensorBoard and console.

    A resumed run drops the lines after the last checkpoint.
    """

    def __init__(self, out: Path, start: int, steps: int, every: int):
        self.out = out
        self.start, self.steps, self.every = start, steps, every
        self.started = time.monotonic()
        for name in LOGS:
            _drop_after(out / name, start)
        self.lines = (out / LOGS[0]).open("a")
        self.board = SummaryWriter(str(out), purge_step=start + 1)

    def step(self, step: int, scalars: dict[str, float]) -> None:
        """Logs the scalars of step number `step`, 1 for the first."""
        self.lines.write(json.dumps({"step": step} | scalars) + "\n")
        self.lines.flush()
        if step % self.every and step != self.steps:
            return
        for name, value in scalars.items():
            self.board.add_scalar(name, value, step)
        seconds = (time.monotonic() - self.started) / (step - self.start)
        printed = [
            f"{name} {value:.4g}"
            for name, value in scalars.items()
            if name not in NOT_PRINTED and (value or name not in PRINTED_IF_ANY)
        ]
        left = _hours(seconds * (self.steps - step))
        line = "  ".join([*printed, f"{seconds:.2f} s/step", f"ETA {left}"])
        print(f"step {step}/{self.steps}  {line}", flush=True)

    def evaluation(self, step: int, name: str, values: dict[str, float]) -> None:
        """Logs a benchmark's means: TensorBoard, evaluations.jsonl and the console."""
        for key, value in values.items():
            self.board.add_scalar(f"{name}/{key}", value, step)
        with (self.out / "evaluations.jsonl").open("a") as file:
            file.write(json.dumps({"step": step, "benchmark": name} | values) + "\n")
        line = "  ".join(f"{key} {value:.2f}" for key, value in values.items())
        print(f"step {step}  {name}: {line}", flush=True)

    def picture(self, step: int, name: str, picture: np.ndarray) -> None:
        """Logs a picture H W 3 uint8 in TensorBoard."""
        self.board.add_image(name, picture, step, dataformats="HWC")

    def not_finite(self, step: int, examples: list) -> None:
        """Logs a skipped step and its examples (seed, k) in not_finite.jsonl."""
        with (self.out / "not_finite.jsonl").open("a") as file:
            file.write(json.dumps({"step": step, "examples": examples}) + "\n")
        print(
            f"step {step}: not finite, skipped; examples {examples}",
            file=sys.stderr,
            flush=True,
        )

    def replaced(self, step: int, clips: list) -> None:
        """Logs replaced clips, each [example (seed, k), count, reason of the last]."""
        with (self.out / "replaced.jsonl").open("a") as file:
            file.write(json.dumps({"step": step, "clips": clips}) + "\n")
        for example, count, reason in clips:
            bad = f"{count} bad clips replaced, the last because: {reason}"
            print(f"step {step}: example {example}: {bad}", flush=True)

    def close(self) -> None:
        self.lines.close()
        self.board.close()


def check_logs(out: Path) -> None:
    """Nothing where every line of the logs in `out` is one of a run's; else ValueError names it."""
    for name in LOGS:
        _read_lines(out / name)


def _drop_after(path: Path, step: int) -> None:
    """Drops the lines of a file that are of later steps, or incomplete."""
    lines = _read_lines(path)
    kept = [line for line, number in lines if number <= step]
    if path.exists() and (len(kept) < len(lines) or not path.read_bytes().endswith(b"\n")):
        write_text(path, "".join(line + "\n" for line in kept))


def _read_lines(path: Path) -> list[tuple[str, int]]:
    """The lines of a log with their steps, without a last one that was cut; ValueError names one.

    A file that is not there has none.
    """
    if not path.exists():
        return []
    lines, found = path.read_bytes().split(b"\n"), []
    for number, line in enumerate(lines[:-1], start=1):  # what follows the last "\n" was cut
        try:
            text = line.decode()
            step = json.loads(text)["step"]
            assert isinstance(step, int)
        except (AssertionError, LookupError, RecursionError, TypeError, ValueError):
            raise ValueError(
                f"{path}: line {number} is no step of a run: take it out, or pass another out=DIR"
            ) from None
        found.append((text, step))
    return found


def _hours(seconds: float) -> str:
    minutes = int(seconds // 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{int(seconds % 60):02d}"


def print_estimate(
    group: Group, model: nn.Module, steps: list[dict[str, float]], left: int
) -> None:
    """Prints what a run takes: parameters, memory, seconds a step, hours.

    steps: scalars of the steps of a dry run.
    left: steps to come.
    """
    seconds = sorted(scalars["seconds"] for scalars in steps)[len(steps) // 2]
    memory = max(group.all_gather_object(steps[-1]["peak_memory"]))
    waited = steps[-1]["data_wait"]
    total = sum(p.numel() for p in model.parameters())
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    group.print_rank0(
        f"{total} parameters, of which {trained} are trained\n"
        f"{group.world} processes on {group.device.type}, {memory:.2f} GB in the largest\n"
        f"{seconds:.2f} s a step, of which {waited:.2f} s waiting for data\n"
        f"{left * seconds / 3600:.2f} hours for the {left} steps to come; wrote nothing"
    )
