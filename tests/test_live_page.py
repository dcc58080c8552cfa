"""docs/live.md: its three programs run."""

from pathlib import Path

import cv2
import pytest
from commands import python_blocks
from moving import moving_texture

from cotracker.data.video import write_video
from cotracker.tracks import Tracks

BLOCKS = python_blocks((Path(__file__).parents[1] / "docs" / "live.md").read_text())


class Camera:
    """A camera that gives ten frames."""

    def __init__(self, number: int):
        assert number == 0
        self.frames = iter(moving_texture(10, 120, 160))

    def read(self):
        frame = next(self.frames, None)
        return frame is not None, frame


@pytest.mark.slow
@pytest.mark.parametrize("number", range(3))
def test_a_program_of_the_page_runs(number, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cv2, "VideoCapture", Camera)
    write_video("my.mp4", moving_texture(24, 120, 160), 10.0, (120, 160))
    names = {}
    exec(compile(BLOCKS[number], "live.md", "exec"), names)
    told = capsys.readouterr().out
    if number == 0:
        assert len(told.splitlines()) == 11 and "9 True" in told
    if number == 1:
        assert told == "(1,) 1\n"
    if number == 2:
        tracks = Tracks.load("my.npz")
        assert tracks.xy.shape == (1, 24, 2, 2) and tracks.names == ("left", "right")
        assert tracks.xy[0, 12, 0].tolist() == [104.5, 81.0]
        assert tracks.visible[0, :, 1].any() and "24 of 24" in told
