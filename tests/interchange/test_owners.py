"""Files as the libraries of their formats read and write them: `make extras`."""

import json
import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tracked import assert_same, gap_hidden, named_tracks
from videos import write_folder

from cotracker import cli
from cotracker.interchange import hdf5, read_tracks, write_tracks
from cotracker.interchange.labels import read_labels

pytestmark = [pytest.mark.extras, pytest.mark.filterwarnings("ignore")]  # of these libraries
PLACES = ("xy", "visible", "names", "individuals", "visibility")


def test_deeplabcuts_csv_is_what_pandas_reads(tmp_path):
    pandas = pytest.importorskip("pandas")
    tracks = named_tracks()
    path = write_tracks(tmp_path / "a.csv", tracks, "dlc-csv")
    table = pandas.read_csv(path, header=[0, 1, 2, 3], index_col=0)
    assert table.columns.names == ["scorer", "individuals", "bodyparts", "coords"]
    wing = table["CoTracker"]["fly a"]["left wing, 1"]
    np.testing.assert_allclose(wing[["x", "y"]].to_numpy()[[0, 2, 3]],
                               tracks.xy[0, [0, 2, 3], 1], atol=1e-3)  # fmt: skip
    assert wing["x"].isna().tolist() == [False, True, False, False]
    assert wing["likelihood"].tolist() == [0.875, 0.25, 0.875, 0.875]


@pytest.mark.parametrize("individuals", [True, False])
@pytest.mark.parametrize("form", ["table", "fixed"])
def test_deeplabcuts_h5(tmp_path, individuals, form):
    """Ours is what pandas reads; and what pandas writes, as DeepLabCut does, is what ours reads."""
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("tables")
    tracks = named_tracks(individuals=individuals)
    path = write_tracks(tmp_path / "a.h5", tracks, "dlc-h5")
    table = pandas.read_hdf(path)
    assert table.shape == (4, 9) and table.columns.names[-1] == "coords"
    table.to_hdf(tmp_path / "b.h5", key="df_with_missing", format=form, mode="w")
    for file in (path, tmp_path / "b.h5"):
        assert_same(gap_hidden(tracks), read_tracks(file), PLACES)


def test_an_h5_file_of_labels_gives_queries(tmp_path):
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("tables")
    columns = pandas.MultiIndex.from_product([["me"], ["nose", "tail"], ["x", "y"]])
    rows = pandas.MultiIndex.from_tuples([("labeled-data", "m", f"img{k:04d}.png") for k in (3, 7)])
    table = pandas.DataFrame([[1, 2, np.nan, np.nan], [3, 4, 5, 6.5]], rows, columns)
    table.to_hdf(tmp_path / "a.h5", key="df_with_missing", mode="w")
    labels = read_labels(tmp_path / "a.h5", 8)
    assert labels.names == ("nose", "tail")
    assert labels.queries[0].tolist() == [[3, 1, 2], [7, 5, 6.5]]


class Evil:
    def __reduce__(self):
        return print, ("code of a file ran",)


def test_a_pickle_in_an_h5_file_runs_nothing(tmp_path, capsys):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        group = file.create_group("df_with_missing")
        group["table"] = np.zeros(1, [("index", "i8"), ("values_block_0", "f8", 2)])
        group.attrs["non_index_axes"] = np.bytes_(pickle.dumps([Evil()], 0))
    with pytest.raises(ValueError, match="is no h5 file of DeepLabCut, or damaged"):
        read_tracks(tmp_path / "a.h5")
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("individuals", [True, False])
def test_sleap(tmp_path, individuals):
    sio = pytest.importorskip("sleap_io")
    tracks = named_tracks(individuals=individuals)
    path = write_tracks(tmp_path / "a.slp", tracks, "sleap")
    assert_same(tracks, read_tracks(path), (*PLACES, "size", "fps"))
    labels = sio.load_slp(str(path), open_videos=False)
    assert [one.name for one in labels.tracks] == (["fly a", "fly b"] if individuals else [])
    none = read_tracks(write_tracks(tmp_path / "none.slp", named_tracks(0), "sleap"))
    assert none.xy.shape == (1, 4, 0, 2) and none.individuals is None
    first = labels.labeled_frames[1].instances[0]
    assert first.skeleton.node_names[:2] == ["right wing, 0", "left wing, 1"]
    assert first.points["visible"].tolist()[:2] == [True, False]
    np.testing.assert_allclose(first.points["xy"][:2], tracks.xy[0, 1, :2])
    again = tmp_path / "again.slp"
    sio.save_slp(labels, str(again), verbose=False)  # as its owner writes it
    assert_same(tracks, read_tracks(again), PLACES)


