"""Files of many codecs, damaged and odd ones: each frame as ffmpeg decodes it, by its number."""

import hashlib
import json
import multiprocessing
import os
import pickle
import time
import warnings
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from moving import moving_texture
from videos import FAILING, encode

from cotracker.data.video import open_video, write_video
from cotracker.data.video.decode import decode_marked
from cotracker.data.video.pixels import tone_map

SHARED = Path(__file__).parents[3] / "shared/failing/files"
HASHES = json.loads((FAILING / "frames.json").read_text())
CODECS = {  # container: codec, pixels, options
    "b.mp4": ("libx264", "yuv420p", {"g": "12", "bf": "3"}),
    "open.mkv": ("libx265", "yuv420p", {"x265-params": "keyint=10:bframes=3:log-level=none"}),
    "a.webm": ("libvpx-vp9", "yuv420p", {"g": "10", "cpu-used": "8", "deadline": "realtime"}),
    "vp8.webm": ("libvpx", "yuv420p", {"g": "10", "auto-alt-ref": "1", "lag-in-frames": "8"}),
    "a.avi": ("mjpeg", "yuvj420p", {}),
    "b.avi": ("mpeg4", "yuv420p", {"g": "9", "bf": "2"}),
    "h264.avi": ("libx264", "yuv420p", {"g": "9", "bf": "2"}),
    "a.mpg": ("mpeg2video", "yuv420p", {"g": "9", "bf": "2"}),
    "a.ts": ("libx264", "yuv420p", {"g": "11", "bf": "2"}),
    "a.mov": ("prores_ks", "yuv422p10le", {}),
    "a.mkv": ("ffv1", "yuv420p", {"g": "5"}),
    "a.flv": ("flv", "yuv420p", {"g": "7"}),
    "a.gif": ("gif", "rgb8", {}),
    "a.apng": ("apng", "rgb24", {}),
    "a.y4m": ("wrapped_avframe", "yuv420p", {}),
}


def find(name: str) -> Path:
    """A file of failing/files: the copy here, or the shared one."""
    path = FAILING / name if (FAILING / name).exists() else SHARED / name
    if not path.exists():
        pytest.skip(f"{name} is not here, and shared/failing is not on this machine")
    return path


def hashed(frames: torch.Tensor) -> list[str]:
    """The hashes of frames 1 n 3 H W, as in frames.json."""
    pictures = frames[0].permute(0, 2, 3, 1).contiguous().numpy()
    return [hashlib.md5(picture.tobytes()).hexdigest()[:16] for picture in pictures]


@pytest.mark.parametrize("name", ["base.mp4", "sar.mp4", "reschange.ts"])
def test_frames_are_those_of_ffmpeg(name, recwarn):
    with open_video(find(name)) as read:
        assert hashed(read[:, :]) == HASHES[name] and read.fps == 25
        assert read.aspect == (Fraction(32, 27) if name == "sar.mp4" else 1)


@pytest.mark.parametrize(
    "name, pixels", [("hdr_real.mp4", "yuv420p10le"), ("alpha.webm", "yuv420p")]
)
def test_planes_are_those_of_ffmpeg(name, pixels):
    bytes_each = 2 if pixels.endswith("10le") else 1
    found = []
    for _, frame in decode_marked(find(name)):
        planes = hashlib.md5()
        for plane in frame.reformat(format=pixels).planes:
            rows = np.frombuffer(plane, np.uint8).reshape(plane.height, -1)
            planes.update(rows[:, : plane.width * bytes_each].tobytes())
        found.append(planes.hexdigest()[:16])
    assert found == HASHES[name]


def test_a_change_of_size_is_said():
    with pytest.warns(UserWarning, match="changes its size to 240x180 at frame 10"):
        assert open_video(find("reschange.ts"))[:, 10:12].shape == (1, 2, 3, 120, 160)


def test_hdr_is_tone_mapped():
    frame = open_video(find("hdr_real.mp4"))[:, :1][0, 0].float()
    white, red = frame[:, 70:110, 190:250].mean((1, 2)), frame[:, 70:110, 70:130].mean((1, 2))
    assert (white - 240).abs().max() < 7  # it was 144 without
    assert (red - torch.tensor([200, 30, 30])).abs().max() < 5


def test_diffuse_white_and_hue_are_kept_by_both_kinds_of_hdr():
    """203 cd/m2 is PQ 0.58 and HLG 0.75 (ITU-R BT.2408); what is brighter is still told apart."""
    for is_hlg, white, brighter in ((False, 0.5807, 0.7518), (True, 0.75, 0.95)):
        codes = np.array([0, white, brighter]) * 65535
        grey = np.repeat(codes.astype(np.uint16)[None, :, None], 3, axis=-1)
        mapped = tone_map(grey, is_hlg, is_bt2020=True)
        assert (mapped[0, 0] == 0).all() and (np.abs(mapped[0, 1].astype(int) - 246) <= 1).all()
        assert (mapped[0, 2] > 250).all() and np.ptp(mapped.astype(int), axis=-1).max() <= 1


