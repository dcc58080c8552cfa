"""Statistics counted by hand, figures that show them, and the report as a user makes it."""

import json
from pathlib import Path

import data_report
import numpy as np
import pytest
import torch
from PIL import Image

from cotracker.data.kubric.layout import write_clip
from cotracker.data.statistics import measure_motion, pool_samples, summarise_samples
from cotracker.types import Clip
from cotracker.visualize.plots import Axis, encode_jpg, plot_cumulative, sheet, tile

BADJA = Path(__file__).parents[4] / "shared" / "data" / "BADJA"


def clip_of(xy, visible, valid=None, size=(384, 512)) -> Clip:
    """A Clip of points xy (N T 2), with visible and valid (N T)."""
    tracks = torch.tensor(xy, dtype=torch.float32).swapaxes(0, 1)
    visible = torch.tensor(np.array(visible), dtype=torch.bool).T
    valid = (
        torch.ones_like(visible)
        if valid is None
        else torch.tensor(np.array(valid), dtype=torch.bool).T
    )
    video = torch.zeros(1, dtype=torch.uint8).expand(len(tracks), 3, *size)
    return Clip(video, tracks, visible, valid)


def line(start, step, frames):
    return [(start[0] + step[0] * t, start[1] + step[1] * t) for t in range(frames)]


def test_motion_is_measured_at_384_by_512():
    clip = clip_of(
        [line((5, 5), (3, 4), 8)], [[1] * 8], size=(192, 512)
    )  # 3 and 8 pixels at 384x512
    found = measure_motion(clip)
    assert found["step"] == pytest.approx(np.full(7, 73**0.5), rel=1e-5)
    assert found["step_5"] == pytest.approx(np.full(3, 73**0.5), rel=1e-5)


def test_motion_counts_only_between_two_sights():
    found = measure_motion(clip_of([line((0, 9), (2, 0), 7)], [[1, 1, 0, 1, 1, 1, 0]]))
    assert len(found["step"]) == 3 and len(found["step_5"]) == 1


def test_turns():
    right, down = line((10, 10), (2, 0), 6), line((20, 10), (0, 2), 6)[1:]
    back = line((20, 10), (-2, 0), 6)[1:]
    slow = line((9, 9), (0.3, 0), 11)
    found = measure_motion(
        clip_of([right + down, right + back, line((9, 9), (1, 1), 11), slow], [[1] * 11] * 4)
    )
    np.testing.assert_allclose(np.sort(found["turn"]), [0, 90, 180], atol=1e-3)
    hidden = measure_motion(clip_of([right + down], [[1] * 5 + [0] + [1] * 5]))  # at the corner
    assert len(hidden["turn"]) == 0


def test_what_is_hidden_and_what_comes_back():
    still = [(50.0, 50.0)] * 10
    leaves = [(50.0, 50.0)] * 3 + [(-5.0, 50.0)] * 2 + [(50.0, 50.0)] * 5
    seen = [
        [1, 1, 0, 0, 0, 1, 1, 0, 1, 0],  # hidden for 3 and for 1, and at the end
        [0, 1, 1, 0, 0, 1, 1, 1, 1, 1],  # outside for 2
        [0, 0, 1, 1, 1, 1, 1, 1, 0, 0],
        [0] * 10,  # never seen: no point at all
    ]
    found = measure_motion(clip_of([still, leaves, still, still], seen))
    assert sorted(found["gap"]) == [1, 2, 3]
    assert found["returns"].tolist() == [True, True, False]
    assert found["comes_back"].tolist() == [False, True, False]
    assert found["unseen"].sum() == 5 + 3 + 4 and len(found["unseen"]) == 30
    assert found["outside"].sum() == 2
    assert found["lifetime"] == pytest.approx([0.9, 0.9, 0.6])
    assert found["longest"].tolist() == [2, 5, 6]