def test_a_slp_file_of_labels_gives_queries(tmp_path):
    sio = pytest.importorskip("sleap_io")
    skeleton = sio.Skeleton(["nose", "tail"])
    video = sio.Video("m.mp4", backend_metadata={"shape": (9, 48, 64, 3)}, open_backend=False)
    one = sio.Instance.from_numpy(np.array([[3, 4.5], [np.nan, np.nan]]), skeleton)
    frame = sio.LabeledFrame(video=video, frame_idx=6, instances=[one])
    sio.save_slp(sio.Labels([frame]), str(tmp_path / "a.slp"), verbose=False)
    labels = read_labels(tmp_path / "a.slp", 9)
    assert labels.names == ("nose",) and labels.queries[0].tolist() == [[6, 3, 4.5]]
    frame.instances.append(sio.Instance.from_numpy(np.array([[9, 8.0], [1, 2]]), skeleton))
    sio.save_slp(sio.Labels([frame]), str(tmp_path / "b.slp"), verbose=False)
    labels = read_labels(tmp_path / "b.slp", 9)  # two animals, and no tracks
    assert labels.individuals == ("instance1", "instance2", "instance2")
    assert labels.queries[0].tolist() == [[6, 3, 4.5], [6, 9, 8], [6, 1, 2]]
    later = sio.LabeledFrame(video=video, frame_idx=7, instances=frame.instances[:1])
    sio.save_slp(sio.Labels([frame, later]), str(tmp_path / "c.slp"), verbose=False)
    with pytest.raises(ValueError, match="several of instance in frame 6, and some in frame 7"):
        read_labels(tmp_path / "c.slp", 9)


@pytest.mark.parametrize("individuals", [True, False])
def test_movement(tmp_path, individuals):
    """The file passes movement's own validation, and comes back."""
    xarray = pytest.importorskip("xarray")
    validators = pytest.importorskip("movement.validators.datasets")
    tracks = named_tracks(individuals=individuals)
    path = write_tracks(tmp_path / "a.nc", tracks, "movement")
    assert_same(tracks, read_tracks(path), (*PLACES, "size", "fps"))
    uneven = replace(tracks, seconds=torch.tensor([0.0, 0.1, 0.3, 0.31], dtype=torch.float64))
    times = write_tracks(tmp_path / "b.nc", uneven, "movement")
    assert_same(uneven, read_tracks(times), ("seconds", "fps"), 1e-12)
    data = xarray.load_dataset(path)
    validators.ValidPosesInputs.validate(data)
    dims = validators.ValidPosesInputs.DIM_NAMES
    assert data["position"].dims == dims and data.attrs["fps"] == 25
    np.testing.assert_allclose(data["time"], np.arange(4) / 25)
    place = data["position"].sel(
        {dims[2]: "left wing, 1", dims[3]: "fly a" if individuals else "id_0"}
    )
    np.testing.assert_allclose(place, tracks.xy[0, :, 1])


def test_movement_reads_ours_of_deeplabcut_and_sleap(tmp_path):
    load = pytest.importorskip("movement.io.load_poses")
    tracks = named_tracks(individuals=False)
    for kind, name in (("dlc-csv", "a.csv"), ("dlc-h5", "a.h5"), ("sleap", "a.slp")):
        path = write_tracks(tmp_path / name, tracks, kind)
        read = load.from_sleap_file if kind == "sleap" else load.from_dlc_file
        position = read(path, fps=25)["position"].to_numpy()[..., 0]  # time space keypoint
        expected = gap_hidden(tracks).xy[0].numpy().transpose(0, 2, 1)
        np.testing.assert_allclose(position[0], expected[0], atol=1e-3)
        np.testing.assert_allclose(position[3], expected[3], atol=1e-3)


