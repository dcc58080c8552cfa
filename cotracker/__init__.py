"""CoTracker in PyTorch: load_tracker() gives a tracker; tracker(video, queries) gives Tracks."""

__version__ = "0.2.0"
__all__ = ["Tracks", "load_tracker", "open_video", "track_video"]

LAZY = {
    "Tracks": "cotracker.tracks",
    "open_video": "cotracker.data.video",
    "track_video": "cotracker.trackers.track",
}
MODULES = ("checkpoint", "data", "queries", "trackers", "types", "visualize")


def load_tracker(
    name_or_path=None,
    *,
    iters: int = 6,
    resolution: tuple[int, int] | None = (384, 512),
    support_grid: int = 6,
    local_support_grid: int = 0,
    single_point: bool = False,
    threshold: float | None = None,
    visible_by: str | None = None,
    min_confidence: float = 0.0,
    v1_compat: bool | None = None,
    window: int | None = None,
    precision: str = "float32",
    cuda_graphs: bool = False,
    flip_tta: bool = False,
    direction: str = "both",
    keep_aspect: bool = False,
    points_at_once: int | None = 1024,
    feature_memory: float = 2_000_000_000,
    device: str = "auto",
):
    """The Tracker of a checkpoint: a file, the name of one in checkpoints/, or None for ours.

    Called as tracker(video, queries) with a video of 0..255 (a tensor, an array, frames or a path)
    and queries B N 3 (t, x, y), it gives Tracks; see cotracker.trackers.tracker.Tracker.
    The settings are those of cotracker.trackers.options.TrackerOptions, which describes them, and
    `cotracker track` has the same defaults. The paper's evaluation is single_point=True,
    local_support_grid=6, direction="forward", points_at_once=None; the bare windowed network is
    resolution=None, support_grid=0, direction="forward", points_at_once=None.
    ValueError, one sentence, where the checkpoint or a setting cannot be used.
    """
    options = {name: value for name, value in locals().items() if name != "name_or_path"}
    from cotracker.trackers.build import build_tracker
    from cotracker.trackers.options import TrackerOptions

    return build_tracker(name_or_path, TrackerOptions(**options))


def __getattr__(name: str):
    """The names of __all__ that need PyTorch, and MODULES, imported when they are first used."""
    from importlib import import_module

    if name in MODULES:
        return import_module(f"cotracker.{name}")
    if name not in LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(LAZY[name]), name)
