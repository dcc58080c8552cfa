"""Each format there and back, its golden file, and wrong files refused in a sentence."""

import csv
import json
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tracked import assert_same, gap_hidden, named_tracks, with_everything

from cotracker import cli
from cotracker.interchange import FORMATS, find_format, read_tracks, write_tracks
from cotracker.interchange.labels import holds_labels, read_labels
from cotracker.interchange.plain_pickle import parse_plain_pickle
from cotracker.tracks import Tracks

GOLDEN = Path(__file__).parents[1] / "golden" / "interchange"
PLACES = ("xy", "visible", "names", "individuals")
ALL = (*PLACES, "visibility", "confidence", "ids", "queries", "seconds", "fps", "size")
KEPT = {  # what comes back; visibility is kept by those that have a score
    "npz": ALL,
    "json": ALL,
    "csv": (*PLACES, "visibility", "confidence", "ids", "seconds"),
    "csv-wide": (*PLACES, "visibility", "confidence", "seconds"),
    "dlc-csv": (*PLACES, "visibility"),
    "coco": (*PLACES, "size"),
    "cliplabels": (*PLACES, "size"),
    "tapvid": (*PLACES, "ids", "fps", "size"),
    "blender": (*PLACES, "fps", "size"),
}
NAME = {"cliplabels": "sub-1_ses-2_cam-3_start-0100_dur-4_cliplabels.json"}
FLAGLESS = ("dlc-csv",)
SHOWN = ("json", "csv", "csv-wide", "dlc-csv", "coco", "cliplabels", "blender")  # golden files


def path_of(folder: Path, kind: str) -> Path:
    return folder / NAME.get(kind, "clip" + FORMATS[kind].suffix)


@pytest.mark.parametrize("kind", KEPT)
def test_there_and_back(tmp_path, kind):
    tracks = with_everything(named_tracks())
    path = write_tracks(path_of(tmp_path, kind), tracks, kind)
    assert find_format(path) == kind
    expected = gap_hidden(tracks) if kind in FLAGLESS else tracks
    assert_same(expected, read_tracks(path), KEPT[kind], 1e-4)
    assert not list(tmp_path.glob("*.partial"))


@pytest.mark.parametrize("kind", KEPT)
@pytest.mark.parametrize("points, frames", [(0, 3), (1, 1)])
def test_no_points_and_one_frame_are_valid(tmp_path, kind, points, frames):
    tracks = named_tracks(points, frames, individuals=False)
    back = read_tracks(write_tracks(path_of(tmp_path, kind), tracks, kind))
    frames = 0 if kind == "csv" and not points else frames
    assert back.xy.shape == (1, frames, points, 2)
    assert_same(tracks, back, ("xy",) if points else (), 1e-3)


@pytest.mark.parametrize("kind", KEPT)
def test_two_individuals_share_names_and_names_have_slashes(tmp_path, kind):
    names, owners = ("a/b", "50%", "a/b", "c_x"), ("A/1", "A/1", "B", "B")
    tracks = replace(named_tracks(4), names=names, individuals=owners, fps=30000 / 1001)
    back = read_tracks(write_tracks(path_of(tmp_path, kind), tracks, kind))
    expected = gap_hidden(tracks) if kind in FLAGLESS else tracks
    assert_same(expected, back, ("xy", "names", "individuals"), 1e-3)
    assert back.fps is None or back.fps == pytest.approx(tracks.fps, 1e-9)


@pytest.mark.parametrize("kind", SHOWN)
def test_files_are_written_as_they_were(tmp_path, kind):
    path = write_tracks(path_of(tmp_path, kind), named_tracks(), kind)
    assert path.read_text() == (GOLDEN / path.name).read_text()


def test_pixels_and_frames_are_those_of_the_format(tmp_path):
    """The centre of the first pixel in the first frame, as each program writes it."""
    tracks = replace(named_tracks(1, 1, individuals=False), xy=torch.zeros(1, 1, 1, 2))

    def written(kind):
        return write_tracks(path_of(tmp_path, kind), tracks, kind)

    record = pickle.loads(written("tapvid").read_bytes())["clip"]
    np.testing.assert_allclose(record["points"][0, 0], [0.5 / 64, 0.5 / 48])
    rows = list(csv.reader(written("blender").read_text().splitlines()))
    assert rows[2][1:] == ["1", f"{0.5 / 64:.8f}", f"{1 - 0.5 / 48:.8f}", "0"]
    value = json.loads(written("cliplabels").read_text())
    assert value["images"][0]["file_name"] == "sub-1_ses-2_cam-3_frame-100"
    assert value["images"][0]["id"] == 0
    assert value["annotations"][0]["keypoints"] == [0.0, 0.0, 2]
    assert written("dlc-csv").read_text().splitlines()[-1].startswith("0,0,0,")


