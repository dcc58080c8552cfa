"""`cotracker track --points` with labels of other programs, and the export of what comes out."""

import numpy as np
import pytest
import torch
from moving import STEP, Oracle, moving_texture
from tracked import named_tracks

from cotracker import cli
from cotracker.cli import making
from cotracker.data.video import write_video
from cotracker.interchange import read_tracks, write_tracks


@pytest.mark.parametrize("kind, name", [("coco", "a.json"), ("dlc-csv", "a.csv"),
                                        ("startlabels", "a_startlabels.json")])  # fmt: skip
def test_labels_are_tracked_with_their_names(tmp_path, monkeypatch, kind, name):
    monkeypatch.setattr(making, "load_chain", lambda *_: Oracle())
    write_video(tmp_path / "clip.mp4", moving_texture(5, 48, 64), 10.0, (48, 64))
    labels = named_tracks()
    path = write_tracks(tmp_path / name, labels, kind)
    command = ["track", str(tmp_path / "clip.mp4"), "--out", str(tmp_path / "out")]
    assert cli.main([*command, "--points", str(path)]) == 0
    found = read_tracks(tmp_path / "out" / "tracks.npz")
    assert (found.names, found.individuals) == (labels.names, labels.individuals)
    expected = labels.xy[0, 0] + 4 * torch.tensor(STEP)
    np.testing.assert_allclose(found.xy[0, 4], expected, atol=1e-3)
    out = str(tmp_path / "out" / "tracks.npz")
    assert cli.main(["export", out, "--to", "dlc-csv"]) == 0
    again = read_tracks(tmp_path / "out" / "tracks_dlc.csv")
    assert (again.names, again.individuals) == (labels.names, labels.individuals)
