"""The only file that saves or loads weights: ours, a run's state, published ones.

No code from a file is run.
"""

import hashlib
import json
import re
import zipfile
from dataclasses import asdict
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from cotracker import checks
from cotracker.files import parse_json, replace_file, write_bytes
from cotracker.model.cotracker import CoTracker
from cotracker.model.networks import build_network, network_name
from cotracker.model.v1_compat import V1_COMPAT
from cotracker.model.windowed import WindowedNetwork

CHECKOUT = Path(__file__).resolve().parents[1]  # or the folder where the package is installed
CARRIED = Path(__file__).resolve().with_name("checkpoints")  # in an installed package: see setup.py
CHECKPOINTS = CHECKOUT / "checkpoints" if (CHECKOUT / "pyproject.toml").is_file() else CARRIED
CARD = {  # what a card holds at least, and of what kind the rest is that we read
    "model": dict,
    "hash": str,
    "network?": str,
    "licence?": (str, type(None)),
    "threshold?": (int, float),
    "v1_compat?": bool,
    "training?": dict,
}
SHIPPED = "cotracker_small"  # the checkpoint used where none is named

PUBLISHED_NAMES = [  # published v1 name -> ours, as regular expressions, applied in order
    (r"^fnet\.conv1\.", "encoder.stem."),
    (
        r"^fnet\.layer(\d)\.(\d)\.downsample\.0\.",
        lambda m: f"encoder.stages.{int(m[1]) - 1}.{m[2]}.shortcut.",
    ),
    (r"^fnet\.layer(\d)\.(\d)\.", lambda m: f"encoder.stages.{int(m[1]) - 1}.{m[2]}."),
    (r"^fnet\.conv2\.", "encoder.fuse."),
    (r"^fnet\.conv3\.", "encoder.project."),
    (r"^updateformer\.input_transform\.", "transformer.embed."),
    (r"^updateformer\.flow_head\.", "transformer.head."),
    (r"^updateformer\.time_blocks\.", "transformer.time."),
    (r"^updateformer\.space_blocks\.", "transformer.group."),
    (r"\.attn\.qkv\.", ".attention.qkv."),
    (r"\.attn\.proj\.", ".attention.out."),
    (r"\.mlp\.fc1\.", ".expand."),
    (r"\.mlp\.fc2\.", ".contract."),
    (r"^norm\.", "feature_norm."),
    (r"^ffeat_updater\.0\.", "feature_update."),
    (r"^vis_predictor\.0\.", "visibility."),
]


def save(path: str | Path, model: WindowedNetwork, card: dict) -> dict:
    """The card as written: safetensors weights at `path` (atomically), the card as JSON inside.

    The card is completed with the model's config, its parameter count and the hash of its weights.
    """
    tensors = {
        name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()
    }
    card = card | {
        "format": 2,
        "network": network_name(model),
        "model": asdict(model.config) | {"widths": list(model.config.widths)},
        "parameters": sum(p.numel() for p in model.parameters()),
        "hash": weights_hash(tensors),
    }
    write_bytes(path, safetensors.torch.save(tensors, metadata={"card": json.dumps(card)}))
    return card


def read_card(path: str | Path) -> dict:
    """The card of a checkpoint of ours; ValueError where `path` is none."""
    return _read(path)[1]


def load_model(path: str | Path, window: int | None = None) -> WindowedNetwork:
    """The network of a checkpoint, built from the file alone, in evaluation mode.

    Its `forward(video, queries, iters=None)` returns the Estimates, one a window.
    window: frames of a window, others than in training (table 9); no weight depends on it.
    ValueError: the file is no checkpoint of ours, is damaged, or does not fit its config.
    """
    tensors, card = _read(path)
    config = card["model"] if window is None else card["model"] | {"window": window}
    network = card.get("network", "cotracker")
    with torch.device("meta"):  # a card may describe a model larger than the memory
        outline = _built(path, network, config)
    difference = keys_difference(outline, tensors)
    if difference:
        raise ValueError(
            f"{path}: the weights do not fit the model that the file describes:\n{difference}"
        )
    model = _built(path, network, config)
    if weights_hash(tensors) != card["hash"]:
        raise ValueError(
            f"{path}: the weights do not match the hash in the file: "
            "it was damaged or changed, fetch it again"
        )
    for name, value in tensors.items():
        if not value.isfinite().all():
            raise ValueError(
                f"{path}: the weights {name} are NaN or infinite: use an earlier checkpoint"
            )
    model.load_state_dict(tensors)
    return model.eval()


