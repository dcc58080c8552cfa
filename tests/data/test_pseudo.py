"""Pseudo-labels are the truth where the tracker is right, and absent where it is not."""

import shutil

import cv2
import numpy as np
import pytest
import torch

from cotracker import load_tracker
from cotracker.data.kubric.layout import clip_names, read_clip
from cotracker.data.video import write_video
from cotracker.pseudo import PseudoLabels, Trust, flow, label
from cotracker.trackers.tracker import Tracker
from cotracker.types import Tracks

SPEED = torch.tensor([2.0, 1.0])  # pixels a frame
EASY = {"returned": 60.0, "agreed": 60.0, "flow": 60.0}  # a small picture is hard
FRAMES, HEIGHT, WIDTH = 12, 96, 128


def panning() -> torch.Tensor:
    """T 3 H W uint8: a textured plane that moves by SPEED, so a point is at q + SPEED (t - t0)."""
    noise = (
        np.random.default_rng(5).uniform(0, 255, (HEIGHT + 40, WIDTH + 60, 3)).astype(np.float32)
    )
    plane = cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 2), None, 0, 255, cv2.NORM_MINMAX).astype(
        np.uint8
    )
    tops, lefts = [20 - t for t in range(FRAMES)], [40 - 2 * t for t in range(FRAMES)]
    frames = [plane[y : y + HEIGHT, x : x + WIDTH] for y, x in zip(tops, lefts)]
    return torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2).contiguous()


class Knowing(Tracker):
    """The truth of `panning`, flipped and backwards too, plus `error(time, query)` T N 2."""

    def __init__(self, video: torch.Tensor, error=None, speed: torch.Tensor = SPEED):
        super().__init__()
        self.video, self.error, self.speed = video, error, speed

    def forward(self, video, queries: torch.Tensor) -> Tracks:
        first, count = video[:, 0:1][0, 0], len(self.video)
        mirrored = torch.equal(first, self.video[0].flip(-1)) or torch.equal(
            first, self.video[-1].flip(-1)
        )
        backwards = torch.equal(first.flip(-1) if mirrored else first, self.video[-1])
        speed = (
            self.speed * (-1 if backwards else 1) * torch.tensor([-1.0 if mirrored else 1.0, 1.0])
        )
        away = torch.arange(count)[:, None] - queries[0, :, 0]  # T N
        xy = queries[0, :, 1:] + away[..., None] * speed
        if self.error is not None:
            time = torch.arange(count).flip(0) if backwards else torch.arange(count)
            xy = xy + self.error(time, mirrored, away)
        seen = ((xy >= 0) & (xy <= torch.tensor([WIDTH - 1, HEIGHT - 1]))).all(-1)
        return Tracks(xy[None], seen[None].float(), seen[None])


def departures(clip) -> torch.Tensor:
    """T N: distance of each label from the truth through the point's first trusted position."""
    known = clip.valid & clip.visible
    first = known.int().argmax(0)
    start = clip.tracks.gather(0, first[None, :, None].expand(1, -1, 2))[0]
    truth = start + (torch.arange(len(clip.tracks))[:, None] - first)[..., None] * SPEED
    return (clip.tracks - truth).norm(dim=-1)


def test_a_tracker_that_is_right_is_believed_and_its_labels_are_the_truth():
    video = panning()
    clip = label(video, Knowing(video), 60, np.random.default_rng(0))
    known = clip.valid & clip.visible
    assert clip.tracks.shape[1] > 30 and known.float().mean() > 0.5
    assert departures(clip)[known].max() < 1e-3
    assert torch.equal(clip.video, video)


def test_a_tracker_that_stands_still_contradicts_the_flow():
    video = panning()
    with pytest.raises(ValueError, match="no point of the video is trusted"):
        label(video, Knowing(video, speed=torch.zeros(2)), 60, np.random.default_rng(0))


def test_a_tracker_that_does_not_lead_back_is_not_believed():
    video = panning()
    drift = lambda time, mirrored, away: away.abs()[..., None] * torch.tensor([0.0, 0.9])  # noqa: E731
    with pytest.raises(ValueError, match="no point of the video is trusted"):
        label(video, Knowing(video, drift), 60, np.random.default_rng(0))


def test_frames_where_the_two_answers_differ_are_not_valid():
    video = panning()

    def late(time, mirrored, away):  # in the mirror the last frames are 3 pixels off
        return ((time >= 9).float() * float(mirrored) * 3)[:, None, None] * torch.tensor([0.0, 1.0])

    clip = label(video, Knowing(video, late), 200, np.random.default_rng(1))
    assert clip.tracks.shape[1] and not clip.valid[9:].any() and clip.valid[:9].any()
    assert departures(clip)[clip.valid & clip.visible].max() < 1e-3


