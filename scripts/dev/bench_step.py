"""Seconds, memory and FLOPs of one training step, beside the machine's matrix peak.

python scripts/dev/bench_step.py [--settings float32 bfloat16 float32+recompute …] [--json OUT]

A step is forward, loss, backward, clipping and AdamW, on random frames, of the network and the
objective of `--experiment NAME`, or else of configs/train.yaml. Each setting runs in a process of
its own; its peak memory is that of the process, or of PyTorch on a GPU. FLOPs are those of matrix
products and convolutions, recomputed XX"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import hydra
import torch
from omegaconf import DictConfig
from torch.utils.flop_counter import FlopCounterMode

from cotracker import provenance
from cotracker.config.instantiate import instantiate
from cotracker.model.cuda_graphs import mapped
from cotracker.model.runtime import compile_transformer
from cotracker.profiling.machine import Clock, cpu_now, matrix_peak, now, peak_memory
from cotracker.training.config import TrainConfig
from cotracker.training.objective import Objective
from cotracker.training.optim import Optimiser
from cotracker.types import Clip, collate

CONFIGS = Path(__file__).parents[2] / "configs"
SETTINGS = ("float32", "bfloat16", "float32+recompute", "bfloat16+recompute")
PARTS = ("forward", "backward", "optimiser")


def main(argv: list[str] | None = None) -> list[dict]:
    """Measures each setting in its own process, prints a table, and returns its rows."""
    options = parse(argv)
    if options.child:
        print(json.dumps(measure(options.child, options)))
        return []
    rows = [measure_in_process(setting, options) for setting in options.settings]
    print(format_table(rows, options))
    if options.json:
        record = {
            "commit": provenance.commit(),
            "options": vars(options),
            "rows": rows,
        }
        Path(options.json).write_text(json.dumps(record, indent=1) + "\n")
    return rows


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name, default in (
        ("frames", 16),
        ("points", 64),
        ("height", 384),
        ("width", 512),
        ("batch", 1),
        ("threads", 2),
    ):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument(
        "--repeats", type=int, default=3, help="measured steps, after one to warm up"
    )
    parser.add_argument("--settings", nargs="+", choices=SETTINGS, default=list(SETTINGS))
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument(
        "--compile", action="store_true", help="compile the transformer before the first step"
    )
    parser.add_argument("--experiment", help="of configs/experiment, such as shipped/generation2")
    parser.add_argument("--json", help="file to write the numbers to")
    parser.add_argument("--child", choices=SETTINGS, help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def measure_in_process(setting: str, options: argparse.Namespace) -> dict:
    """The row of one setting, from a process that measures nothing else."""
    words = [
        f"--{name}={getattr(options, name)}"
        for name in ("frames", "points", "height", "width", "batch", "threads")
    ]
    words += [f"--repeats={options.repeats}", f"--device={options.device}", f"--child={setting}"]
    words += ["--compile"] if options.compile else []
    words += [f"--experiment={options.experiment}"] if options.experiment else []
    command = [sys.executable, __file__, *words]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def measure(setting: str, options: argparse.Namespace) -> dict:
    """One row: median seconds, peaks of memory and of matrix products, FLOPs of one step."""
    torch.set_num_threads(options.threads)
    device, bfloat16 = torch.device(options.device), setting.startswith("bfloat16")
    dtype = torch.bfloat16 if bfloat16 else torch.float32
    clock = cpu_now if device.type == "cpu" and options.threads == 1 else now
    step = make_step(setting.endswith("recompute"), bfloat16, device, options, clock)
    step()
    steps, peaks = [], [matrix_peak(dtype, device, clock=clock)]
    for _ in range(options.repeats):
        steps.append(step())
        peaks.append(matrix_peak(dtype, device, clock=clock))
    memory = peak_memory(device)
    with FlopCounterMode(display=False) as counter:
        step()
    seconds = {part: statistics.median(s[part] for s in steps) for part in (*PARTS, "step", "cpu")}
    flops = counter.get_total_flops()
    rate, peak = flops / seconds["step"] / 1e9, statistics.median(peaks)
    return {
        "setting": setting,
        "seconds": seconds,
        "gigabytes": memory / 1e9,
        "gflop": flops / 1e9,
        "gflops": rate,
        "peak_gflops": peak,
        "of_peak": rate / peak,
        "device": torch.cuda.get_device_name()
        if device.type == "cuda"
        else f"CPU, {options.threads} threads",
    }


def make_step(
    recompute: bool,
    bfloat16: bool,
    device: torch.device,
    options: argparse.Namespace,
    clock: Clock,
) -> Callable[[], dict]:
    """A function that makes one training step and returns the seconds of its parts."""
    torch.manual_seed(0)
    settings = read_settings(options.experiment)
    settings.model.recompute = recompute
    model = instantiate(settings.model, "model").to(device).train()
    if options.compile:
        compile_transformer(model)
    objective = Objective(instantiate(settings.objective, "objective")).to(device)
    config = TrainConfig(steps=1000, schedule_extra_steps=0, clip=1.0)
    optimiser = Optimiser([model, objective], config)
    clip = make_batch(options)
    targets = mapped(objective.sample_targets(clip, model.window), lambda x: x.to(device))

    def step() -> dict:
        cpu, start = time.process_time(), clock(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=bfloat16):
            loss, _ = objective(model, targets)
        forward = clock(device)
        optimiser.backward(loss)
        backward = clock(device)
        optimiser.step(bool(optimiser.clip_gradients().isfinite()))
        end = clock(device)
        seconds = {
            "forward": forward - start,
            "backward": backward - forward,
            "optimiser": end - backward,
        }
        return seconds | {"step": end - start, "cpu": time.process_time() - cpu}

    return step


def read_settings(experiment: str | None) -> DictConfig:
    """The config of train.py with this experiment, without its data."""
    words = [f"experiment={experiment}"] if experiment else []
    with hydra.initialize_config_dir(str(CONFIGS), version_base="1.3"):
        return hydra.compose("train", overrides=words)


def make_batch(options: argparse.Namespace) -> Clip:
    """A batch of equal clips: blurred noise, and points that walk at random."""
    frames, points, size = options.frames, options.points, (options.height, options.width)
    coarse = torch.rand(frames, 3, -(-size[0] // 8), -(-size[1] // 8))
    video = (255 * torch.nn.functional.interpolate(coarse, size, mode="bilinear")).byte()
    start = torch.rand(1, points, 2) * torch.tensor([size[1] - 1.0, size[0] - 1.0])
    tracks = start + torch.randn(frames, points, 2).cumsum(0)
    visible = torch.ones(frames, points, dtype=torch.bool)
    return collate([Clip(video, tracks, visible, visible)] * options.batch)


def format_table(rows: list[dict], options: argparse.Namespace) -> str:
    """One line a setting."""
    size = f"{options.frames} frames {options.height} x {options.width}, {options.points} points"
    size = f"{options.batch} x {size}, {options.experiment or 'configs/train.yaml'}"
    lines = [
        f"One training step, {size}, on {rows[0]['device']}",
        "setting              step s  forward backward optimiser  CPU s  peak GB  GFLOP  GFLOP/s  "
        "of matrix peak",
    ]
    for row in rows:
        s = row["seconds"]
        lines.append(
            f"{row['setting']:<19} {s['step']:7.2f} {s['forward']:8.2f} {s['backward']:8.2f} "
            f"{s['optimiser']:9.2f} {s['cpu']:6.1f} {row['gigabytes']:8.2f} {row['gflop']:6.0f} "
            f"{row['gflops']:8.1f} {row['peak_gflops']:7.0f} ({row['of_peak']:4.0%})"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
