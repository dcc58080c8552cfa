"""Two answers, of the video and of the flipped one: joined where near, chosen where not."""

import torch
from torch import Tensor

from cotracker.baselines.static import Static
from cotracker.trackers.flip_tta import HorizontalFlipTTA
from cotracker.trackers.tracker import Tracker
from cotracker.trackers.visible import VisibleRule
from cotracker.types import Tracks


class Sided(Tracker):
    """One answer for a video whose left half is the brighter one, another for the flipped one.

    xy T N 2 and visibility T N each; in their query's frame points are at the query, visible.
    """

    def __init__(self, left: tuple[Tensor, Tensor], right: tuple[Tensor, Tensor]):
        super().__init__()
        self.left, self.right = left, right

    def forward(self, video, queries: Tensor) -> Tracks:
        frames = video[:, :].float()
        middle = frames.shape[-1] // 2
        is_left = frames[..., :middle].mean() > frames[..., middle:].mean()
        xy, visibility = self.left if is_left else self.right
        at_query = torch.arange(frames.shape[1])[:, None] == queries[:, None, :, 0]
        xy = torch.where(at_query[..., None], queries[:, None, :, 1:], xy[None])
        visibility = torch.where(at_query, 1.0, visibility[None])
        return Tracks(xy, visibility, visibility > 0.5)


def test_answers_are_joined_where_near_and_chosen_where_not():
    width = 128
    video = torch.zeros(1, 3, 3, 16, width, dtype=torch.uint8)
    video[..., : width // 2] = 255
    queries = torch.tensor([[[0, 20.0, 5.0], [0, 30.0, 6.0], [0, 40.0, 7.0]]])
    plain = torch.tensor([[20.0, 5], [30, 6], [40, 7]]).repeat(3, 1, 1)
    other = plain + torch.tensor([[1.0, 1], [9, 0], [9, 0]])  # only the first within 128 / 64
    seen, seen_other = torch.tensor([[0.9, 0.9, 0.2]] * 3), torch.tensor([[0.5, 0.3, 0.6]] * 3)
    swapped = torch.stack([width - 1 - other[..., 0], other[..., 1]], dim=-1)
    sided = Sided((plain, seen), (swapped, seen_other))
    tracks = HorizontalFlipTTA(sided, VisibleRule(0.55))(video, queries)
    expected = plain.clone()
    expected[1:, 0] += 0.5  # the mean of both
    expected[1:, 2] += torch.tensor([9.0, 0])  # that of the higher visibility
    assert torch.allclose(tracks.xy[0], expected)
    assert torch.equal(tracks.xy[0, 0], queries[0, :, 1:])
    assert torch.allclose(tracks.visibility[0, 1:], torch.tensor([0.7, 0.6, 0.4]))
    assert tracks.visible[0].tolist() == [[True] * 3, [True, True, False], [True, True, False]]
    assert HorizontalFlipTTA(Static()).describe()["flip_tta"]
