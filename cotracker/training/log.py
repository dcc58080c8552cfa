"""What a run says while it goes: TensorBoard, a line of JSON a step, a line on the console."""

import json
import time
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter


class Log:
    """Scalars of each step into `out`/log.jsonl and, every `every` steps, TensorBoard and the console.

    A resumed run drops the lines that the interrupted one wrote after its last checkpoint.
    """

    def __init__(self, out: Path, start: int, steps: int, every: int):
        self.start, self.steps, self.every, self.began = start, steps, every, time.monotonic()
        self.path = out / "log.jsonl"
        kept = self.path.read_text().splitlines()[:start] if self.path.exists() else []
        self.path.write_text("".join(line + "\n" for line in kept))
        self.lines = self.path.open("a")
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
        shown = "  ".join(f"{name} {value:.4g}" for name, value in scalars.items())
        left = _hours(rate * (self.steps - step))
        print(f"step {step}/{self.steps}  {shown}  {rate:.2f} s/step  ETA {left}", flush=True)

    def close(self) -> None:
        self.lines.close()
        self.board.close()


def _hours(seconds: float) -> str:
    minutes = int(seconds // 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{int(seconds % 60):02d}"
