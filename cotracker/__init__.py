"""CoTracker built anew. `load_tracker(name_or_path)` gives a tracker; `tracker(video, queries)` gives Tracks."""

__version__ = "0.1.0"
__all__ = ["load_tracker"]


def load_tracker(
    name_or_path=None,
    *,
    iters: int = 6,
    resolution: tuple[int, int] | None = (384, 512),
    support: tuple[int, int] | None = (6, 0),
    single_point: bool = False,
    threshold: float | None = None,
    published: bool = False,
    precision: str = "float32",
    device: str = "auto",
    cuda_graphs: bool = False,
    mirrored: bool = False,
):
    """A Tracker from a checkpoint: a file, the name of one in checkpoints/, or None for the one that ships.

    Called as tracker(video, queries) -> Tracks with a video B T 3 H W of 0..255 and float queries B N 3 (t, x, y).
    iters: M.  resolution: (H, W) the network sees, None for the video's own.  support: sides of the global and of
    the local grid of support points, 0 to 64, None for none.  single_point: each query by itself (the paper's
    evaluation, with support=(6, 6)).  threshold: of visibility, None for the checkpoint's.  published: resize, grids
    and stitching as the published v1 code has them.  precision: "float32", or "bfloat16", about twice as fast on a CPU
    (on a GPU only with cuda_graphs), which moves points by some hundredths of a pixel, lost ones by more.  cuda_graphs: on a GPU
    windows are replayed as CUDA graphs, up to seven times as fast, after seconds that a first window takes; elsewhere
    nothing changes.  mirrored: tracks in the mirrored video as well and joins both answers: mostly better, at twice the
    time.
    `resolution=None, support=None` is the bare windowed network.
    ValueError, one sentence, where the checkpoint or a setting cannot be used.
    """
    from cotracker.trackers.cotracker import load

    way = (precision, device, cuda_graphs, mirrored)
    return load(
        name_or_path, iters, resolution, single_point, support, threshold, published, *way
    )
