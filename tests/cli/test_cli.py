"""`cotracker track` with a tracker that knows the truth; and bad input, refused whole."""

import csv
import json
import warnings
from fractions import Fraction

import numpy as np
import pytest
import torch
from moving import STEP, Oracle, moving_texture
from PIL import Image
from videos import BAD, FAILING, encode, make_bad, write_folder

from cotracker import cli, queries
from cotracker.cli import making
from cotracker.data.video import open_video, write_video
from cotracker.trackers.options import TrackerOptions


@pytest.fixture
def loaded(monkeypatch) -> list:
    """The arguments of each load_chain, which gives the oracle."""
    calls = []

    def load_chain(name_or_path, options):
        calls.append((name_or_path, options))
        return Oracle()

    monkeypatch.setattr(making, "load_chain", load_chain)
    return calls


def use_tracker(monkeypatch, tracker) -> None:
    monkeypatch.setattr(making, "load_chain", lambda *_: tracker)


def clip(tmp_path, frames=9, height=48, width=64, fps=12.5, name="clip.mp4"):
    write_video(tmp_path / name, moving_texture(frames, height, width), fps, (height, width))
    return tmp_path / name


def track(*arguments) -> int:
    return cli.main(["track", *map(str, arguments)])


def results(out) -> dict:
    with np.load(out / "tracks.npz", allow_pickle=False) as file:
        return dict(file)


@pytest.mark.parametrize(
    "frames, height, width, fps", [(9, 48, 64, 12.5), (7, 17, 33, 30000 / 1001), (1, 33, 16, 25)]
)
def test_a_video_becomes_three_files(tmp_path, loaded, capsys, frames, height, width, fps):
    out = tmp_path / "deep" / "out"
    assert track(clip(tmp_path, frames, height, width, fps), "--grid", 3, "--out", out) == 0
    assert sorted(file.name for file in out.iterdir()) == [
        "overlay.mp4",
        "tracks.csv",
        "tracks.npz",
    ]
    overlay = open_video(out / "overlay.mp4")
    assert overlay.shape == (1, frames, 3, height, width)
    assert abs(overlay.fps - fps) < 1e-6
    saved = results(out)
    assert saved["xy"].shape == (frames, 9, 2) and saved["xy"].dtype == np.float32
    assert saved["visibility"].shape == saved["visible"].shape == (frames, 9)
    assert saved["visible"].dtype == bool and saved["visibility"].dtype == np.float32
    assert saved["queries"].shape == (9, 3) and (saved["queries"][:, 0] == 0).all()
    assert saved["size"].tolist() == [height, width] and abs(saved["fps"] - fps) < 1e-6
    assert (saved["queries"][:, 1:] >= 0).all() and (
        saved["queries"][:, 1:] <= [width - 1, height - 1]
    ).all()
    truth = saved["queries"][None, :, 1:] + np.arange(frames)[:, None, None] * np.array(STEP)
    np.testing.assert_allclose(saved["xy"], truth, atol=1e-4)
    said = capsys.readouterr()
    count = "1 frame," if frames == 1 else f"{frames} frames,"
    assert (
        said.out.count("\n") == 1
        and f"9 points in {count}" in said.out
        and "frames per second" in said.out
    )
    assert str(out) in said.out and "overlay.mp4" in said.out and "tracking: 100%" in said.err
    assert loaded == [(None, TrackerOptions())]


