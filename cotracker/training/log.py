"""What a run says while it goes: TensorBoard, a line of JSON a step, a line on the console."""

import json
import sys
import time
from pathlib import Path

import numpy as np
from torch.utils.tensorboard import SummaryWriter

FILES = ("log.jsonl", "evaluations.jsonl", "replaced.jsonl", "not_finite.jsonl")
QUIET = ("seconds", "frames_per_second", "peak_memory")  # not on the console
RARE = ("replaced", "not_finite")  # on the console where there were any


class Log:
    """Scalars of each step into `out`/log.jsonl and, every `every` steps, TensorBoard and the console.

    A resumed run drops the lines that the interrupted one wrote after its last checkpoint.
    """

    def __init__(self, out: Path, start: int, steps: int, every: int):
        self.out, self.start, self.steps, self.every, self.began = (
            out,
            start,
            steps,
            every,
            time.monotonic(),
        )
        for name in FILES:
            _forget_after(out / name, start)
        self.lines = (out / FILES[0]).open("a")
        self.board = SummaryWriter(str(out), purge_step=start)

    def step(self, step: int, scalars: dict[str, float]) -> None:
        """Notes the scalars of step number `step` (1 after the first)."""
        self.lines.write(json.dumps({"step": step} | scalars) + "\n")
        self.lines.flush()
        if step % self.every and step != self.steps:
            return
        for name, value in scalars.items():
            self.board.add_scalar(name, value, step)
        rate = (time.monotonic() - self.began) / (step - self.start)
        said = {
            name: value
            for name, value in scalars.items()
            if name not in QUIET and (value or name not in RARE)
        }
        shown = "  ".join(f"{name} {value:.4g}" for name, value in said.items())
        left = _hours(rate * (self.steps - step))
        print(f"step {step}/{self.steps}  {shown}  {rate:.2f} s/step  ETA {left}", flush=True)

    def measured(self, step: int, name: str, values: dict[str, float]) -> None:
        """Notes what a benchmark gave at `step`: TensorBoard, evaluations.jsonl and the console."""
        for key, value in values.items():
            self.board.add_scalar(f"{name}/{key}", value, step)
        with (self.out / "evaluations.jsonl").open("a") as file:
            file.write(json.dumps({"step": step, "benchmark": name} | values) + "\n")
        shown = "  ".join(f"{key} {value:.2f}" for key, value in values.items())
        print(f"step {step}  {name}: {shown}", flush=True)

    def picture(self, step: int, name: str, picture: np.ndarray) -> None:
        """A picture H W 3 uint8 into TensorBoard."""
        self.board.add_image(name, picture, step, dataformats="HWC")

    def not_finite(self, step: int, examples: list) -> None:
        """A step that was not taken, and its examples (seed, k), which remake it, into not_finite.jsonl."""
        with (self.out / "not_finite.jsonl").open("a") as file:
            file.write(json.dumps({"step": step, "examples": examples}) + "\n")
        print(
            f"step {step}: not finite, no step taken; examples {examples}",
            file=sys.stderr,
            flush=True,
        )

    def replaced(self, step: int, clips: list) -> None:
        """Bad clips that were replaced, as [example (seed, k), how many, why the last], into replaced.jsonl."""
        with (self.out / "replaced.jsonl").open("a") as file:
            file.write(json.dumps({"step": step, "clips": clips}) + "\n")
        for example, count, reason in clips:
            print(
                f"step {step}: example {example}: {count} bad clips replaced, the last because: {reason}",
                flush=True,
            )

    def close(self) -> None:
        self.lines.close()
        self.board.close()


def _forget_after(path: Path, step: int) -> None:
    """Drops the lines of a file that tell of later steps, or were cut off."""
    if not path.exists():
        return
    whole = [line for line in path.read_text().splitlines() if line.endswith("}")]
    path.write_text("".join(line + "\n" for line in whole if json.loads(line)["step"] <= step))


def _hours(seconds: float) -> str:
    minutes = int(seconds // 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{int(seconds % 60):02d}"
