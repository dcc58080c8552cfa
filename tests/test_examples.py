"""The programs of examples/ and the notebook run, and stay short."""

import json
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from moving import STEP, moving_texture

import cotracker
from cotracker import cli
from cotracker.data.video import open_video, write_video
from cotracker.interchange import read_tracks

EXAMPLES = Path(__file__).parents[1] / "examples"
SIZE = (96, 128)


@pytest.fixture
def clip(tmp_path) -> Path:
    write_video(tmp_path / "clip.mp4", moving_texture(12, *SIZE), 10.0, SIZE)
    return tmp_path / "clip.mp4"


def run(monkeypatch, name: str, *words) -> dict:
    monkeypatch.setattr(sys, "argv", [name, *map(str, words)])
    return runpy.run_path(str(EXAMPLES / name), run_name="__main__")


def test_there_are_five_programs_of_at_most_60_lines_and_a_notebook():
    programs = sorted(EXAMPLES.glob("*.py"))
    assert len(programs) == 5
    assert all(len(path.read_text().splitlines()) <= 60 for path in programs)
    assert [path.name for path in EXAMPLES.glob("*.ipynb")] == ["first_steps.ipynb"]


@pytest.mark.parametrize("name", ["track_video.py", "track_live.py", "track_labels.py"])
def test_a_program_without_its_arguments_says_what_it_takes(monkeypatch, name):
    with pytest.raises(SystemExit, match="VIDEO"):
        run(monkeypatch, name)


@pytest.mark.slow
def test_the_programs_track(monkeypatch, clip, tmp_path, capsys):
    run(monkeypatch, "track_video.py", clip, tmp_path / "out.mp4")
    assert open_video(tmp_path / "out.mp4").shape == (1, 12, 3, *SIZE)
    labels = "scorer,me,me\nbodyparts,eye,eye\ncoords,x,y\nimg0000.png,60,40\n"
    (tmp_path / "labels.csv").write_text(labels)
    run(monkeypatch, "track_labels.py", clip, tmp_path / "labels.csv", tmp_path / "eye.csv")
    found = read_tracks(tmp_path / "eye.csv")
    assert found.names == ("eye",) and found.xy[0, 0, 0].tolist() == [60, 40]
    assert (found.xy[0, -1, 0] - found.xy[0, 0, 0] - 11 * torch.tensor(STEP)).norm() < 3
    capsys.readouterr()
    run(monkeypatch, "track_live.py", clip)
    assert "final up to frame 11" in capsys.readouterr().out
    run(monkeypatch, "measure_error.py")
    assert capsys.readouterr().out.startswith("aj: ")


@pytest.mark.slow
def test_the_notebook_runs():
    cells = json.loads((EXAMPLES / "first_steps.ipynb").read_text())["cells"]
    names: dict = {}
    for cell in (cell for cell in cells if cell["cell_type"] == "code"):
        exec(compile("".join(cell["source"]), "first_steps.ipynb", "exec"), names)
    assert (names["folder"] / "mouse.csv").is_file() and names["found"].xy.shape[1] == 12


@pytest.mark.extras
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_onnxruntime_alone_tracks_as_ours(monkeypatch, tmp_path):
    """The command's parity report, and the example's tracks to a hundredth of a pixel."""
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    folder = tmp_path / "onnx"
    command = ["export-onnx", "cotracker_small", str(folder), "--resolution", "96x128"]
    assert cli.main([*command, "--iters", "4"]) == 0
    about = json.loads((folder / "about.json").read_text())
    assert set(about["parity"]) == {"1", "100", "1000"}
    assert max(max(one.values()) for one in about["parity"].values()) <= 1e-4
    frames = moving_texture(12, *SIZE)
    np.save(tmp_path / "frames.npy", frames)
    run(monkeypatch, "track_onnx.py", folder, tmp_path / "frames.npy", tmp_path / "tracks.npz")
    tracker = cotracker.load_tracker(resolution=None, support_grid=0, iters=4)
    with np.load(tmp_path / "tracks.npz") as found:
        ours = tracker(torch.from_numpy(frames), found["queries"])
        np.testing.assert_allclose(found["xy"], ours.xy[0], atol=1e-2, rtol=0)
        np.testing.assert_allclose(found["visibility"], ours.visibility[0], atol=1e-3, rtol=0)
