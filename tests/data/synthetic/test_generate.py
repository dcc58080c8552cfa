"""scripts/generate.py: the same bytes, whatever the workers and interruptions; refusals."""

import functools
import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import generate
import numpy as np
import pytest
import torch
from by_products import read_by_products
from generated import ROOT, settings

from cotracker.config.overrides import find_misspelt
from cotracker.data.kubric import Kubric
from cotracker.data.kubric.layout import clip_names, describe_clip, read_clip
from cotracker.data.stream import TrainingStream
from cotracker.files import LOCK
from cotracker.types import Clip

pytestmark = pytest.mark.slow

SMALL = ["generator.frames=3", "generator.height=32", "generator.width=40", "generator.points=6"]
LARGER = [
    "generator._target_=paused.Paused",
    "generator.frames=6",
    "generator.height=64",
    "generator.width=96",
    "generator.points=16",
]
COUNT = 16


def contents(out: Path) -> dict[str, bytes]:
    """Every file of the folder; of the manifest all but the commits, which may change."""
    found = {
        str(path.relative_to(out)): path.read_bytes()
        for path in sorted(out.rglob("*"))
        if path.is_file()
    }
    manifest = json.loads(found["manifest.json"])
    assert manifest.pop("commits") and list(found) == sorted(found)
    return found | {"manifest.json": json.dumps(manifest).encode()}


def start(*words: str, **named) -> subprocess.Popen:
    """The program as a user starts it, its output kept, in a session of its own.

    It hears Ctrl-C even where this process does not, as in a shell's background.  A clip takes
    long, so that the run can be stopped in the middle, however slow this process is.
    """
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join(map(str, (ROOT, ROOT / "tests" / "helpers"))),
        "PAUSE": "0.3",
    }
    command = [sys.executable, "scripts/generate.py", *words]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    hears = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        start_new_session=True,
        preexec_fn=hears,
        **pipes,
        **named,
    )