def test_points_are_asked_for_where_something_moves_by_itself():
    video = panning()
    moving = torch.from_numpy(
        np.random.default_rng(6).integers(0, 255, (3, 24, 24), dtype=np.uint8)
    )
    for frame in range(FRAMES):
        video[frame, :, 40:64, 90 - 3 * frame : 114 - 3 * frame] = moving
    places = flow.sample_queries(video, 600, np.random.default_rng(0))
    left = 90 - 3 * places[:, 0]
    on = (
        (places[:, 1] > left - 4)
        & (places[:, 1] < left + 28)
        & (places[:, 2] > 36)
        & (places[:, 2] < 68)
    )
    assert on.mean() > 3 * (32 * 32) / (HEIGHT * WIDTH)  # of the picture it is a twelfth


def test_a_video_too_short_is_refused():
    video = panning()[:5]
    with pytest.raises(ValueError, match="5 frames are too few"):
        label(video, Knowing(video), 10, np.random.default_rng(0))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with the panning plane as a video file, and one too short to be used."""
    root = tmp_path_factory.mktemp("videos")
    frames = panning().permute(0, 2, 3, 1).numpy()
    write_video(root / "plane.mp4", iter(frames), 12, (HEIGHT, WIDTH))
    write_video(root / "short.mp4", iter(frames[:4]), 12, (HEIGHT, WIDTH))
    return root


@pytest.mark.slow
def test_clips_of_a_folder_are_a_function_of_the_seed(folder):
    tracker = load_tracker(iters=4, resolution=None, support_grid=0, device="cpu")
    source = PseudoLabels(
        str(folder), tracker, frames=10, height=96, width=128, points=24, trust=Trust(**EASY)
    )
    assert len(source.videos) == 1
    first, again = (source.clip(np.random.default_rng(3)) for _ in range(2))
    assert first.video.shape == (10, 3, 96, 128) and first.tracks.shape[0] == 10
    assert torch.equal(first.tracks, again.tracks) and torch.equal(first.valid, again.valid)


@pytest.mark.parametrize(
    "named, words",
    [
        ({"videos": "nowhere"}, "nowhere does not exist"),
        ({"frames": 100}, "no video of 100 frames or more"),
    ]
    + [({"left_out": ["plane"], "frames": 10}, "no video of 10 frames or more")],
)
def test_what_cannot_be_used_is_said(folder, named, words):
    with pytest.raises(ValueError, match=words):
        PseudoLabels(**({"videos": str(folder), "tracker": None} | named))


def test_a_broken_video_is_left_out_with_a_word(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "videos")
    whole = (tmp_path / "videos" / "plane.mp4").read_bytes()
    (tmp_path / "videos" / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    with pytest.warns(UserWarning, match="a video is left out: .*cut.mp4 is cut short"):
        source = PseudoLabels(str(tmp_path / "videos"), None, frames=10)
    assert [video.name for video in source.videos] == ["plane"]


def test_generate_writes_them_in_the_layout_with_what_is_believed(folder, tmp_path, monkeypatch):
    import generate
    from generated import settings

    asked = settings(
        "generator=pseudo",
        f"generator.videos={folder}",
        "generator.frames=10",
        "generator.points=24",
    )
    asked["generator"] |= {"height": 96, "width": 128}
    asked["generator"]["tracker"]["iters"] = 4
    asked["generator"]["trust"] |= EASY
    source = generate.build(asked)
    entry = generate.write_one(source, tmp_path, asked, 0)
    assert clip_names(tmp_path) == [entry["name"]]
    clip = read_clip(tmp_path / entry["name"])
    assert clip.video.shape == (10, 3, 96, 128) and (clip.valid & clip.visible).any()


def test_agreement_is_the_share_that_is_believed():
    from agreement import measure_agreement

    video = panning()
    right, still = Knowing(video), Knowing(video, speed=torch.zeros(2))
    assert measure_agreement(video, right, 60) > 0.5
    assert measure_agreement(video, still, 60) == 0
    with pytest.raises(ValueError, match="too few"):
        measure_agreement(video[:5], right, 60)


@pytest.mark.slow
def test_agreement_of_checkpoints_on_files(folder, capsys):
    from agreement import main

    assert main([str(folder / "plane.mp4"), "--points", "12", "--frames", "8"]) == 0
    assert "shipped: plane " in capsys.readouterr().out
    assert main([str(folder / "plane.mp4"), "--points", "0"]) == 2
    assert main([str(folder / "none.mp4")]) == 2 and "none.mp4" in capsys.readouterr().err
