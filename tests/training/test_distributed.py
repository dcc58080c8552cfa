"""Training by many processes, over gloo, computes what one computes, whatever stops them."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import jobs
import numpy as np
import pytest
import torch
from faulty import Faulty
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from cotracker import checkpoint
from cotracker.config.instantiate import build_benchmark
from cotracker.data.stream import TrainingStream
from cotracker.training.distributed import Group, agree_on_store
from cotracker.training.validation import validate

ROOT = Path(__file__).parents[2]
ENVIRONMENT = os.environ | {
    "OMP_NUM_THREADS": "1",
    "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests' / 'helpers'}",
}
TORCHRUN = [sys.executable, "-m", "torch.distributed.run"]
TWO = ["--standalone", "--nproc-per-node=2"]
LONG = ["train.steps=16", "train.save_every=4"]  # the run of most tests
PAPER, MATCHING = "objective.matching_weight=0", "objective.matching_weight=1"
MANY_FRAMES = ["data.frames=20", "train.steps=1"]  # three windows and a half
MIXTURE = {
    "_target_": "cotracker.data.stream.Mixture",
    "_convert_": "all",
    "weights": [0.5, 0.5],
    "sources": [
        {"_target_": "faulty.Faulty", "frames": 8, "height": 32, "width": 48, "points": n}
        for n in (6, 12)
    ],
}
VALIDATION = [
    "evaluation.resolution=[64,96]",
    "evaluation.support_grid=2",
    "evaluation.iters=2",
] + [
    f"evaluation.benchmarks.sprites_val.clips.{words}"
    for words in (
        "count=3",
        "generator.frames=10",
        "generator.height=64",
        "generator.width=96",
        "generator.points=12",
    )
]

pytestmark = [pytest.mark.timeout(300), pytest.mark.slow]


def lines(out, name="log.jsonl"):
    return [json.loads(line) for line in (out / name).read_text().splitlines()]


def losses(out):
    return [line["loss"] for line in lines(out)]


def weights(out):
    return checkpoint.read_card(out / "model.safetensors")["hash"]


def progress(out):
    return checkpoint.load_state(out / "last.pt")["progress"]


@contextmanager
def started(*overrides, options=TWO, before=(), environment=ENVIRONMENT):
    """torchrun with train.py, output in a pipe; its processes are gone when the block is left."""
    words = [*before, *TORCHRUN, *options, "train.py", *jobs.SMALL, *overrides]
    process = subprocess.Popen(
        words,
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        end(process)


def end(process):
    """Kills torchrun and the processes it started: each leads a session of its own."""
    if process.poll() is None:
        for child in children(process.pid):
            os.kill(child, signal.SIGKILL)
        process.kill()
        process.communicate()


def children(pid):
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = status.read_text().rpartition(")")[2].split()[1]
        except OSError:  # it has ended meanwhile
            continue
        found += [int(status.parent.name)] if int(parent) == pid else []
    return found


def train(*overrides, options=TWO, environment=ENVIRONMENT):
    """Exit code and output of torchrun with train.py."""
    with started(*overrides, options=options, environment=environment) as process:
        said, _ = process.communicate()
    return process.returncode, said


def wait_for_steps(out, count, *processes):
    log = out / "log.jsonl"
    while not (log.exists() and log.read_text().count("\n") >= count):
        for process in processes:
            assert process.poll() is None, process.communicate()[0]
        time.sleep(0.01)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Runs by their folders' names: those of one process are made here, `together` makes two."""
    threads = torch.get_num_threads()
    at = tmp_path_factory.mktemp("runs")
    for name, objective in (("paper", PAPER), ("matching", MATCHING)):
        for batch, accumulate in ((2, 1), (1, 2), (4, 1), (1, 4)):
            sharding = [f"train.batch={batch}", f"train.accumulate={accumulate}"]
            jobs.run_watched(
                [f"out={at}/{name}_{batch}_{accumulate}", objective, *MANY_FRAMES, *sharding]
            )
    jobs.run_watched([f"out={at}/one", *LONG, "train.batch=2"])
    jobs.run_watched([f"out={at}/one_then_two", *LONG, "train.batch=2"], until=6)
    torch.set_num_threads(threads)
    return at


