"""FastCapture's reader: a miniature read to the exact Clips; each fault named."""

from pathlib import Path

import numpy as np
import pytest
import torch
from fastcapture_fixture import (
    FRAMES,
    HIDDEN_AT_FIRST,
    POINTS,
    SIZE,
    picture,
    tracks,
    write_fastcapture,
)
from PIL import Image

from cotracker.baselines.static import Static
from cotracker.benchmarks.benchmark import Benchmark
from cotracker.benchmarks.metrics import within_pixels
from cotracker.benchmarks.protocols import from_first_frame
from cotracker.benchmarks.run import evaluate
from cotracker.data.fastcapture import FastCapture

# torch.manual_seed(0); torch.randperm(25)[:20]: the sampled ones of the 25 points seen at first.
DRAWN = [19, 16, 6, 17, 5, 24, 11, 8, 14, 12, 21, 2, 15, 1, 22, 10, 13, 9, 7, 18]


@pytest.mark.parametrize("count", [20, 40])
def test_clips_are_exactly_what_was_written(tmp_path, count):
    reader = FastCapture(write_fastcapture(tmp_path), points=count)
    assert (
        reader.names == ["boxer", "dancer"]
        and len(reader) == 2
        and reader.broken == reader.expected == ()
    )
    torch.manual_seed(0)
    assert torch.randperm(25)[:20].tolist() == DRAWN
    torch.manual_seed(0)
    seen_at_first = [n for n in range(POINTS) if n not in HIDDEN_AT_FIRST]
    chosen = [seen_at_first[k] for k in torch.randperm(25).tolist()[:count]]
    for k, name in enumerate(reader.names):
        clip = reader[k]
        assert clip.name == name and clip.masks is None and len(chosen) == min(count, 25)
        places, seen = tracks(name)
        assert (
            torch.equal(clip.tracks, places[chosen].permute(2, 0, 1))
            and clip.tracks.dtype == torch.float32
        )
        assert torch.equal(clip.visible, seen[chosen].T > 0) and clip.valid.all()
        assert clip.video.shape == (FRAMES, 3, *SIZE)
        expected = np.stack([picture(name, frame) for frame in range(FRAMES)]).transpose(0, 3, 1, 2)
        np.testing.assert_array_equal(clip.video[:], expected)
        assert torch.equal(clip.video[2:4], clip.video[:][2:4])


def test_the_draw_leaves_the_global_stream_alone(tmp_path):
    reader = FastCapture(write_fastcapture(tmp_path))
    state = torch.get_rng_state()
    one, two = reader[0], reader[0]
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(one.tracks, two.tracks) and torch.equal(one.visible, two.visible)


def test_the_static_guess(tmp_path):
    """A point moves 8 pixels of 512 in every frame: never within 3; and in a still copy, always."""
    write_fastcapture(tmp_path)
    places, seen = tracks("boxer")
    still = {"traj_2d": places[:, :, :1].expand(-1, -1, FRAMES).clone(), "visibility": seen > 0}
    torch.save(still, tmp_path / "zju_tracking" / "boxer.pth")
    rows = evaluate(
        Static(), Benchmark("fastcapture", FastCapture(tmp_path), from_first_frame, within_pixels)
    )
    assert [(row["name"], row["3px"]) for row in rows] == [("boxer", 100.0), ("dancer", 0.0)]


def test_only_the_first_frames_are_read(tmp_path):
    clip = FastCapture(write_fastcapture(tmp_path), frames=4)[1]
    assert (
        clip.video.shape[0] == 4 and clip.tracks.shape == (4, 20, 2) and not clip.visible[3].any()
    )


def pth(root: Path) -> Path:
    return root / "zju_tracking" / "dancer.pth"


def save(root: Path, **changes) -> None:
    places, seen = tracks("dancer")
    held = {"traj_2d": places, "visibility": seen} | changes
    torch.save({key: value for key, value in held.items() if value is not None}, pth(root))


def flip(path: Path) -> None:
    """Changes a bit of a coordinate, which torch.load does not notice."""
    data = bytearray(path.read_bytes())
    data[data.index(tracks("dancer")[0].numpy().tobytes()) + 7] ^= 0x40
    path.write_bytes(data)


