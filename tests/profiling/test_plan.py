"""What a plan says beforehand, held to what a process measures; and what it chooses."""

import pytest
import torch
from small_networks import tiny

from cotracker.model.cotracker import CoTracker
from cotracker.profiling import bench, flops
from cotracker.profiling.plan import Workload, parse_bytes, plan, working_bytes

FULL = CoTracker()


@pytest.mark.slow
@pytest.mark.parametrize(
    "model, points, size, dtype",
    [
        ("cotracker_small", 1000, (128, 160), "float32"),
        ("cotracker_small", 300, (256, 320), "bfloat16"),
        ("cotracker3_online", 500, (64, 96), "float32"),
        ("cotracker3_offline", 200, (64, 96), "float32"),
    ],
)
def test_memory_is_as_measured(model, points, size, dtype):
    """Runs that the constant of the plan was not chosen by (docs/speed.md names those)."""
    setting = bench.Setting(
        model=model,
        points=points,
        frames=12,
        height=size[0],
        width=size[1],
        dtype=dtype,
        threads=1,
        iters=1,
        repeats=1,
    )
    (row,) = bench.measure_in_process(setting)
    measured = 1e9 * (row["gigabytes"] - row["gigabytes_before"])
    said = plan(bench.make_model(setting), Workload(12, size, points, iters=1))
    assert said.points_at_once == points and 0.75 < said.bytes / measured < 1.7


def test_it_does_not_grow_with_the_video_but_with_points_and_size():
    def needed(frames=24, size=(384, 512), points=256):
        return plan(FULL, Workload(frames, size, points)).bytes

    assert needed(frames=3000) < 1.2 * needed()
    assert needed(points=1024) > needed() + 50e6 and needed(size=(768, 1024)) > 2 * needed()


def test_the_largest_chunk_that_fits_is_chosen():
    plans = {
        budget: plan(FULL, Workload(24, (128, 160), 4096), budget) for budget in (2e9, 1.4e8, 1.1e8)
    }
    sizes = [chosen.points_at_once for chosen in plans.values()]
    assert sizes[0] == 1024 and sizes == sorted(sizes, reverse=True) and sizes[2] < sizes[1] < 1024
    assert all(chosen.bytes <= budget for budget, chosen in plans.items())
    with pytest.raises(
        ValueError, match="50 MB beside the program are too few for this video at 384x512: it needs"
    ):
        plan(FULL, Workload(24, (384, 512), 10), 50e6)


def test_the_single_point_protocol_takes_queries_and_frames_into_account():
    work = Workload(48, (384, 512), 20, support=72, single_point=True)
    roomy, tight = plan(FULL, work), plan(FULL, work, 3e8)
    assert (
        roomy.queries_at_once == 20
        and roomy.feature_memory == 48 * (roomy.feature_memory // 48) > 3e8
    )
    assert (
        tight.queries_at_once < 20
        and tight.feature_memory < roomy.feature_memory
        and tight.bytes <= 3e8
    )


def test_operations_are_those_of_the_chunks_and_time_follows():
    model = tiny()
    said = plan(model, Workload(10, (40, 56), 1500, iters=2, support=4))
    chunks = [flops.run(model, n + 4, 10, (40, 56), 2) for n in (1024, 476)]
    assert said.operations == sum(chunks)
    assert said.seconds(100, 0.5) == pytest.approx(sum(chunks) / 50e9)


def test_sizes_are_parsed():
    assert [parse_bytes(text) for text in ("2GB", "800mb", "1.5 GB")] == [2e9, 8e8, 1.5e9]


@pytest.mark.parametrize("text", ["2", "nanGB"])
def test_other_texts_are_no_sizes(text):
    with pytest.raises(ValueError, match="is not a size such as 2GB or 800MB"):
        parse_bytes(text)


def test_a_budget_below_the_program_is_refused():
    assert working_bytes(torch.device("cpu"), 10**9, 6 * 10**8) == 4 * 10**8
    with pytest.raises(ValueError, match="500 MB are less than the program itself holds on cpu"):
        working_bytes(torch.device("cpu"), 5 * 10**8, 6 * 10**8)
