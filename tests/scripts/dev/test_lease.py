"""scripts/dev/lease: clips are packed nearly without loss; train.sh copies a run; refusals."""

import hashlib
import io
import os
import shlex
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import deviation
import numpy as np
import profile_gpu
import pytest
import torch
from lease import pack, unpack

from cotracker.config.overrides import find_misspelt
from cotracker.data.kubric.layout import read_clip, write_clip
from cotracker.data.synthetic.sprites import Sprites
from cotracker.data.video import write_video

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
TRAIN = ROOT / "scripts/dev/lease/train.sh"
without_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")


def drawn(root: Path, size: tuple[int, int] = (64, 96), images: str = "jpg") -> Path:
    for seed in range(2):
        clip = Sprites(frames=5, height=size[0], width=size[1], points=16, noise=0.0).clip(
            np.random.default_rng(seed)
        )
        write_clip(root, f"{seed:06d}", clip, images=images)
    return root


@pytest.fixture
def clips(tmp_path):
    return drawn(tmp_path / "drawn")


def carried(clips: Path, tmp_path: Path) -> Path:
    assert pack.main([str(tmp_path / "clips.tar.xz"), f"{clips}:12"]) == 0
    assert unpack.main([str(tmp_path / "clips.tar.xz"), str(tmp_path / "there")]) == 0
    assert [path.name for path in (tmp_path / "there").iterdir()] == [clips.name]
    assert not list(tmp_path.glob(".*"))
    return tmp_path / "there" / clips.name


def assert_alike(before: Path, after: Path) -> None:
    before, after = read_clip(before), read_clip(after)
    assert before.video.shape == after.video.shape and torch.equal(before.visible, after.visible)
    assert (before.video.int() - after.video.int()).abs().float().mean() < 8
    assert 0 < (before.tracks - after.tracks).abs().max() <= 1 / 64


@pytest.mark.parametrize(("size", "images"), [((64, 96), "png"), ((65, 97), "jpg")])
def test_clips_are_carried(tmp_path, size, images):
    clips = drawn(tmp_path / "drawn", size, images)
    there = carried(clips, tmp_path)
    for name in ("000000", "000001"):
        assert_alike(clips / name, there / name)


def test_a_clip_whose_frames_are_an_mp4_is_carried(clips, tmp_path):
    frames = read_clip(clips / "000001").video.permute(0, 2, 3, 1).numpy()
    shutil.rmtree(clips / "000001" / "frames")
    write_video(clips / "000001" / "frames.mp4", frames, 24, frames.shape[1:3])
    assert_alike(clips / "000001", carried(clips, tmp_path) / "000001")


def refused(capsys, code: int, who: str, *words: str) -> None:
    error = capsys.readouterr().err
    assert code == 2 and error.startswith(f"{who}: ") and error.count("\n") == 1, error
    assert all(word in error for word in words), error


def test_a_video_that_lost_frames_is_not_packed(clips, tmp_path, capsys):
    (tmp_path / "clips.tar.xz").write_text("of before")
    for path in sorted((clips / "000001" / "frames").iterdir())[-2:]:
        path.unlink()
    code = pack.main([str(tmp_path / "clips.tar.xz"), f"{clips}:12"])
    refused(capsys, code, "pack.py", "000001", "3 frames", "tracks for 5")
    assert (tmp_path / "clips.tar.xz").read_text() == "of before"


@pytest.mark.parametrize(
    ("out", "words", "message"),
    [
        ("c.tar.xz", ["empty"], "empty is no folder of clips"),
        ("c.tar.xz", ["drawn:52"], "drawn:52: the quality must be a whole number from 0 to 51"),
        ("c.tar.xz", ["drawn", "empty/../drawn:24"], "would both be unpacked as drawn"),
        ("nodir/c.tar.xz", ["drawn"], "nodir/c.tar.xz cannot be written"),
    ],
)
def test_what_cannot_be_packed_is_refused_first(
    clips, tmp_path, monkeypatch, capsys, out, words, message
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(pack, "pack", None)
    Path("empty").mkdir()
    refused(capsys, pack.main([out, *words]), "pack.py", message)
    assert sorted(os.listdir()) == ["drawn", "empty"]


def test_unpacked_twice_is_refused(clips, tmp_path, capsys):
    there = carried(clips, tmp_path)
    before = sorted(there.rglob("*"))
    capsys.readouterr()
    code = unpack.main([str(tmp_path / "clips.tar.xz"), str(tmp_path / "there")])
    refused(capsys, code, "unpack.py", f"{there} is there already")
    assert sorted(there.rglob("*")) == before and os.listdir(tmp_path / "there") == ["drawn"]


def tar_of(path: Path, files: dict[str, bytes]) -> None:
    with tarfile.open(path, "w:xz") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))


