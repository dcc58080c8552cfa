"""The check of training clips: each fault is named and nothing else; repair is safe."""

import hashlib
import json
import pickle
import re
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from checked import FRAMES, HEIGHT, MADE, WIDTH, scene, tracks

from cotracker.cli import main
from cotracker.data.check import check
from cotracker.data.check.clip import check_clip
from cotracker.data.check.repair import BROKEN, repair
from cotracker.data.check.track_image import judge, to_grey
from cotracker.data.kubric import Kubric
from cotracker.data.kubric.layout import clip_names, read_tracks, write_clip
from cotracker.data.kubric.manifest import read_manifest, update_manifest
from cotracker.data.pickles import load_npy_dict
from cotracker.data.synthetic.sprites import Sprites
from cotracker.data.video import write_video
from cotracker.files import lock_folder

LEAST = 20  # points wanted in these small clips


def rewrite(root: Path, **changes) -> None:
    """Tracks of clip 001 with arrays replaced (or, by None, gone), and the manifest left alone."""
    file = root / "001" / "001.npy"
    held = {
        key: value for key, value in (load_npy_dict(file) | changes).items() if value is not None
    }
    np.save(file, np.array(held, dtype=object), allow_pickle=True)


def first_points(root: Path, count: int) -> None:
    coords, hidden = tracks(root)
    rewrite(root, coords=coords[:count], visibility=hidden[:count])


def later(root: Path, frames: int) -> None:
    which = (np.arange(FRAMES) - frames).clip(0, FRAMES - 1)
    coords, hidden = tracks(root)
    rewrite(root, coords=coords[:, which], visibility=hidden[:, which])