def wait_for_clips(out: Path, count: int, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 120
    while not out.is_dir() or len(clip_names(out)) < count:
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()
        time.sleep(0.01)


def session_members(session: int) -> list[int]:
    """The live processes of a session."""
    members = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, its_session = stat.read_text().rsplit(")", 1)[1].split()[:4]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(its_session) == session and state != "Z":
            members.append(int(stat.parent.name))
    return members


def held(folder: Path) -> list[str]:
    """The names in a folder, but of the lock, which older versions of filelock remove."""
    return sorted({*os.listdir(folder)} - {LOCK})


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """The folder of one whole run in this process."""
    out = tmp_path_factory.mktemp("whole") / "clips"
    assert generate.run(settings(*LARGER, f"count={COUNT}", f"out={out}")) == COUNT
    return out


def test_the_folder_holds_what_the_stream_trains_on(uninterrupted):
    names = [f"{k:06d}" for k in range(COUNT)]
    assert clip_names(uninterrupted) == names and held(uninterrupted) == [
        *names,
        "manifest.json",
    ]
    stream = TrainingStream(generate.build(settings(*LARGER)), seed=0)
    for k in (0, 13):
        sampled, read = stream[k], read_clip(uninterrupted / names[k])
        torch.testing.assert_close(read.tracks, sampled.tracks, atol=1e-4, rtol=0)
        assert torch.equal(read.visible, sampled.visible) and torch.equal(read.valid, sampled.valid)
        grey = torch.stack(
            [read.video.float().mean(1).flatten(), sampled.video.float().mean(1).flatten()]
        )
        assert torch.corrcoef(grey)[0, 1] > 0.98
    example = Kubric(uninterrupted, 6, 48, 64, 4).clip_at(3, np.random.default_rng(0))
    assert example.video.shape == (6, 3, 48, 64)


def test_the_manifest_has_the_settings_of_the_run(uninterrupted):
    manifest = json.loads((uninterrupted / "manifest.json").read_text())
    assert (
        manifest["generator"] == "paused.Paused"
        and manifest["seed"] == 0
        and manifest["quality"] == 95
    )
    assert manifest["config"] == {
        k: v for k, v in settings(*LARGER)["generator"].items() if k[0] != "_"
    }
    assert manifest["counts"] == {"clips": COUNT, "frames": 6 * COUNT, "points": 16 * COUNT}
    assert manifest["clips"] == [describe_clip(uninterrupted / f"{k:06d}") for k in range(COUNT)]
    assert (
        manifest["clips"][5]["size"] == [64, 96]
        and len({clip["sha256"] for clip in manifest["clips"]}) == COUNT
    )


def test_four_workers_write_the_bytes_of_none(uninterrupted, tmp_path):
    generate.run(settings(*LARGER, f"count={COUNT}", f"out={tmp_path}/four", "workers=4"))
    assert contents(tmp_path / "four") == contents(uninterrupted)


@pytest.mark.parametrize("stop", [signal.SIGKILL, signal.SIGINT], ids=["SIGKILL", "SIGINT"])
def test_a_stopped_run_resumes_to_the_same_bytes(uninterrupted, tmp_path, stop):
    out = tmp_path / "clips"
    words = [*LARGER, f"count={COUNT}", f"out={out}", "workers=2"]
    process = start(*words)
    wait_for_clips(out, 3, process)
    if stop == signal.SIGKILL:
        process.kill()
    else:
        os.killpg(process.pid, stop)  # as a terminal does
    _, message = process.communicate(timeout=120)
    deadline = time.monotonic() + 30
    while session_members(process.pid):
        assert time.monotonic() < deadline, "workers outlive the run that started them"
        time.sleep(0.05)
    there = {name: (out / name).stat().st_ino for name in clip_names(out)}
    assert 3 <= len(there) < COUNT
    if stop == signal.SIGINT:
        assert process.returncode == 130 and "Traceback" not in message
        assert (
            message.strip().splitlines()[-1]
            == "generate.py: stopped; run the same command again to resume"
        )
        assert [
            clip["name"] for clip in json.loads((out / "manifest.json").read_text())["clips"]
        ] == list(there)
        assert held(out) == [*there, "manifest.json"]
    assert generate.run(settings(*words[:-1])) == COUNT - len(there)
    assert contents(out) == contents(uninterrupted)
    assert {name: (out / name).stat().st_ino for name in there} == there  # none was made again


@pytest.mark.parametrize("workers", [0, 2])
def test_wherever_it_is_stopped_the_manifest_has_every_clip_that_is_there(
    uninterrupted, tmp_path, monkeypatch, workers
):
    """Ctrl-C may come between two clips, where it does not meet those who wait for the workers."""
    out = tmp_path / "clips"
    words = [*LARGER, f"count={COUNT}", f"out={out}", f"workers={workers}"]

    class Stopping(generate.tqdm):
        def update(self):
            super().update()
            if self.n == 3:
                raise KeyboardInterrupt

    with monkeypatch.context() as stopping, pytest.raises(KeyboardInterrupt):
        stopping.setattr(generate, "tqdm", Stopping)
        generate.run(settings(*words))
    there = clip_names(out)
    assert [
        clip["name"] for clip in json.loads((out / "manifest.json").read_text())["clips"]
    ] == there
    assert held(out) == [*there, "manifest.json"] and len(there) >= 3
    assert generate.run(settings(*words)) == COUNT - len(there)
    assert contents(out) == contents(uninterrupted)


def test_more_clips_are_added_and_none_is_made_twice(tmp_path, capsys):
    out = tmp_path / "clips"
    assert generate.run(settings(*SMALL, "count=2", f"out={out}")) == 2
    assert generate.run(settings(*SMALL, "count=2", "start=3", f"out={out}")) == 2
    assert clip_names(out) == ["000000", "000001", "000003", "000004"]
    assert generate.run(settings(*SMALL, "count=5", f"out={out}")) == 1
    assert generate.run(settings(*SMALL, "count=5", f"out={out}")) == 0
    assert f"5 clips in {out}: all there before" in capsys.readouterr().out
    generate.run(settings(*SMALL, "count=5", f"out={tmp_path}/at_once"))
    assert contents(out) == contents(tmp_path / "at_once")


def test_png_keeps_every_pixel_and_quality_counts(tmp_path):
    for name, words in (
        ("png", ["images=png"]),
        ("best", ["quality=95"]),
        ("worse", ["quality=30"]),
    ):
        generate.run(settings(*SMALL, "count=1", f"out={tmp_path}/{name}", *words))
    sampled = TrainingStream(generate.build(settings(*SMALL)))[0].video
    errors = [
        (read_clip(tmp_path / name / "000000").video.float() - sampled).abs().mean()
        for name in ("png", "best", "worse")
    ]
    assert errors[0] == 0 < errors[1] < errors[2]


class Toy:
    """A generator with by-products, some clips of which are bad."""

    def __init__(self, bad: float = 0.0, size: int = 16):
        self.bad, self.size = bad, size

    def clip(self, rng):
        return self.recording(rng)[0]

    def recording(self, rng):
        if rng.random() < self.bad:
            raise ValueError("the die fell badly")
        video = torch.from_numpy(rng.integers(0, 256, (2, 3, self.size, self.size), np.uint8))
        flags = torch.ones(2, 1, dtype=torch.bool)
        depth = rng.random((2, self.size, self.size), np.float32)
        return Clip(video, torch.ones(2, 1, 2), flags, flags), {
            "depth": depth,
            "segments": video[:, 0].numpy(),
        }


def toy(*overrides, **fields) -> dict:
    return settings(*overrides) | {"generator": {"_target_": "test_generate.Toy", **fields}}


def test_by_products_are_written_when_wanted(tmp_path):
    for wanted in (True, False):
        generate.run(toy(f"by_products={wanted}", "count=2", f"out={tmp_path}/{wanted}"))
    sampled = Toy().recording(np.random.default_rng((0, 1)))[1]
    found = read_by_products(tmp_path / "True" / "000001")
    assert found.keys() == {"depth", "segments"} and all(
        np.array_equal(found[key], sampled[key]) for key in found
    )
    assert read_by_products(tmp_path / "False" / "000001") == {}


def test_a_bad_clip_is_replaced_as_in_training(tmp_path):
    generate.run(toy("count=12", f"out={tmp_path}/some", "images=png", bad=0.4))
    stream = TrainingStream(Toy(bad=0.4))
    assert all(
        torch.equal(read_clip(tmp_path / "some" / f"{k:06d}").video, stream[k].video)
        for k in range(12)
    )
    for workers in (2, 0):
        with pytest.raises(
            ValueError,
            match="clip [01] of seed 0: Toy gave 11 bad clips in a row.*the die fell badly",
        ):
            generate.run(toy("count=2", f"out={tmp_path}/all", bad=1.0) | {"workers": workers})
    assert held(tmp_path / "all") == ["manifest.json"]
    assert (
        generate.run(toy("count=2", f"out={tmp_path}/all")) == 2
    )  # an empty folder may change its mind


@pytest.mark.parametrize(
    "words, message",
    [
        (["seed=1"], "seed is 0 there, 1 here"),
        (["generator.points=7"], "points is 6 there, 7 here"),
        (
            ["count=1"],
            "holds clips up to 000001, beyond count=1 from start=0: give count=2 or more",
        ),
        (["count=0"], "count must be a whole number from 1 to"),
        (["images=gif"], "images must be jpg or png"),
        (["by_products=true"], "Sprites has no by-products"),
        (["out=/dev/null/clips"], "cannot write into"),
        (["generator.frames=1"], "the generator cannot be built: .*frames"),
        (["start=1000000"], "start . count must be"),
    ],
)
def test_impossible_settings_are_refused_in_one_sentence(tmp_path, words, message):
    out = tmp_path / "clips"
    generate.run(settings(*SMALL, "count=2", f"out={out}"))
    before = contents(out)
    with pytest.raises(ValueError, match=message) as caught:
        generate.run(settings(*SMALL, "count=2", f"out={out}", *words))
    assert "\n" not in str(caught.value) and contents(out) == before


@pytest.mark.parametrize(
    "argument, right", [("cuont=3", "count"), ("generator.point=3", "generator.points")]
)
def test_a_misspelt_key_names_the_right_one(argument, right):
    answer = find_misspelt(ROOT / "configs", "generate", [argument])
    assert f"did you mean {right}?" in answer and "\n" not in answer
    assert find_misspelt(ROOT / "configs", "generate", ["count=3", *SMALL, "textures=x"]) is None


def test_a_full_disk_is_reported_and_loses_nothing(tmp_path):
    """A limit on the size of files raises the same kind of error at the same call."""
    words = [*SMALL, "count=3", f"out={tmp_path}/clips", "generator.points=999"]
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20000, limits[1]))
    try:
        with pytest.raises(
            ValueError, match=r"cannot write into .*clips \(.*\): make room or"
        ) as caught:
            generate.run(settings(*words))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "\n" not in str(caught.value) and held(tmp_path / "clips") == [
        "manifest.json",
    ]
    assert generate.run(settings(*words)) == 3


def test_only_one_run_at_a_time_writes_into_a_folder(tmp_path):
    with generate.lock_folder(tmp_path):
        with pytest.raises(ValueError, match="another process is writing into"):
            generate.run(settings(*SMALL, "count=1", f"out={tmp_path}"))
