"""The trackers of this package by name, for the command line."""

from importlib import import_module
from pathlib import Path

from cotracker import checks
from cotracker.trackers.tracker import Tracker

CLASSICAL = {  # name: module.class; they need no file
    "static": "static.Static",
    "lucas_kanade": "lucas_kanade.LucasKanade",
    "dis_flow": "dis_flow.DISFlow",
}
LEARNED = {  # they need a published file
    "raft": "raft.RAFT",
    "pips": "pips.PIPs",
    "tapnet": "tapnet.TAPNet",
    "tapir": "tapir.TAPIR",
    "mft": "mft.MFT",
    "locotrack": "locotrack.LocoTrack",
    "tapnext": "tapnext.TAPNext",
    "dinov2": "dinov2_matching.DINOv2Matching",
}
FITTED = {"omnimotion": "omnimotion_tracker.OmniMotion"}  # to each video; a file of flow if any
NAMES = (*CLASSICAL, *LEARNED, *FITTED)


def build_baseline(
    name: str, checkpoint: str | Path | None = None, device: str = "auto"
) -> Tracker:
    """The tracker of that name with its method's own settings.

    checkpoint: the published file of a learned one; "random" for untrained weights.
    ValueError, one sentence: there is no such tracker, or its file cannot be used.
    """
    checks.choice("tracker", name, NAMES)
    if name in LEARNED | FITTED:
        return _class((LEARNED | FITTED)[name])(checkpoint=checkpoint, device=device)
    if checkpoint is not None:
        raise ValueError(f"tracker {name} has no weights: leave out the checkpoint")
    return _class(CLASSICAL[name])()


def _class(place: str) -> type[Tracker]:
    module, _, name = place.partition(".")
    return getattr(import_module(f"cotracker.baselines.{module}"), name)
