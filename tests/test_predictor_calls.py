"""The published predictors' calls on published weights, their stored numbers, and the drop-ins."""

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from moving import moving_texture
from parity import published_state, queries, stored, video

from cotracker.data.video import open_video, write_video
from cotracker.predictor import CoTrackerOnlinePredictor, CoTrackerPredictor
from cotracker.utils.visualizer import Visualizer, read_video_from_path

pytestmark = pytest.mark.filterwarnings("ignore:these weights are for non-commercial use")
ROOT = Path(__file__).parents[1]
SMALL, WORKING = (80, 112), (96, 128)  # the stored video, and the size that they work at
PIXELS = 3e-4


@pytest.fixture(scope="module")
def published_file(tmp_path_factory):
    """A function: the path of a published file of this name with the recipe's weights."""

    parent = tmp_path_factory.mktemp("published")

    def write(name: str, folder: str) -> Path:
        path = parent / name
        torch.save(published_state(folder=folder), path)
        return path

    yield write
    shutil.rmtree(parent, ignore_errors=True)


def check(prediction, stored_name: str, folder: str, asked=None, told=None) -> None:
    """Tracks equal the stored ones, but in query frames, where ours has the query always."""
    tracks, visibility = prediction
    golden = torch.from_numpy(stored("predictors", folder)[f"{stored_name}.tracks"])
    assert tracks.shape == golden.shape and visibility.shape == tracks.shape[:3]
    assert visibility.dtype == torch.bool
    told = torch.ones_like(visibility) if told is None else told
    if asked is not None:
        told = told & (torch.arange(20)[:, None] != asked[:, None, :, 0])
        here = asked[0, :, 0].long(), torch.arange(asked.shape[1])
        assert torch.equal(tracks[0][here], asked[0, :, 1:]) and visibility[0][here].all()
    assert told.float().mean() > 0.5
    np.testing.assert_allclose(tracks[told], golden[told], atol=PIXELS, rtol=0)


@pytest.mark.slow
def test_the_offline_predictor(published_file):
    """The tracks of the published one, and its confidence; what is seen follows the card's rule."""
    folder = "cotracker3_offline"
    path = published_file("scaled_offline.pth", folder)
    predictor = CoTrackerPredictor(checkpoint=str(path), resolution=WORKING).to("cpu").eval()
    clip, asked = video(20, *SMALL).float(), queries(*SMALL)
    found = predictor(clip, queries=asked)
    check(found, "pred_queries", folder, asked)
    assert found.confidence.shape == found[1].shape and 0 < found.confidence.mean() < 1
    rule = found.answer.visibility * found.confidence > 0.6  # whatever the published called seen
    inside = ((found[0] >= 0) & (found[0] <= torch.tensor([111, 79]))).all(-1)
    here = torch.arange(20)[:, None] == asked[:, None, :, 0]
    assert torch.equal(found[1], (rule & inside) | here)
    with pytest.raises(ValueError, match="pass queries, or a grid_size above 0"):
        predictor(clip)


@pytest.mark.slow
def test_the_predictor_of_the_first_version(published_file):
    """Both directions, grids of a later frame and masks."""
    folder = "cotracker_v1"
    path = published_file("cotracker_stride_4_wind_8.pth", folder)
    predictor = CoTrackerPredictor(path, resolution=WORKING)
    clip = video(20, *SMALL)
    grid = predictor(clip, grid_size=3, grid_query_frame=5, backward_tracking=True)
    check(grid, "pred_grid3_from5_back", folder, grid.answer.queries)
    mask = torch.zeros(1, 1, *SMALL)
    mask[..., 20:60, 30:90] = 1
    check(predictor(clip, segm_mask=mask, grid_size=5), "pred_grid5_mask", folder)
    assert predictor(clip, grid_size=3).confidence is None


@pytest.mark.slow
def test_the_online_predictor(published_file):
    folder = "cotracker3_online"
    path = published_file("scaled_online.pth", folder)
    predictor = CoTrackerOnlinePredictor(checkpoint=path, resolution=WORKING).to("cpu")
    clip, asked = video(20, *SMALL).float(), queries(*SMALL)
    assert predictor.step == 8
    first = {"queries": asked, "add_support_grid": True}
    assert predictor(clip[:, :8], is_first_step=True, **first) == (None, None)
    for start in range(0, 20 - predictor.step, predictor.step):
        found = predictor(clip[:, start : start + 2 * predictor.step])
        assert found[0].shape[:2] == (1, min(20, start + 16))
    told = torch.arange(20)[:, None] >= asked[:, None, :, 0]
    check(found, "online_support1", folder, asked, told)
    assert found.confidence is not None