def test_only_annotated_frames_count():
    known = np.zeros(16, bool)
    known[[0, 4, 9, 15]] = True
    xy = line((0, 7), (3, 0), 16)
    seen = known & (np.arange(16) != 9)
    found = measure_motion(clip_of([xy, xy], [seen, known], valid=[known, known]))
    assert len(found["step"]) == 0 and len(found["outside"]) == 0 and len(found["comes_back"]) == 0
    np.testing.assert_allclose(found["step_5"], [3] * 4)  # 0-4 twice, 4-9 and 9-15 once
    assert found["gap"] == pytest.approx(
        [11 / 2]
    )  # one of the two annotations between frames 4 and 15
    assert found["unseen"].mean() == 1 / 8
    assert found["longest"].tolist() == [5, 16] and found["lifetime"].tolist() == [1, 1]


def test_a_clip_without_a_known_point_is_named():
    clip = clip_of([line((0, 7), (3, 0), 16)], [[0] * 16], valid=[[0] * 16])
    with pytest.raises(ValueError, match="has no point whose place is known"):
        measure_motion(clip)


def test_the_summary_of_all_clips():
    one = {
        "gap": np.array([1.0, 2, 3]),
        "unseen": np.array([True]),
        "lifetime": np.ones(2),
        "turn": np.zeros(0),
    }
    other = {
        "gap": np.array([4.0, 101]),
        "unseen": np.array([False] * 3),
        "lifetime": np.ones(1),
        "turn": np.zeros(0),
    }
    said = summarise_samples(pool_samples([one, other]))
    assert (said["gap"], said["unseen"], said["points"], said["places"]) == (3, 0.25, 3, 4)
    assert (
        said["gap_95"] == np.percentile([1, 2, 3, 4, 101], 95)
        and said["turn"] is None
        and said["turn_95"] is None
    )
    assert "unseen_95" not in said


def test_a_cumulative_curve_is_plotted(tmp_path):
    """Of samples at 25 and 75 a line that is level between them; none of an empty set."""
    lines = {"none": np.zeros(0), "half": np.array([25.0, 75.0])}
    plot_cumulative(tmp_path / "a.png", [(Axis("x", 0, 100), lines)])
    with Image.open(tmp_path / "a.png") as picture:
        pixels = np.asarray(picture.convert("RGB"))[:, :640].astype(int)
    blue, orange = ((np.abs(pixels - c) < 30).all(-1) for c in ([31, 119, 180], [255, 127, 14]))
    assert pixels.shape == (360, 640, 3) and not blue.any()
    rows, columns = np.nonzero(orange)
    middle, bottom = sorted(np.bincount(rows).argsort()[-3:])[1:]  # 50 % has a line of two rows
    half, none = (np.ptp(columns[rows == row]) for row in (middle, bottom))
    assert half == pytest.approx(2 * none, abs=6) and none > 100 and bottom > middle + 100


def test_a_tile_shows_the_known_points_and_a_sheet_all_tiles():
    frames = torch.full((9, 3, 40, 60), 100, dtype=torch.uint8)
    still = [(40.0, 20.0)] * 9
    shown = tile(Clip(frames, *tracked([still], [[1] * 9])), width=120)
    assert shown.shape == (80, 240, 3)
    x, y = 40 * 119 / 59, 20 * 79 / 39
    for left in (0, 120):
        assert np.ptp(shown[round(y), left + round(x)].astype(int)) > 100  # a coloured disc
    corner = tile(
        Clip(frames, *tracked([[(0.0, 0.0)] * 9, still], [[0] * 9, [1] * 9], [[0] * 9, [1] * 9])),
        width=120,
    )
    assert (corner[:10, :10] == 100).all()  # unknown, so not drawn
    whole = sheet([shown, corner, shown[:60]], columns=2)
    assert whole.size == (2 * 244 - 4, 2 * 84 - 4)
    assert np.array_equal(np.asarray(whole)[84:144, :240], shown[:60])


def tracked(xy, visible, valid=None):
    clip = clip_of(xy, visible, valid)
    return clip.tracks, clip.visible, clip.valid