def test_coco_is_what_pycocotools_reads(tmp_path):
    coco = pytest.importorskip("pycocotools.coco")
    tracks = named_tracks()
    data = coco.COCO(str(write_tracks(tmp_path / "a.json", tracks, "coco")))
    assert [one["name"] for one in data.loadCats(data.getCatIds())] == ["fly a", "fly b"]
    one = data.loadAnns(data.getAnnIds(imgIds=[1], catIds=[1]))[0]
    flat = np.array(one["keypoints"]).reshape(-1, 3)
    np.testing.assert_allclose(flat[:, :2], tracks.xy[0, 1, :2], atol=1e-4)
    assert flat[:, 2].tolist() == [2, 1] and one["num_keypoints"] == 2
    lost = data.loadAnns(data.getAnnIds(imgIds=[2], catIds=[2]))[0]
    assert lost["keypoints"] == [0, 0, 0] and lost["num_keypoints"] == 0


def test_the_json_keeps_to_its_schema(tmp_path):
    jsonschema = pytest.importorskip("jsonschema")
    root = Path(__file__).parents[2]
    schema = json.loads((root / "docs" / "tracks.schema.json").read_text())
    for tracks in (named_tracks(), named_tracks(0), replace(named_tracks(), names=None)):
        value = json.loads(write_tracks(tmp_path / "a.json", tracks, "json").read_text())
        jsonschema.validate(value, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(value | {"frames": "four"}, schema)


@pytest.mark.slow
def test_blender_makes_the_tracks(tmp_path):
    """The import script in Blender itself, by the package bpy: markers, and what is disabled."""
    tracks = named_tracks()
    folder = write_folder(tmp_path / "frames", np.zeros((4, 48, 64, 3), np.uint8),
                          [f"f_{k:04d}.png" for k in range(1, 5)])  # fmt: skip
    path = write_tracks(tmp_path / "clip.csv", tracks, "blender")
    program = f"""
import runpy, sys
sys.argv = ["blender", "--", {str(folder / "f_0001.png")!r}]
runpy.run_path({str(path.with_name("clip_import.py"))!r})
import bpy
clip = bpy.data.movieclips[0]
for track in clip.tracking.tracks:
    for m in track.markers:
        print("MARKER", track.name, m.frame, m.co[0] * clip.size[0] - .5,
              (1 - m.co[1]) * clip.size[1] - .5, int(m.mute), sep="|")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    if "No module named 'bpy'" in done.stderr:
        pytest.skip("needs Blender as a package: pip install bpy")
    assert done.returncode == 0, done.stderr[-2000:]
    found = [line.split("|")[1:] for line in done.stdout.splitlines() if line[:6] == "MARKER"]
    assert len(found) == 11  # of 12 places one is not known
    names = [f"{owner}/{name}" for owner, name in zip(tracks.individuals, tracks.names)]
    for name, frame, x, y, disabled in found:
        n, t = names.index(name), int(frame) - 1
        np.testing.assert_allclose([float(x), float(y)], tracks.xy[0, t, n], atol=1e-3)
        assert disabled == str(int(not tracks.visible[0, t, n]))


def seen_by_a_camera(frames: int = 8, points: int = 60):
    """Tracks of points in space before a camera that turns around them, and the camera's places."""
    rng = np.random.default_rng(0)
    space = rng.uniform(-1, 1, (points, 3))
    xy, centres = np.empty((frames, points, 2), np.float32), np.empty((frames, 3))
    for t in range(frames):
        angle = 0.12 * t
        turn = np.array([[np.cos(angle), 0, -np.sin(angle)], [0, 1, 0],
                         [np.sin(angle), 0, np.cos(angle)]])  # fmt: skip
        seen = space @ turn.T + [0, 0, 5]
        xy[t] = 700 * seen[:, :2] / seen[:, 2:] + [319.5, 239.5]
        centres[t] = -turn.T @ [0, 0, 5]
    tracks = named_tracks(points, frames, individuals=False)
    visible = torch.from_numpy(rng.uniform(size=(frames, points)) > 0.2)[None]
    return replace(tracks, xy=torch.from_numpy(xy)[None], visible=visible, size=(480, 640)), centres


def test_colmap_keeps_points_and_reconstructs(tmp_path):
    """The database gives back the points; COLMAP's mapper makes the scene out of it."""
    pycolmap = pytest.importorskip("pycolmap")
    tracks, centres = seen_by_a_camera()
    path = write_tracks(tmp_path / "a.db", tracks, "colmap")
    back = read_tracks(path)
    assert back.xy.shape == tracks.xy.shape and back.size == (480, 640)
    there = {tuple(np.round(xy, 2)) for xy in gap_hidden(tracks).xy[0].numpy().transpose(1, 0, 2)
             .reshape(60, -1).tolist()}  # fmt: skip
    found = {tuple(np.round(xy, 2)) for xy in back.xy[0].numpy().transpose(1, 0, 2)
             .reshape(60, -1).tolist()}  # fmt: skip
    assert len(there) == 60 and {repr(one) for one in there} == {repr(one) for one in found}
    (tmp_path / "images").mkdir()
    for t in range(8):
        Image.new("RGB", (640, 480)).save(tmp_path / "images" / f"frame{t:06d}.png")
    made = pycolmap.incremental_mapping(path, tmp_path / "images", tmp_path / "out")
    assert made and made[0].num_reg_images() == 8 and made[0].num_points3D() >= 55
    assert made[0].compute_mean_reprojection_error() < 0.1
    order = sorted(made[0].images.values(), key=lambda image: image.name)
    ours = np.array([image.projection_center() for image in order])
    steps = [np.linalg.norm(np.diff(some, axis=0), axis=1) for some in (ours, centres)]
    np.testing.assert_allclose(steps[0] / steps[0].mean(), steps[1] / steps[1].mean(), rtol=0.02)


MISSING = [
    ("dlc-h5", "deeplabcut"),
    ("sleap", "sleap"),
    ("movement", "movement"),
    ("colmap", "colmap"),
]


@pytest.mark.parametrize("kind, extra", MISSING)
def test_a_missing_package_is_a_sentence(tmp_path, monkeypatch, capsys, kind, extra):
    for name in ("pandas", "sleap_io", "xarray", "pycolmap"):
        monkeypatch.setitem(sys.modules, name, None)
    named_tracks().save(tmp_path / "tracks.npz")
    assert cli.main(["export", str(tmp_path / "tracks.npz"), "--to", kind]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and f"pip install 'cotracker[{extra}]'" in said


@pytest.mark.parametrize("kind", ["movement", "dlc-h5", "sleap"])
def test_damaged_hdf5_files_are_refused_in_seconds(tmp_path, monkeypatch, kind):
    """One whose reading never ends in HDF5's library, one that claims terabytes, and one cut."""
    h5py = pytest.importorskip("h5py")
    pytest.importorskip({"movement": "xarray", "dlc-h5": "pandas", "sleap": "sleap_io"}[kind])
    monkeypatch.setattr(hdf5, "SECONDS", 3)
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file.attrs["a"] = "some text"  # is kept in the file's heap
        file["x"] = np.zeros(1000)
    whole = path.read_bytes()
    data = bytearray(whole)
    at = data.index(b"GCOL") + 24  # the size of the heap's first object
    data[at : at + 8] = bytes(8)
    path.write_bytes(data)
    with pytest.raises(ValueError, match="a.h5 is damaged, its reading has no end"):
        read_tracks(path, kind)
    path.write_bytes(whole[:-3000])
    with pytest.raises(ValueError, match="a.h5 is damaged, or no HDF5 file"):
        read_tracks(path, kind)
    with h5py.File(path, "w") as file:
        file.create_dataset("x", (10**7, 10**6), "f4")
    with pytest.raises(ValueError, match="a.h5 is damaged.*x claims to be float32"):
        read_tracks(path, kind)
