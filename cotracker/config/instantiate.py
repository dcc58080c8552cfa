"""Objects from the nodes of a config, or one sentence on why there are none."""

from collections.abc import Callable, Sequence, Sized
from pkgutil import resolve_name
from typing import Any

import hydra
from hydra.errors import InstantiationException
from omegaconf import DictConfig, OmegaConf

from cotracker import checks
from cotracker.benchmarks.benchmark import Benchmark
from cotracker.types import Clip

READER = ("names", "expected", "broken", "identity", "__getitem__")  # of a BenchmarkReader


def instantiate(node: DictConfig | dict | None, name: str) -> Any:
    """The object that a node describes, with those within it; None for None.

    name: of the node, for the ValueError where the object cannot be built.
    """
    if node is None:
        return None
    if isinstance(node, DictConfig):
        node = OmegaConf.to_container(node, resolve=True, throw_on_missing=True)
    arguments = {key: value for key, value in node.items() if key != "name"}
    try:
        return hydra.utils.instantiate(arguments, _convert_="all")
    except InstantiationException as error:
        cause = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        raise ValueError(f"{name} cannot be built: {str(cause).splitlines()[0]}") from error


def build_benchmark(
    config: DictConfig, at: str = "benchmark", limit: int | None = None
) -> Benchmark:
    """The benchmark that a file of configs/benchmark describes.

    at: where the file is in the config, for messages.
    limit: number of videos, the first ones; None for all.
    """
    if "root" in config.keys():  # "in config" would not see one that is missing
        if OmegaConf.is_missing(config, "root") or config.root is None:
            raise ValueError(f"{at}.root is required: pass {at}.root=FOLDER")
    clips = instantiate(config.clips, f"{at}.clips")
    if not isinstance(clips, Sized):
        raise ValueError(f"{type(clips).__name__} is no reader of a benchmark: it has no length")
    if not len(clips):
        raise ValueError(f"benchmark={config.name} has no clips: change the settings of {at}.clips")
    lacking = [name for name in READER if getattr(clips, name, None) is None]
    if lacking:
        raise ValueError(
            f"{type(clips).__name__} is no reader of a benchmark: it lacks {', '.join(lacking)} "
            "(docs/extend.md)"
        )
    breakdown = _function(config, "breakdown", at) if config.get("breakdown") else None
    functions = _function(config, "protocol", at), _function(config, "metric", at)
    expected, names = tuple(clips.expected), tuple(clips.names)
    identity, broken = clips.identity, tuple(clips.broken)
    left_out: tuple[str, ...] = ()
    if limit is not None:
        clips, left_out, names = _First(clips, limit), names[limit:], names[:limit]
    return Benchmark(
        config.name,
        clips,
        *functions,
        both_directions=config.both_directions,
        expected=expected,
        made=identity,
        breakdown=breakdown,
        names=names,
        left_out=left_out,
        broken=broken,
    )


def build_benchmarks(nodes: DictConfig | None, at: str) -> dict[str, Benchmark]:
    """The benchmarks of a section of the config, which is at `at`, by name."""
    return {
        name: build_benchmark(node, f"{at}.{name}")
        for name, node in (nodes.items() if nodes is not None else ())
    }


def _function(config: DictConfig, name: str, at: str) -> Callable:
    """The function that a field of a benchmark's config names."""
    try:
        found = resolve_name(config[name])
    except (ImportError, AttributeError, ValueError, TypeError) as error:
        raise ValueError(
            f"{at}.{name}={config[name]} names no function module.function ({error})"
        ) from error
    if not callable(found):
        raise ValueError(f"{at}.{name}={config[name]} is no function")
    return found


class _First(Sequence):
    """The first clips of a set."""

    def __init__(self, clips: Sequence[Clip], limit: int):
        self._clips = clips
        self._length = min(checks.whole("limit", limit, 1), len(clips))

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> Clip:
        return self._clips[index]
