"""The interface of every method: a video and queries in, Tracks out; both are checked here."""

from abc import ABC, abstractmethod
from dataclasses import replace
from itertools import chain

import torch
from torch import Tensor, nn

from cotracker import checks
from cotracker.geometry import inside_frame
from cotracker.model.hardware import best_device, usual_defaults
from cotracker.trackers.encoded import EncodedVideo
from cotracker.trackers.inputs import check_answer, opened
from cotracker.trackers.live import Live, LiveOptions
from cotracker.trackers.named_queries import NamedQueries, gather_queries
from cotracker.trackers.views import FEATURE_MEMORY, MappedVideo, crop_view, select_clip
from cotracker.tracks import Tracks, map_tracks, usable_device
from cotracker.types import Video


class Tracker(nn.Module, ABC):
    """Whatever answers tracker(video, queries) with Tracks.

    A call checks the video and the queries. `forward` trusts them; so a tracker that wraps
    another calls that one's `forward`.
    """

    both_directions = False  # whether frames before a query are tracked too

    def __call__(
        self,
        video: object,
        queries: object = None,
        *,
        points: object = None,
        grid: int | None = None,
        grid_size: int | None = None,
        mask: object = None,
        frame: int = 0,
        roi: tuple[int, int, int, int] | None = None,
    ) -> Tracks:
        """Tracks of all that is asked, in each frame of a video, in the pixels of this video.

        What is asked adds up, in the order of the arguments.

        video: of 0..255: a tensor or array B T 3 H W, T 3 H W or T H W 3, a list or iterator of
            frames H W 3, a path, or a lazy Video. A video of B = 1 may serve several sets of
            queries.
        queries: B N 3 or N 3 (t, x, y), any numbers; or a list of one N 3 a clip, of different N.
        points: the same for B = 1, or the path of a csv file (queries.read_points).
        grid: side of a regular grid of points over `frame`; grid_size is another name for it.
        mask: H W, or the path of a picture: only points of the grid (10 x 10, if none is given)
            where it is not 0; the labels there become the ids.
        frame: of grid and mask.
        roi: (left, top, right, bottom) in pixels: the tracker sees only this part of the picture.
        Outside the frame, or the roi, `visible` is False.
        ValueError, one sentence, for what cannot be; a warning for points outside the picture.
        """
        grid = _one_grid(grid, grid_size)
        with usual_defaults(self.device.type), opened(video) as source:
            box = _check_roi(roi, tuple(source.shape[-2:]))
            asked = gather_queries(source, queries, points, grid, mask, frame, box)
            view = source if roi is None else crop_view(source, box)
            answer = self._answer(view, asked, asked.queries.new_tensor([0, *box[:2]]))
            return replace(
                answer,
                fps=getattr(source, "fps", None),
                seconds=_to_seconds(source),
                size=tuple(source.shape[-2:]),
                queries=asked.queries,
                point_mask=asked.point_mask,
                ids=asked.ids,
                names=asked.names,
            )

    def _answer(self, view: Video, asked: NamedQueries, corner: Tensor) -> Tracks:
        """The Tracks of a part of the picture whose first pixel is at `corner` (0, left, top)."""
        view, queries = self._here(view), (asked.queries - corner).to(self.device)
        if asked.point_mask is None:
            answer = super().__call__(view, queries)
        else:
            answer = self._answer_ragged(view, queries, asked.point_mask)
        check_answer(answer, view.shape[1], queries, self)
        visible = answer.visible & inside_frame(answer.xy, tuple(view.shape[-2:]))
        answer = replace(answer, visible=visible).to(asked.queries.device)
        return replace(answer, xy=answer.xy + corner[1:]) if corner.any() else answer

    def _here(self, video: Video) -> Video:
        """The video on the tracker's device, where its frames are resized too."""
        device = self.device
        if device.type == "cpu":
            return video
        return MappedVideo(video, change=lambda frames: frames.to(device), key=())

    def _answer_ragged(self, view: Video, queries: Tensor, point_mask: Tensor) -> Tracks:
        """The Tracks of clips with different numbers of points, each alone; padding is 0."""
        parts, most = [], queries.shape[1]
        for item, count in enumerate(point_mask.sum(1).tolist()):
            one = super().__call__(select_clip(view, item), queries[item : item + 1, :count])
            parts.append(map_tracks(lambda values, n=most: _pad_points(values, n), one))
        return map_tracks(lambda *values: torch.cat(values), *parts)

    @abstractmethod
    def forward(self, video: Video, queries: Tensor) -> Tracks:
        """The Tracks of checked float32 queries B N 3 in a checked video."""

    def stream(
        self,
        queries: object = None,
        *,
        mode: str = "window",
        provisional: bool = True,
        iters: int | None = None,
        context: int | None = None,
    ):
        """A Stream of queries N 3 (t, x, y): frames in, tracks out, in bounded memory.

        The settings are those of LiveOptions.  ValueError, one sentence: this tracker cannot follow
        a stream, or a setting or a query cannot be.
        """
        from cotracker.trackers.stream import Stream

        options = LiveOptions(mode, provisional, iters, context)
        stream = Stream(self, queries, options)
        stream.describe()  # makes what follows it once: this refuses now and not at the first frame
        return stream

    def start_live(self, size: tuple[int, int], options: LiveOptions) -> Live:
        """What follows frames of a size (H, W); ValueError where a tracker cannot."""
        raise ValueError(
            f"{type(self).__name__} cannot follow a stream: take a tracker that goes forward, "
            "frame by frame or window by window, with all points together"
        )

    def encode(self, video: object, memory: float = FEATURE_MEMORY) -> EncodedVideo:
        """The video, as a call takes it, with what the network computes from its frames.

        Any number of calls with it, of this tracker, encode nothing again; `encoded.dense()` and
        `encoded.flow(0, 7)` ask all pixels. A tracker that encodes nothing keeps nothing.
        memory: bytes of feature maps kept; frames beyond them are encoded anew by each call.
        """
        with usual_defaults(self.device.type), opened(video) as source:
            encoded = EncodedVideo(source, self, memory)
            self.fill(self._here(encoded))
            return encoded

    def fill(self, video: MappedVideo) -> None:
        """Encodes all frames into the video's cache; a tracker that encodes nothing does nothing.

        Wrappers hand on the view that their `forward` would.
        """

    def to(self, *arguments, device=None, dtype=None, non_blocking: bool = False):
        """As nn.Module's; ValueError where a name is no device's."""
        given = {"device": device, "dtype": dtype}
        given = {name: value for name, value in given.items() if value is not None}
        try:
            return super().to(*arguments, non_blocking=non_blocking, **given)
        except RuntimeError:
            usable_device(device or (arguments[0] if arguments else "cpu"))
            raise

    def _apply(self, fn, recurse: bool = True):
        """As nn.Module's, behind .to(), .half() and their like; refuses another precision."""
        try:
            moved = fn(torch.zeros(1))
        except (RuntimeError, AssertionError) as error:  # no such device here
            raise ValueError(
                f"the tracker cannot be moved ({str(error).splitlines()[0]}): leave it on "
                f"{self.device}"
            ) from error
        if moved.dtype != torch.float32:
            raise ValueError(
                "a tracker keeps its precision: choose it in load_tracker(precision=…), not by "
                "half(), bfloat16(), double() or to()"
            )
        return super()._apply(fn, recurse)

    @property
    def device(self) -> torch.device:
        """Where the parameters are; the CPU for a tracker without."""
        tensors = chain(self.parameters(), self.buffers())
        return next(tensors, torch.empty(0)).device

    def describe(self) -> dict:
        """What a result must record about this tracker, as JSON values."""
        return {"tracker": type(self).__name__}