def find(name_or_path: str | Path) -> Path:
    """The file of a checkpoint: a path, or the name of one in checkpoints/."""
    path = Path(name_or_path)
    if path.is_file():
        return path
    named = CHECKPOINTS / f"{name_or_path}.safetensors"
    if named.is_file():
        return named
    known = ", ".join(sorted(p.stem for p in CHECKPOINTS.glob("*.safetensors"))) or "none yet"
    raise ValueError(
        f"no checkpoint {name_or_path}: "
        f"it is neither a file nor one of those in {CHECKPOINTS} ({known})"
    )


def save_state(path: str | Path, state: dict) -> None:
    """Writes a run's state (tensors and plain values) at `path`, atomically, with checksums.

    OSError: it cannot be written; what was there is kept.
    """
    with replace_file(path) as file:
        try:
            torch.save(state, file)
        except RuntimeError as error:  # what torch makes of an OSError
            raise OSError(
                f"{path} cannot be written ({error.__context__ or _first_line(error)}): "
                "make room; what was saved before is kept"
            ) from error


def load_state(path: str | Path) -> dict:
    """A run's state from `path`, without running its code; ValueError: it cannot be read.

    Its checksums, which torch.load does not look at, are those of the zip file that it is.
    """
    try:
        damaged = None
        if zipfile.is_zipfile(path):  # files of old versions of PyTorch are none
            with zipfile.ZipFile(path) as stored:
                damaged = stored.testzip()
        if damaged is None:
            return torch.load(path, map_location="cpu", weights_only=True)
    except (
        Exception
    ) as error:  # torch raises many kinds, and its advice to run the file's code is not ours
        raise ValueError(
            f"{path} cannot be read as tensors and plain values: it is damaged, or holds code"
        ) from error
    raise ValueError(f"{path} is damaged, as its checksum says: take an older one, or start anew")


def convert_published(state: dict, stride: int, window: int) -> CoTracker:
    """Our CoTracker with published v1 weights (a state dict); ValueError lists differing keys."""
    state = {re.sub(r"^module\.", "", name): value for name, value in state.items()}
    model = CoTracker(stride=stride, window=window, **V1_COMPAT)
    tensors = {}
    for name, value in state.items():
        ours = our_name(
            name
        )  # our own names are no published ones: such weights were made by another function
        tensors[ours if ours != name else f"{name} (no published name)"] = value
    difference = keys_difference(model, tensors)
    if difference:
        raise ValueError(f"these are not the weights of a published CoTracker v1:\n{difference}")
    model.load_state_dict(tensors)
    return model.eval()


def our_name(published: str) -> str:
    """Our parameter name of a published v1 one; an unknown one comes back unchanged."""
    for pattern, replacement in PUBLISHED_NAMES:
        published = re.sub(pattern, replacement, published)
    return published


def keys_difference(model: nn.Module, tensors: dict[str, Tensor]) -> str:
    """A line for each missing, unknown or misshapen tensor, at most 20 of each; or ""."""
    expected = model.state_dict()
    missing = [
        f"  missing  {name} {tuple(expected[name].shape)}"
        for name in expected
        if name not in tensors
    ]
    unknown = [
        f"  unknown  {name} {tuple(value.shape)}"
        for name, value in tensors.items()
        if name not in expected
    ]
    shapes = [
        f"  shape    {name} is {tuple(tensors[name].shape)}, the model has {tuple(value.shape)}"
        for name, value in expected.items()
        if name in tensors and tensors[name].shape != value.shape
    ]
    lines = []
    for group in (missing, unknown, shapes):
        lines += group[:20] + ([f"  … and {len(group) - 20} more"] if len(group) > 20 else [])
    return "\n".join(lines)


def weights_hash(tensors: dict[str, Tensor]) -> str:
    """sha256 over names, shapes and bytes of the tensors, in order of their names."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        value = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tuple(value.shape)} {value.dtype}".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _read(path: str | Path) -> tuple[dict[str, Tensor], dict]:
    try:
        with safetensors.safe_open(str(path), framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}
    except (safetensors.SafetensorError, OSError) as error:
        raise ValueError(
            f"{path} is not a safetensors checkpoint ({_first_line(error)}); "
            "published .pth files are converted by scripts/convert_weights.py"
        ) from error
    if "card" not in metadata:
        raise ValueError(f"{path} holds weights but no card: it was not written by this program")
    try:
        card = parse_json(metadata["card"])
    except ValueError as error:
        raise ValueError(
            f"{path}: its card cannot be read: it was damaged or changed, fetch it again"
        ) from error
    if not checks.fits(card, CARD):
        raise ValueError(
            f"{path}: its card does not describe a model: it was not written by this program"
        )
    return tensors, card


def _built(path: str | Path, network: str, config: dict) -> WindowedNetwork:
    """The network of a card's config, or a ValueError that names the file."""
    try:
        return build_network(network, config)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(
            f"{path}: no model can be built as its card says ({_first_line(error)})"
        ) from error


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
