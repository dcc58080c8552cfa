"""For evaluate.py: the processes that share the videos of a benchmark."""

import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import torch


class Helpers:
    """The processes that share the videos: those that torchrun or Slurm started, or `workers` of our own.

    On GPUs each takes its own. Ours are the same command (a script and its words) with RANK and WORLD_SIZE set, started
    once what was asked for is found good.
    """

    def __init__(self, workers: int, command: list[str]):
        if type(workers) is not int or workers < 1:
            raise ValueError(
                f"workers must be a whole number of processes, 1 or more, not {workers}"
            )
        self.workers, self.command = (1 if "WORLD_SIZE" in os.environ else workers), command
        self.processes: list[subprocess.Popen] = []
        self.parent = os.getppid() if "EVALUATE_HELPER" in os.environ else None

    def __enter__(self) -> "Helpers":
        if "LOCAL_RANK" in os.environ and torch.cuda.is_available():
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]) % torch.cuda.device_count())
        return self

    def __exit__(self, kind, *rest) -> None:
        for process in self.processes:
            if kind is not None:
                process.terminate()
            process.wait()

    @property
    def first(self) -> bool:
        """Whether this is the process that gathers and writes; starts none."""
        return int(os.environ.get("RANK", 0)) == 0

    def place(self) -> tuple[int, int]:
        """This process's rank, and how many there are, all started now."""
        if self.workers > 1:
            self._start()
            return 0, self.workers
        return int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))

    def _start(self) -> None:
        if self.processes:
            return
        threads = max(1, torch.get_num_threads() // self.workers)
        torch.set_num_threads(threads)
        shared = {
            "WORLD_SIZE": str(self.workers),
            "OMP_NUM_THREADS": str(threads),
            "EVALUATE_HELPER": "1",
        }
        for rank in range(1, self.workers):
            own = {"RANK": str(rank), "LOCAL_RANK": str(rank)}
            self.processes.append(
                subprocess.Popen([sys.executable, *self.command], env=os.environ | shared | own)
            )

    def check(self) -> None:
        """Nothing, or ValueError where one of our processes has failed."""
        for rank, process in enumerate(self.processes, start=1):
            if process.poll():
                raise ValueError(
                    f"worker {rank} ended with exit code {process.returncode}: its own words say why"
                )

    def told(self, progress: Callable[[Any], None]) -> Callable[[Any], None]:
        """The progress that also ends a helper whose first process is gone, and notices a dead helper."""

        def noticing(row: Any) -> None:
            progress(row)
            self.check()
            if self.parent is not None and os.getppid() != self.parent:
                raise ValueError(
                    "the first process is gone: the same command goes on from the rows written"
                )

        return noticing
