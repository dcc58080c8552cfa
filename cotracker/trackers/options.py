"""The settings of a CoTracker tracker, checked when they are made; PyTorch is not imported."""

from dataclasses import dataclass

from cotracker import checks
from cotracker.model.config import LARGEST

FEATURE_MEMORY = 2_000_000_000  # bytes of feature maps that a tracker keeps
VISIBLE_BY = ("visibility", "visibility_x_confidence")
SIDES = (32, 4096)  # smallest and largest side of a working resolution
MAX_GRID = 64  # points on a side of a support grid
PRECISIONS = ("auto", "float32", "bfloat16")
DIRECTIONS = ("forward", "backward", "both")


@dataclass(frozen=True)
class TrackerOptions:
    """How a checkpoint tracks, in Python and on the command line: one set of defaults.

    configs/tracker/cotracker.yaml has the same fields, with the values of the paper's evaluation.

    iters: refinement iterations M of each window.
    resolution: (H, W) that the network sees; None for the video's own.
    support_grid: side of the grid of support points over the picture; 0 for none.
    local_support_grid: side of the grid of support points around each query; 0 for none.
    single_point: each query by itself, as in the paper's evaluation (section 3.5).
    threshold: points are visible above this; None for the checkpoint's.
    visible_by: what is compared with it, "visibility" or "visibility_x_confidence"; None for the
        checkpoint's.
    min_confidence: points of less confidence are not visible.
    v1_compat: resize, grids and stitching of the published v1 code; None for what the
        checkpoint's card says.
    window: frames of a window; None for the checkpoint's. A network that sees clips as a whole
        sees so many frames at once; None for WHOLE_FRAMES.
    precision: "float32", "bfloat16", or "auto" for bfloat16 where the hardware has it.
    cuda_graphs: on a GPU, run windows as CUDA graphs; no effect elsewhere.
    flip_tta: track in the mirrored video too and join both answers.
    direction: from each query, "forward", "backward" or "both".
    keep_aspect: scale x and y alike, and fill up `resolution` with grey.
    points_at_once: points tracked together, each chunk with its own support points; None for all.
    feature_memory: bytes of feature maps kept for later chunks, queries and the way back.
    device: "auto" for a GPU where there is one, or a name that PyTorch knows.
    ValueError, one sentence, for a field that cannot be.
    """

    iters: int = 6
    resolution: tuple[int, int] | None = (384, 512)
    support_grid: int = 6
    local_support_grid: int = 0
    single_point: bool = False
    threshold: float | None = None
    visible_by: str | None = None
    min_confidence: float = 0.0
    v1_compat: bool | None = None
    window: int | None = None
    precision: str = "float32"
    cuda_graphs: bool = False
    flip_tta: bool = False
    direction: str = "both"
    keep_aspect: bool = False
    points_at_once: int | None = 1024
    feature_memory: float = FEATURE_MEMORY
    device: str = "auto"

    def __post_init__(self):
        checks.whole("iters", self.iters, 1, LARGEST["iters"])
        object.__setattr__(self, "resolution", check_resolution(self.resolution))
        for name in ("support_grid", "local_support_grid"):
            checks.whole(name, getattr(self, name), 0, MAX_GRID)
        for name in ("single_point", "cuda_graphs", "flip_tta", "keep_aspect"):
            checks.switch(name, getattr(self, name))
        if self.threshold is not None:
            check_threshold(self.threshold)
        if self.visible_by is not None:
            checks.choice("visible_by", self.visible_by, VISIBLE_BY)
        checks.share("min_confidence", self.min_confidence)
        if self.v1_compat is not None:
            checks.switch("v1_compat", self.v1_compat)
        if self.window is not None:
            checks.whole("window", self.window, 2)
        checks.choice("precision", self.precision, PRECISIONS)
        checks.choice("direction", self.direction, DIRECTIONS)
        if self.points_at_once is not None:
            checks.whole("points_at_once", self.points_at_once, 1)
        checks.number("feature_memory", self.feature_memory, 0)


def check_resolution(size: object) -> tuple[int, int] | None:
    """The (H, W) that frames are tracked at, each a side within SIDES, or None."""
    if size is None:
        return None
    return checks.pair("resolution", size, *SIDES, whole=True, ordered=False)


def check_threshold(value: object) -> float:
    """The threshold of visibility, a number from 0 to below 1."""
    if checks.share("threshold", value) == 1:
        raise ValueError("threshold must be below 1, above which no point is visible")
    return value
