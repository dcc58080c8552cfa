"""`cotracker live`: whole rows of every frame, whatever ends it."""

import json
import os
import signal
import subprocess
import sys
import threading
import time

import cv2
import numpy as np
import pytest
from sliding import texture

from cotracker import cli
from cotracker.data.video import open_video, write_video

ROWS = "frame,point,x,y,visibility,visible"


@pytest.fixture(scope="module")
def movie(tmp_path_factory):
    path = tmp_path_factory.mktemp("live") / "movie.mp4"
    frames = texture(frames=300, height=32, width=48)[0].permute(0, 2, 3, 1).numpy()
    write_video(path, (np.ascontiguousarray(frame) for frame in frames), 24.0, (32, 48))
    return path


def begin(*words, **settings):
    command = [sys.executable, "-m", "cotracker", "live", *map(str, words)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, **settings)


def assert_whole(lines, points=4):
    """A header and whole rows, frame by frame from 0 on."""
    assert lines[0] == ROWS
    rows = [line.split(",") for line in lines[1:]]
    assert all(len(row) == 6 for row in rows)
    expected = [(k // points, k % points) for k in range(len(rows))]
    assert [(int(row[0]), int(row[1])) for row in rows] == expected


@pytest.mark.slow
def test_as_many_rows_as_frames_and_points(movie):
    out, err = begin(movie, "--tracker", "lucas_kanade", "--grid", 2).communicate(timeout=120)
    lines = out.splitlines()
    assert len(lines) == 1 + 300 * 4
    assert_whole(lines)
    assert err.startswith("300 frames: ") and "(95 %)" in err


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_ended_in_the_middle_all_rows_so_far_are_whole(number):
    """Frames come through a pipe that stays open; the window mode still holds its last ones."""
    process = begin("-", "--size", "32x48", "--grid", 2, "--iters", 1, "--resolution", "32x48",
                    "--checkpoint", "cotracker_small",  # windows of 8 frames
                    stdin=subprocess.PIPE)  # fmt: skip
    sent = texture(frames=20, height=32, width=48)[0].permute(0, 2, 3, 1).numpy().tobytes()
    process.stdin.buffer.write(sent)
    process.stdin.buffer.flush()
    lines = [process.stdout.readline().rstrip("\n") for _ in range(1 + 16 * 4)]
    process.send_signal(number)
    rest = process.stdout.read()
    process.wait(timeout=60)
    lines += rest.splitlines()
    assert_whole(lines)
    assert rest == "" or rest.endswith("\n")
    if number != signal.SIGKILL:
        assert process.returncode == 0
        assert len(lines) == 1 + 20 * 4  # nothing that was tracked is lost
        assert process.stderr.read().startswith("20 frames: ")
    for pipe in (process.stdin, process.stdout, process.stderr):
        pipe.close()


def test_json_lines_overlay_and_provisional_rows(movie, tmp_path, capfd):
    out = tmp_path / "seen.mp4"
    points = tmp_path / "points.csv"
    points.write_text("frame,x,y\n0,10,10\n2,20,12\n")
    words = ["live", str(movie), "--tracker", "static", "--points", str(points)]
    handler = signal.getsignal(signal.SIGINT)
    assert cli.main([*words, "--format", "jsonl", "--provisional", "--overlay", str(out)]) == 0
    assert signal.getsignal(signal.SIGINT) is handler
    rows = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert len(rows) == 600 and all(row["final"] for row in rows)
    assert [row["visible"] for row in rows[:6]] == [True, False] * 2 + [True, True]
    assert open_video(out).shape == (1, 300, 3, 32, 48)


def test_pictures_that_are_still_being_written(tmp_path, capfd):
    pictures = texture(frames=6, height=32, width=48)[0].permute(0, 2, 3, 1).numpy()
    data = [cv2.imencode(".png", picture)[1].tobytes() for picture in pictures]

    def write():
        for number, png in enumerate(data):
            with open(tmp_path / f"frame{number + 7}.png", "wb", buffering=0) as file:
                file.write(png[:40])
                time.sleep(0.05)
                file.write(png[40:])
                os.utime(file.fileno())

    writer = threading.Thread(target=write)
    writer.start()
    words = ["--tracker", "lucas_kanade", "--grid", "2", "--idle", "0.6"]
    assert cli.main(["live", str(tmp_path), *words]) == 0
    writer.join()
    lines = capfd.readouterr().out.splitlines()
    assert len(lines) == 1 + 6 * 4
    assert_whole(lines)


@pytest.mark.parametrize("words, message", [
    (["-"], "raw frames need a size"),
    (["missing.mp4"], "missing.mp4 does not exist"),
    (["rtsp://127.0.0.1:9/none"], "rtsp://127.0.0.1:9/none cannot be opened"),
    (["EMPTY", "--idle", "0.1"], "held no picture"),
])  # fmt: skip
def test_what_cannot_be_read_is_refused_in_a_sentence(words, message, tmp_path, capfd):
    words = [str(tmp_path) if word == "EMPTY" else word for word in words]
    assert cli.main(["live", *words, "--tracker", "static"]) == 2
    captured = capfd.readouterr()
    assert message in captured.err and captured.out == ""