def test_an_online_predictor_needs_its_first_step_and_a_network_of_windows():
    predictor = CoTrackerOnlinePredictor()
    with pytest.raises(ValueError, match="is_first_step=True first"):
        predictor(torch.zeros(1, 8, 3, 48, 64))
    assert predictor(torch.zeros(1, 4, 3, 48, 64), is_first_step=True, grid_size=2) == (None, None)
    tracks, visibility = predictor(torch.zeros(1, 8, 3, 48, 64))
    assert tracks.shape == (1, 8, 4, 2) and visibility[0, 0].all()


def test_other_videos_and_masks_than_tensors(tmp_path):
    """Frames as the published reader gives them, arrays, a path, two clips; and bad arguments."""
    predictor = CoTrackerPredictor(resolution=(48, 64))
    frames = moving_texture(6, 48, 64)
    write_video(tmp_path / "a.mp4", frames, 10.0, (48, 64))
    read = read_video_from_path(tmp_path / "a.mp4")
    assert read.shape == frames.shape and read.dtype == np.uint8
    clip = torch.from_numpy(read).permute(0, 3, 1, 2)[None]
    mask = np.zeros((48, 64))
    mask[:, :32] = 1
    expected = predictor(clip, grid_size=4, segm_mask=torch.from_numpy(mask)[None, None])[0]
    assert expected.shape == (1, 6, 8, 2)
    for other in (read, tmp_path / "a.mp4"):
        found = predictor(other, grid_size=4, segm_mask=mask)[0]
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-3)
    assert predictor(clip.expand(2, -1, -1, -1, -1), grid_size=2)[0].shape == (2, 6, 4, 2)
    online = CoTrackerOnlinePredictor(resolution=(48, 64))
    online(read[:4], is_first_step=True, queries=[[0, 30, 20]])
    assert online(read)[0].shape == (1, 6, 1, 2)
    with pytest.raises(ValueError, match="segm_mask must have shape B 1 H W"):
        predictor(clip, grid_size=4, segm_mask=np.ones(3))
    with pytest.raises(ValueError, match="resolution must be"):
        CoTrackerPredictor(resolution=5)


def test_torch_hub_loads_from_a_folder():
    folder = str(ROOT)
    for name, kind in [("cotracker3_offline", CoTrackerPredictor),
                       ("cotracker3_online", CoTrackerOnlinePredictor)]:  # fmt: skip
        model = torch.hub.load(folder, name, source="local", verbose=False)
        assert isinstance(model, kind)
    sys.modules.pop("hubconf", None)


def test_the_visualizer_draws_and_writes(tmp_path):
    clip = torch.full((1, 5, 3, 48, 64), 40.0)
    tracks = torch.tensor([[30.0, 20.0], [10.0, 40.0]]).expand(1, 5, 2, 2)
    drawing = Visualizer(save_dir=tmp_path / "out", pad_value=8, fps=12, linewidth=3, mode="cool",
                         tracks_leave_trace=-1)  # fmt: skip
    seen = torch.ones(1, 5, 2, dtype=torch.bool)
    drawn = drawing.visualize(clip, tracks, seen, filename="a")
    assert drawn.shape == (1, 5, 3, 64, 80) and drawn.dtype == torch.uint8
    assert (drawn[0, 2, :, 28, 38] != 40).any() and (drawn[0, 0, :, 0, 0] == 255).all()
    written = open_video(tmp_path / "out" / "a.mp4")
    assert written.shape == (1, 5, 3, 64, 80) and written.fps == 12
    later = drawing.visualize(clip, tracks, None, save_video=False, query_frame=3)
    assert (later[0, 2, :, 28, 38] == 40).all() and (later[0, 3, :, 28, 38] != 40).any()
    assert not (tmp_path / "out" / "video.mp4").exists()
    with pytest.raises(ValueError, match="the video's T = 5 frames, not"):
        drawing.visualize(clip, tracks[:, :4])
    with pytest.raises(ValueError, match="query_frame must be a whole number from 0 to 4"):
        drawing.visualize(clip, tracks, query_frame=5)
