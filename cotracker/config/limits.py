"""Who checks the settings of which class before PyTorch is imported: its dataclass, or limits here.

The classes check their settings themselves too; what stands here are the ones that need PyTorch.
"""

from cotracker import checks

MOST = 10**6
SIDE = 16384
CLASSES = {  # _target_ -> the dataclass that checks its settings and imports nothing heavy
    "cotracker.model.cotracker.CoTracker": "cotracker.model.config.CoTrackerConfig",
    "cotracker.model.cotracker3.CoTracker3": "cotracker.model.config.CoTracker3Config",
    "cotracker.data.synthetic.sprites.Sprites": "cotracker.data.synthetic.recipe.Recipe",
    "cotracker.data.synthetic.scenes3d.Scenes3D": "cotracker.data.synthetic.recipe3d.Recipe3D",
    "cotracker.training.config.ObjectiveConfig": "cotracker.training.config.ObjectiveConfig",
    "cotracker.load_tracker": "cotracker.trackers.options.TrackerOptions",
}


def weights(name: str, value: object) -> list[float]:
    """The value, a list of numbers that are not negative."""
    if not isinstance(value, list) or not value:
        raise ValueError(f"{name} must be a list of numbers, not {value}")
    return [checks.number(name, one, 0) for one in value]


def odd(name: str, value: object, least: int, most: int) -> int:
    """The value, an odd number of pixels."""
    if checks.whole(name, value, least, most) % 2 == 0:
        raise ValueError(f"{name} must be an odd number of pixels, not {value}")
    return value


def folder(name: str, value: object) -> str:
    """The value, the name of a folder."""
    if value == "":
        raise ValueError(f"{name} is empty: pass {name}=DIR")
    return checks.text(name, value)


def whole_pair(name: str, value: object, least: int, most: int) -> tuple:
    """The value as two whole numbers, the lower first."""
    return checks.pair(name, value, least, most, whole=True)


def size(name: str, value: object) -> tuple:
    """The value as (height, width)."""
    return checks.pair(name, value, 32, 4096, whole=True, ordered=False)


_PATCHES = {
    "probability": (checks.share,),
    "count": (whole_pair, 1, 10**4),
    "side": (whole_pair, 1, 10**5),
}
LIMITS = {  # _target_ -> field -> its check; null passes
    "cotracker.data.kubric.Kubric": {
        "root": (folder,),
        "frames": (checks.whole, 1, SIDE),
        "height": (checks.whole, 1, SIDE),
        "width": (checks.whole, 1, SIDE),
        "points": (checks.whole, 1, MOST),
        "least_points": (checks.whole, 1, MOST),
    },
    "cotracker.data.stream.Mixture": {"weights": (weights,)},
    "cotracker.data.augment.AugmentConfig": {
        **{f"eraser.{key}": rule for key, rule in _PATCHES.items()},
        **{f"replace.{key}": rule for key, rule in _PATCHES.items()},
        **{
            f"colour.{key}": (checks.share,)
            for key in ("probability", "brightness", "contrast", "saturation")
        },
        "colour.hue": (checks.number, 0, 0.5),
        "blur.probability": (checks.share,),
        "blur.sigma": (checks.pair, 0.01, 100),
        "blur.kernel": (odd, 1, 999),
        "pad.max_pixels": (checks.whole, 0, SIDE),
        "crop.height": (checks.whole, 1, SIDE),
        "crop.width": (checks.whole, 1, SIDE),
        "crop.scale": (checks.pair, 0.2, 2.0),
        "crop.scale_drift": (checks.number, 0, 1),
        "crop.crop_drift": (checks.whole, 0, SIDE),
        "crop.room": (checks.whole, 0, SIDE),
        "flip.horizontal": (checks.share,),
        "flip.vertical": (checks.share,),
        "points.count": (checks.whole, 1, MOST),
        "points.least": (checks.whole, 1, MOST),
    },
    "cotracker.data.heldout.HeldOut": {
        "count": (checks.whole, 1, MOST),
        "seed": (checks.whole, 0, 2**63 - 1),
        "version": (checks.whole, 1),
        "cache": (checks.text,),
    },
    "cotracker.data.badja.BADJA": {"root": (folder,)},
    "cotracker.data.tapvid.TapVid": {
        "root": (folder,),
        "which": (checks.choice, ("davis", "kinetics", "rgb_stacking", "robotap")),
    },
    "cotracker.data.fastcapture.FastCapture": {
        "root": (folder,),
        "frames": (checks.whole, 1),
        "points": (checks.whole, 1),
    },
    "cotracker.baselines.dis_flow.DISFlow": {
        "resolution": (size,),
        "preset": (checks.choice, ("ultrafast", "fast", "medium")),
    },
    "cotracker.baselines.lucas_kanade.LucasKanade": {
        "resolution": (size,),
        "window": (odd, 3, 999),
        "levels": (checks.whole, 1, 16),
    },
    "cotracker.pseudo.PseudoLabels": {
        "videos": (folder,),
        "frames": (checks.whole, 8, SIDE),
        "height": (checks.whole, 16, SIDE),
        "width": (checks.whole, 16, SIDE),
        "points": (checks.whole, 1, MOST),
    },
    "cotracker.pseudo.Trust": {
        key: (checks.number, 1e-9, SIDE) for key in ("returned", "agreed", "flow", "consistent")
    },
}
TOP = {  # settings at the top of a config
    "seed": (checks.whole, 0, 2**63 - 1),
    "out": (folder,),
    "textures": (checks.texts,),
    "evaluate_with": (checks.text,),
    "limit": (checks.whole, 1),
    "pictures": (checks.whole, 0),
    "count": (checks.whole, 1, MOST),
    "start": (checks.whole, 0, MOST),
    "workers": (checks.whole, 0, 1000),
    "images": (checks.choice, ("jpg", "png")),
    "quality": (checks.whole, 1, 100),
    "by_products": (checks.switch,),
    "datasets": (folder,),
}
