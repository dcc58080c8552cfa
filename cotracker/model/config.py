"""The settings of CoTracker, with the paper's as defaults; nothing heavy is imported."""

from collections.abc import Sequence
from dataclasses import dataclass

from cotracker import checks

LARGEST = {  # beyond these a card is damaged: nothing of such a size is built
    "iters": 1000,
    "channels": 4096,
    "fuse_width": 4096,
    "levels": 16,
    "radius": 64,
    "hidden": 16384,
    "heads": 256,
    "time_layers": 256,
    "motion_waves": 4096,
}


@dataclass(frozen=True)
class CoTrackerConfig:
    """What a CoTracker is built from; ValueError, one sentence, where a value cannot be.

    stride: k, pixels a cell.  window: S, even.  iters: M, when the call names no other.
    channels: d of the features.  widths, fuse_width: of the encoder's four stages and its fusion.
    normalise_features: LayerNorm on the maps.
    levels, neighbourhood, radius: S, shape and Delta of the correlation features.
    hidden, heads, time_layers, group_layers, mlp_ratio: of the transformer; no group layers and
    twelve time layers is table 1's time-only model.
    motion_waves: frequencies of eta.
    linear_motion_waves, scrambled_flags, repeat_last_frame: see v1_compat.py.
    encoder: "cnn", or "dinov2", frozen, of the file encoder_weights, read at block encoder_layer.
    recompute: the backward pass computes a chunk of frames, or an iteration, anew instead of
    keeping what is inside: a fraction of the memory for about a third more time.
    """

    stride: int = 4
    window: int = 8
    iters: int = 4
    channels: int = 128
    widths: tuple[int, int, int, int] = (64, 96, 128, 128)
    fuse_width: int = 256
    normalise_features: bool = False
    levels: int = 4
    neighbourhood: str = "diamond"
    radius: int = 4
    hidden: int = 384
    heads: int = 8
    time_layers: int = 6
    group_layers: int = 6
    mlp_ratio: float = 4.0
    motion_waves: int = 32
    linear_motion_waves: bool = False
    scrambled_flags: bool = False
    repeat_last_frame: bool = False
    encoder: str = "cnn"
    encoder_weights: str | None = None
    encoder_layer: int = 8
    recompute: bool = False

    def __post_init__(self):
        checks.choice("model.stride", self.stride, (2, 4, 8, 16))
        checks.whole("model.window", self.window, 2, 4096)
        if self.window % 2:
            raise ValueError(f"model.window must be an even number of frames, not {self.window}")
        for name, most in LARGEST.items():
            checks.whole(f"model.{name}", getattr(self, name), 1, most)
        checks.whole("model.group_layers", self.group_layers, 0, LARGEST["time_layers"])
        checks.number("model.mlp_ratio", self.mlp_ratio, 0.01, 64)
        checks.choice("model.neighbourhood", self.neighbourhood, ("diamond", "square"))
        checks.choice("model.encoder", self.encoder, ("cnn", "dinov2"))
        checks.whole("model.encoder_layer", self.encoder_layer, 0, 11)
        for name in SWITCHES:
            checks.switch(f"model.{name}", getattr(self, name))
        if self.hidden % self.heads:
            raise ValueError(
                f"model.hidden = {self.hidden} must be a multiple of model.heads = {self.heads}"
            )
        object.__setattr__(self, "widths", _stages(self.widths))


def _stages(widths: object) -> tuple[int, ...]:
    """The widths of the encoder's four stages as a tuple, of a list too, as a file has it."""
    if not isinstance(widths, Sequence) or len(widths) != 4:
        raise ValueError(
            f"model.widths must be the channels of the encoder's four stages, not {widths}"
        )
    return tuple(checks.whole("model.widths", width, 1, LARGEST["channels"]) for width in widths)


SWITCHES = [name for name, kind in CoTrackerConfig.__annotations__.items() if kind is bool]