def test_start_labels_are_the_clip_labels_of_the_first_frame(tmp_path):
    clip = json.loads(
        write_tracks(tmp_path / "a_cliplabels.json", named_tracks(), "cliplabels").read_text()
    )
    start = json.loads(
        write_tracks(tmp_path / "a_startlabels.json", named_tracks(), "startlabels").read_text()
    )
    assert start["images"] == clip["images"][:1] and start["categories"] == clip["categories"]
    assert start["annotations"] == [one for one in clip["annotations"] if one["image_id"] == 0]
    with pytest.raises(ValueError, match="must be named as poseinterface does"):
        write_tracks(tmp_path / "a.json", named_tracks(), "startlabels")


LABELLED = """scorer,,,me,me,me,me
bodyparts,,,nose,nose,tail,tail
coords,,,x,y,x,y
labeled-data,mouse,img0003.png,10.5,20,,
labeled-data,mouse,img0007.png,11,21,30,31.25
"""
OLDER = """scorer,me,me
bodyparts,nose,nose
coords,x,y
labeled-data/mouse/img0007.png,1,2
"""


@pytest.mark.parametrize(
    "text, names, queries",
    [
        (LABELLED, ("nose", "tail"), [[3, 10.5, 20], [7, 30, 31.25]]),
        (OLDER, ("nose",), [[7, 1, 2]]),
    ],
)
def test_labels_become_queries_where_each_point_is_first_seen(tmp_path, text, names, queries):
    path = tmp_path / "CollectedData_me.csv"
    path.write_text(text)
    labels = read_labels(path, 8)
    assert labels.names == names and labels.queries[0].tolist() == queries
    with pytest.raises(ValueError, match="labels frame 7, but the video has frames 0 to 6"):
        read_labels(path, 7)


def test_coco_files_of_others(tmp_path):
    """Two animals of one category by track_id, images in any order, a name with its frame."""
    value = {
        "images": [
            {"id": 9, "file_name": "a/frame_012.jpg", "width": 64, "height": 48},
            {"id": 4, "file_name": "a/frame_010.jpg", "width": 64, "height": 48},
        ],
        "categories": [{"id": 1, "name": "fly", "keypoints": ["head", "tail"]}],
        "annotations": [
            {"image_id": 9, "category_id": 1, "track_id": 5, "keypoints": [1, 2, 2, 3, 4, 1]},
            {"image_id": 4, "category_id": 1, "track_id": 6, "keypoints": [5, 6, 2, 0, 0, 0]},
        ],
    }
    (tmp_path / "labels.json").write_text(json.dumps(value))
    tracks = read_tracks(tmp_path / "labels.json")
    assert tracks.xy.shape == (1, 13, 4, 2) and tracks.size == (48, 64)
    assert tracks.names == ("head", "tail") * 2
    assert tracks.individuals == ("object5",) * 2 + ("object6",) * 2
    assert tracks.xy[0, 12, :2].tolist() == [[1, 2], [3, 4]]
    assert tracks.visible[0, 12].tolist() == [True, False, False, False]
    assert tracks.xy[0, 10, 2].tolist() == [5, 6] and tracks.xy[0, 10, 3].isnan().all()


def test_animals_of_one_category_without_tracks(tmp_path):
    """In one image they are numbered; in several nobody knows who is who."""
    value = {
        "images": [{"id": k, "file_name": f"{k}.png", "width": 64, "height": 48} for k in (3, 5)],
        "categories": [{"id": 1, "name": "fly", "keypoints": ["head", "tail"]}],
        "annotations": [
            {"image_id": 3, "category_id": 1, "keypoints": [*head, 2, 3, 4, 1]}
            for head in ([1, 2], [5, 6])
        ]
        + [{"image_id": 5, "category_id": 1, "keypoints": [0] * 6}],
    }
    path = tmp_path / "labels.json"
    path.write_text(json.dumps(value))
    labels = read_labels(path, 8)
    assert labels.individuals == ("fly1", "fly2") and labels.names == ("head", "head")
    assert labels.queries[0].tolist() == [[3, 1, 2], [3, 5, 6]]
    value["annotations"][-1]["keypoints"] = [7, 8, 2, 0, 0, 0]
    path.write_text(json.dumps(value))
    with pytest.raises(ValueError, match="several of fly in frame 3, and some in frame 5: give"):
        read_labels(path, 8)


