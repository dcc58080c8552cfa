"""The stream of examples that a config of train.py describes."""

from pathlib import Path

from omegaconf import DictConfig

from cotracker.config.instantiate import instantiate
from cotracker.data.kubric.manifest import MANIFEST, read_manifest
from cotracker.data.stream import Mixture, TrainingStream
from cotracker.training.config import TrainConfig
from cotracker.training.progress import Progress

KUBRIC = "cotracker.data.kubric.Kubric"


def build_stream(
    cfg: DictConfig, train: TrainConfig, source, progress: Progress, processes: int
) -> TrainingStream:
    """The stream of examples; a mixture's blocks are those of a step, and stay so on resume."""
    augment = instantiate(cfg.augment, "augment")
    if train.render_on_device:
        if augment is not None:
            raise ValueError("train.render_on_device=true needs augment=none")
        source = source if isinstance(source, Mixture) else Mixture([source], [1.0])
        source = source.with_deferred_rendering()
    mixed = isinstance(source, Mixture) and len(source.sources) > 1
    block = progress.fix_block(train.batch * processes, train.accumulate, mixed)
    source = source.in_blocks(block) if mixed else source
    return TrainingStream(source, cfg.seed, augment)


def find_teachers(data: dict) -> dict[str, dict]:
    """{name, hash, licence} by hash of the trackers that labelled the data's folders of clips."""
    nodes = data.get("sources") or [data.get("source") or data]
    if nodes != [data]:
        return {key: one for node in nodes for key, one in find_teachers(node).items()}
    if data["_target_"] != KUBRIC or not _names_a_teacher(Path(data["root"]) / MANIFEST):
        return {}
    teacher = read_manifest(data["root"])["teacher"]
    return {teacher["hash"]: teacher}


def _names_a_teacher(path: Path) -> bool:
    """Whether the manifest does; a manifest.json of another program does not."""
    try:
        return b'"teacher"' in path.read_bytes()
    except FileNotFoundError:
        return False
