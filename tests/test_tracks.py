"""Tracks: one clip of a batch, what is in the frame, and its file there and back."""

import numpy as np
import pytest
import torch

import cotracker
from cotracker.tracks import Tracks


def some_tracks(batch=1, frames=4, points=3, **more) -> Tracks:
    rng = torch.Generator().manual_seed(batch)
    xy = torch.rand(batch, frames, points, 2, generator=rng) * 60
    visibility = torch.rand(batch, frames, points, generator=rng)
    queries = torch.cat([torch.zeros(batch, points, 1), xy[:, 0]], dim=-1)
    return Tracks(xy, visibility, visibility > 0.5, queries=queries, size=(48, 64), **more)


def same(ours: Tracks, theirs: Tracks) -> bool:
    ours, theirs = ours.numpy(), theirs.numpy()
    return ours.keys() == theirs.keys() and all(
        a.dtype == theirs[name].dtype and np.array_equal(a, theirs[name])
        for name, a in ours.items()
    )


@pytest.mark.parametrize("batch, points", [(1, 3), (2, 3), (1, 0)])
def test_a_file_gives_back_what_was_saved(tmp_path, batch, points):
    full = some_tracks(
        batch,
        points=points,
        confidence=torch.rand(batch, 4, points),
        ids=torch.arange(batch * points).reshape(batch, points),
        names=tuple(f"eye {n}" for n in range(points)),
        individuals=("fly",) * points,
        fps=25.0,
        seconds=torch.arange(4) / 25.0,
    )
    for tracks in (full, some_tracks(batch, points=points)):
        path = tracks.save(tmp_path / "t.npz")
        assert same(cotracker.Tracks.load(path), tracks)
        with np.load(path) as file:
            assert file["xy"].shape == ((4, points, 2) if batch == 1 else (batch, 4, points, 2))
            assert file["format"] == 3


def test_a_batch_is_cut_into_clips_without_their_padding():
    mask = torch.tensor([[True, True, True], [True, False, False]])
    tracks = some_tracks(2, point_mask=mask, seconds=torch.arange(4.0))
    assert len(tracks) == 2 and [one.xy.shape[2] for one in tracks] == [3, 1]
    last = tracks[-1]
    assert torch.equal(last.xy, tracks.xy[1:, :, :1]) and last.point_mask is None
    assert last.queries.shape == (1, 1, 3) and last.size == (48, 64)
    assert torch.equal(some_tracks(2)[0].xy, some_tracks(2).xy[:1])
    with pytest.raises(IndexError):
        tracks[2]


def test_in_frame_is_between_the_outer_pixel_centres():
    xy = torch.tensor([[0, 0], [63, 47], [63.5, 3], [-0.1, 3], [3, 48]])[None, None]
    tracks = Tracks(xy, xy[..., 0], xy[..., 0] > 0, size=(48, 64))
    assert tracks.in_frame.tolist() == [[[True, True, False, False, False]]]
    with pytest.raises(ValueError, match="no size of the frames"):
        _ = Tracks(xy, xy[..., 0], xy[..., 0] > 0).in_frame


def test_its_repr_is_short():
    assert repr(some_tracks()) == "Tracks(3 points in 4 frames of 48x64)"
    assert repr(some_tracks(2, 1, 1)) == "Tracks(1 point in 1 frame of 48x64, 2 clips)"


def test_what_is_no_file_of_tracks_is_refused_in_one_sentence(tmp_path):
    def refused(path, message):
        with pytest.raises(ValueError, match=message) as caught:
            Tracks.load(path)
        assert str(path) in str(caught.value) and "\n" not in str(caught.value)

    good = some_tracks().save(tmp_path / "good.npz")
    refused(tmp_path / "none.npz", "does not exist")
    refused(tmp_path / "t.csv", "must end in .npz")
    (tmp_path / "cut.npz").write_bytes(good.read_bytes()[:300])
    refused(tmp_path / "cut.npz", "is damaged")
    np.savez(tmp_path / "code.npz", xy=np.array([object()], dtype=object))
    refused(tmp_path / "code.npz", "is damaged")
    arrays = some_tracks().numpy()
    np.savez(tmp_path / "less.npz", xy=arrays["xy"])
    refused(tmp_path / "less.npz", "does not hold tracks")
    np.savez(tmp_path / "wrong.npz", **(arrays | {"visible": arrays["visible"][:, :2]}))
    refused(tmp_path / "wrong.npz", "does not hold tracks")
    changes = {
        "xy": arrays["xy"].astype(complex),
        "visibility": arrays["visibility"] * np.nan,
        "fps": np.nan,
        "size": (0, 5),
        "format": 99,
    }
    for name, value in changes.items():
        np.savez(tmp_path / "kind.npz", **(arrays | {name: value}))
        refused(tmp_path / "kind.npz", f"does not hold tracks .*{name}")
