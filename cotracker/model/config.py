"""The settings of the networks, with the papers' as defaults; nothing heavy is imported."""

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
    "query_radius": 16,
    "search_radius": 16,
    "corr_hidden": 16384,
    "corr_channels": 4096,
    "virtual_tracks": 4096,
    "time_table": 4096,
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
    virtual_tracks: through which points see each other (CoTracker2); 0: all see all.
    corr_border: beyond a map the correlation reads its border, not zeros.
    position_table: (h, w) in cells to which the position code reaches; None: the map's.
    linear_motion_waves, scrambled_flags, repeat_last_frame: see v1_compat.py.
    predict_copies: see cotracker2.py.
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
    virtual_tracks: int = 0
    corr_border: bool = False
    position_table: tuple[int, int] | None = None
    linear_motion_waves: bool = False
    scrambled_flags: bool = False
    repeat_last_frame: bool = False
    predict_copies: bool = False
    encoder: str = "cnn"
    encoder_weights: str | None = None
    encoder_layer: int = 8
    recompute: bool = False

    def __post_init__(self):
        checks.whole("model.window", self.window, 2, 4096)
        if self.window % 2:
            raise ValueError(f"model.window must be an even number of frames, not {self.window}")
        _check_common(self)
        _check_sizes(self, 1, "radius")
        _check_sizes(self, 0, "virtual_tracks")
        if self.position_table is not None:
            table = checks.pair(
                "model.position_table", self.position_table, 1, 4096, whole=True, ordered=False
            )
            object.__setattr__(self, "position_table", table)
        checks.choice("model.neighbourhood", self.neighbourhood, ("diamond", "square"))


@dataclass(frozen=True)
class CoTracker3Config:
    """What a CoTracker3 is built from; ValueError, one sentence, where a value cannot be.

    The defaults are the paper's online model; its offline one has window None and time_table 60.
    Fields that stand in CoTrackerConfig too mean the same.

    window: S, even; None: a clip is seen as a whole.
    query_radius, search_radius: of the patches around the query and around the estimate.
    corr_hidden, corr_channels: of the MLP that all levels share.
    corr_gain: of the correlations, which are cosines, before the MLP.
    normalise_levels: the cells of every level are normalised, not those of the first alone.
    track_feat: "none" of the query's feature reaches the tokens; or it does, "fixed" or "updated".
    iterate_visibility: visibility and confidence are tokens and refined by each iteration, from 0;
    else both are read from the last iteration's output, as in v1.
    motion: "neighbours", offsets from the frames before and after; or "first_frame", from the
    window's first, as in v1.
    position_code: tokens hold the code of their point's first position (v1).
    query_flag: tokens hold whether their frame is to be predicted (v1).
    time_code: "sinusoidal", added to the tokens; or "relative", a bias of attention over time.
    time_table: the sinusoidal code is that of so many frames, stretched over the window; None: of
    the window's own.
    velocity_start: a window's new frames start where a point would be at its last velocity, not
    where it was last.
    attend_inactive: points are seen by others before they are queried, as published.
    virtual_tracks: through which points see each other; 0: all see all.
    """

    stride: int = 4
    window: int | None = 16
    iters: int = 4
    channels: int = 128
    widths: tuple[int, int, int, int] = (64, 96, 128, 128)
    fuse_width: int = 256
    levels: int = 4
    query_radius: int = 3
    search_radius: int = 3
    corr_hidden: int = 384
    corr_channels: int = 256
    corr_gain: float = 1.0
    normalise_levels: bool = False
    track_feat: str = "none"
    iterate_visibility: bool = True
    motion: str = "neighbours"
    motion_waves: int = 10
    position_code: bool = False
    query_flag: bool = False
    time_code: str = "sinusoidal"
    time_table: int | None = None
    velocity_start: bool = False
    repeat_last_frame: bool = False
    attend_inactive: bool = False
    hidden: int = 384
    heads: int = 8
    time_layers: int = 3
    group_layers: int = 3
    mlp_ratio: float = 4.0
    virtual_tracks: int = 64
    encoder: str = "cnn"
    encoder_weights: str | None = None
    encoder_layer: int = 8
    recompute: bool = False

    def __post_init__(self):
        if self.window is not None:
            checks.whole("model.window", self.window, 2, 4096)
            if self.window % 2:
                raise ValueError(
                    f"model.window must be an even number of frames, or null for whole clips, "
                    f"not {self.window}"
                )
        elif self.repeat_last_frame:
            raise ValueError("model.repeat_last_frame needs windows: give model.window a number")
        _check_common(self)
        _check_sizes(self, 0, "query_radius", "search_radius", "virtual_tracks")
        _check_sizes(self, 1, "corr_hidden", "corr_channels")
        checks.number("model.corr_gain", self.corr_gain, 1e-3, 1e3)
        checks.choice("model.track_feat", self.track_feat, ("none", "fixed", "updated"))
        checks.choice("model.motion", self.motion, ("neighbours", "first_frame"))
        checks.choice("model.time_code", self.time_code, ("sinusoidal", "relative"))
        if self.time_table is not None:
            _check_sizes(self, 1, "time_table")
        if self.time_code == "relative" and self.heads % 2:
            raise ValueError(
                f"model.time_code=relative needs an even number of heads: half of them look back, "
                f"half ahead, not model.heads = {self.heads}"
            )


def _check_common(config: CoTrackerConfig | CoTracker3Config) -> None:
    """Nothing, or ValueError: the fields that all networks have; widths become a tuple."""
    checks.choice("model.stride", config.stride, (2, 4, 8, 16))
    _check_sizes(config, 1, "iters", "channels", "fuse_width", "levels", "hidden", "heads")
    _check_sizes(config, 1, "time_layers", "motion_waves")
    checks.whole("model.group_layers", config.group_layers, 0, LARGEST["time_layers"])
    checks.number("model.mlp_ratio", config.mlp_ratio, 0.01, 64)
    checks.choice("model.encoder", config.encoder, ("cnn", "dinov2"))
    checks.whole("model.encoder_layer", config.encoder_layer, 0, 11)
    for name, kind in type(config).__annotations__.items():
        if kind is bool:
            checks.switch(f"model.{name}", getattr(config, name))
    if config.hidden % config.heads:
        raise ValueError(
            f"model.hidden = {config.hidden} must be a multiple of model.heads = {config.heads}"
        )
    object.__setattr__(config, "widths", _stages(config.widths))


def _check_sizes(config: CoTrackerConfig | CoTracker3Config, least: int, *names: str) -> None:
    for name in names:
        checks.whole(f"model.{name}", getattr(config, name), least, LARGEST[name])


def _stages(widths: object) -> tuple[int, ...]:
    """The widths of the encoder's four stages as a tuple, of a list too, as a file has it."""
    if not isinstance(widths, Sequence) or len(widths) != 4:
        raise ValueError(
            f"model.widths must be the channels of the encoder's four stages, not {widths}"
        )
    return tuple(checks.whole("model.widths", width, 1, LARGEST["channels"]) for width in widths)
