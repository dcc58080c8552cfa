"""The values of a composed config, checked without PyTorch; what is set in vain."""

from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

from omegaconf import DictConfig, OmegaConf

from cotracker import checks
from cotracker.config.limits import CLASSES, LIMITS, TOP

MARKS = ("_target_", "_convert_", "_partial_", "_recursive_", "name")


def find_wrong_value(name: str, config: DictConfig, base: DictConfig | None = None) -> str | None:
    """One sentence on the first value of a composed config that cannot be, or None.

    name: of the config, such as train.  base: the same without the settings of the command line;
    a value that no class checks must be of the kind that stands there.
    """
    unresolved = OmegaConf.to_container(config)
    try:
        _check_top(unresolved)
    except ValueError as error:
        return str(error)
    missing = list(_missing(unresolved, ""))
    if missing:
        key, what = missing[0], "DIR" if missing[0].endswith(("root", "videos")) else "…"
        # a table says for each of its rows what it lacks
        return None if "/" in name else f"{key} is required: pass {key}={what}"
    settings = OmegaConf.to_container(config, resolve=True)
    try:
        if base is not None:
            _check_kinds(settings, OmegaConf.to_container(base), "")
        _check_nodes(settings, "")
        if name == "train":
            _check_run(settings)
    except ValueError as error:
        return str(error).splitlines()[0]
    return None


def find_without_effect(name: str, config: DictConfig, typed: list[str]) -> Iterator[str]:
    """A sentence on each setting of the command line that changes nothing."""
    if any(_missing(OmegaConf.to_container(config), "")):
        return
    settings = OmegaConf.to_container(config, resolve=True)
    for key in typed:
        for pattern, needs, is_set in _NEEDS:
            if key == pattern and _select(settings, needs) is not _ABSENT:
                if not is_set(_select(settings, needs)):
                    yield f"{key} has no effect: {needs} is {_select(settings, needs)}"
        if (
            key == "checkpoint"
            and name == "evaluate"
            and "checkpoint" not in str(OmegaConf.to_yaml(config.tracker))
        ):
            yield f"{key} has no effect: tracker={settings['tracker']['name']} has no weights"
        if key == "textures" and "textures:" not in OmegaConf.to_yaml(
            config.get("data", config.get("generator"))
        ):
            yield f"{key} has no effect: these data are not synthetic"


def _check_top(settings: dict) -> None:
    for key, (check, *limits) in TOP.items():
        value = settings.get(key)
        if value is not None and not (isinstance(value, str) and ("${" in value or value == "???")):
            check(key, value, *limits)


def _missing(node: Any, at: str) -> Iterator[str]:
    """The settings that have no value yet."""
    if node == "???":
        yield at
    elif isinstance(node, (dict, list)):
        for key, value in node.items() if isinstance(node, dict) else enumerate(node):
            yield from _missing(value, f"{at}.{key}" if at else str(key))


def _check_kinds(settings: Any, base: Any, at: str) -> None:
    """ValueError where a value is of another kind than the one of the base; null passes."""
    if isinstance(base, dict):
        if not isinstance(settings, dict):
            raise ValueError(f"{at} must be a section {at}.NAME=…, not {settings}")
        for key, value in base.items():
            if settings.get(key) is not None or isinstance(value, dict):
                _check_kinds(settings.get(key), value, f"{at}.{key}" if at else str(key))
    elif isinstance(base, list) and not isinstance(settings, list):
        raise ValueError(f"{at} must be a list such as {base}, not {settings}")
    elif isinstance(base, bool):
        checks.switch(at, settings)
    elif isinstance(base, int) and not at.startswith("train."):  # TrainConfig checks these
        checks.whole(at, settings)
    elif isinstance(base, float):
        checks.number(at, settings)
    elif isinstance(base, str) and base != "???" and "${" not in base:
        checks.text(at, settings)


def _check_nodes(node: Any, at: str) -> None:
    """ValueError of the first node whose class refuses its settings."""
    if isinstance(node, list):
        for k, one in enumerate(node):
            _check_nodes(one, f"{at}.{k}")
    if not isinstance(node, dict):
        return
    target = node.get("_target_")
    fields = {key: value for key, value in node.items() if key not in MARKS}
    if target == "cotracker.data.augment.no_augmentation" and fields:
        raise ValueError(f"augment=none has no {', '.join(fields)}: leave these settings out")
    if target in CLASSES:
        _check_class(target, fields, at)
    for field, (check, *limits) in LIMITS.get(target, {}).items():
        value = _select(fields, field)
        if value is not _ABSENT and value is not None:
            check(f"{at}.{field}", value, *limits)
    for key, one in fields.items():
        _check_nodes(one, f"{at}.{key}" if at else str(key))


