"""A GPU's table: frames/s, share of the matrix peak, time a frame, and gaps between kernels.

python scripts/dev/profile_gpu.py [--json OUT] [--quick]

All settings run in this process: whole runs of the paper's model (random weights) and of the
shipped one at 384x512 and 24 frames, kernel by kernel or as CUDA graphs. A gap is time in which no
kernel of a profiled run ran.
"""

import argparse
import dataclasses
import sys
from pathlib import Path

import torch
from refusal import refuse_in_a_sentence
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from cotracker import provenance
from cotracker.profiling import bench
from cotracker.profiling import report as bench_report
from cotracker.profiling.machine import now
from cotracker.profiling.setting import (
    FULL,
    Setting,
    make_model,
    make_queries,
    make_tracker,
    make_video,
)

SHIPPED = "cotracker_small"


@refuse_in_a_sentence
def main(argv: list[str] | None = None) -> None:
    """Exit code 0, or 2 and one sentence."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path, metavar="OUT", help="write all numbers there")
    parser.add_argument("--quick", action="store_true", help="fewer settings")
    options = parser.parse_args(argv)
    if options.json and (options.json.is_dir() or not options.json.absolute().parent.is_dir()):
        raise ValueError(f"{options.json} cannot be written: give a file in a folder that exists")
    if not torch.cuda.is_available():
        raise ValueError("there is no GPU here; `cotracker bench` measures a CPU")
    measure_all(list_settings(options.quick), options.json)


@torch.inference_mode()
def measure_all(settings: list[Setting], out: Path | None) -> None:
    """Prints a line for each setting, and rewrites `out` after each."""
    rows = []
    for setting in settings:
        torch.cuda.reset_peak_memory_stats()
        row = bench.measure_run(setting) | measure_gaps(setting)
        rows.append(row)
        print(format_row(row), flush=True)
        if out:
            bench_report.write(
                out,
                {"commit": provenance.commit(), "versions": provenance.versions(), "rows": rows},
            )


def list_settings(quick: bool) -> list[Setting]:
    common = Setting(device="cuda", repeats=3, threads=torch.get_num_threads())
    settings = []
    for model in (FULL, SHIPPED):
        for dtype in ("float32", "bfloat16"):
            for points in (256,) if quick else (64, 256, 1024, 4096):
                for cuda_graphs in (False, True):
                    changes = {
                        "model": model,
                        "dtype": dtype,
                        "points": points,
                        "cuda_graphs": cuda_graphs,
                    }
                    settings.append(dataclasses.replace(common, **changes))
    return settings


@torch.inference_mode()
def measure_gaps(setting: Setting) -> dict:
    """Of one more run: kernels a frame, and the share of the time in which none ran."""
    model, video = make_model(setting), make_video(setting)
    tracker, queries = make_tracker(setting, model), make_queries(setting)
    tracker(video, queries)
    device = torch.device(setting.device)
    with profile(activities=[ProfilerActivity.CUDA]) as profiled:
        began = now(device)
        tracker(video, queries)
        wall = now(device) - began
    kernels = [event for event in profiled.events() if event.device_type == DeviceType.CUDA]
    busy = sum(event.time_range.elapsed_us() for event in kernels) / 1e6
    return {
        "kernels_a_frame": len(kernels) / setting.frames,
        "idle": max(0.0, 1 - busy / wall),
        "profiled": wall,
    }


def format_row(row: dict) -> str:
    """One row of the table, in Markdown."""
    way = "graphs" if row["cuda_graphs"] else "kernels"
    share = f"{100 * row['of_peak']:.1f} % ({row['peak_gflops'] / 1e3:.0f})"
    return (
        f"| {row['model']}, {row['dtype']}, {way} | {row['points']} | "
        f"{row['frames_per_second']:.0f} | {1000 * row['seconds'] / row['frames']:.2f} | {share} | "
        f"{row['gigabytes']:.2f} | {row['kernels_a_frame']:.0f} | {100 * row['idle']:.0f} % |"
    )


if __name__ == "__main__":
    sys.exit(main())