def cut_short(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def picture(root: Path, number: int, size: tuple[int, int]) -> None:
    cv2.imwrite(str(root / "001" / "frames" / f"{number:03d}.jpg"), np.zeros((*size, 3), np.uint8))


def with_manifest(root: Path, change) -> None:
    manifest = json.loads((root / "manifest.json").read_text())
    change(manifest)
    (root / "manifest.json").write_text(json.dumps(manifest))


class Malicious:
    def __reduce__(self):
        return (Path.touch, (Path("/tmp/must_not_be_made_by_test_check"),))


def malicious(root: Path) -> None:
    with open(root / "001" / "001.npy", "wb") as file:
        np.lib.format.write_array_header_1_0(
            file, {"descr": "|O", "fortran_order": False, "shape": ()}
        )
        pickle.dump(Malicious(), file)


def frames(root: Path) -> Path:
    return root / "001" / "frames"


def by_number(coords: np.ndarray) -> np.ndarray:
    coords[3, 4, 1] = np.nan
    return coords


# What is done to clip 001 of three; the file that must be named, the kind, words of the sentence.
FAULTS = {
    "a frame is missing": (
        lambda r: (frames(r) / "003.jpg").unlink(),
        "001/frames/003.jpg",
        "frames",
        "is missing",
    ),
    "the last is missing": (
        lambda r: (frames(r) / "007.jpg").unlink(),
        "001/001.npy",
        "count",
        "8 frames.* are 7",
    ),
    "a frame is cut short": (
        lambda r: cut_short(frames(r) / "005.jpg"),
        "001/frames/005.jpg",
        "frames",
        "cut short",
    ),
    "a frame is there twice": (
        lambda r: shutil.copy(frames(r) / "002.jpg", frames(r) / "002.png"),
        "001/frames/002.jpg",
        "frames",
        "both frame 2",
    ),
    "a frame has another size": (
        lambda r: picture(r, 2, (96, 100)),
        "001/frames/002.jpg",
        "size",
        "100x96.*128x96",
    ),
    "no frame": (
        lambda r: [f.unlink() for f in frames(r).iterdir()],
        "001/frames",
        "frames",
        "holds no frame",
    ),
    "no frames folder": (lambda r: shutil.rmtree(frames(r)), "001", "frames", "holds no frames"),
    "nothing": (
        lambda r: (shutil.rmtree(r / "001"), (r / "001").mkdir()),
        "001",
        "folder",
        "it is no clip",
    ),
    "no tracks": (
        lambda r: (r / "001" / "001.npy").unlink(),
        "001/001.npy",
        "tracks",
        "does not exist",
    ),
    "malicious tracks": (malicious, "001/001.npy", "tracks", "refused"),
    "not finite": (
        lambda r: rewrite(r, coords=by_number(tracks(r)[0])),
        "001/001.npy",
        "tracks",
        "not finite",
    ),
    "few points": (lambda r: first_points(r, 9), "001/001.npy", "points", "9 points"),
    "none valid": (
        lambda r: rewrite(r, valid=np.zeros_like(tracks(r)[1])),
        "001/001.npy",
        "points",
        "0 are visible and valid",
    ),
    "by-product cut short": (
        lambda r: cut_short(r / "001" / "depth.npy"),
        "001/depth.npy",
        "by-product",
        "cut short",
    ),
    "by-product incomplete": (
        lambda r: (r / "001" / "segments" / "004.png").unlink(),
        "001/segments",
        "by-product",
        "7 pictures",
    ),
    "inverted visibility": (
        lambda r: rewrite(r, visibility=~tracks(r)[1]),
        "001/001.npy",
        "visibility",
        "inverted",
    ),
    "one frame late": (lambda r: later(r, 1), "001/001.npy", "time", "fits frame k - 1$"),
    "axes swapped": (
        lambda r: rewrite(r, coords=tracks(r)[0][..., ::-1]),
        "001/001.npy",
        "place",
        "swapped",
    ),
    "half the size": (
        lambda r: rewrite(r, coords=tracks(r)[0] / 2),
        "001/001.npy",
        "place",
        "half the size",
    ),
    "tracks of another clip": (
        lambda r: shutil.copy(r / "002" / "002.npy", r / "001" / "001.npy"),
        "001/001.npy",
        "follow",
        "do not follow",
    ),
    "far outside": (
        lambda r: rewrite(r, coords=tracks(r)[0] + 900),
        "001/001.npy",
        "outside",
        "100% .* lie outside the 128x96",
    ),
    "changed since": (
        lambda r: shutil.copy(r / "002" / "depth.npy", r / "001" / "spare.npy"),
        "001",
        "changed",
        "sha256",
    ),
    "not listed": (
        lambda r: with_manifest(r, lambda m: m["clips"].pop(1)),
        "manifest.json",
        "manifest",
        "list 001",
    ),
    "listed, absent": (
        lambda r: shutil.rmtree(r / "001"),
        "manifest.json",
        "manifest",
        "lists 001, which is not",
    ),
    "no manifest of clips": (
        lambda r: (r / "manifest.json").write_text("{"),
        "manifest.json",
        "manifest",
        "cannot be read",
    ),
    "left over": (lambda r: (r / ".partial-x").mkdir(), ".partial-x", "leftover", "stopped"),
}
ALSO = {"not listed": ["manifest"]}  # its total is wrong as well


def digests(root: Path) -> set[str]:
    """Of all files but manifests."""
    files = [
        file
        for file in root.rglob("*")
        if file.is_file() and file.name not in (".lock", "manifest.json")
    ]
    return {hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_named_and_nothing_else_and_repaired_safely(root, fault):
    spoil, file, kind, words = FAULTS[fault]
    spoil(root)
    before = digests(root)
    report = check(root, LEAST)
    named = [(finding.file, finding.kind) for finding in report.findings]
    assert named[0] == (root / file, kind)
    assert [kind for _, kind in named[1:]] == ALSO.get(fault, [])
    says = str(report.findings[0])
    assert says.startswith(str(root / file)) and says.count(str(root)) == 1 and "\n" not in says
    assert re.search(words, says), says
    assert digests(root) == before  # a check changes nothing
    repaired = repair(report, LEAST)
    assert before <= digests(root)  # nothing is deleted
    again = check(root, LEAST)
    assert again.findings == repaired.remaining
    left = kind in ("points", "changed")
    assert [finding.kind for finding in again.findings] == [kind] * left
    assert bool(repaired.done) != (kind == "changed")
    assert not Path("/tmp/must_not_be_made_by_test_check").exists()


@pytest.mark.slow
def test_varied_clips_as_they_are_give_no_finding(tmp_path):
    rng = np.random.default_rng(0)
    for k in range(20):
        source = Sprites(frames=8, height=96, width=int(rng.integers(64, 160)), points=2 * LEAST)
        write_clip(
            tmp_path,
            f"{k:03d}",
            source.clip(np.random.default_rng((5, k))),
            images=("jpg", "png")[k % 2],
        )
    report = check(tmp_path, 1)
    assert report.findings == () and len(report.clips) == 20
    judged = [clip.followed for clip in report.clips if clip.followed is not None]
    assert len(judged) >= 15 and min(judged) > 0.7


def test_inverted_visibility_is_turned_round(root):
    truth = read_tracks(root / "001")
    rewrite(root, visibility=~tracks(root)[1], camera=np.arange(3))
    assert not np.array_equal(read_tracks(root / "001")[1], truth[1])
    done = repair(check(root, LEAST), LEAST).done
    assert (
        len(done) == 2
        and "visibility inverted again" in done[0]
        and "manifest.json: written anew" in done[1]
    )
    assert all(np.array_equal(now, then) for now, then in zip(read_tracks(root / "001"), truth))
    held = load_npy_dict(root / "001" / "001.npy")
    assert held["camera"].tolist() == [0, 1, 2] and held["visibility"].dtype == bool
    assert np.array_equal(load_npy_dict(root / "001" / "001.npy.bak")["visibility"], truth[1].T)
    assert sorted(path.name for path in root.iterdir() if path.name != ".lock") == [
        "000",
        "001",
        "002",
        "manifest.json",
    ]


def test_visibility_is_not_turned_where_that_does_not_make_it_right(root):
    rewrite(root, visibility=~tracks(root)[1])
    report = check(root, LEAST)
    later(root, 2)  # meanwhile, or in truth
    before = digests(root)
    assert [
        f"moved to {root / BROKEN / '001'}" in sentence for sentence in repair(report, LEAST).done
    ] == [True, False]
    assert digests(root) == before and clip_names(root) == ["000", "002"]


def test_tracks_are_cut_only_to_frames_that_they_follow(root, tmp_path):
    truth = read_tracks(root / "001")
    for name in ("001", "002"):
        shutil.rmtree(root / name / "segments")
        (root / name / "depth.npy").unlink()
    (frames(root) / "007.jpg").unlink()
    (root / "000" / "frames" / "007.jpg").rename(tmp_path / "kept.jpg")  # has by-products
    for number in range(8):  # of another clip, and too few as well
        file = root / "002" / "frames" / f"{number:03d}.jpg"
        file.unlink() if number == 7 else shutil.copy(root / "000" / "frames" / file.name, file)
    repaired = repair(check(root, LEAST), LEAST)
    assert repaired.remaining == () and "cut to the 7 frames" in repaired.done[1]
    assert all(np.array_equal(now, then[:7]) for now, then in zip(read_tracks(root / "001"), truth))
    assert clip_names(root) == ["001"] and clip_names(root / BROKEN) == ["000", "002"]
    assert [(entry["name"], entry["frames"]) for entry in read_manifest(root)["clips"]] == [
        ("001", 7)
    ]
    assert check(root, LEAST).findings == ()


def test_what_is_repaired_can_be_trained_on_and_generated_on(root):
    cut_short(frames(root) / "005.jpg")
    for _ in range(2):
        repair(check(root, LEAST), LEAST)
        shutil.copytree(
            root / "000", root / "003", dirs_exist_ok=True
        )  # its tracks are not called 003.npy
    assert (root / BROKEN / "001").is_dir() and (root / BROKEN / "003").is_dir()
    assert [finding.kind for finding in check(root, LEAST).findings] == ["tracks", "manifest"]
    repair(check(root, LEAST), LEAST)
    assert clip_names(root / BROKEN) == ["001", "003", "003.2"]
    reader = Kubric(str(root), frames=FRAMES, height=None, width=None, points=LEAST)
    assert len(reader) == 2 and reader.clip_at(0, np.random.default_rng(0)).tracks.shape == (
        FRAMES,
        LEAST,
        2,
    )
    update_manifest(root, MADE)
    manifest = read_manifest(root)
    assert [entry["name"] for entry in manifest["clips"]] == ["000", "002"] and manifest["counts"][
        "clips"
    ] == 2


def test_a_manifest_that_contradicts_itself_or_a_clip_is_named(root):
    def change(manifest):
        manifest["counts"]["points"] += 1
        manifest["clips"].append(manifest["clips"][0])
        manifest["clips"][2]["frames"] = 9

    with_manifest(root, change)
    says = [str(finding) for finding in check(root, LEAST).findings]
    assert len(says) == 3 and "lists 000 more than once" in says[0] and "add up to" in says[1]
    assert says[2].startswith(str(root / "002")) and "frames is 8, not 9" in says[2]


def test_a_set_without_a_manifest_is_clean_and_repair_writes_one(root, capsys):
    written = read_manifest(root)["clips"]
    (root / "manifest.json").unlink()
    assert check(root, LEAST).findings == ()
    assert (
        main(["data", "check", str(root), "--points", str(LEAST), "--workers", "0", "--repair"])
        == 0
    )
    assert "written anew, with 3 clips" in capsys.readouterr().out
    assert read_manifest(root)["clips"] == written and check(root, LEAST).findings == ()


def test_an_mp4_may_stand_for_the_frames(tmp_path):
    clip = scene(0)
    write_clip(tmp_path, "a", clip)
    shutil.rmtree(tmp_path / "a" / "frames")
    video = clip.video.permute(0, 2, 3, 1).numpy()
    write_video(tmp_path / "a" / "frames.mp4", iter(video), 12, (HEIGHT, WIDTH))
    good = check_clip(tmp_path / "a", LEAST)
    assert good.findings == () and good.frames == FRAMES and good.followed > 0.9
    write_video(tmp_path / "a" / "frames.mp4", iter(video[:6]), 12, (HEIGHT, WIDTH))
    (finding,) = check_clip(tmp_path / "a", LEAST).findings
    assert finding.kind == "frames" and "has 6 frames but" in finding.message
    cut_short(tmp_path / "a" / "frames.mp4")
    (finding,) = check_clip(tmp_path / "a", LEAST).findings
    assert finding.kind == "frames" and "frames.mp4" in str(finding)


@pytest.mark.slow
def test_several_sets_and_any_number_of_workers(drawn, tmp_path):
    for name in ("first", "second"):
        shutil.copytree(drawn, tmp_path / "all" / name)
    later(tmp_path / "all" / "second", 1)
    (tmp_path / "all" / "first" / "empty").mkdir()
    alone = check(tmp_path / "all", LEAST)
    assert [path.name for path in alone.sets] == ["first", "second"] and len(alone.clips) == 7
    assert [finding.kind for finding in alone.findings] == ["folder", "time", "manifest"]
    count = []
    assert (
        check(tmp_path / "all", LEAST, workers=2, progress=count.append) == alone
        and count == [7] * 7
    )


def test_the_command_tells_by_its_exit_code_and_names_files(root, tmp_path, capsys):
    arguments = ["data", "check", str(root), "--points", str(LEAST), "--workers", "0"]
    assert main(arguments) == 0
    assert re.fullmatch(
        r"3 clips with 24 frames in .*: nothing wrong \([\d.]+ clips/s\)\n", capsys.readouterr().out
    )
    cut_short(frames(root) / "005.jpg")
    written = tmp_path / "findings.json"
    assert main([*arguments, "--json", str(written)]) == 1
    first, last = capsys.readouterr().out.splitlines()
    assert (
        first.startswith(f"{frames(root) / '005.jpg'}: cannot be decoded")
        and "1 finding, 1 clip affected" in last
    )
    held = json.loads(written.read_text())
    assert [one["file"] for one in held["findings"]] == [str(frames(root) / "005.jpg")]
    assert held["remaining"] == held["findings"] and len(held["clips"]) == 3
    assert main([*arguments, "--repair"]) == 0 and "nothing remains" in capsys.readouterr().out
    assert main(arguments) == 0
    assert main([*arguments[:-3], "999", "--workers", "0"]) == 1  # more points than there are
    assert "where 999 are wanted" in capsys.readouterr().out


@pytest.mark.parametrize(
    "wrong, words",
    [
        (["nowhere"], "nowhere does not exist"),
        (["set/001"], "holds no clip"),
        (["set", "--json", "gone/x.json"], "gone/x.json does not exist"),
    ],
)
def test_what_cannot_be_checked_is_said_in_one_sentence(root, monkeypatch, capsys, wrong, words):
    monkeypatch.chdir(root.parent)
    assert main(["data", "check", *wrong]) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith("cotracker: ") and words in said


def test_a_folder_that_is_being_written_to_is_not_repaired(root, capsys):
    cut_short(frames(root) / "005.jpg")
    with lock_folder(root):
        assert main(["data", "check", str(root), "--workers", "0", "--repair"]) == 2
    assert "another process is writing" in capsys.readouterr().err and (root / "001").is_dir()


def test_plain_frames_say_nothing_of_tracks():
    clip = scene(0)
    plain = np.stack([to_grey(np.full((HEIGHT, WIDTH, 3), 90, np.uint8))] * FRAMES)
    verdict = judge(plain, clip.tracks.numpy(), clip.visible.numpy(), clip.valid.numpy())
    assert (verdict.kind, verdict.followed) == (None, None)


def test_light_noise_and_compression_do_not_look_like_faults(tmp_path):
    for k in range(4):
        clip, rng = scene(10 + k), np.random.default_rng(k)
        light = np.linspace(0.5, 1.2, FRAMES)[:, None, None, None] * np.linspace(0.7, 1.1, WIDTH)
        noisy = clip.video.numpy() * light + rng.normal(0, 8, clip.video.shape)
        video = torch.from_numpy(noisy.clip(0, 255).astype(np.uint8))
        write_clip(tmp_path, str(k), replace(clip, video=video), quality=50)
    report = check(tmp_path, LEAST)
    assert report.findings == () and all(clip.followed > 0.8 for clip in report.clips)