def _check_class(target: str, fields: dict, at: str) -> None:
    kind = _load(CLASSES[target])
    own = kind.__dataclass_fields__
    for key in fields:
        if key not in own and key not in ("name_or_path",):
            raise ValueError(f"there is no setting {at}.{key}: choose one of {', '.join(own)}")
    named = type(target.rpartition(".")[2], (kind,), {})  # by whose name its messages speak
    try:
        named(**{key: value for key, value in fields.items() if key in own})
    except ValueError as error:
        text = str(error)
        first = text.partition(" ")[0]
        if first in own:
            text = f"{at}.{text}"
        elif not first.startswith(at):
            text = f"{at}: {text}"
        raise ValueError(text) from error


def _check_run(settings: dict) -> None:
    """ValueError where the sections of a training run cannot be, by themselves or together."""
    train = _load("cotracker.training.config.check_settings")(settings)
    evaluation = settings["evaluation"]
    options = _load("cotracker.trackers.options.TrackerOptions")
    names = [key for key in evaluation if key not in ("best", "benchmarks")]
    try:
        options(**{key: evaluation[key] for key in names})
    except (TypeError, ValueError) as error:
        raise ValueError(f"evaluation: {error}") from error
    best = evaluation["best"]
    if best is not None and str(best).partition("/")[0] not in (evaluation["benchmarks"] or {}):
        raise ValueError(
            "evaluation.best must be null or BENCHMARK/METRIC, with BENCHMARK of "
            f"{', '.join(evaluation['benchmarks'] or {})}, not {best}"
        )
    if train.render_on_device and "AugmentConfig" in settings["augment"]["_target_"]:
        raise ValueError("train.render_on_device=true needs augment=none")
    frames, window = list(_frames(settings["data"])), settings["model"].get("window")
    late = settings["objective"].get("late_window_prob", 0.0)
    if late and window and frames and 2 * max(frames) < 3 * window:
        raise ValueError(
            f"objective.late_window_prob={late} needs clips of at least 1.5 windows, "
            f"{(3 * window + 1) // 2} frames, and the longest have {max(frames)}: raise data.frames"
        )


def _frames(data: dict) -> Iterator[int]:
    """The frames of the clips of each source."""
    for source in data.get("sources", [data]):
        source = source.get("source", source) if isinstance(source, dict) else {}
        if isinstance(source.get("frames"), int):
            yield source["frames"]


class _Absent:
    pass


_ABSENT = _Absent()


def _select(settings: dict, key: str) -> Any:
    value: Any = settings
    for part in key.split("."):
        if not isinstance(value, dict) or part not in value:
            return _ABSENT
        value = value[part]
    return value


def _load(path: str) -> Any:
    module, _, name = path.rpartition(".")
    return getattr(import_module(module), name)


def _differs(value: Any) -> Callable[[Any], bool]:
    return lambda found: found != value


_NEEDS = [  # (a setting, another, what that must be for the first to change anything)
    ("objective.drift_prob", "objective.late_window_prob", bool),
    ("objective.init_noise_px", "objective.late_window_prob", bool),
    ("objective.matching_frames", "objective.matching_weight", bool),
    ("objective.confidence_px", "objective.confidence_weight", bool),
    ("train.schedule_extra_steps", "train.decay_from", _differs("")),
    ("train.schedule_extra_steps", "train.lr_schedule", _differs("constant")),
    ("train.warmup", "train.decay_from", lambda found: found is None),
    ("train.lr_schedule", "train.decay_from", lambda found: found is None),
    ("model.encoder_weights", "model.encoder", lambda found: found == "dinov2"),
    ("model.encoder_layer", "model.encoder", lambda found: found == "dinov2"),
    ("model.widths", "model.encoder", lambda found: found == "cnn"),
    ("model.fuse_width", "model.encoder", lambda found: found == "cnn"),
    ("quality", "images", lambda found: found == "jpg"),
    ("data.procedural", "textures", bool),
    ("data.shutter", "data.motion_blur", bool),
    ("data.object_size", "data.objects", lambda found: found != [0, 0]),
    ("generator.procedural", "textures", bool),
    *(
        (f"evaluation.{key}", "train.evaluate_every", bool)
        for key in "best iters resolution single_point support_grid local_support_grid".split()
    ),
]