@pytest.mark.parametrize("name, text", [("a.json", "[]"), ("none.slp", None), ("none.json", None)])
def test_labels_that_are_none_are_told_as_what_they_should_be(tmp_path, name, text):
    if text is not None:
        (tmp_path / name).write_text(text)
    assert holds_labels(tmp_path / name)
    with pytest.raises(ValueError, match=f"{name} (does not exist|should hold a JSON object)"):
        read_labels(tmp_path / name, 8)


def test_the_command_exports(tmp_path, capsys):
    named_tracks().save(tmp_path / "tracks.npz")
    assert cli.main(["export", str(tmp_path / "tracks.npz"), "--to", "coco"]) == 0
    assert_same(named_tracks(), read_tracks(tmp_path / "tracks_coco.json"), (*PLACES, "size"))
    assert "tracks_coco.json for coco: 3 points in 4 frames" in capsys.readouterr().out
    again = ["export", str(tmp_path / "tracks.npz"), "--to", "npz"]
    assert cli.main(again) == 2
    assert "is the file to read: choose another --out" in capsys.readouterr().err


def write(path: Path, content) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


class Evil:
    def __reduce__(self):
        return print, ("code of a file ran",)


WRONG = [
    ("a.csv", "point,frame,x\n0,0,1\n", "a.csv has no column y"),
    ("a.csv", "point,frame,x,y\n0,0,1,two\n", "a.csv holds text where a number is due"),
    ("a.csv", "point,frame,x,y\n0,99999999999,1,2\n", "too large to hold"),
    ("a.csv", "frame,x,y\n0,1,2\n", "has no columns NAME_x and NAME_y"),
    ("a.csv", "frame,a_x,a_y,a_x,a_y\n0,1,2,3,4\n", "has two columns a_x"),
    ("a.csv", "frame,seconds,nose_x\n0,0,1\n", "has a column nose_x and no nose_y"),
    ("a.csv", "scorer,me\nbodyparts,nose\nnose,x\n", "is no csv of DeepLabCut"),
    ("a.csv", "scorer,me\nbodyparts,nose\ncoords,x\n0,1\n", "a body part without x or y"),
    ("a.csv", "# frames=2\ntrack\n", "is no csv of markers"),
    ("a.csv", b"\xff\xfe\x00", "is not a csv text file"),
    ("a.json", "{", "cannot be read as JSON"),
    ("a.json", '{"images": [{"id": 1}]}', "holds no COCO keypoints"),
    ("a.json", '{"format": "cotracker tracks", "version": 9}', "version 1"),
    ("a.json", '{"format": "cotracker tracks", "version": 1, "frames": 1}', "tracks.schema.json"),
    ("a.pkl", pickle.dumps({"a": Evil()}), "is refused"),
    ("a.pkl", pickle.dumps({"a": {}, "b": {}}), "holds 2 videos"),
    ("a.pkl", pickle.dumps({"a": {"points": 1}}), "it needs points and occluded"),
    ("a.doc", "", "is of no format that is known here"),
]


@pytest.mark.parametrize("name, content, words", WRONG)
def test_wrong_files_are_refused_in_a_sentence(tmp_path, capsys, name, content, words):
    path = write(tmp_path / name, content)
    with pytest.raises(ValueError, match=words):
        read_tracks(path)
    assert "code of a file ran" not in capsys.readouterr().out


@pytest.mark.parametrize("kind", [kind for kind in FORMATS if kind not in ("sleap", "colmap")])
def test_a_missing_file_is_a_sentence(tmp_path, kind):
    path = path_of(tmp_path, kind)
    with pytest.raises(ValueError, match=path.name):
        read_tracks(path, kind)


def test_tracks_that_a_format_cannot_hold(tmp_path):
    two = named_tracks()
    several = Tracks(*(torch.cat([v, v]) for v in (two.xy, two.visibility, two.visible)))
    with pytest.raises(ValueError, match="these are 2: write tracks"):
        write_tracks(tmp_path / "a.json", several, "json")
    with pytest.raises(ValueError, match="two points are named a: give each"):
        write_tracks(tmp_path / "a.json", replace(two, names=("a", "a", "b")), "json")
    for kind in ("tapvid", "blender"):
        with pytest.raises(ValueError, match="frames' size, which these tracks lack"):
            write_tracks(tmp_path / "a", replace(two, size=None), kind)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_plain_pickles_are_read_and_others_refused(protocol):
    value = [(1, [("s", "nose", "x"), ("s", "nose", "y")]), (2, [])]
    assert parse_plain_pickle(pickle.dumps(value, protocol)) == value
    with pytest.raises(ValueError, match="more than plain values"):
        parse_plain_pickle(pickle.dumps([Evil()], protocol))
