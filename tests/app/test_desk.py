"""What the page does, without it: videos, points, tracks and files of people at their desks."""

import os
import socket
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from networks3 import FORMS, tiny3
from PIL import Image
from sliding import FRAMES, H, W, predictor, texture

from cotracker import cli
from cotracker.app.desks import open_desks
from cotracker.app.pictures import GAP, enlargement, from_picture, to_picture
from cotracker.app.trackers import Trackers
from cotracker.app.work import ADD, BOX, CORRECT, REMOVE, Work
from cotracker.checkpoint import SHIPPED
from cotracker.data.video import open_video, write_video
from cotracker.interchange import FORMATS, read_tracks
from cotracker.trackers.cotracker import CoTrackerPredictor

FAILING = Path(__file__).parents[1] / "data" / "failing"


class Small(Trackers):
    """Two checkpoints of one small network."""

    names = ("one", "two")

    def __init__(self):
        super().__init__()

    def get(self, name):
        return predictor()


@pytest.fixture
def desks(tmp_path):
    with open_desks(Small(), tmp_path) as desks:
        yield desks


@pytest.fixture
def uploads(tmp_path):
    """A function: the path of a new upload, a clip, a picture or any bytes."""

    def make(name: str = "clip.mp4", frames: int = FRAMES, data: bytes | None = None) -> Path:
        folder = tmp_path / f"upload {len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        if data is not None:
            (folder / name).write_bytes(data)
        else:
            pictures = texture(frames=frames)[0].permute(0, 2, 3, 1).contiguous().numpy()
            write_video(folder / name, pictures, 10.0, (H, W))
        return folder / name

    return make


@pytest.fixture
def desk(desks, uploads):
    desk = desks.of("me")
    assert desk.open(uploads()) == f"clip.mp4: {FRAMES} frames of {W}x{H}, 10 a second."
    return desk


