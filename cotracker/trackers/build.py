"""Trackers from checkpoints, and the chain of wrappers that people use."""

from dataclasses import replace
from pathlib import Path

import torch

from cotracker import checkpoint, checks
from cotracker.model.cotracker import CoTracker
from cotracker.model.runtime import to_bfloat16, warn_if_emulated
from cotracker.trackers.cotracker import THRESHOLD, CoTrackerPredictor
from cotracker.trackers.flip_tta import HorizontalFlipTTA
from cotracker.trackers.options import PRECISIONS, TrackerOptions
from cotracker.trackers.tracker import Tracker, resolve_device
from cotracker.trackers.wrappers import (
    Bidirectional,
    Chunked,
    OneByOne,
    Resized,
    Reversed,
    Supported,
)

DEFAULTS = TrackerOptions()


def build_tracker(
    name_or_path: str | Path | None = None, options: TrackerOptions = DEFAULTS
) -> Tracker:
    """The Tracker of a checkpoint: a file, a name, or None for the one that ships.

    What the options leave open (threshold, v1_compat, window) is as the checkpoint's card says.
    ValueError, one sentence, where the checkpoint or the device cannot be used.
    """
    return complete_chain(load_chain(name_or_path, options), options)


def load_chain(
    name_or_path: str | Path | None = None, options: TrackerOptions = DEFAULTS
) -> Tracker:
    """The chain of a checkpoint as `build_chain` makes it: forward, all points together."""
    path = checkpoint.find(name_or_path or checkpoint.SHIPPED)
    card = checkpoint.read_card(path)
    if options.threshold is None:
        options = replace(options, threshold=card.get("threshold", THRESHOLD))
    if options.v1_compat is None:
        options = replace(options, v1_compat=card.get("v1_compat", False))
    model = checkpoint.load_model(path, options.window)
    model = lower_precision(model.to(resolve_device(options.device)), options.precision)
    identity = {"name": path.stem, "hash": card["hash"]}
    return build_chain(model, options, identity).eval()


def build_chain(
    model: CoTracker, options: TrackerOptions = DEFAULTS, identity: dict | None = None
) -> Tracker:
    """HorizontalFlipTTA(Resized(OneByOne(Supported(CoTrackerPredictor(model)))) of the options.

    What the options switch off is left out; device, precision and window are the model's, chunks
    and direction are those of `complete_chain`.
    threshold None is 0.5 here, v1_compat None is False.
    """
    threshold = THRESHOLD if options.threshold is None else options.threshold
    v1_compat = bool(options.v1_compat)
    tracker: Tracker = CoTrackerPredictor(
        model, options.iters, threshold, v1_compat, identity, options.cuda_graphs
    )
    grids = (options.support_grid, options.local_support_grid)
    if any(grids):
        tracker = Supported(tracker, *grids, v1_compat=v1_compat)
    if options.single_point:
        tracker = OneByOne(tracker, cache_bytes=options.feature_memory)
    if options.resolution is not None:
        tracker = Resized(tracker, options.resolution, v1_compat, options.keep_aspect)
    return HorizontalFlipTTA(tracker, threshold) if options.flip_tta else tracker


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


def lower_precision(model: CoTracker, precision: str) -> CoTracker:
    """The model for inference: "float32" leaves it as it is, "bfloat16" converts it in place."""
    checks.choice("precision", precision, PRECISIONS)
    if precision == "float32":
        return model
    warn_if_emulated(torch.bfloat16, model.frequencies.device.type)
    return to_bfloat16(model)