def _one_grid(grid: int | None, grid_size: int | None) -> int | None:
    if None not in (grid, grid_size) and grid != grid_size:
        raise ValueError(f"grid={grid} and grid_size={grid_size} are one setting: pass one of them")
    return grid_size if grid is None else grid


def _check_roi(roi: object, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """The box (left, top, right, bottom) within a frame of `size` (H, W); None is all of it."""
    height, width = size
    if roi is None:
        return 0, 0, width, height
    try:
        left, top, right, bottom = (checks.whole("roi", side) for side in roi)
        inside = 0 <= left < right <= width and 0 <= top < bottom <= height
    except (TypeError, ValueError):
        inside = False
    if not inside:
        raise ValueError(
            f"roi must be (left, top, right, bottom), whole numbers within the {width}x{height} "
            f"picture, not {roi}"
        )
    return left, top, right, bottom


def _pad_points(values: Tensor, points: int) -> Tensor:
    """1 T points ... of 1 T N ..., zeros at the end."""
    missing = values.new_zeros(*values.shape[:2], points - values.shape[2], *values.shape[3:])
    return torch.cat([values, missing], dim=2)


def _to_seconds(video: Video) -> Tensor | None:
    """The times of a video's frames, T float64, where it knows them."""
    seconds = getattr(video, "seconds", None)
    return None if seconds is None else torch.as_tensor(seconds, dtype=torch.float64)


def resolve_device(name: str) -> torch.device:
    """The device of that name, which works here; "auto" is a GPU where there is one."""
    if name == "auto":
        return torch.device(best_device())
    return usable_device(name)