def files_of(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def shade_of(path: Path) -> np.ndarray:
    """A picture of a frame, without its enlargement."""
    times = enlargement(W)
    picture = np.asarray(Image.open(path)).astype(int)
    assert picture.shape == (times * H, times * W, 3) and times == 13
    return picture[times // 2 :: times, times // 2 :: times]


def test_from_clicks_to_a_corrected_track(desk):
    work, told = desk.work, []
    desk.do(lambda work: work.click(ADD, 2, 20, 15, " nose "))
    desk.do(lambda work: work.click(BOX, 2, 40, 30))
    assert desk.do(lambda work: work.click(BOX, 2, 25, 12, side=2)) == "5 points wait for Track."
    assert [one.t for one in work.asked] == [2] * 5
    assert all(25 <= one.x <= 40 and 12 <= one.y <= 30 for one in work.asked[1:])
    said = desk.do(lambda work: work.track("one"), lambda *counts: told.append(counts))
    assert said == f"5 points in {FRAMES} frames tracked."
    assert told[-1][0] == told[-1][1] and len(told) > 2
    assert list(work.points.values()) == ["nose", "p1", "p2", "p3", "p4"]
    assert desk.do(lambda work: work.click(CORRECT, 2, 20.4, 15)) == "nose: click where it is."
    before = work.tracks().xy
    said = desk.do(lambda work: work.click(CORRECT, 9, 31.5, 12.25))
    assert said.startswith("nose is at (31.5, 12.25) in frame 9. ")
    after = work.tracks().xy
    assert after[0, 9, 0].tolist() == [31.5, 12.25]
    assert (after[..., 1:, :] == before[..., 1:, :]).all()
    assert desk.do(lambda work: work.click(REMOVE, 2, *after[0, 2, 4])) == "p4 is removed."
    assert desk.do(Work.undo) == desk.do(Work.undo) == "The last change is taken back."
    assert (work.tracks().xy == before).all()
    assert desk.do(lambda work: work.add_grid(2, 0)) == "4 points wait for Track."
    assert desk.do(lambda work: work.track("two")) == f"9 points in {FRAMES} frames tracked."
    assert work.tracks().fps == 10 and len(work.tracks().seconds) == FRAMES


def test_undo_goes_back_over_a_change_of_the_checkpoint(desk):
    work = desk.work
    desk.do(lambda work: work.add_grid(2, 0))
    desk.do(lambda work: work.track("one"))
    desk.do(lambda work: work.click(CORRECT, 0, 5, 5))
    desk.do(lambda work: work.click(CORRECT, 6, 9, 9))
    desk.do(lambda work: work.track("two"))
    assert work.checkpoint == "two" and work.tracks().xy[0, 6, 0].tolist() == [9, 9]
    desk.do(lambda work: work.click(REMOVE, 6, 9, 9))
    assert len(work.points) == 3
    desk.do(Work.undo)
    assert len(work.points) == 4 and work.checkpoint == "two"
    desk.do(Work.undo)
    assert len(work.points) == 4 and work.checkpoint == "one"
    desk.do(Work.undo)
    assert work.tracks().xy[0, 6, 0].tolist() != [9, 9]
    desk.do(Work.undo)
    assert work.points == {}
    for ask in (Work.undo, lambda work: work.track("two")):
        with pytest.raises(ValueError, match="nothing"):
            desk.do(ask)
    desk.do(lambda work: work.add_grid(1, 0))
    assert desk.do(lambda work: work.track("two")) == f"1 point in {FRAMES} frames tracked."


def test_masks_by_file_and_by_brush(desk, uploads, tmp_path):
    labels = np.zeros((H, W), np.uint8)
    labels[:, : W // 2], labels[:, W // 2 :] = 3, 7
    Image.fromarray(labels).save(tmp_path / "mask.png")
    mask = uploads("mask.png", data=(tmp_path / "mask.png").read_bytes())
    taken = desk.take(mask)
    assert not mask.exists()
    desk.do(lambda work: work.add_mask(taken, 4, 5))
    assert {(one.t, one.group, one.x > W / 2) for one in desk.work.asked} == {
        (5, 3, False),
        (5, 7, True),
    }
    painted = np.zeros((2 * H, 2 * W, 4), np.uint8)  # of another size
    painted[:H, :W, 3] = 255
    desk.do(Work.undo)
    desk.do(lambda work: work.add_mask(painted, 6, 0))
    assert len(desk.work.asked) == 9
    assert all(one.x < W / 2 and one.y < H / 2 for one in desk.work.asked)
    with pytest.raises(ValueError, match="the painted mask is empty: paint over"):
        desk.do(lambda work: work.add_mask(painted * 0, 6, 0))


def test_pictures_show_the_points_and_do_not_pile_up(desk):
    plain = shade_of(desk.picture(4))
    desk.do(lambda work: work.click(ADD, 4, 30, 20))
    crossed = shade_of(desk.picture(4))
    assert crossed[20, 30].min() > 230 and abs(crossed - plain).max(axis=-1)[:8].max() < 60
    desk.do(lambda work: work.track("one"))
    dotted = shade_of(desk.picture(4))
    assert abs(dotted - plain)[18:23, 28:33].max() > 60
    desk.do(lambda work: work.choose(0))
    ringed = shade_of(desk.picture(4))
    assert abs(ringed - dotted).max() > 60
    for t in range(8):
        desk.picture(t)
    assert len(files_of(desk.folder)) == 5  # four pictures and the video


def test_a_click_on_an_enlarged_picture_is_a_place_of_the_frame():
    place = torch.tensor([[3.25, 17.0]])
    for times in (1, 3, 13):
        assert from_picture(to_picture(place, times)[0].tolist(), times) == (3.25, 17.0)


def test_the_overlay_alone_and_side_by_side(desk):
    desk.do(lambda work: work.add_grid(3, 0))
    desk.do(lambda work: work.track("one"))
    assert open_video(desk.overlay()).shape == (1, FRAMES, 3, H, W)
    said = desk.do(lambda work: work.compare("two"))
    assert said == "Left one, right two: 0.0 pixels apart in the median, where both see a point."
    assert open_video(desk.overlay()).shape == (1, FRAMES, 3, H, 2 * W + GAP)
    with pytest.raises(ValueError, match="one made these tracks: choose another"):
        desk.do(lambda work: work.compare("one"))


def test_files_have_names_confidence_and_what_is_shown(desk):
    with pytest.raises(ValueError, match="nothing is tracked yet: ask for points, then press"):
        desk.export("csv")
    desk.do(lambda work: work.click(ADD, 0, 20, 15, "nose"))
    desk.do(lambda work: work.track("one"))
    assert {"npz", "csv", "json"} <= set(FORMATS)
    for kind in ("npz", "csv", "json"):
        path = desk.export(kind)
        assert path.name == f"clip{FORMATS[kind].suffix}"
        assert read_tracks(path).names == ("nose",)
    seen = read_tracks(desk.export("npz", 1.0)).visible
    assert seen[0, :, 0].tolist() == [True] + [False] * (FRAMES - 1)  # the click itself is sure


def test_a_stop_keeps_what_is_done(desk):
    desk.do(lambda work: work.add_grid(2, 0))
    assert desk.cancel() == "Nothing is running."
    said = desk.do(lambda work: work.track("one"), lambda *_: desk.cancel())
    assert said == "Stopped: 4 points not finished; Track goes on with them."
    with pytest.raises(ValueError, match="stopped: no video was written"):
        desk.overlay(progress=lambda *_: desk.cancel())
    with pytest.raises(ValueError, match="stopped: the tracks before it stay"):
        desk.do(lambda work: work.track("two"), lambda *_: desk.cancel())
    assert desk.do(lambda work: work.track("one")) == f"4 points in {FRAMES} frames tracked."


def test_one_change_at_a_time_and_pictures_meanwhile(desk, monkeypatch):
    monkeypatch.setattr("cotracker.app.desk.PATIENCE", 0.0)
    desk.do(lambda work: work.add_grid(2, 0))
    begun, go_on = threading.Event(), threading.Event()

    def wait(*_):
        begun.set()
        go_on.wait(30)

    runs = threading.Thread(target=desk.do, args=(lambda work: work.track("one"), wait))
    runs.start()
    assert begun.wait(30)
    with pytest.raises(ValueError, match="something is running: wait for it, or press Cancel"):
        desk.do(Work.undo)
    assert desk.picture(3).exists()
    go_on.set()
    runs.join()


def test_a_track_waits_for_another_desks_and_is_cancelled_meanwhile(desks, uploads):
    mine, yours = desks.of("me"), desks.of("you")
    for one in (mine, yours):
        one.open(uploads())
        one.do(lambda work: work.add_grid(2, 0))
    begun, go_on, told = threading.Event(), threading.Event(), []

    def wait(*_):
        begun.set()
        go_on.wait(30)

    def cancel(*counts):
        told.append(counts)
        yours.cancel()

    runs = threading.Thread(target=mine.do, args=(lambda work: work.track("one"), wait))
    runs.start()
    assert begun.wait(30)
    with pytest.raises(ValueError, match="stopped before it was its turn: nothing has changed"):
        yours.do(lambda work: work.track("one"), cancel)
    assert told == [(0, 0)] and len(yours.work.asked) == 4
    go_on.set()
    runs.join()
    assert yours.do(lambda work: work.track("one")).startswith("4 points in")


def test_a_network_that_sees_clips_as_a_whole_tracks_but_is_not_corrected(desk, monkeypatch):
    """Its tracks are those of a call; a stop keeps the points, and undo goes back to the first."""
    whole = CoTrackerPredictor(tiny3(**FORMS["offline"]), iters=2, confidence_px=12.0)
    get = desk.trackers.get
    monkeypatch.setattr(desk.trackers, "get", lambda name: whole if name == "two" else get(name))
    work = desk.work
    desk.do(lambda work: work.click(ADD, 4, 20, 15, "nose"))
    said = desk.do(lambda work: work.track("two"), lambda *_: desk.cancel())
    assert said == "Stopped: 1 point not finished; Track goes on with them."
    assert desk.do(lambda work: work.track("two")) == f"1 point in {FRAMES} frames tracked."
    desk.do(lambda work: work.click(ADD, 0, 9, 30))
    desk.do(lambda work: work.track("two"))
    for n, query in enumerate([[4, 20, 15], [0, 9, 30]]):
        called = whole(desk.work.video, [query])
        torch.testing.assert_close(work.tracks().xy[:, :, n], called.xy[:, :, 0], rtol=0, atol=1e-3)
    with pytest.raises(ValueError, match="^two sees the video as a whole, so its tracks cannot be"):
        desk.do(lambda work: work.click(CORRECT, 6, 9, 9))
    assert desk.do(lambda work: work.compare("one")).startswith("Left two, right one: ")
    assert desk.do(lambda work: work.click(REMOVE, 0, 9, 30)) == "p1 is removed."
    assert desk.do(Work.undo) and len(work.points) == 2
    desk.do(lambda work: work.track("one"))
    desk.do(lambda work: work.choose(0))
    desk.do(lambda work: work.click(CORRECT, 6, 9, 9))
    for ask in (lambda work: work.track("two"), lambda work: work.compare("two")):
        with pytest.raises(ValueError, match="takes no corrections: undo them, or choose another"):
            desk.do(ask)
    desk.do(Work.undo)
    assert desk.do(lambda work: work.compare("two")).startswith("Left one, right two: ")
    assert desk.overlay().exists() and read_tracks(desk.export("npz")).names == ("nose", "p1")


def test_people_have_their_own_desks_and_leave_nothing(desks, uploads, tmp_path):
    mine, yours = desks.of("me"), desks.of("you")
    mine.open(uploads("mine.mp4"))
    yours.open(uploads("yours.mp4"))
    assert files_of(mine.folder) == ["mine.mp4"] and mine.folder != yours.folder
    assert len(mine.folder.name) == 32  # nobody guesses it
    mine.do(lambda work: work.add_grid(2, 0))
    assert yours.work.asked == ()
    mine.open(uploads("another.mp4"))
    assert files_of(mine.folder) == ["another.mp4"] and mine.work.asked == ()
    desks.close("me")
    assert not mine.folder.exists() and yours.folder.exists()
    with pytest.raises(ValueError, match="this page was closed: load it again"):
        desks.of("me")
    with pytest.raises(ValueError, match="this page was closed"):
        mine.picture(0)
    desks.close_all()
    assert not list(desks.root.iterdir())


def test_closing_a_page_stops_what_runs(desks, uploads):
    desk = desks.of("me")
    desk.open(uploads(frames=60))
    desk.do(lambda work: work.add_grid(2, 0))
    closing, told = threading.Thread(target=desks.close, args=("me",)), []

    def close(*counts):
        told.append(counts)
        if len(told) == 1:
            closing.start()
            assert desk._stop.wait(30)

    assert desk.do(lambda work: work.track("one"), close).startswith("Stopped")
    closing.join()
    assert len(told) == 1 and not desk.folder.exists()


def test_the_folder_of_all_desks_ends_with_the_server_and_after_a_kill(tmp_path):
    with open_desks(Small(), tmp_path) as desks:
        root = desks.root
        assert root.parent == tmp_path
    assert not root.exists()
    killed = tmp_path / root.name.replace(f"-{os.getpid()}-", "-4194305-")  # no such process
    (killed / "desk").mkdir(parents=True)
    with open_desks(Small(), tmp_path):
        assert not killed.exists()


@pytest.mark.parametrize("name, frames, data, sentence", [
    ("a.mp4", 0, b"", "a.mp4 is an empty file: copy it again"),
    ("a.mp4", 0, b"words " * 99, "a.mp4 cannot be decoded as a video"),
    ("a.mp4", 1, None, "a.mp4 has one frame: there is nothing to track in it"),
])  # fmt: skip
def test_what_is_no_video_is_told_and_the_old_one_stays(
    desk, desks, uploads, name, frames, data, sentence
):
    with pytest.raises(ValueError) as error:
        desk.open(uploads(name, frames, data))
    assert str(desks.root) in str(error.value) or "one frame" in sentence
    assert desks.say(error.value).startswith(sentence)
    assert files_of(desk.folder) == ["clip.mp4"]
    assert desk.work.video.name == "clip"


def test_odd_and_damaged_videos(tmp_path, uploads):
    with open_desks(Small(), tmp_path, damaged="repeat") as desks:
        desk = desks.of("me")
        said = desk.open(uploads("vfr.mp4", data=(FAILING / "vfr.mp4").read_bytes()))
        assert said == (
            "vfr.mp4: 20 frames of 160x120, 25 a second. vfr.mp4 has a variable frame rate, 25 "
            "frames a second in the median: the times of its frames are kept in seconds."
        )
        said = desk.open(uploads("bad.mp4", data=(FAILING / "firstbad.mp4").read_bytes()))
        assert "frames of" in said and "damaged" in said
        desk.damaged = "refuse"
        with pytest.raises(ValueError, match="is damaged near frame 0"):
            desk.open(uploads("bad.mp4", data=(FAILING / "firstbad.mp4").read_bytes()))


def test_wrong_asks_are_told(desk, desks):
    asks = {
        r"^\(99, 3\) is outside the 56x40 picture": lambda work: work.click(ADD, 0, 99, 3),
        "^the box is empty": lambda work: (work.click(BOX, 0, 9, 9), work.click(BOX, 0, 9, 9)),
        "^the grid must be a whole number from 1 to 40": lambda work: work.add_grid(41, 0),
        "^nothing is asked: click a point": lambda work: work.track("one"),
        "^there is nothing to take back": Work.undo,
        "^nothing is tracked yet": lambda work: work.click(CORRECT, 0, 9, 9),
    }
    for sentence, ask in asks.items():
        with pytest.raises(ValueError, match=sentence):
            desk.do(ask)
    desk.do(lambda work: work.click(ADD, 0, 9, 9, "nose"))
    with pytest.raises(ValueError, match="a point is called nose already"):
        desk.do(lambda work: work.click(ADD, 0, 20, 9, "nose"))
    with pytest.raises(ValueError, match="there is no video yet: open one"):
        desks.of("new").picture(0)


def test_checkpoints_are_named_once(tmp_path):
    assert Trackers().names == (SHIPPED,)
    other = tmp_path / f"{SHIPPED}.safetensors"
    other.write_bytes(b"another")
    with pytest.raises(ValueError, match="have one name: rename one of them"):
        Trackers([other])
    with pytest.raises(ValueError, match="no checkpoint nothing"):
        Trackers(["nothing"])


def test_the_command_says_what_it_needs(monkeypatch, capsys):
    assert cli.main(["app", "--help"]) == 0
    assert "--max-upload SIZE" in capsys.readouterr().out
    for name in ("GRADIO_TEMP_DIR", "GRADIO_ANALYTICS_ENABLED", "HF_HUB_DISABLE_TELEMETRY"):
        monkeypatch.setenv(name, "")  # what the command sets ends with the test
    monkeypatch.setitem(sys.modules, "gradio", None)
    for name in ("server", "page"):
        monkeypatch.delitem(sys.modules, f"cotracker.app.{name}", raising=False)
    assert cli.main(["app", "--port", "0"]) == 2
    told = capsys.readouterr().err
    assert told.startswith("cotracker: the app needs gradio: pip install 'cotracker[app]'")
    assert cli.main(["app", "--port", "99999"]) == 2
    assert "--port must be a whole number from 0 to 65535" in capsys.readouterr().err
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert cli.main(["app", "--port", str(port)]) == 2
    assert f"--port {port} cannot be used" in capsys.readouterr().err
