"""What other programs call: ethology's function, napari-deeplabcut's registry; real clients."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from moving import STEP, Oracle, moving_texture
from tracked import named_tracks

from cotracker.data.video import write_video
from cotracker.interchange import write_tracks

pytestmark = [pytest.mark.extras, pytest.mark.filterwarnings("ignore")]
SIZE = (48, 64)


def test_ethology_gets_a_data_set_of_movement(tmp_path):
    pytest.importorskip("xarray")
    validators = pytest.importorskip("movement.validators.datasets")
    from cotracker.adapters.ethology import track_to_movement

    write_video(tmp_path / "clip.mp4", moving_texture(5, *SIZE), 10.0, SIZE)
    data = track_to_movement(
        tmp_path / "clip.mp4", {"nose": (0, 20.5, 8), "tail": (0, 9, 30)}, Oracle()
    )
    validators.ValidPosesInputs.validate(data)
    dims = validators.ValidPosesInputs.DIM_NAMES
    nose = data["position"].sel({dims[2]: "nose"})[..., 0].to_numpy()
    truth = np.array([20.5, 8]) + np.arange(5)[:, None] * np.array(STEP)
    np.testing.assert_allclose(nose, truth, atol=1e-3)
    labels = write_tracks(tmp_path / "labels.json", named_tracks(), "coco")
    data = track_to_movement(tmp_path / "clip.mp4", labels, Oracle())
    assert data[dims[3]].to_numpy().tolist() == ["fly a", "fly b"]


def worker_data(tracker_name: str, backward: bool = False):
    """What napari-deeplabcut hands to a backbone: two points in the first frame of six."""
    pandas = pytest.importorskip("pandas")
    data = pytest.importorskip("napari_deeplabcut.tracking.core.data")
    frames = moving_texture(6, *SIZE)
    return data.TrackingWorkerData(
        tracker_name=tracker_name,
        video=frames[::-1].copy() if backward else frames,
        keypoints=np.array([[0, 20.0, 30.0], [0, 10.0, 50.0]]),  # frame, y, x
        keypoint_features=pandas.DataFrame({"label": ["nose", "tail"], "id": ["a", "a"]}),
        keypoint_range=(10, 16),
        backward_tracking=backward,
        reference_frame_index=15 if backward else 10,
    )


def track_through_the_registry(name: str, cfg, stop: bool = False):
    """(inputs, raw, outputs, progress) of the plugin's own steps, as its worker takes them."""
    models = pytest.importorskip("napari_deeplabcut.tracking.core.models")
    model = models.AVAILABLE_TRACKERS[name]["class"](cfg)
    inputs, told = model.prepare_inputs(cfg), []
    raw = model.run(inputs, lambda *numbers: told.append(numbers), lambda: stop)
    if raw is None:
        return inputs, None, None, told
    outputs = model.prepare_outputs(raw, cfg)
    assert model.validate_outputs(inputs, outputs) == (True, "")
    return inputs, raw, outputs, told


@pytest.mark.parametrize("backward", [False, True])
def test_our_backbone_in_the_registry_of_napari_deeplabcut(monkeypatch, backward):
    pytest.importorskip("napari_deeplabcut")
    from cotracker.adapters.napari_deeplabcut import NAME, CoTrackerBackbone

    monkeypatch.setattr(CoTrackerBackbone, "load_model", lambda *_: Oracle())
    cfg = worker_data(NAME, backward)
    _, _, outputs, told = track_through_the_registry(NAME, cfg)
    assert outputs.keypoints.shape == (12, 3)
    query = outputs.keypoints[-2 if backward else 0]
    assert query.tolist() == [15 if backward else 10, 20, 30]
    far = outputs.keypoints[0 if backward else -2]
    np.testing.assert_allclose(far[1:], [20 + 5 * STEP[1], 30 + 5 * STEP[0]])
    assert outputs.keypoint_features["label"].tolist() == ["nose", "tail"] * 6
    assert told[-1] == (6, 6) and len(told) > 1
    assert track_through_the_registry(NAME, cfg, stop=True)[1] is None


@pytest.mark.slow
def test_napari_deeplabcuts_own_backbone_runs_on_ours(monkeypatch, tmp_path):
    """A real client, unmodified: its hub call is answered by hubconf.py and recipe weights."""
    pytest.importorskip("napari_deeplabcut")
    from parity import published_state

    load = torch.hub.load
    path = tmp_path / "scaled_offline.pth"
    torch.save(published_state(folder="cotracker3_offline"), path)
    asked = []

    def answer(repository, name, **_):
        asked.append((repository, name))
        folder = str(__file__).rsplit("/tests/", 1)[0]
        return load(folder, name, source="local", checkpoint=path, verbose=False)

    monkeypatch.setattr(torch.hub, "load", answer)
    _, raw, outputs, _ = track_through_the_registry("Cotracker 3", worker_data("Cotracker 3"))
    assert asked == [("facebookresearch/co-tracker", "cotracker3_offline")]
    assert outputs.keypoints[0].tolist() == [10, 20, 30] and np.isfinite(raw.keypoints).all()
    assert raw.keypoint_features["visibility"].dtype == bool


@pytest.mark.slow
def test_autosegmentors_tracking_runs_on_ours(monkeypatch, tmp_path):
    """A real client, unmodified: `make extras` puts its wheel where only this test looks.

    The wheel brings a copy of the published package too, which Python must not find.
    """
    clients = Path(sys.prefix) / "clients"
    if not (clients / "autosegmentor").is_dir():
        pytest.skip("make extras installs autosegmentor")
    from parity import published_state
    from PIL import Image

    import cotracker.predictor

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(sys, "path", [*sys.path, str(clients)])
    client = pytest.importorskip("autosegmentor.models.Tracking.CoTrackerPredictor")
    assert str(clients) not in cotracker.predictor.__file__
    weights = tmp_path / "scaled_offline.pth"
    torch.save(published_state(folder="cotracker3_offline"), weights)
    frames, paths = moving_texture(6, *SIZE), []
    for number, frame in enumerate(frames):
        paths.append(str(tmp_path / f"{number}.png"))
        Image.fromarray(frame).save(paths[-1])
    points = [{"name": name, "point_id": k, "x": x, "y": y}
              for k, (name, x, y) in enumerate([("nose", 30, 20), ("tail", 50, 10)])]  # fmt: skip
    tracked = client.CoTrackerPredictor(["nose", "tail"], points, paths, str(weights))
    assert type(client._cotracker_model) is cotracker.predictor.CoTrackerPredictor
    found = tracked.get_all_tracked()
    assert [one["name"] for one in found[0]["keypoints"]] == ["nose", "tail"]
    video = torch.from_numpy(frames).permute(0, 3, 1, 2)[None]
    ours, seen = client._cotracker_model(video, queries=torch.tensor([[[0, 30, 20], [0, 50, 10]]]))
    told = [[[one["x"], one["y"]] for one in frame["keypoints"]] for frame in found]
    assert told == ours[0].round().int().tolist() and told[0] == [[30, 20], [50, 10]]
    visible = [[one["visible"] == 2 for one in frame["keypoints"]] for frame in found]
    assert visible == seen[0].tolist()
