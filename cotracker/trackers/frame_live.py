"""A windowed network that answers each frame at once, and never changes an answer."""

from torch import Tensor

from cotracker.model import frame_step
from cotracker.model.windows import Estimate
from cotracker.trackers.live import Live, Part, join_frames
from cotracker.tracks import Tracks
from cotracker.types import Video

ITERS = 2  # of a frame: they lose 2.3 AJ on sprites_val and 1.8 on scenes3d_val (docs/live.md)


class FrameLive(Live):
    """The newest frame refined beside the frames before it, whose keys and values are kept.

    predictor: the CoTrackerPredictor.  iters: of each frame.  context: frames looked at together.
    """

    def __init__(self, predictor, iters: int | None, context: int | None):
        self.predictor, self.model = predictor, predictor.model
        self.iters = iters or ITERS
        self.context = context or self.model.window
        self.state = frame_step.begin_frames(self.model)

    @property
    def open_from(self) -> int:
        return max(0, self.frames - 1)  # the newest frame's maps are still held

    def add(self, queries: Tensor) -> None:
        queries = queries[None].to(self.predictor.device, copy=True)
        queries[..., 0] -= self.frames
        self.state = frame_step.add_points(self.model, self.state, queries)

    def keep(self, rows: Tensor) -> None:
        self.state = frame_step.keep_points(self.state, rows.to(self.predictor.device))

    def push(self, frames: Video) -> Part:
        start = self.frames
        tracks = join_frames([self._advance(frames, k) for k in range(frames.shape[1])])
        return Part(start, tracks, tracks.xy.shape[1])

    def _advance(self, frames: Video, number: int) -> Tracks:
        queries = self.state.queries
        maps = self.predictor.encode_slice(frames, number, number + 1)
        self.state, xy, logits = frame_step.step_frame(
            self.model, self.state, maps, self.iters, self.context
        )
        self.frames += 1
        confidence = [logits[..., 1]] if self.model.has_confidence else None
        active = queries[..., 0] <= 0
        estimate = Estimate(0, [xy], logits[..., 0], active, confidence=confidence)
        return self.predictor.read_window(estimate, queries)

    def flush(self) -> Part:
        none = self.state.queries.new_zeros(1, 0, self.state.queries.shape[1])
        return Part(self.frames, Tracks(none[..., None].expand(-1, -1, -1, 2), none, none > 0), 0)

    def tensors(self) -> list[Tensor]:
        return self.state.tensors()
