"""For the entry points: the objects that configs describe, or one sentence on why they cannot be made."""

from collections.abc import Sequence

import hydra
from hydra.errors import InstantiationException
from hydra.utils import get_method, get_object
from omegaconf import DictConfig, OmegaConf

from cotracker.benchmarks.benchmark import Benchmark
from cotracker.types import Clip


def build(cfg: DictConfig, group: str):
    """What the config's group describes; ValueError with the reason alone where it cannot be made."""
    try:
        return hydra.utils.instantiate(cfg[group])
    except InstantiationException as error:
        cause = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        raise ValueError(f"{group} cannot be built: {str(cause).splitlines()[0]}") from error


def build_benchmark(
    config: DictConfig, at: str = "benchmark", limit: int | None = None
) -> Benchmark:
    """The benchmark a file of configs/benchmark describes; its protocol and metric are named functions.

    at: where the file was put in the config, for the sentence on a missing root.
    limit: only so many videos, the first ones; None for all.
    """
    if "root" in config.keys():  # "in config" would not see one that is missing
        _require(config, "root", f"{at}.root")
    clips = made(config.clips)
    if not len(clips):
        raise ValueError(
            f"benchmark={config.name} has no clips to measure: change its settings under {at}.clips"
        )
    breakdown = get_method(config.breakdown) if config.get("breakdown") else None
    functions = get_method(config.protocol), get_method(config.metric)
    made_from, broken = getattr(clips, "made", {}), tuple(getattr(clips, "broken", ()))
    names = tuple(getattr(clips, "names", ()))
    expected = tuple(clips.expected)
    if limit is not None:
        clips, names = _First(clips, limit), names[:limit]
    return Benchmark(
        config.name,
        clips,
        *functions,
        both_directions=config.both_directions,
        expected=expected,
        made=made_from,
        breakdown=breakdown,
        names=names,
        broken=broken,
    )


class _First(Sequence):
    """The first clips of a set."""

    def __init__(self, clips: Sequence[Clip], limit: int):
        if type(limit) is not int or limit < 1:
            raise ValueError(
                f"limit must be a whole number of videos, 1 or more, or null for all, not {limit}"
            )
        self._clips, self._length = clips, min(limit, len(clips))

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> Clip:
        return self._clips[index]


def made(config: DictConfig):
    """The object that a node describes, with those described within it; ValueError for a setting of the wrong kind."""
    return _made(OmegaConf.to_container(config, resolve=True, throw_on_missing=True))


def _made(settings: dict):
    name, target = settings.pop("name", None), settings.pop("_target_")
    for key, value in settings.items():
        if isinstance(value, dict) and "_target_" in value:
            settings[key] = _made(value)
    try:
        return get_object(target)(**settings)
    except TypeError as error:
        raise ValueError(f"a setting of {name or target} is of the wrong kind: {error}") from error


def _require(config: DictConfig, key: str, full_key: str) -> None:
    if OmegaConf.is_missing(config, key) or config[key] is None:
        raise ValueError(f"{full_key} is missing: say {full_key}=FOLDER")