def pictures(root: Path) -> Path:
    return root / "renders_local_rm" / "dancer"


FAULTS = {
    "no tracks": (lambda r: pth(r).unlink(), "dancer.pth is missing"),
    "no pictures": (
        lambda r: [f.unlink() for f in pictures(r).iterdir()],
        "renders_local_rm/dancer holds no pictures",
    ),
    "shorter video": (
        lambda r: (pictures(r) / "0005.png").unlink(),
        "has 5 pictures, but .*dancer.pth tracks 6",
    ),
    "damaged picture": (
        lambda r: (pictures(r) / "0002.png").write_bytes(b"\x89PNG"),
        "0002.png cannot be read as a picture",
    ),
    "another size": (
        lambda r: Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(pictures(r) / "0003.png"),
        "0003.png is 9x9",
    ),
    "no key": (
        lambda r: save(r, visibility=None),
        "dancer.pth cannot be read.*traj_2d and visibility",
    ),
    "axes swapped": (
        lambda r: save(r, traj_2d=tracks("x")[0].swapaxes(1, 2)),
        r"traj_2d is float32 \(30, 6, 2\)",
    ),
    "other points": (
        lambda r: save(r, visibility=tracks("x")[1][:9]),
        r"visibility is float32 \(9, 6\), where",
    ),
    "a flipped bit": (lambda r: flip(pth(r)), "dancer.pth cannot be read, it is damaged"),
    "expanded": (
        lambda r: save(r, traj_2d=torch.zeros(1).expand(10**9, 2, FRAMES)),
        "dancer.pth cannot be read, it is damaged",
    ),
    "NaN": (lambda r: save(r, traj_2d=tracks("x")[0] * float("nan")), "traj_2d is NaN or infinite"),
    "none seen": (
        lambda r: save(r, visibility=tracks("x")[1] * 0),
        "no point is visible in frame 0",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_named_and_the_rest_read(tmp_path, fault):
    spoil, words = FAULTS[fault]
    spoil(write_fastcapture(tmp_path))
    reader = FastCapture(tmp_path)
    assert reader.names == ["boxer", "dancer"] and reader[0].name == "boxer"
    with pytest.raises(ValueError, match=words) as caught:
        reader[1]
    assert str(tmp_path) in str(caught.value) and "\n" not in str(caught.value)


def test_nan_where_a_point_is_hidden_is_not_valid(tmp_path):
    places, seen = tracks("dancer")
    places[:, :, 3] = float("nan")  # hidden there
    save(write_fastcapture(tmp_path), traj_2d=places)
    clip = FastCapture(tmp_path)[1]
    assert not clip.valid[3].any() and clip.valid[[0, 1, 2, 4, 5]].all()


class Malicious:
    def __init__(self, mark: Path):
        self.mark = mark

    def __reduce__(self):
        return (Path.touch, (self.mark,))


def test_no_code_of_a_pth_runs(tmp_path):
    mark = tmp_path / "it_ran"
    save(write_fastcapture(tmp_path), traj_2d=Malicious(mark))
    with pytest.raises(
        ValueError, match="dancer.pth cannot be read, it is damaged or holds more than it should"
    ):
        FastCapture(tmp_path)[1]
    assert not mark.exists()


def test_other_frames_or_points_are_another_protocol(tmp_path):
    write_fastcapture(tmp_path)

    def said(**settings):
        made = FastCapture(tmp_path, **settings).identity
        return Benchmark("fastcapture", [], from_first_frame, within_pixels, made=made).describe()[
            "clips"
        ]

    assert said() == said(frames=100, points=20)
    assert len({said(), said(points=40), said(frames=50)}) == 3


def test_no_set_is_said_in_one_sentence(tmp_path):
    with pytest.raises(
        ValueError, match="holds no sequence of FastCapture: benchmark.root must be"
    ):
        FastCapture(tmp_path)
    with pytest.raises(
        ValueError, match="benchmark.clips.points must be a whole number of at least 1, not 0"
    ):
        FastCapture(tmp_path, points=0)
