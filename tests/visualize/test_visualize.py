"""Rendering: discs, rings and trails where the tracks are; frames keep number and dtype."""

import cv2
import numpy as np
import pytest
import torch
from moving import moving_texture

from cotracker.types import Tracks
from cotracker.visualize import contact_sheet, overlay, rainbow, render_tracks, write_png

GREY = 100


def scene(frames: int = 6, height: int = 120, width: int = 160):
    """Grey frames; two points go right by 10 pixels a frame; the lower is hidden."""
    video = torch.full((frames, 3, height, width), GREY, dtype=torch.uint8)
    x = 20.0 + 10 * torch.arange(frames)
    xy = torch.stack(
        [
            torch.stack([x, torch.full_like(x, 30)], -1),
            torch.stack([x, torch.full_like(x, 90)], -1),
        ],
        1,
    )
    visible = torch.tensor([True, False]).expand(frames, 2)
    return video, xy, visible


def test_a_visible_point_is_a_disc_and_a_hidden_one_a_ring():
    video, xy, visible = scene()
    colours = np.array([[255, 40, 0], [0, 60, 255]], np.uint8)
    drawn = render_tracks(video, xy, visible, colours=colours)
    for frame in range(6):
        x = int(xy[frame, 0, 0])
        assert drawn[frame, :, 30, x].tolist() == [255, 40, 0]
        assert drawn[frame, :, 90, x].tolist() == [GREY] * 3  # hollow
        around = drawn[frame, :, 85:96, x - 5 : x + 6].reshape(3, -1).T.int()
        assert ((around - torch.tensor([0, 60, 255])).abs().sum(1) < 30).any()
    assert drawn[5, :, 100:, :].eq(GREY).all() and video.eq(GREY).all()


def test_trails_follow_what_was_seen_and_fade():
    video, xy, visible = scene()
    colours = np.array([[255, 0, 0], [0, 0, 255]], np.uint8)
    drawn = render_tracks(video, xy, visible, trail=4, colours=colours)
    line = drawn[5, 0, 30].int()  # red along the upper point's way: at x = 20, 30, ... 70
    assert line[24] == GREY  # older than the trail
    assert GREY < line[35] < line[45] < line[55] < line[63] < 255
    hidden = drawn[5, :, 88:93, 20:60]
    assert hidden.eq(GREY).all()
    bare = render_tracks(video, xy, visible, trail=0, colours=colours)
    assert bare[5, :, 30, 20:60].eq(GREY).all()
    gap = visible.clone()
    gap[3, 0] = False
    line = render_tracks(video, xy, gap, trail=4, colours=colours)[5, 0, 30].int()
    assert line[45] == GREY == line[55] and line[35] > GREY and line[63] > GREY


def test_pieces_equal_the_whole_and_kind_is_kept():
    video, xy, visible = scene()
    whole = render_tracks(video, xy, visible)
    pieces = [render_tracks(video[a : a + 2], xy, visible, start=a) for a in (0, 2, 4)]
    assert torch.equal(torch.cat(pieces), whole)
    for dtype in (torch.uint8, torch.float32, torch.float64):
        drawn = render_tracks(video.to(dtype), xy.double(), visible)
        assert drawn.dtype == dtype and torch.equal(drawn.byte(), whole)
    assert render_tracks(video[:0], xy, visible).shape == (0, 3, 120, 160)


def test_points_outside_nan_and_none_do_no_harm():
    video, xy, visible = scene()
    wild = torch.tensor(
        [[np.nan, 5], [1e30, 5], [-1e9, 7], [np.inf, np.inf], [-40, -40], [170, 60]]
    )
    drawn = render_tracks(
        video,
        torch.cat([xy, wild.expand(6, 6, 2)], 1),
        torch.cat([visible, torch.ones(6, 6).bool()], 1),
    )
    assert drawn.shape == video.shape
    assert render_tracks(video, xy[:, :0], visible[:, :0]).equal(video)


@pytest.mark.parametrize("height, width", [(17, 33), (5, 4), (720, 1280)])
def test_marks_grow_with_the_frame(height, width):
    video = torch.full((1, 3, height, width), GREY, dtype=torch.uint8)
    xy = torch.tensor([[[width // 2, height // 2]]]).float()
    drawn = render_tracks(
        video, xy, torch.ones(1, 1).bool(), colours=np.array([[255, 255, 255]], np.uint8)
    )
    assert drawn[0, :, height // 2, width // 2].tolist() == [255] * 3
    diameter = (drawn[0, 0, height // 2] == 255).sum()
    assert diameter >= 12 if height == 720 else 1 <= diameter <= 4


def test_rainbow_is_stable_and_by_height():
    xy = torch.stack([torch.zeros(20), torch.linspace(0, 100, 20)], -1)
    colours = rainbow(xy)
    assert colours.shape == (20, 3) and colours.dtype == np.uint8
    assert colours[0].argmax() == 0 and colours[10].argmax() == 1 and colours[-1].argmax() == 2
    assert (rainbow(xy.flip(0)) == colours[::-1]).all()
    assert rainbow(xy[:1]).shape == (1, 3) and rainbow(xy[:0]).shape == (0, 3)


def test_overlay_streams_each_frame_once():
    frames = torch.from_numpy(moving_texture(11, 24, 32)).permute(0, 3, 1, 2)[None]
    xy = torch.rand(1, 11, 3, 2, generator=torch.Generator().manual_seed(0)) * 20
    tracks = Tracks(xy, torch.ones(1, 11, 3), torch.ones(1, 11, 3).bool())
    read = []

    class Watched:
        shape = frames.shape

        def __getitem__(self, index):
            read.append(index[1])
            return frames[index]

    drawn = list(overlay(Watched(), tracks, chunk=4))
    assert [(piece.start, piece.stop) for piece in read] == [(0, 4), (4, 8), (8, 12)]
    whole = render_tracks(frames[0], xy[0], tracks.visible[0]).permute(0, 2, 3, 1).numpy()
    assert len(drawn) == 11 and all((a == b).all() for a, b in zip(drawn, whole))


def test_contact_sheet(tmp_path):
    video, xy, visible = scene()
    tracks = Tracks(xy[None], visible[None].float(), visible[None])
    sheet = contact_sheet(
        video[None], tracks, count=3, height=60, colours=np.array([[255, 0, 0]] * 2, np.uint8)
    )
    assert sheet.shape == (60, 3 * 80 + 2 * 4, 3) and sheet.dtype == np.uint8
    assert (sheet[:, 80:84] == 255).all()
    assert sheet[15, 10, 0] > 200 > sheet[15, 10, 1]  # the first panel's visible point, halved
    assert contact_sheet(video[None, :1], tracks, count=4, height=120).shape == (120, 160, 3)
    write_png(tmp_path / "sheet.png", sheet)
    assert (cv2.imread(str(tmp_path / "sheet.png"))[..., ::-1] == sheet).all()
    assert len(list(tmp_path.iterdir())) == 1