@pytest.fixture(scope="module")
def together(folder):
    """The folder of runs, after two processes made theirs, one after the other."""
    todo = [{"overrides": [f"out={folder}/one_then_two", *LONG]}]
    for name, objective in (("paper", PAPER), ("matching", MATCHING)):
        for accumulate in (1, 2):
            words = [objective, *MANY_FRAMES, f"train.accumulate={accumulate}"]
            todo.append({"overrides": [f"out={folder}/{name}_two_{accumulate}", *words]})
    todo.append({"overrides": [f"out={folder}/two_then_one", *LONG], "until": 6})
    todo.append({"overrides": [f"out={folder}/mixture", *LONG], "until": 6, "data": MIXTURE})
    todo.append({"overrides": [f"out={folder}/some_bad", "train.steps=6", "+data.fault=some_bad"]})
    todo.append({"overrides": [f"out={folder}/infinite", "train.steps=8", "+data.fault=infinite"]})
    seen = ["train.evaluate_every=6", "train.pictures_every=8", *VALIDATION]
    todo.append({"overrides": [f"out={folder}/evaluated", *LONG, *seen]})
    (folder / "jobs.json").write_text(json.dumps(todo))
    words = [*TORCHRUN, *TWO, "tests/helpers/jobs.py", str(folder / "jobs.json")]
    done = subprocess.run(
        words, cwd=ROOT, env=ENVIRONMENT, text=True, capture_output=True, timeout=240
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """The folder of an uninterrupted run of train.py by two processes."""
    out = tmp_path_factory.mktemp("two") / "run"
    code, said = train(*LONG, f"out={out}")
    assert (
        code == 0 and "a step sees 2 clips: batch x accumulate x processes = 1 x 1 x 2" in said
    ), said
    return out


@pytest.mark.parametrize("objective", ["paper", "matching"])
@pytest.mark.parametrize("one, others", [
    ("2_1", [("1_2", 0), ("two_1", 0), ("two_1", 1)]),
    ("4_1", [("1_4", 0), ("two_2", 0), ("two_2", 1)]),
])  # fmt: skip
def test_gradients_do_not_depend_on_how_a_batch_is_sharded(together, objective, one, others):
    """In one process or two, at once or in turn, with unequal numbers of points and windows."""
    expected = torch.load(together / f"{objective}_{one}" / "gradients0.pt")
    largest = max(gradient.abs().max() for gradient in expected)
    assert largest > 0.01
    for name, rank in others:
        found = torch.load(together / f"{objective}_{name}" / f"gradients{rank}.pt")
        worst = max((a - b).abs().max() for a, b in zip(expected, found, strict=True))
        assert worst / largest < 1e-5, (name, rank)


def test_two_processes_log_the_losses_of_one_with_twice_the_batch(folder, two):
    assert len(losses(two)) == 16
    for name in ("loss", "tracks", "visibility", "matching", "error", "lr", "gradient"):
        ours, theirs = ([line[name] for line in lines(out)] for out in (two, folder / "one"))
        same = (
            4 if name == "gradient" else 16
        )  # in whose norm noise in the last digits grows soonest
        np.testing.assert_allclose(ours[:same], theirs[:same], rtol=1e-3, err_msg=name)


def test_a_killed_process_is_started_again_and_the_run_ends_as_if_nothing_had_been(two, tmp_path):
    out = tmp_path / "run"
    code, said = train(
        *LONG, "+data.fault=killed", f"out={out}", options=[*TWO, "--max-restarts=1"]
    )
    # torchrun names the process found dead first: the killed one, or its peer, which fails its way
    assert (
        code == 0
        and f"resuming {out}/last.pt at step 4" in said
        and re.search(r"failed \(exitcode: -?\d+\)", said)
    ), said
    assert [line["step"] for line in lines(out)] == list(range(1, 17))
    assert weights(out) == weights(two) and losses(out) == losses(two)


def test_processes_started_again_take_no_notice_of_what_dead_ones_left_in_the_store():
    store, minute = torch.distributed.HashStore(), timedelta(minutes=1)
    for rank in (1, 2):
        store.set(f"here/{rank}", f"dead{rank}")
    with ThreadPoolExecutor(3) as threads:
        for _ in range(2):
            ranks = [threads.submit(agree_on_store, store, 0, 3, minute)]
            time.sleep(0.1)  # so that rank 0 has answered the dead
            ranks += [threads.submit(agree_on_store, store, rank, 3, minute) for rank in (1, 2)]
            parts = [rank.result(timeout=120) for rank in ranks]
            assert not parts[0].check(["address"])
            parts[1].set("address", "new")
            assert [part.get("address") for part in parts] == [b"new"] * 3
    with pytest.raises(TimeoutError, match="ranks .1, 2. did not come"):
        agree_on_store(torch.distributed.HashStore(), 0, 3, timedelta(seconds=0.1))


@pytest.mark.parametrize("words, sentences", [
    (["+data.fault=breaks"],
     ["Traceback", "in breaks", "RuntimeError: the disk of rank 1 is on fire"]),
    (["+data.fault=all_bad"],
     ["example 9 of seed 0: Faulty gave 11 bad clips in a row, "
      "the last because: clip number 9 has no tracks"]),
    (["+data.fault=not_numbers", "train.max_skipped_steps=3"],
     ["3 steps in a row were not finite: lower train.lr, or look at examples [[0, 8], [0, 9]]"]),
])  # fmt: skip
def test_an_error_of_one_process_ends_all_and_is_told(tmp_path, words, sentences):
    out = tmp_path / "run"
    with started(*LONG, *words, f"out={out}") as process:
        wait_for_steps(out, 4, process)
        said, _ = process.communicate(timeout=90)
    assert process.returncode != 0 and len(lines(out)) <= 5
    assert all(sentence in said for sentence in sentences), said


def test_bad_clips_of_one_process_are_replaced_and_counted(together, monkeypatch):
    out = together / "some_bad"
    monkeypatch.setenv("RANK", "1")
    stream = TrainingStream(Faulty(frames=8, height=32, width=48, points=16, fault="some_bad"))
    expected = {k: stream[k].replaced for k in range(1, 12, 2)}
    assert sum(expected.values()) > 0
    noted = {clip[0][1]: clip[1] for line in lines(out, "replaced.jsonl") for clip in line["clips"]}
    assert noted == {k: count for k, count in expected.items() if count}
    assert "the disk of rank 1 gave half a clip" in (out / "replaced.jsonl").read_text()
    assert [line["replaced"] for line in lines(out)] == np.cumsum(list(expected.values())).tolist()
    ranks = [lines(out, f"rank{rank}.json")[0]["hashes"] for rank in (0, 1)]
    assert ranks[0] == ranks[1] and len(ranks[0]) == 6


def test_a_step_that_is_not_finite_at_one_process_is_taken_by_none(together):
    out = together / "infinite"
    for rank in (0, 1):
        hashes = lines(out, f"rank{rank}.json")[0]["hashes"]
        assert [i + 1 for i in range(1, 8) if hashes[i] == hashes[i - 1]] == [
            3,
            6,
        ]  # examples 4 5, and 10 11
        assert hashes == lines(out, "rank0.json")[0]["hashes"]
    assert [line["not_finite"] for line in lines(out)] == [0, 0, 1, 1, 1, 2, 2, 2]
    noted = [(line["step"], line["examples"]) for line in lines(out, "not_finite.jsonl")]
    assert noted == [(3, [[0, 4], [0, 5]]), (6, [[0, 10], [0, 11]])]
    assert np.isfinite([line["loss"] for line in lines(out) if line["step"] not in (3, 6)]).all()


def test_out_of_time_or_asked_to_stop_all_save_and_leave(two, tmp_path):
    out = tmp_path / "run"
    words = ["train.steps=16", "train.save_every=1000", "+data.seconds=0.4", f"out={out}"]
    code, said = train(*words, "train.budget_minutes=0.04")
    done = progress(out)["step"]
    assert (
        code == 0
        and 0 < done < 16
        and f"stopped at step {done} of 16: run the same command again to resume" in said
    ), said
    with started(*words) as process:
        wait_for_steps(out, done + 1, process)
        process.send_signal(signal.SIGTERM)
        said, _ = process.communicate(timeout=120)
    later = progress(out)["step"]
    assert done < later < 16 and f"stopped at step {later} of 16" in said, said
    assert (
        process.returncode == 1 and "SignalException" in said
    )  # torchrun's own answer to a signal
    code, said = train(*words)
    assert code == 0 and weights(out) == weights(two) and losses(out) == losses(two), said


def examples_seen(out):
    """The examples' numbers in order; each process makes its first twice, to check the data."""
    return sorted(int(k) for file in (out / "seen").iterdir() for k in file.read_text().split()[1:])


def test_a_run_resumes_with_another_number_of_processes(together):
    assert progress(together / "two_then_one")["examples"] == 12
    jobs.run_watched([f"out={together}/two_then_one", *LONG, "train.batch=2"])
    for name in ("two_then_one", "one_then_two"):
        assert progress(together / name)["examples"] == 32
        assert examples_seen(together / name) == list(range(32))
        np.testing.assert_allclose(losses(together / name), losses(together / "one"), rtol=1e-3)


def test_a_mixture_that_would_change_its_blocks_is_refused(together):
    out = together / "mixture"
    jobs.run_watched([f"out={out}", *LONG, "train.batch=8"], data=MIXTURE)
    sentence = lines(out, "rank0.json")[0]["error"]
    assert (
        sentence.startswith("this run samples its mixture in blocks of 2 examples")
        and "\n" not in sentence
    )
    jobs.run_watched([f"out={out}", *LONG, "train.batch=2"], data=MIXTURE)
    assert len(losses(out)) == 16 and examples_seen(out)[-1] == 31


def test_all_processes_share_an_evaluation_and_training_continues(together, two):
    out = together / "evaluated"
    assert weights(out) == weights(two)  # neither measuring nor pictures moved anything
    rows = lines(out, "evaluations.jsonl")
    assert [row["step"] for row in rows] == [6, 12, 16]
    card = checkpoint.read_card(out / "best.safetensors")
    best = max(rows, key=lambda row: row["aj"])
    assert card["best"] == {"name": "sprites_val/aj", "value": best["aj"], "step": best["step"]}
    with jobs.initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
        cfg = jobs.compose("train", overrides=["experiment=smoke", *VALIDATION])
    benchmark, alone = (
        build_benchmark(cfg.evaluation.benchmarks.sprites_val),
        Group(0, 1, torch.device("cpu")),
    )
    for name, row in (("best", best), ("model", rows[-1])):
        values = validate(
            checkpoint.load_model(out / f"{name}.safetensors"), benchmark, cfg.evaluation, alone
        )
        assert (
            values == pytest.approx({key: row[key] for key in values}, abs=1e-6)
            and values["aj"] > 0
        )


def test_pictures_are_in_tensorboard(together):
    board = EventAccumulator(str(together / "evaluated")).Reload()
    assert {"tracks", "attention"} <= set(board.Tags()["images"])
    assert [image.step for image in board.Images("tracks")] == [8, 16]
    assert board.Images("tracks")[0].encoded_image_string[:4] == b"\x89PNG"


def test_asked_to_stop_it_saves_before_it_measures(tmp_path, monkeypatch):
    def too_long(run):
        run.log.close()
        raise TimeoutError  # whoever asked has lost patience

    monkeypatch.setattr("train.Run.evaluate", too_long)
    with pytest.raises(TimeoutError):
        jobs.run_watched([f"out={tmp_path}", *LONG, "train.evaluate_every=2", *VALIDATION], until=2)
    assert progress(tmp_path)["step"] == 2


def test_the_best_of_another_measure_is_no_measure_of_this_one(tmp_path):
    words = [f"out={tmp_path}", *LONG, "train.evaluate_every=2", *VALIDATION]
    jobs.run_watched([*words, "evaluation.best=sprites_val/oa"], until=2)
    oa = checkpoint.read_card(tmp_path / "best.safetensors")["best"]
    jobs.run_watched([*words, "evaluation.best=sprites_val/aj"], until=2)
    aj = checkpoint.read_card(tmp_path / "best.safetensors")["best"]
    assert (
        (oa["step"], aj["step"]) == (2, 4)
        and aj["name"] == "sprites_val/aj"
        and aj["value"] < oa["value"]
    )


ADDRESSES = {"a": "10.77.0.1", "b": "10.77.0.2"}


def ip(words):
    done = subprocess.run(["ip", *words.split()], capture_output=True, text=True)
    if done.returncode:
        raise OSError(f"ip {words}: {done.stderr.strip()}")


@pytest.fixture
def machines():
    """The names of two network namespaces, a and b, whose cards are joined by a cable."""
    if os.geteuid() or not shutil.which("ip"):
        pytest.skip("two machines are two network namespaces, which need root and iproute2")
    names = {machine: f"ct{os.getpid()}{machine}" for machine in ADDRESSES}
    a, b = names.values()
    try:
        try:
            ip(f"netns add {a}")
            ip(f"netns add {b}")
            ip(f"link add {a} netns {a} type veth peer name {b} netns {b}")
        except OSError as error:
            pytest.skip(f"no network namespaces here: {error}")
        for machine, name in names.items():
            ip(f"-n {name} link set lo up")
            ip(f"-n {name} addr add {ADDRESSES[machine]}/24 dev {name}")
            ip(f"-n {name} link set {name} up")
        yield names
    finally:
        for name in names.values():
            subprocess.run(["ip", "netns", "del", name], capture_output=True)


@contextmanager
def node(machines, machine, *overrides):
    """torchrun on one of two machines that wait for each other, as docs/training.md says it."""
    name = machines[machine]
    options = [
        "--nnodes=2",
        "--nproc-per-node=1",
        "--rdzv-backend=c10d",
        "--rdzv-id=run",
        "--max-restarts=3",
        f"--rdzv-endpoint={ADDRESSES['a']}:29400",
        f"--local-addr={ADDRESSES[machine]}",
        f"--rdzv-conf=is_host={int(machine == 'a')},read_timeout=3600",
    ]
    environment = ENVIRONMENT | {"GLOO_SOCKET_IFNAME": name}
    with started(
        *overrides, options=options, before=["ip", "netns", "exec", name], environment=environment
    ) as process:
        yield process


def test_two_machines_train_on_after_one_was_cut_off(folder, two, tmp_path, machines):
    out = tmp_path / "run"
    words = [*LONG, "+data.seconds=0.2", "train.timeout_minutes=0.2", f"out={out}"]
    with node(machines, "a", *words) as a, node(machines, "b", *words) as b:
        wait_for_steps(out, 6, a, b)
        ip(f"-n {machines['b']} link set {machines['b']} down")
        said = ""
        while "Traceback" not in said:  # until machine a has noticed
            assert a.poll() is None, said
            said += a.stdout.readline()
        ip(f"-n {machines['b']} link set {machines['b']} up")
        said += a.communicate(timeout=120)[0]
        also_said = b.communicate(timeout=120)[0]
    assert a.returncode == b.returncode == 0, said + also_said
    assert f"resuming {out}/last.pt at step" in said
    assert [line["step"] for line in lines(out)] == list(range(1, 17))
    assert weights(out) == weights(two)
    np.testing.assert_allclose(losses(out), losses(folder / "one"), rtol=1e-3)