def test_a_jpg_is_as_good_as_fits():
    noise = Image.fromarray(
        np.random.default_rng(0).integers(0, 256, (200, 300, 3), dtype=np.uint8)
    )
    large, small = encode_jpg(noise), encode_jpg(noise, 40_000)
    assert 20_000 < len(small) < 40_000 < len(large)
    with pytest.raises(ValueError, match="300x200 does not fit into 100 bytes"):
        encode_jpg(noise, 100)


def folder_of_clips(root: Path, count: int) -> None:
    for k in range(count):
        video = torch.full((6, 3, 48, 64), 40 * k, dtype=torch.uint8)
        write_clip(root, f"{k:03d}", Clip(video, *tracked([line((9, 9), (k, 0), 6)], [[1] * 6])))


def test_a_report_of_a_folder_and_of_drawn_clips(tmp_path, capsys):
    folder_of_clips(tmp_path / "mine", 5)
    out = tmp_path / "out"
    words = [str(tmp_path / "mine"), "sprites_tiny", "--out", str(out), "--clips", "3", "--sheets"]
    assert data_report.main(words) == 0
    names = ["report.json", "report.md", "report.png", "sheet_mine.jpg", "sheet_sprites_tiny.jpg"]
    assert sorted(path.name for path in out.iterdir()) == names
    said = json.loads((out / "report.json").read_text())
    mine, drawn = said["sets"]["mine"], said["sets"]["sprites_tiny"]
    assert mine["sizes"] == {"6x48x64": 3} and mine["points"] == 3 and mine["places"] == 18
    assert mine["step"] == pytest.approx(2 * 512 / 64, rel=1e-4)  # clips 0, 2 and 4 of 5
    assert (
        mine["step_95"] == pytest.approx(4 * 512 / 64, rel=1e-4)
        and mine["unseen"] == 0
        and mine["gap"] is None
    )
    assert drawn["sizes"] == {"8x64x96": 3} and drawn["points"] == 48 and drawn["step"] > 0
    rows = (out / "report.md").read_text().splitlines()
    assert rows[0] == f"    python scripts/dev/data_report.py {' '.join(words)}"
    assert "| motion from frame to frame, median (px) | 16.0 | " in "\n".join(rows)
    assert (
        "| invisible for, median (frames) | – | " in "\n".join(rows)
        and "| points | 3 | 48 |" in rows
    )
    assert rows[2] in capsys.readouterr().out
    with Image.open(out / "report.png") as picture:
        assert picture.size == (1280, 720)
    with Image.open(out / "sheet_mine.jpg") as picture:
        assert picture.size == (3 * 404 - 4, 150)


@pytest.mark.parametrize(
    "words, sentence",
    [
        (["sprite"], "sprite is no folder and no data config: pass a folder, badja:ROOT or one of"),
        (["sprites_tiny", "--clips", "0"], "--clips must be a whole number of at least 1"),
        (["sprites_tiny", "--textures", "nowhere"], "the set sprites_tiny cannot be built: "),
        (["{tmp}"], "holds no clip"),
    ],
)
def test_what_cannot_be_is_said_in_one_sentence(words, sentence, tmp_path, capsys):
    words = [word.format(tmp=tmp_path) for word in words]
    assert data_report.main([*words, "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr()
    assert sentence in said.err and said.err.count("\n") == 1 and not said.out
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_badja_stands_beside_the_drawn(tmp_path):
    if not BADJA.is_dir():
        pytest.skip(f"{BADJA} is absent")
    assert data_report.main([f"badja:{BADJA}", "--out", str(tmp_path)]) == 0
    said = json.loads((tmp_path / "report.json").read_text())["sets"]["BADJA"]
    assert (
        sum(said["sizes"].values()) == 3
        and said["points"] == 60
        and said["places"] == 20 * (18 + 12 + 12)
    )
    assert said["unseen"] == pytest.approx(1 - (331 + 191 + 210) / 840)
    assert said["step"] is None and 1 < said["step_5"] < 6
