"""The trackers by name at the command line."""

import numpy as np
import pytest
from moving import moving_texture

from cotracker import cli
from cotracker.cli import bench
from cotracker.data.video import write_video


def track(tmp_path, *arguments) -> int:
    write_video(tmp_path / "clip.mp4", moving_texture(5, 48, 64), 10, (48, 64))
    words = ["track", tmp_path / "clip.mp4", "--grid", 2, "--out", tmp_path / "out", *arguments]
    return cli.main([str(word) for word in words])


def test_another_system_tracks_a_video(tmp_path):
    assert track(tmp_path, "--tracker", "lucas_kanade", "--query-frame", 2) == 0
    with np.load(tmp_path / "out" / "tracks.npz") as file:
        assert file["xy"].shape == (5, 4, 2)
        assert (file["xy"][0] != file["xy"][2]).any()  # both directions by default


@pytest.mark.parametrize(
    "words, sentence",
    [
        (["--tracker", "raft"], "RAFT needs checkpoint=FILE"),
        (["--tracker", "raft", "--checkpoint", "absent.pth"], "absent.pth does not exist"),
        (["--tracker", "static", "--checkpoint", "random"], "static has no weights"),
        (["--tracker", "static", "--iters", "3"], "--iters is for CoTracker alone"),
    ],
)
def test_what_another_system_cannot_use_is_refused(tmp_path, capsys, words, sentence):
    assert track(tmp_path, *words) == 2
    assert sentence in capsys.readouterr().err


@pytest.mark.slow
def test_another_system_is_measured():
    words = ["--tracker", "dis_flow", "--points", "4", "--frames", "3"]
    words += ["--resolution", "64x96", "--repeats", "0", "--threads", "1"]
    (setting,) = bench.settings(cli._make_parser().parse_args(["bench", *words]))
    (row,) = bench.bench.measure(setting)
    assert row["tracker"] == "dis_flow" and row["seconds"] > 0 and row["gflop"] == 0
