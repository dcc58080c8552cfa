"""scripts/lease: clips come out of the tar as they went in, but for what a video and 1/32 of a pixel lose."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from lease import pack, unpack

from cotracker.data.layout import read_clip, write_clip
from cotracker.data.synthetic.sprites import Sprites

ROOT = Path(__file__).parents[1]


@pytest.fixture
def clips(tmp_path):
    for seed in range(2):
        clip = Sprites(frames=5, height=64, width=96, points=16, noise=0.0).clip(np.random.default_rng(seed))
        write_clip(tmp_path / "drawn", f"{seed:06d}", clip)
    return tmp_path / "drawn"


def test_clips_are_carried(clips, tmp_path):
    pack.main(str(tmp_path / "clips.tar.xz"), f"{clips}:12")
    unpack.main(str(tmp_path / "clips.tar.xz"), str(tmp_path / "there"))
    assert sorted(path.name for path in (tmp_path / "there").iterdir()) == ["drawn"]
    for name in ("000000", "000001"):
        before, after = read_clip(clips / name), read_clip(tmp_path / "there" / "drawn" / name)
        assert before.video.shape == after.video.shape and torch.equal(before.visible, after.visible)
        assert (before.video.int() - after.video.int()).abs().float().mean() < 8
        assert 0 < (before.tracks - after.tracks).abs().max() <= 1 / 64


def test_a_video_that_lost_frames_is_not_packed(clips, tmp_path):
    for path in sorted((clips / "000001" / "frames").iterdir())[-2:]:
        path.unlink()
    with pytest.raises(ValueError, match="000001 came out with 3 frames of 5"):
        pack.main(str(tmp_path / "clips.tar.xz"), f"{clips}:12")
    assert not (tmp_path / "clips.tar.xz").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_the_table_of_a_gpu_says_where_there_is_none():
    done = subprocess.run([sys.executable, "scripts/profile_gpu.py"], cwd=ROOT, text=True, capture_output=True)
    assert done.returncode == 1 and "there is no GPU here; `cotracker bench` measures a CPU" in done.stderr
