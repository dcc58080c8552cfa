"""The check of benchmarks: good folders pass, and each fault names its file and nothing else."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from badja_fixture import write_badja
from checked import scene
from fastcapture_fixture import write_fastcapture
from PIL import Image
from tapvid_fixture import kinetics_record, write

from cotracker.cli import main
from cotracker.data.check import check
from cotracker.data.kubric.layout import write_clip
from cotracker.types import Clip


def as_record(clip: Clip) -> dict:
    """A clip as TAP-Vid writes it."""
    height, width = clip.video.shape[-2:]
    points = (clip.tracks.numpy().swapaxes(0, 1) + 0.5) / (width, height)
    video = clip.video.permute(0, 2, 3, 1).contiguous().numpy()
    return {
        "video": video,
        "points": points.astype(np.float32),
        "occluded": ~clip.visible.numpy().T,
    }


def write_scenes(path: Path, count: int) -> Path:
    return write(path, {f"scene{k}": as_record(scene(k)) for k in range(count)})


def as_fastcapture(root: Path, name: str, clip: Clip) -> None:
    folder = root / "renders_local_rm" / name
    folder.mkdir(parents=True)
    for k, frame in enumerate(clip.video.permute(0, 2, 3, 1).numpy()):
        Image.fromarray(frame).save(folder / f"{k:03d}.png")
    (root / "zju_tracking").mkdir(exist_ok=True)
    truth = {"traj_2d": clip.tracks.permute(1, 2, 0).clone(), "visibility": clip.visible.T.clone()}
    torch.save(truth, root / "zju_tracking" / f"{name}.pth")


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A folder with one benchmark of every kind."""
    root = tmp_path_factory.mktemp("made")
    write_scenes(root / "tapvid_davis" / "tapvid_davis.pkl", 3)
    write(root / "tapvid_rgb_stacking" / "tapvid_rgb_stacking.pkl", [as_record(scene(3))])
    for k in range(5):
        write_scenes(root / "robotap" / f"robotap_split{k}.pkl", 1 if k else 2)
    for k in range(10):
        write(root / "tapvid_kinetics" / f"{k:04d}_of_0010.pkl", [kinetics_record(k)])
    write_badja(root / "BADJA")
    as_fastcapture(root / "FastCapture", "dancer", scene(0))
    return root


@pytest.fixture
def root(made, tmp_path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "set"))


def test_good_benchmarks_are_passed_and_counted(root, capsys, tmp_path):
    assert (
        main(["data", "check", str(root), "--workers", "2", "--json", str(tmp_path / "x.json")])
        == 0
    )
    first, *rest = capsys.readouterr().out.splitlines()
    assert "nothing wrong" in first and first.startswith("18 clips with 121 frames")
    assert rest == [
        f"BADJA in {root / 'BADJA'}: 1 of 7 videos can be read",
        f"FastCapture in {root / 'FastCapture'}: 1 video can be read",
        f"RoboTAP in {root / 'robotap'}: 2 videos can be read",  # as all splits name one scene0
        f"TAP-Vid-DAVIS in {root / 'tapvid_davis'}: 3 of 30 videos can be read",
        f"TAP-Vid-Kinetics in {root / 'tapvid_kinetics'}: 10 videos can be read",
        f"TAP-Vid-RGB-Stacking in {root / 'tapvid_rgb_stacking'}: 1 of 50 videos can be read",
    ]
    held = json.loads((tmp_path / "x.json").read_text())
    assert [one["benchmark"] for one in held["benchmarks"]][:2] == ["BADJA", "FastCapture"]
    assert (
        held["benchmarks"][0]["videos"] == [{"clip": "camel", "frames": 5}]
        and held["findings"] == []
    )


def davis(root: Path, change) -> None:
    held = {f"scene{k}": as_record(scene(k)) for k in range(3)}
    change(held["scene1"])
    write(root / "tapvid_davis" / "tapvid_davis.pkl", held)


def cut(path: Path, keep: int = 2) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // keep])


