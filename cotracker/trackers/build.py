"""Trackers from checkpoints, and the chain of wrappers that people use."""

from dataclasses import replace
from pathlib import Path

from torch import nn

from cotracker import checkpoint, checks
from cotracker.model.hardware import choose_precision
from cotracker.model.runtime import to_bfloat16
from cotracker.model.windowed import WindowedNetwork
from cotracker.trackers.cotracker import CoTrackerPredictor
from cotracker.trackers.flip_tta import HorizontalFlipTTA
from cotracker.trackers.options import PRECISIONS, TrackerOptions
from cotracker.trackers.resized import Resized
from cotracker.trackers.tracker import Tracker, resolve_device
from cotracker.trackers.visible import THRESHOLD, VisibleRule
from cotracker.trackers.wrappers import Bidirectional, Chunked, OneByOne, Reversed, Supported

DEFAULTS = TrackerOptions()
WHOLE_FRAMES = 120  # that a network which sees clips as a whole sees at once


def build_tracker(
    name_or_path: str | Path | None = None, options: TrackerOptions = DEFAULTS
) -> Tracker:
    """The Tracker of a checkpoint: a file, a name, or None for the one that ships.

    What the options leave open (threshold, visible_by, v1_compat, window) is as the checkpoint's
    card says.
    ValueError, one sentence, where the checkpoint or the device cannot be used.
    """
    return complete_chain(load_chain(name_or_path, options), options)


def load_chain(
    name_or_path: str | Path | None = None, options: TrackerOptions = DEFAULTS
) -> Tracker:
    """The chain of a checkpoint as `build_chain` makes it: forward, all points together."""
    path = checkpoint.find(checkpoint.SHIPPED if name_or_path is None else name_or_path)
    model, card = checkpoint.load(path, options.window)
    _check_windowed(model)
    open_ones = {
        name: card[name]
        for name in ("threshold", "visible_by", "v1_compat")
        if getattr(options, name) is None and name in card
    }
    try:
        options = replace(options, **open_ones)
        pixels = card.get("confidence_px")
        if pixels is not None and checks.number("confidence_px", pixels, 0) == 0:
            raise ValueError("confidence_px must be above 0")
    except ValueError as error:
        raise ValueError(f"{path}: its card was changed: {error}") from error
    if model.sees_whole_clips:
        model.window = min(model.window, options.window or WHOLE_FRAMES)
    model = lower_precision(model.to(resolve_device(options.device)), options.precision)
    identity = {"name": path.stem, "hash": card["hash"]}
    fit = _confidence_fit(path, card)
    return build_chain(model, options, identity, pixels, fit).eval()


def _confidence_fit(path: Path, card: dict) -> tuple[float, float]:
    fit = card.get("confidence_fit", [1.0, 0.0])
    if len(fit) != 2 or not all(isinstance(one, (int, float)) for one in fit) or fit[0] <= 0:
        raise ValueError(
            f"{path}: the confidence_fit of its card is {fit}, not a scale above 0 and an offset: "
            "it was not written by this program"
        )
    return float(fit[0]), float(fit[1])


def build_chain(
    model: WindowedNetwork,
    options: TrackerOptions = DEFAULTS,
    identity: dict | None = None,
    confidence_px: float | None = None,
    confidence_fit: tuple[float, float] = (1.0, 0.0),
) -> Tracker:
    """HorizontalFlipTTA(Resized(OneByOne(Supported(CoTrackerPredictor(model)))) of the options.

    What the options switch off is left out; device, precision and window are the model's, chunks
    and direction are those of `complete_chain`.
    threshold None is 0.5 here, visible_by None is "visibility", v1_compat None is False.
    confidence_px, confidence_fit: as of CoTrackerPredictor.
    """
    _check_windowed(model)
    threshold = THRESHOLD if options.threshold is None else options.threshold
    rule = VisibleRule(threshold, options.visible_by or "visibility", options.min_confidence)
    v1_compat, graphs = bool(options.v1_compat), options.cuda_graphs
    tracker: Tracker = CoTrackerPredictor(
        model, options.iters, rule, v1_compat, identity, graphs, confidence_px, confidence_fit
    )
    grids = (options.support_grid, options.local_support_grid)
    if any(grids):
        tracker = Supported(tracker, *grids, v1_compat=v1_compat)
    if options.single_point:
        tracker = OneByOne(tracker, cache_bytes=options.feature_memory)
    if options.resolution is not None:
        tracker = Resized(tracker, options.resolution, v1_compat, options.keep_aspect)
    return HorizontalFlipTTA(tracker, rule) if options.flip_tta else tracker


def complete_chain(tracker: Tracker, options: TrackerOptions) -> Tracker:
    """The tracker, of any method, in the chunks and the direction of the options."""
    memory = options.feature_memory
    if options.points_at_once is not None:
        tracker = Chunked(tracker, options.points_at_once, memory)
    if options.direction == "backward":
        return Reversed(tracker).eval()
    if options.direction == "both" and not tracker.both_directions:
        tracker = Bidirectional(tracker, cache_bytes=memory)
    return tracker.eval()


def _check_windowed(model: nn.Module) -> None:
    """Nothing, or ValueError: the network has no windows (RAFT)."""
    if not isinstance(model, WindowedNetwork):
        name = type(model).__name__
        raise ValueError(f"a {name} tracks through tracker={name.lower()} checkpoint=FILE alone")


def lower_precision(model: WindowedNetwork, precision: str) -> WindowedNetwork:
    """The model for inference: "float32" leaves it as it is, "bfloat16" converts it in place.

    "auto" is bfloat16 where the hardware multiplies it.
    """
    checks.choice("precision", precision, PRECISIONS)
    chosen = choose_precision(precision, model.frequencies.device.type)
    return to_bfloat16(model) if chosen == "bfloat16" else model