def test_what_is_transparent_is_black():
    frames = open_video(find("alpha.webm"))[:, :][0]
    hidden = (frames == 0).all(1)
    assert 0.6 < hidden.float().mean() < 0.7 and not hidden[:, 60, 80].any()


def test_times_are_kept_and_a_variable_rate_is_said():
    with pytest.warns(UserWarning, match="vfr.mp4 has a variable frame rate, 25 frames a second"):
        read = open_video(find("vfr.mp4"))
    assert hashed(read[:, :]) == HASHES["vfr.mp4"] and read.fps == 25
    steps = np.diff(read.seconds).round(4)
    assert set(steps.tolist()) == {0.04, 0.2, 0.02} and read.seconds[0] == 0


def test_frames_an_avi_dropped_keep_their_numbers(tmp_path):
    truth = moving_texture(20, 48, 64)
    stored = [k for k in range(20) if k not in (5, 6, 12)]
    file = encode(tmp_path / "a.avi", truth[stored], "mjpeg", 1000, "yuvj444p", times=stored)
    for path in [file, SHARED / "null.avi"] if SHARED.exists() else [file]:
        with pytest.warns(UserWarning, match="has dropped 3 frames, 5, 6, 12"):
            read = open_video(path)
        assert len(read) == 20 and read.fps == (1000 if path == file else 25)
        frames = hashed(read[:, :])
        assert frames[4] == frames[5] == frames[6] and frames[11] == frames[12]
        if path != file:
            assert [frames[k] for k in stored] == HASHES["null.avi"]
        assert hashed(read[:, 12:14]) == frames[12:14] and hashed(read[:, 6:7]) == frames[4:5]


