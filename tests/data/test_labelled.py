"""Own videos with own labels: a benchmark, clips to train on, and predictions of any program."""

import numpy as np
import pytest
import torch
from moving import STEP, moving_texture

from cotracker.baselines.predictions import Predictions
from cotracker.baselines.static import Static
from cotracker.benchmarks.benchmark import Benchmark
from cotracker.benchmarks.metrics import tapvid
from cotracker.benchmarks.protocols import first, strided
from cotracker.benchmarks.run import evaluate
from cotracker.data.labelled import LabelledClips, LabelledVideos
from cotracker.data.stream import TrainingStream
from cotracker.data.video import write_video
from cotracker.tracks import Tracks

FRAMES, HEIGHT, WIDTH = 9, 48, 64
START = np.array([[20.0, 20], [30, 12], [9, 30]])
MOVED = START[None] + np.arange(FRAMES)[:, None, None] * np.array(STEP)  # T N 2
HIDDEN = [(4, 1), (5, 1)]  # frame, point
UNKNOWN = [(2, 0), (3, 2)]


def write_csv(path, tracks=MOVED, columns="point,frame,x,y,visible") -> None:
    rows = [columns]
    for point in range(tracks.shape[1]):
        for frame in range(len(tracks)):
            if (frame, point) not in UNKNOWN:
                x, y = tracks[frame, point]
                rows.append(f"{point},{frame},{x},{y},{int((frame, point) not in HIDDEN)}")
    path.write_text("\n".join(rows) + "\n")


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "own"
    root.mkdir()
    for name in ("a", "b"):
        write_video(
            root / f"{name}.mp4", iter(moving_texture(FRAMES, HEIGHT, WIDTH)), 10, (HEIGHT, WIDTH)
        )
        write_csv(root / f"{name}.csv")
    return root


def benchmark(folder, protocol=first, **more) -> Benchmark:
    clips = LabelledVideos(folder)
    return Benchmark("labelled", clips, protocol, tapvid, names=tuple(clips.names), **more)


def test_a_video_and_its_csv_are_a_clip(folder):
    videos = LabelledVideos(folder)
    assert videos.names == ["a", "b"] and not videos.broken
    clip = videos[1]
    assert clip.video.shape == (FRAMES, 3, HEIGHT, WIDTH) and clip.video[2:4].shape[0] == 2
    assert clip.valid.sum() == MOVED[..., 0].size - len(UNKNOWN)
    assert not any(clip.valid[where] for where in UNKNOWN)
    assert not any(clip.visible[where] for where in HIDDEN) and clip.visible.sum() == 23
    known = clip.valid.numpy()
    np.testing.assert_allclose(clip.tracks.numpy()[known], MOVED[known], atol=1e-4)


def test_labelled_clips_can_be_trained_on(folder):
    reader = LabelledClips(folder, frames=6, height=40, width=48, points=2, least_points=1)
    stream = TrainingStream(reader, seed=3)
    clips = [stream[k] for k in range(4)]
    assert {clip.name for clip in clips} == {"a", "b"}
    for clip in clips:
        assert clip.video.shape == (6, 3, 40, 48) and clip.tracks.shape[0] == 6
    assert torch.equal(stream[2].tracks, clips[2].tracks)
    with pytest.raises(ValueError, match="a.csv has 9 frames, but data.frames is 10"):
        LabelledClips(folder, frames=10).clip_at(0, np.random.default_rng(0))


@pytest.mark.parametrize("protocol", [first, strided])
@pytest.mark.parametrize("kind", ["npz", "csv"])
def test_predictions_of_any_program_are_evaluated(folder, tmp_path, kind, protocol):
    """True tracks in files score 100, still ones what the static tracker scores."""
    root = tmp_path / "predicted"
    root.mkdir()
    still = np.repeat(START[None], FRAMES, axis=0)
    for name, tracks in (("a", MOVED), ("b", MOVED)):
        if kind == "csv":
            write_csv(root / f"{name}.csv", tracks)
        else:
            shown = np.ones((FRAMES, 3), bool)
            for where in HIDDEN:
                shown[where] = False
            arrays = {"xy": tracks.astype(np.float32), "visible": shown}
            np.savez(root / f"{name}.npz", visibility=shown.astype(np.float32), **arrays)
    both = protocol is strided
    rows = evaluate(Predictions(root), benchmark(folder, protocol, both_directions=both))
    assert [row["aj"] for row in rows] == [100, 100] and rows[0]["oa"] == 100
    if protocol is strided:
        return
    write_csv(root / f"a.{'csv'}", still)
    (root / "a.npz").unlink(missing_ok=True)
    row, _ = evaluate(Predictions(root), benchmark(folder))
    truth = evaluate(Static(), benchmark(folder))[0]
    assert row["delta_avg"] == truth["delta_avg"] < 100


def test_queries_and_size_of_a_file_are_heeded(folder, tmp_path):
    """Two tracks cross at the query: the file's queries tell which; half the size is scaled up."""
    root = tmp_path / "predicted"
    root.mkdir()
    queries = torch.tensor([[[0, 10.0, 10], [2, 10, 10]]])
    xy = torch.stack([torch.full((FRAMES, 2), 10.0), torch.full((FRAMES, 2), 20.0)], dim=1)[None]
    shown = torch.ones(1, FRAMES, 2, dtype=torch.bool)
    Tracks(xy, shown.float(), shown, queries=queries, size=(48, 64)).save(root / "v.npz")

    class Named:
        shape, name = (1, FRAMES, 3, 95, 127), "v"

        def __getitem__(self, _):
            raise AssertionError("no frame is needed")

    asked = torch.tensor([[[2, 20.0, 20], [0, 20, 20]]])
    tracks = Predictions(root)(Named(), asked)
    assert tracks.xy[0, 4].tolist() == [[40, 40], [20, 20]]
    with pytest.raises(ValueError, match="v.npz has no track at the query frame 1, x 20, y 20"):
        Predictions(root)(Named(), [[1, 20, 20]])


def test_what_is_measured_changes_with_the_files(folder, tmp_path):
    before = Predictions(folder).describe()["checkpoint"]["hash"]
    (folder / "a.csv").write_text((folder / "a.csv").read_text() + "0,2,1,1,1\n")
    assert Predictions(folder).describe()["checkpoint"]["hash"] != before


def test_bad_folders_are_refused_in_one_sentence(folder, tmp_path):
    with pytest.raises(ValueError, match="none does not exist: it holds NAME.mp4 and NAME.csv"):
        LabelledVideos(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="empty holds no labelled video"):
        LabelledVideos(tmp_path / "empty")
    with pytest.raises(ValueError, match="empty holds no predictions"):
        Predictions(tmp_path / "empty")
    write_csv(folder / "c.csv")
    videos = LabelledVideos(folder)
    assert videos.names == ["a", "b"] and "c.csv has no video of its name" in videos.broken[0]
    with pytest.raises(ValueError, match="c.csv has no video of its name"):
        LabelledClips(folder)
    (folder / "a.csv").write_text("point,frame,x,y\n0,9,1,1\n")
    with pytest.raises(ValueError, match="a.csv labels frame 9, but its video has frames 0 to 8"):
        videos[0]
    with pytest.raises(ValueError, match="no predictions for the video b: add b.npz"):
        write_csv(folder / "a.csv")
        write_csv(tmp_path / "empty" / "a.csv")
        evaluate(Predictions(tmp_path / "empty"), benchmark(folder))