def test_what_cannot_be_unpacked_is_refused(clips, tmp_path, capsys):
    packed, there = tmp_path / "clips.tar.xz", tmp_path / "there"
    pack.main([str(packed), str(clips)])
    with tarfile.open(packed) as tar:
        good = {
            name: tar.extractfile(name).read()
            for name in tar.getnames()
            if tar.getmember(name).isfile()
        }
    lost = {name: data for name, data in good.items() if name != "drawn/000000/000000.npy"}
    other = good | {"drawn/000000/000000.npy": (ROOT / "pyproject.toml").read_bytes()}
    fewer = good | {"drawn/000000/frames.mp4": b""}
    outside = good | {"../outside": b"junk"}
    whole = packed.read_bytes()
    for name, data, says in (
        ("nosuch", None, "nosuch is no file"),
        ("junk", b"junk", "junk cannot be unpacked"),
        ("short", whole[: len(whole) // 2], "short cannot be unpacked"),
        ("none", {"drawn/readme": b"nothing"}, "none holds no clips"),
        ("lost", lost, "lost is damaged, pack it again"),
        ("other", other, "other is damaged, pack it again"),
        ("fewer", fewer, "drawn/000000 has 0 frames but tracks for 5"),
        ("outside", outside, "outside cannot be unpacked"),
    ):
        if isinstance(data, bytes):
            (tmp_path / name).write_bytes(data)
        elif data:
            tar_of(tmp_path / name, data)
        capsys.readouterr()
        refused(capsys, unpack.main([str(tmp_path / name), str(there)]), "unpack.py", says)
        assert not there.exists() or not os.listdir(there)
        assert not (there.parent / "outside").is_file() or name == "outside"


def test_the_deviation_of_too_many_clips_is_refused(capsys):
    code = deviation.main(["--checkpoint", "static", "--clips", "21"])
    refused(capsys, code, "deviation.py", "--clips must be from 1 to 20, not 21")


def test_the_table_of_a_gpu_looks_for_its_folder_first(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    code = profile_gpu.main(["--json", "nodir/rows.json"])
    refused(capsys, code, "profile_gpu.py", "nodir/rows.json cannot be written")


@without_gpu
def test_the_table_of_a_gpu_says_where_there_is_none(capsys):
    refused(
        capsys,
        profile_gpu.main([]),
        "profile_gpu.py",
        "there is no GPU here; `cotracker bench` measures a CPU",
    )


@pytest.fixture
def lent(tmp_path):
    """A folder with all that train.sh needs, and a python3 that prints what it is to run."""
    for name in ("F/clips.tar.xz", "F/textures/a.jpg", "F/whl/a.whl", "train.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "bin").mkdir()
    stub = tmp_path / "bin" / "python3"
    stub.write_text("""#!/usr/bin/env bash
echo "$*" >>calls
case "$*" in
    *print*) echo 0.1 ;;
    train.py*) mkdir -p runs/shipped_gpu; cd runs/shipped_gpu
        touch log.jsonl config.yaml environment.json model.safetensors
        seq 1 4000000 >last.pt; echo trained ;;
esac
[[ -z $FAILS || $* != *"$FAILS"* ]] || exit 7
""")
    stub.chmod(0o755)
    return tmp_path


def train(
    folder: Path, *words: str, fails: str = "", path: str | None = None
) -> subprocess.CompletedProcess:
    environment = os.environ | {
        "FAILS": fails,
        "PATH": f"{path or folder / 'bin'}:{os.environ['PATH']}",
    }
    return subprocess.run(
        ["bash", TRAIN, *words], cwd=folder, env=environment, text=True, capture_output=True
    )


def test_a_run_is_copied_in_files_below_16_mib(lent):
    done = train(lent, "F", "60", "OUT")
    assert done.returncode == 0 and "trained" in done.stdout and not done.stderr
    state = (lent / "runs/shipped_gpu/last.pt").read_bytes()
    digest = hashlib.sha256(state).hexdigest()
    pieces = [f"last.pt.{digest[:12]}.{k:03d}" for k in range(3)]
    small = ["config.yaml", "environment.json", "log.jsonl", "model.safetensors", "output.txt"]
    out = lent / "OUT"
    assert sorted(os.listdir(out)) == sorted([*small, "last.pt.sha256", *pieces])
    assert (out / "last.pt.sha256").read_text() == f"{digest}\n"
    assert b"".join((out / piece).read_bytes() for piece in pieces) == state
    assert max(file.stat().st_size for file in out.iterdir()) <= 15_000_000
    assert "checkpoint.bfloat16_moments=true" in (lent / "calls").read_text()


def test_settings_after_the_folder_are_given_to_the_run(lent):
    (lent / "F").rename(lent / "F=1")
    assert train(lent, "F=1", "60", "OUT", "data=shipped/walking", "train.lr=1e-4").returncode == 0
    (run,) = (
        line for line in (lent / "calls").read_text().splitlines() if line.startswith("train.py")
    )
    assert (
        "shipped/gpu data=shipped/walking train.lr=1e-4 textures='F=1/textures' " in run
        and run.endswith("minutes=0.1")
    )
    assert find_misspelt(ROOT / "configs", "train", run.split()[1:]) is None


def test_a_misspelt_setting_ends_the_run_before_anything_is_unpacked(lent):
    (lent / "bin/python3").write_text(f"""#!/usr/bin/env bash
[[ $* != *"refuse_misspelt("* ]] || {{ cd {ROOT}; exec {sys.executable} "$@"; }}
echo "$*" >>calls
""")
    done = train(lent, "F", "60", "OUT", "data=walkin")
    assert (
        done.returncode == 2
        and "there is no data=walkin: did you mean data=shipped/walking?" in done.stderr
    )
    assert "unpack.py" not in (lent / "calls").read_text() and not list((lent / "OUT").iterdir())


@pytest.mark.parametrize("step", ["unpack.py", "train.py"])
def test_a_step_that_fails_is_the_last(lent, step):
    assert train(lent, "F", "60", "OUT", fails=step).returncode == 7
    assert step in (lent / "calls").read_text().splitlines()[-1]


@pytest.mark.parametrize(
    ("words", "missing", "exists", "message"),
    [
        ("F 60", "", "", "give three arguments"),
        ("F 60 OUT walking", "", "", "walking is not key=value"),
        ("F 60 OUT train.lr=1 out=runs/x", "", "", "train.sh sets out itself"),
        ("F 0 OUT", "", "", "SECONDS must be a whole number"),
        ("F$ 60 OUT", "", "", "F$ has a ' or $ in its name"),
        ("F 60 OUT", "F/clips.tar.xz", "", "F/clips.tar.xz is missing"),
        ("F 60 OUT", "F/textures/a.jpg", "", "F/textures is empty"),
        ("F 60 OUT", "F/whl/a.whl", "", "F/whl has no wheels"),
        ("F 60 OUT", "train.py", "", "train.py is not here"),
        ("F 60 OUT", "", "runs/shipped_gpu/last.pt", "runs/shipped_gpu/last.pt exists"),
        ("F 60 OUT", "", "OUT/model.safetensors", "OUT is not empty"),
    ],
)
def test_what_cannot_be_trained_is_refused_before_anything_is_done(
    lent, words, missing, exists, message
):
    if missing:
        (lent / missing).unlink()
    if exists:
        (lent / exists).parent.mkdir(parents=True)
        (lent / exists).touch()
    done = train(lent, *words.split())
    assert done.returncode == 2 and done.stderr.startswith("train.sh: ")
    assert done.stderr.count("\n") == 1 and message in done.stderr
    assert not (lent / "calls").exists()


@without_gpu
def test_no_gpu_is_refused(lent):
    done = train(lent, "F", "60", "OUT", path=str(Path(sys.executable).parent))
    assert (done.returncode, done.stderr) == (2, "train.sh: PyTorch sees no GPU here\n") and not (
        lent / "OUT"
    ).exists()


@without_gpu
def test_the_gpu_is_tested_where_pytest_timeout_is_not_there():
    line = next(line for line in TRAIN.read_text().splitlines() if "-m pytest" in line)
    command = [sys.executable, *shlex.split(line.partition("||")[0])[1:], "-p", "no:timeout"]
    done = subprocess.run(command, cwd=ROOT, text=True, capture_output=True)
    assert done.returncode == 0 and "skipped" in done.stdout