DAMAGED = {
    "keybad.mp4": ("damaged near frame 30, 12 frames cannot be decoded", range(30, 45)),
    "firstbad.mp4": ("damaged near frame 0, 15 frames cannot be decoded", range(15)),
    "zeros_mid.mp4": ("damaged near frames 17, 19, 24, 3 frames cannot be decoded", (17, 19, 24)),
    "mjpegbad.avi": ("damaged near frame 9, 1 frame cannot be decoded", (9,)),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damage_is_refused_or_keeps_the_numbers(name):
    sentence, lost = DAMAGED[name]
    path = find(name)
    with pytest.raises(ValueError, match=sentence) as refused:
        read = open_video(path)
        with pytest.raises(ValueError, match=sentence):
            read[:, :]
        read[:, :]  # again the same
    assert str(path) in str(refused.value) and "\n" not in str(refused.value)
    with pytest.warns(UserWarning, match=sentence):
        read = open_video(path, damaged="repeat")
        frames = hashed(read[:, :])
    assert len(frames) == len(read) == (19 if name == "mjpegbad.avi" else 60)
    for number in lost:
        assert frames[number] == frames[max(number - 1, 0) if lost[0] else 15]
    last = 17 if name == "zeros_mid.mp4" else len(read)  # all that come later need the lost ones
    assert all(frames[k] in HASHES[name] for k in range(last) if k not in lost)
    read.close()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        again = pickle.loads(pickle.dumps(read))
    assert hashed(again[:, 10:14]) == frames[10:14] and hashed(again[:, 40:]) == frames[40:]


CUT = {"a.y4m": "wrapped_avframe", "a.ogv": "libvpx", "a.mxf": "mpeg2video"}


@pytest.mark.parametrize("name", CUT)
def test_containers_that_tell_no_length_are_known_to_be_cut(tmp_path, name):
    whole = encode(tmp_path / name, moving_texture(20, 48, 64), CUT[name])
    assert len(open_video(whole)) == 20
    cut = tmp_path / f"cut_{name}"
    for share in (0.5, 0.9):
        cut.write_bytes(whole.read_bytes()[: int(whole.stat().st_size * share)])
        with pytest.raises(ValueError, match=f"cut_{name} is cut short or damaged"):
            open_video(cut)


def test_frames_without_times_of_their_own_are_refused(tmp_path):
    """Else libav would drop those that its guesses put before the first."""
    data = bytearray(find("base.mp4").read_bytes())
    at = data.index(b"stts") + 12  # how many frames last as long as the first
    data[at : at + 4] = bytes(4)
    (tmp_path / "a.mp4").write_bytes(data)
    with pytest.raises(ValueError, match="a.mp4 is damaged, its frames all have one time"):
        open_video(tmp_path / "a.mp4")


@pytest.fixture(scope="module")
def texture() -> np.ndarray:
    noise = np.random.default_rng(0).integers(0, 90, (60, 48, 64, 3))
    return (moving_texture(60, 48, 64) * 0.6 + noise).astype(np.uint8)


@pytest.mark.parametrize("name", CODECS)
def test_a_frame_entered_by_seeking_is_that_frame(tmp_path, texture, name):
    codec, pixels, options = CODECS[name]
    path = encode(tmp_path / name, texture, codec, 25, pixels, **options)
    read = open_video(path)
    assert read.shape == (1, 60, 3, 48, 64) and abs(read.fps - 25) < 0.3
    in_order = list(read)
    means = np.array([frame.float().mean() for frame in in_order])
    assert len({hashlib.md5(frame.numpy().tobytes()).digest() for frame in in_order}) == 60
    assert np.abs(means - texture.mean((1, 2, 3))).max() < 6
    for number in np.random.default_rng(len(name)).integers(60, size=200 // len(CODECS) + 1):
        read.close()
        assert torch.equal(read[:, number : number + 1][0, 0], in_order[number])


@pytest.mark.slow
def test_a_long_file_opens_at_once(tmp_path):
    """Ten minutes of 480p, made of one group of frames over and over."""
    once = encode(tmp_path / "once.mp4", moving_texture(25, 480, 640), "libx264", preset="veryfast")
    with av.open(str(once)) as source, av.open(str(tmp_path / "long.mp4"), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        group = [p for p in source.demux(video=0) if p.size]
        length = 25 * group[0].duration
        for repeat in range(600):
            for packet in group:
                copy = av.Packet(bytes(packet))
                copy.pts = packet.pts + repeat * length
                copy.dts = packet.dts + repeat * length
                copy.is_keyframe, copy.stream = packet.is_keyframe, stream
                copy.time_base = packet.time_base
                target.mux(copy)
    began = time.process_time()
    read = open_video(tmp_path / "long.mp4")
    first = read[:, :1]
    assert time.process_time() - began < 0.5
    assert len(read) == 15000 and read.fps == 25
    assert torch.equal(read[:, 14000:14001], read[:, 12500:12501])
    assert torch.equal(first, read[:, 9000:9001])


def _mean(video) -> float:
    return float(video[:, 20:23].float().mean())


@pytest.mark.slow
def test_another_index_than_slices_is_answered_with_them():
    video = open_video(FAILING / "base.mp4")
    for index in (3, (slice(None), 3), slice(3)):
        with pytest.raises(TypeError, match=r"video\[:, 3:4\] is frame 3"):
            video[index]


def test_no_decoder_waits_for_a_log_that_another_package_switched_on():
    av.logging.set_level(av.logging.ERROR)  # as torchvision 0.21 does when it is imported
    try:
        open_video(FAILING / "base.mp4")[:, :2]
        assert av.logging.get_level() is None
    finally:
        av.logging.set_level(None)


def test_a_video_may_be_pickled_and_read_after_a_fork(tmp_path):
    write_video(tmp_path / "a.mp4", moving_texture(30, 48, 64), 10, (48, 64))
    with open_video(tmp_path / "a.mp4") as read:
        assert len(read) == len(list(read)) == 30 and next(iter(read)).shape == (3, 48, 64)
        expected = _mean(read)
        read[:, 3:5]
        for method in ("fork", "spawn") if hasattr(os, "fork") else ("spawn",):
            with multiprocessing.get_context(method).Pool(1) as pool:
                assert pool.map(_mean, [read, read.cut(1, 24).cut(0, 23)])[0] == expected
        part = read.cut(10, 15)
        assert (len(part), part.first) == (5, 10) and part.seconds[0] == 1.0
        assert torch.equal(part[:, 1:3], read[:, 11:13])


def test_a_file_that_changed_is_said_to_have(tmp_path):
    write_video(tmp_path / "a.mp4", moving_texture(30, 48, 64), 10, (48, 64))
    read = open_video(tmp_path / "a.mp4")
    write_video(tmp_path / "a.mp4", moving_texture(31, 48, 64), 10, (48, 64))
    with pytest.raises(ValueError, match="changed since it was opened"):
        read[:, :1]


def test_a_pipe_is_called_a_pipe(tmp_path):
    os.mkfifo(tmp_path / "pipe.mp4")
    with pytest.raises(ValueError, match="pipe.mp4 is a pipe or a device"):
        open_video(tmp_path / "pipe.mp4")


def test_interlaced_pictures_are_said_to_be(tmp_path):
    path = encode(tmp_path / "a.mp4", moving_texture(6, 48, 64), "libx264", flags="+ildct+ilme")
    with pytest.warns(UserWarning, match="is interlaced"):
        assert len(open_video(path)) == 6


def test_a_capture_may_begin_inside(tmp_path):
    whole = encode(tmp_path / "a.ts", moving_texture(40, 48, 64), "libx264", g="15", bf="0")
    frames = open_video(whole)[:, :]
    data = whole.read_bytes()
    tables, packet = data[: 3 * 188], 188 * 12
    (tmp_path / "b.ts").write_bytes(tables + data[packet:])
    with pytest.warns(UserWarning, match="begins inside a recording"):
        read = open_video(tmp_path / "b.ts")
    assert len(read) == 25 and torch.equal(read[:, :], frames[:, 15:])


def test_a_pause_leaves_the_rate_that_of_most_frames(tmp_path):
    """Else an overlay of a file with a pause of 100 s would play a frame in five seconds."""
    times = [40 * k + (100_000 if k > 9 else 0) for k in range(20)]
    path = encode(tmp_path / "a.mkv", moving_texture(20, 48, 64), "ffv1", 1000, times=times)
    with pytest.warns(UserWarning, match="variable frame rate, 25 frames a second in the median"):
        read = open_video(path)
    assert read.fps == 25 and read.seconds[10] == pytest.approx(100.4)
