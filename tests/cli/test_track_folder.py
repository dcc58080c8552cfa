"""`cotracker track-folder`: every video once, broken ones recorded, resumed, in parts."""

import json

import numpy as np
import pytest
from moving import Oracle, moving_texture
from videos import write_folder

from cotracker import cli
from cotracker.cli import making
from cotracker.cli.track_folder import find_videos
from cotracker.data.video import write_video


@pytest.fixture
def loaded(monkeypatch) -> list:
    """One entry for each tracker loaded; it is the oracle."""
    calls = []
    monkeypatch.setattr(making, "load_chain", lambda *_: calls.append(1) or Oracle())
    return calls


@pytest.fixture
def videos(tmp_path):
    folder = tmp_path / "videos"
    folder.mkdir()
    for name in ("a.mp4", "c.mp4"):
        write_video(folder / name, iter(moving_texture(5, 48, 64)), 12.5, (48, 64))
    (folder / "b.mp4").write_text("no video\n" * 99)
    write_folder(folder / "d", moving_texture(3, 48, 64), ["0.png", "1.png", "2.png"])
    (folder / "notes.txt").write_text("no video")
    return folder


def run(videos, out, *more) -> int:
    return cli.main(["track-folder", str(videos), "--out", str(out), "--grid", "2", *more])


def test_all_videos_are_tracked_and_a_broken_one_is_recorded(tmp_path, videos, loaded, capsys):
    out = tmp_path / "out"
    assert run(videos, out) == 1
    report = json.loads((out / "report.json").read_text())
    statuses = {name: row["status"] for name, row in report["videos"].items()}
    assert statuses == {"a": "done", "b": "broken", "c": "done", "d": "done"}
    assert "b.mp4" in report["videos"]["b"]["reason"]
    said = capsys.readouterr().out
    assert "3 videos tracked, 1 broken" in said and len(loaded) == 1
    kept = report["settings"]
    assert (kept["grid"], kept["points"]) == (2, None)
    assert sorted(path.name for path in out.iterdir()) == ["a", "c", "d", "report.json"]
    for name in "acd":
        with np.load(out / name / "tracks.npz") as file:
            assert file["queries"].shape == (4, 3)


def test_the_same_command_resumes(tmp_path, videos, loaded, capsys):
    out = tmp_path / "out"
    (videos / "b.mp4").unlink()
    assert run(videos, out) == 0
    (out / "c" / "tracks.csv").unlink()  # as after a kill
    before = (out / "a" / "tracks.npz").stat().st_mtime_ns
    capsys.readouterr()
    assert run(videos, out) == 0
    said = capsys.readouterr().out
    assert "a: done before" in said and "d: done before" in said and "c: done" not in said
    assert (out / "a" / "tracks.npz").stat().st_mtime_ns == before
    assert (out / "c" / "tracks.csv").is_file()
    assert run(videos, out, "--query-frame", "1") == 2
    assert "made with other settings" in capsys.readouterr().err
    (out / "report.json").write_text('{"format": 2, "settings": {}, "videos": [1]}')
    assert run(videos, out) == 2
    assert "report.json is no report of this version" in capsys.readouterr().err


def test_parts_cover_all_videos_once(tmp_path, videos, loaded):
    out = tmp_path / "out"
    (videos / "b.mp4").unlink()
    names = []
    for part in ("1/2", "2/2"):
        assert run(videos, out, "--shard", part) == 0
        file = out / f"report_{part.replace('/', 'of')}.json"
        names.append(set(json.loads(file.read_text())["videos"]))
    assert names[0] | names[1] == {"a", "c", "d"} and not names[0] & names[1]


def test_points_of_each_video_come_from_a_folder(tmp_path, videos, loaded):
    points = tmp_path / "points"
    points.mkdir()
    (points / "a.csv").write_text("frame,x,y\n1,20,21\n")
    out = tmp_path / "out"
    command = ["track-folder", str(videos), "--out", str(out), "--points", str(points)]
    assert cli.main(command) == 1
    with np.load(out / "a" / "tracks.npz") as file:
        assert file["queries"].tolist() == [[1, 20, 21]]
    report = json.loads((out / "report.json").read_text())["videos"]
    assert "c.csv does not exist" in report["c"]["reason"]


def test_what_cannot_be_is_refused(tmp_path, videos, loaded, capsys):
    assert run(tmp_path / "none", tmp_path / "o") == 2
    assert "none is no folder" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    assert run(tmp_path / "empty", tmp_path / "o") == 2
    assert "holds no video" in capsys.readouterr().err
    assert run(videos, videos) == 2
    assert "choose another" in capsys.readouterr().err
    for shard in ("0/2", "3/2", "2", "a/b"):
        assert run(videos, tmp_path / "o", "--shard", shard) == 2
        assert "is not a part such as 2/4" in capsys.readouterr().err
    assert not loaded


def test_two_videos_of_one_name_keep_their_endings(tmp_path):
    for name in ("x.mp4", "x.mov", "y.mp4"):
        (tmp_path / name).touch()
    assert list(find_videos(tmp_path)) == ["x.mov", "x.mp4", "y"]
