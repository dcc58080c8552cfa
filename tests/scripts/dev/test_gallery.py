"""scripts/dev/gallery.py: the worst tracks of a benchmark, and where they are lost."""

import json

import cv2
import pytest
from badja_fixture import write_badja
from gallery import main


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_badja(tmp_path_factory.mktemp("badja"))


def asked(root, *more):
    return ["benchmark=badja", f"benchmark.root={root}", "tracker=static", *more]


def test_the_worst_tracks_of_standing_still(root, tmp_path):
    """Joint 9 is queried at (40, 30) in frame 0, and is 10 pixels further two frames later."""
    out = tmp_path / "new" / "worst.png"
    assert main([str(out), "--count", "2", *asked(root)]) == 0
    rows = json.loads(out.with_suffix(".json").read_text())
    assert [row["video"] for row in rows] == ["camel", "camel"]
    assert rows[0]["error"] > rows[1]["error"] > 0
    assert (
        rows[0]["query"] == [0, 40.0, 30.0]
        and rows[0]["lost_at"] == 2
        and rows[0]["shown"] == [0, 2, 4]
    )
    picture = cv2.imread(str(out))
    assert picture.shape == (2 * 210, 7 * 210, 3) and picture.any()


def test_more_than_there_are_gives_what_there_is(root, tmp_path):
    assert main([str(tmp_path / "all.png"), "--count", "99", *asked(root)]) == 0
    rows = json.loads((tmp_path / "all.json").read_text())
    assert 2 <= len(rows) < 99


@pytest.mark.parametrize(
    "words, sentence",
    [(["--count", "0"], "--count must be 1 or more"), (["benchmark.root=nowhere"], "nowhere")],
)
def test_what_cannot_be_done_is_said(root, tmp_path, capsys, words, sentence):
    assert main([str(tmp_path / "no.png"), *asked(root), *words]) == 2
    assert sentence in capsys.readouterr().err and not (tmp_path / "no.png").exists()