def test_the_csv_says_what_the_npz_says(tmp_path, loaded):
    assert track(clip(tmp_path), "--grid", 2, "--out", tmp_path / "out") == 0
    saved = results(tmp_path / "out")
    with open(tmp_path / "out/tracks.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["point", "frame", "seconds", "x", "y", "visibility", "visible"]
    assert [(int(row["point"]), int(row["frame"])) for row in rows] == [
        (p, t) for p in range(4) for t in range(9)
    ]
    np.testing.assert_allclose(saved["seconds"], np.arange(9) / 12.5)
    np.testing.assert_allclose(
        [float(row["seconds"]) for row in rows], np.tile(saved["seconds"], 4), atol=1e-6
    )
    xy = (
        np.array([[float(row["x"]), float(row["y"])] for row in rows])
        .reshape(4, 9, 2)
        .transpose(1, 0, 2)
    )
    np.testing.assert_allclose(xy, saved["xy"], atol=1e-4)
    assert [int(row["visible"]) for row in rows] == saved["visible"].T.ravel().astype(int).tolist()
    np.testing.assert_allclose(
        [float(row["visibility"]) for row in rows], saved["visibility"].T.ravel(), atol=1e-4
    )


def test_the_overlay_shows_the_points(tmp_path, loaded):
    source = clip(tmp_path, 4, 240, 320)
    (tmp_path / "points.csv").write_text("frame,x,y\n0,160,120\n")
    assert (
        track(source, "--points", tmp_path / "points.csv", "--trail", 0, "--out", tmp_path / "out")
        == 0
    )
    before, after = (
        open_video(source)[:, :][0].int(),
        open_video(tmp_path / "out/overlay.mp4")[:, :][0].int(),
    )
    for frame, visible in enumerate([True, True, False, True]):
        x, y = 160 + frame, round(120 + frame / 2)
        if visible:
            assert (after[frame, :, y, x] - torch.tensor([255, 30, 30])).abs().max() < 45
        changed = (after[frame] - before[frame]).abs().sum(0) > 90
        assert changed[y - 6 : y + 7, x - 6 : x + 7].any()
        changed[y - 6 : y + 7, x - 6 : x + 7] = False
        assert not changed.any()
    assert (after[2, :, 121, 162] - before[2, :, 121, 162]).abs().max() < 45  # a ring is hollow


def test_gif_and_folder_and_kept_files(tmp_path, loaded):
    folder = write_folder(
        tmp_path / "frames", moving_texture(5, 17, 33), [f"{k}.png" for k in range(5)]
    )
    encode(tmp_path / "a.gif", moving_texture(9, 48, 64), "gif", 20, "rgb8")
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("kept")
    (out / "tracks.csv").write_text("old")
    for source, shape in [(folder, (1, 5, 3, 17, 33)), (tmp_path / "a.gif", (1, 9, 3, 48, 64))]:
        assert track(source, "--out", out) == 0
        assert open_video(out / "overlay.mp4").shape == shape
        assert results(out)["xy"].shape == (shape[1], 100, 2)
    assert (out / "mine.txt").read_text() == "kept" and (out / "tracks.csv").read_text() != "old"
    assert len(list(out.iterdir())) == 4


def test_options_reach_the_tracker(tmp_path, loaded):
    options = "--checkpoint some --iters 3 --threshold 0.7 --resolution 96x128 --device cpu"
    options += " --precision bfloat16 --cuda-graphs --flip-tta --keep-aspect"
    where = ["--direction", "forward", "--query-frame", 4, "--out", tmp_path / "o"]
    assert track(clip(tmp_path), *where, *options.split()) == 0
    expected = TrackerOptions(
        iters=3,
        resolution=(96, 128),
        threshold=0.7,
        precision="bfloat16",
        cuda_graphs=True,
        flip_tta=True,
        direction="forward",
        keep_aspect=True,
        device="cpu",
    )
    assert loaded == [("some", expected)]
    saved = results(tmp_path / "o")
    assert (saved["queries"][:, 0] == 4).all()
    assert not saved["visible"][:4].any() and saved["visible"][4].all()


@pytest.mark.parametrize("height, width", [(2, 301), (3, 640), (301, 2), (640, 3), (48, 64)])
def test_the_default_grid_lies_within_narrow_pictures(tmp_path, loaded, height, width):
    folder = write_folder(tmp_path / "frames", moving_texture(1, height, width), ["0.png"])
    arguments = cli._make_parser().parse_args(["track", str(folder), "--out", "x"])
    positions = cli.track.make_queries(arguments, open_video(folder)).queries[0, :, 1:]
    assert (positions >= 0).all() and (positions <= torch.tensor([width - 1, height - 1])).all()
    if (height, width) == (48, 64):
        assert torch.equal(positions, queries.grid(10, (48, 64), margin=1)[0, :, 1:])
    assert track(folder, "--out", tmp_path / "out") == 0


@pytest.mark.parametrize("at_once, calls", [(4, [4, 4, 1] * 2), (9, [9] * 2), (None, [9] * 2)])
def test_points_at_once(tmp_path, monkeypatch, capsys, at_once, calls):
    class Counting(Oracle):
        def forward(self, video, queries):
            seen.append(queries.shape[1])
            return super().forward(video, queries)

    seen = []
    use_tracker(monkeypatch, Counting())
    options = [] if at_once is None else ["--points-at-once", at_once]
    assert (
        track(clip(tmp_path), "--grid", 3, "--query-frame", 4, *options, "--out", tmp_path / "out")
        == 0
    )
    said = capsys.readouterr()
    assert seen == calls and "tracking: 100%" in said.err and f"/{9 * len(calls)} [" in said.err
    assert results(tmp_path / "out")["xy"].shape == (9, 9, 2)


def test_points_at_once_is_in_the_help(capsys):
    assert cli.main(["track", "--help"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert (
        "--points-at-once K" in said and "points of different chunks do not see each other" in said
    )


def test_one_point_in_one_frame_is_said_in_the_singular(tmp_path, loaded, capsys):
    assert track(clip(tmp_path, 1), "--grid", 1, "--out", tmp_path / "out") == 0
    assert "1 point in 1 frame, tracked" in capsys.readouterr().out


def test_an_error_that_is_not_of_memory_is_shown_whole(tmp_path, monkeypatch):
    use_tracker(monkeypatch, Breaking(RuntimeError("shapes do not match")))
    with pytest.raises(RuntimeError, match="shapes do not match"):
        track(clip(tmp_path), "--out", tmp_path / "out")


@pytest.mark.parametrize("direction", ["backward", "both"])
def test_directions(tmp_path, loaded, direction):
    source = clip(tmp_path)
    assert (
        track(
            source,
            "--direction",
            direction,
            "--query-frame",
            4,
            "--grid",
            1,
            "--out",
            tmp_path / "out",
        )
        == 0
    )
    visible = results(tmp_path / "out")["visible"]
    assert visible[3].all() and visible[4].all()
    assert visible[5].all() == (direction == "both")
    assert visible[6:].any() == (direction == "both")


def test_points_and_grid_add_up(tmp_path, loaded):
    (tmp_path / "p.csv").write_text("frame,x,y\n3,10,11\n")
    where = ["--points", tmp_path / "p.csv", "--grid", 2, "--query-frame", 1]
    assert track(clip(tmp_path), *where, "--out", tmp_path / "out") == 0
    assert results(tmp_path / "out")["queries"][:, 0].tolist() == [3, 1, 1, 1, 1]


def test_a_mask_chooses_points(tmp_path, loaded, capsys):
    source = clip(tmp_path)
    for size in [(64, 48), (128, 96)]:  # the second is brought to the video's size
        Image.new("L", size).save(tmp_path / "mask.png")
        mask = np.zeros((size[1], size[0]), np.uint8)
        mask[:, size[0] // 2 :] = 1
        Image.fromarray(mask).save(tmp_path / "mask.png")
        assert (
            track(source, "--mask", tmp_path / "mask.png", "--grid", 8, "--out", tmp_path / "out")
            == 0
        )
        queries = results(tmp_path / "out")["queries"]
        assert queries.shape == (32, 3) and (queries[:, 1] >= 31.5).all()
    mask[:] = 0
    mask[40, 40] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    assert_refused(capsys, tmp_path, "lies in the mask", source, "--mask", tmp_path / "mask.png")
    Image.new("L", (64, 48)).save(tmp_path / "mask.png")
    assert_refused(capsys, tmp_path, "is an empty mask", source, "--mask", tmp_path / "mask.png")
    assert_refused(capsys, tmp_path, "cannot be read as a picture", source, "--mask", source)


def test_a_mask_holds_labels(tmp_path, loaded):
    """16 bits, objects by their labels, transparent outside; another aspect is said."""
    source = clip(tmp_path, height=120, width=160)
    for name, ids in (
        ("u16_100_300.png", {100, 300}),
        ("u16.png", {1, 2}),
        ("alpha_white.png", {255}),
    ):
        assert track(source, "--mask", FAILING / name, "--grid", 9, "--out", tmp_path / "out") == 0
        saved = results(tmp_path / "out")
        assert set(saved["ids"].tolist()) == ids and 10 < len(saved["ids"]) < 30


def test_a_mask_of_another_aspect_is_said(tmp_path, loaded, capsys):
    source = clip(tmp_path, height=120, width=160)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        assert track(source, "--mask", FAILING / "square.png", "--out", tmp_path / "out") == 0
    assert "square.png is 160x160, of another aspect" in capsys.readouterr().err


def test_a_part_of_a_video_keeps_its_numbers(tmp_path, loaded):
    (tmp_path / "points.csv").write_text("frame,x,y,name\n5,20,30,nose\n4,10,10,\n")
    arguments = ["--points", tmp_path / "points.csv", "--frames", "4:8", "--out", tmp_path / "out"]
    assert track(clip(tmp_path), *arguments) == 0
    saved = results(tmp_path / "out")
    assert saved["xy"].shape == (4, 2, 2) and saved["names"].tolist() == ["nose", ""]
    np.testing.assert_allclose(saved["seconds"], np.arange(4, 8) / 12.5)
    with open(tmp_path / "out/tracks.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["frame"]) for row in rows] == [4, 5, 6, 7] * 2 and rows[0]["name"] == "nose"
    assert len(open_video(tmp_path / "out/overlay.mp4")) == 4


def test_data_check_decodes_a_video(tmp_path, capsys):
    for name, code, message in [
        ("base.mp4", 0, "base.mp4 with 20 frames: nothing wrong"),
        ("keybad.mp4", 1, "damaged near frame 30, 12 frames cannot be decoded"),
        ("zeros_mid.mp4", 1, "damaged near frames 17, 19, 24, 3 frames cannot be decoded"),
    ]:
        report = tmp_path / "report.json"
        assert cli.main(["data", "check", str(FAILING / name), "--json", str(report)]) == code
        assert message in capsys.readouterr().out
        assert len(json.loads(report.read_text())["findings"]) == code
    assert cli.main(["data", "check", str(FAILING / "base.mp4"), "--repair"]) == 2


def test_the_overlay_keeps_pixels_that_are_not_square(tmp_path, loaded):
    assert track(FAILING / "sar.mp4", "--grid", 2, "--out", tmp_path / "out") == 0
    assert open_video(tmp_path / "out/overlay.mp4").aspect == Fraction(32, 27)


def assert_refused(capsys, tmp_path, message, *arguments) -> None:
    """Exit code 2, one sentence with `message` on stderr, nothing on stdout, no file written."""
    before = sorted(str(path) for path in tmp_path.rglob("*"))
    capsys.readouterr()
    assert track(*arguments, "--out", tmp_path / "refused") == 2
    said = capsys.readouterr()
    assert message in said.err and said.err.count("\n") == 1 and not said.out
    assert sorted(str(path) for path in tmp_path.rglob("*")) == before


@pytest.mark.parametrize("kind", list(BAD)[:2])
def test_bad_videos(tmp_path, loaded, capsys, kind):
    assert_refused(capsys, tmp_path, BAD[kind], make_bad(kind, tmp_path))


def test_bad_arguments(tmp_path, loaded, capsys):
    source = clip(tmp_path)
    points = tmp_path / "points.csv"
    for text, message in [
        ("frame,x,y\n0,nan,2\n", "not finite"),
        ("t,x,y\n0,1,2\n", "must begin with a header that has frame,x,y"),
        ("frame,x,y\n9,1,2\n", "frame 9 is outside the video, which has frames 0 to 8"),
        ("frame,x,y\n", "holds no points"),
    ]:
        points.write_text(text)
        assert_refused(capsys, tmp_path, message, source, "--points", points)
    points.write_text("frame,x,y\n0,1,2\n")
    for arguments, message in [
        (["--points", points, "--query-frame", 3], "--query-frame is of a grid"),
        (["--points", tmp_path / "none.csv"], "none.csv does not exist"),
        (["--mask", tmp_path / "none.png"], "none.png does not exist"),
        (["--query-frame", 9], "frames 0 to 8"),
        (["--query-frame", -1], "frames 0 to 8"),
        (["--frames", "3:10"], "--frames 3:10 is not within"),
        (["--frames", "5:5"], "--frames 5:5 is not within"),
        (["--frames", "5"], "5 is not a range such as 10:20"),
        (["--frames", "4:6", "--query-frame", 3], "which has frames 4 to 5"),
        (["--grid", 0], "0 is not a whole number of at least 1"),
        (["--grid", 317], "317 x 317 points are too many: use 316 at most"),
        (["--trail", -5], "-5 is not a whole number of at least 0"),
        (["--points-at-once", 0], "0 is not a whole number of at least 1"),
        (["--iters", 10**9], "1000000000 is too large"),
        (["--threshold", 2], "2 is not a number from 0 to below 1"),
        (["--resolution", "384"], "384 is not a size such as 384x512"),
        (["--resolution", "31x512"], "each 32 to 4096"),
        (["--direction", "sideways"], "invalid choice: 'sideways'"),
        (["--speed", 3], "unrecognized arguments: --speed 3"),
    ]:
        assert_refused(capsys, tmp_path, message, source, *arguments)


def test_an_out_that_cannot_be(tmp_path, loaded, capsys):
    source = clip(tmp_path)
    for out in (source, source / "below"):
        assert track(source, "--out", out) == 2
        assert f"{source} is a file" in capsys.readouterr().err
    assert not loaded  # refused before the long part


def test_no_input_is_overwritten(tmp_path, loaded, capsys):
    out = tmp_path / "out"
    out.mkdir()
    source = clip(tmp_path)
    own = clip(tmp_path, name="out/overlay.mp4")
    (out / "tracks.csv").write_text("frame,x,y\n0,1,2\n")
    Image.new("L", (64, 48), 255).save(tmp_path / "mask.png")
    (tmp_path / "mask.png").rename(out / "tracks.npz")
    (tmp_path / "linked.mp4").symlink_to(own)
    before = {file: file.read_bytes() for file in out.iterdir()}
    for arguments, name in [
        ([own], "overlay.mp4"),
        ([tmp_path / "linked.mp4"], "linked.mp4"),
        ([source, "--points", out / "tracks.csv"], "tracks.csv"),
        ([source, "--mask", out / ".." / "out" / "tracks.npz"], "tracks.npz"),
        ([source, "--checkpoint", out / "tracks.npz"], "tracks.npz"),
    ]:
        assert track(*arguments, "--out", out) == 2
        said = capsys.readouterr().err
        assert said.count("\n") == 1 and f"{name} would be overwritten by" in said
        assert {file: file.read_bytes() for file in out.iterdir()} == before
    assert not loaded
    assert track(own, "--out", tmp_path / "elsewhere", "--grid", 2) == 0


def test_a_folder_in_the_way_of_one_file_leaves_all_old(tmp_path, loaded, monkeypatch, capsys):
    source, out = clip(tmp_path), tmp_path / "out"
    (out / "tracks.csv").mkdir(parents=True)
    (out / "overlay.mp4").write_text("old")
    assert track(source, "--out", out) == 2
    assert (
        "tracks.csv is a folder" in capsys.readouterr().err and not loaded
    )  # before the long part
    (out / "tracks.csv").rmdir()

    def run_and_block(*arguments, **options):
        (out / "tracks.npz").mkdir()
        return run(*arguments, **options)

    run = cli.track.track_with_bar
    monkeypatch.setattr(cli.track, "track_with_bar", run_and_block)
    assert track(source, "--out", out) == 2 and "tracks.npz is a folder" in capsys.readouterr().err
    assert sorted(file.name for file in out.iterdir()) == ["overlay.mp4", "tracks.npz"]
    assert (out / "overlay.mp4").read_text() == "old"


def test_unknown_commands_name_those_there_are(capsys):
    assert cli.main(["trck"]) == 2
    assert "trck" in (said := capsys.readouterr().err) and "track" in said and said.count("\n") == 1
    assert cli.main([]) == 2
    assert "COMMAND" in capsys.readouterr().err
    assert cli.main(["--help"]) == 0


class Breaking(Oracle):
    """An oracle that ends in an error after having read frames."""

    def __init__(self, error: BaseException):
        super().__init__()
        self.error = error

    def forward(self, video, queries):
        video[:, :3]
        raise self.error


@pytest.mark.parametrize(
    "error, code, message",
    [
        (KeyboardInterrupt(), 130, "interrupted, nothing was written"),
        (
            ValueError("the weights are of another\nmodel"),
            2,
            "cotracker: the weights are of another model",
        ),
        (OSError(28, "No space left on device", "disk"), 2, "disk: No space left on device"),
        (torch.OutOfMemoryError("CUDA out of memory"), 2, "the device's memory is full"),
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to"),
            2,
            "this machine's memory is full",
        ),
        (
            RuntimeError("DefaultCPUAllocator: not enough memory"),
            2,
            "this machine's memory is full",
        ),
        (MemoryError(), 2, "this machine's memory is full"),
    ],
)
def test_what_breaks_on_the_way_leaves_nothing(tmp_path, monkeypatch, capsys, error, code, message):
    use_tracker(monkeypatch, Breaking(error))
    source, out = clip(tmp_path), tmp_path / "out"
    out.mkdir()
    (out / "tracks.csv").write_text("old")
    assert track(source, "--out", out) == code
    assert message in capsys.readouterr().err
    assert [file.name for file in out.iterdir()] == ["tracks.csv"] and (
        out / "tracks.csv"
    ).read_text() == "old"


@pytest.mark.filterwarnings("always")
def test_a_warning_is_one_line_without_its_place_in_the_code(capsys):
    assert cli.exit_code(lambda: warnings.warn("bfloat16 is\nslow here", stacklevel=2)) == 0
    assert capsys.readouterr().err == "cotracker: bfloat16 is slow here\n"


def test_interrupted_while_drawing(tmp_path, loaded, monkeypatch, capsys):
    def broken(*_):
        yield np.zeros((48, 64, 3), np.uint8)
        raise KeyboardInterrupt

    monkeypatch.setattr(cli.track, "overlay", broken)
    assert track(clip(tmp_path), "--out", tmp_path / "out") == 130
    assert [file.name for file in tmp_path.iterdir()] == ["clip.mp4"]


@pytest.mark.filterwarnings("ignore:bfloat16 is emulated")
def test_memory_chooses_the_points_at_once(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(making, "peak_memory", lambda device: 500_000_000)
    video, common = (
        clip(tmp_path),
        ["--iters", 1, "--resolution", "48x64", "--device", "cpu", "--grid", 20],
    )
    assert (
        track(
            video,
            "--out",
            tmp_path / "out",
            *common,
            "--precision",
            "bfloat16",
            "--memory",
            "580MB",
        )
        == 0
    )
    said = capsys.readouterr().out.splitlines()[0]
    assert (
        0 < int(said.split(" points at once")[0]) < 400
        and said.endswith("TFLOP")
        and "0.6 of 0.6 GB" in said
    )
    assert results(tmp_path / "out")["xy"].shape == (9, 400, 2)
    for memory, sentence in (
        ("510MB", "10 MB beside the program are too few"),
        ("400MB", "than the program itself"),
        ("many", "many is not a size such as 2GB"),
    ):
        assert track(video, "--out", tmp_path / "no", *common, "--memory", memory) == 2
        assert sentence in capsys.readouterr().err and not (tmp_path / "no").exists()