def joints(root: Path, scale: float) -> None:
    path = root / "BADJA" / "joint_annotations" / "camel.json"
    rows = json.loads(path.read_text())
    for row in rows:
        row["joints"] = (np.array(row["joints"]) * scale).tolist()
    path.write_text(json.dumps(rows))


PICTURES, MASKS = (
    f"BADJA/DAVIS/{kind}/Full-Resolution/camel" for kind in ("JPEGImages", "Annotations")
)
JSON, PTH = "BADJA/joint_annotations/camel.json", "FastCapture/zju_tracking/dancer.pth"
DAVIS, SHARD = "tapvid_davis/tapvid_davis.pkl", "tapvid_kinetics/0004_of_0010.pkl"

# What is done to the folder; the file that must be named, the kind, words of the sentence.
FAULTS = {
    "a shard cut short": (
        lambda r: cut(r / SHARD),
        SHARD,
        "file",
        "cut short, after 0 of its videos",
    ),
    "a shard is missing": (
        lambda r: (r / SHARD).unlink(),
        SHARD,
        "file",
        "is missing, and the videos in it",
    ),
    "a shard of code": (
        lambda r: (r / SHARD).write_bytes(b"cos\nsystem\n."),
        SHARD,
        "file",
        "refused.*os.system",
    ),
    "all cut short": (
        lambda r: cut(r / DAVIS, 99),
        "tapvid_davis",
        "file",
        "tapvid_davis.pkl is cut short",
    ),
    "a shorter video": (
        lambda r: davis(r, lambda one: one.update(video=one["video"][:5])),
        DAVIS,
        "video",
        "scene1 has 5 frames",
    ),
    "tracks of another time": (
        lambda r: davis(r, lambda one: one.update(video=np.roll(one["video"], 2, 0))),
        DAVIS,
        "time",
        "scene1.*shift",
    ),
    "a mask is damaged": (
        lambda r: cut(r / MASKS / "00003.png"),
        JSON,
        "video",
        "00003.png cannot be read as a picture",
    ),
    "an empty mask": (
        lambda r: Image.new("L", (64, 48)).save(r / MASKS / "00004.png"),
        JSON,
        "mask",
        "mask of frame 2 of the clip",
    ),
    "joints of larger pictures": (
        lambda r: joints(r, 4),
        JSON,
        "outside",
        "lie outside the 64x48 pictures",
    ),
    "no annotation": (
        lambda r: (r / JSON).write_text("{"),
        "BADJA",
        "file",
        "camel.json is not a BADJA annotation",
    ),
    "no tracks": (lambda r: (r / PTH).unlink(), PTH, "video", "dancer.pth is missing"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_named_and_nothing_else(root, fault):
    spoil, file, kind, words = FAULTS[fault]
    folder = root / Path(file).parts[0]
    spoil(root)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    report = check(folder)
    assert [(finding.file, finding.kind) for finding in report.findings] == [(root / file, kind)]
    says = str(report.findings[0])
    assert str(root / file) in says and "\n" not in says
    assert re.search(words, says), says
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_the_command_says_so_and_repairs_no_benchmark(root, capsys):
    cut(root / "BADJA" / MASKS.removeprefix("BADJA/") / "00003.png")
    assert main(["data", "check", str(root / "BADJA"), "--workers", "0"]) == 1
    first, second, third = capsys.readouterr().out.splitlines()
    assert (
        "00003.png cannot be read as a picture" in first and "1 finding, 1 clip affected" in second
    )
    assert third.endswith("0 of 7 videos can be read")
    assert main(["data", "check", str(root / "BADJA"), "--workers", "0", "--repair"]) == 1
    assert "0 repairs, 1 finding left alone" in capsys.readouterr().out


def test_clips_and_benchmarks_side_by_side(root, capsys):
    write_fastcapture(root / "other")
    report = check(root / "other")
    assert len(report.benchmarks) == 1 and report.clips == ()
    for k in range(2):
        write_clip(root / "train", f"{k:03d}", scene(k))
    report = check(root, 20)
    assert len(report.clips) == 2 and len(report.benchmarks) == 7
