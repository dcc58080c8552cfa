"""The only file that saves or loads weights: ours, a run's state, published ones.

No code from a file is run.
"""

import hashlib
import json
import warnings
import zipfile
from dataclasses import asdict
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from cotracker import checks
from cotracker.files import parse_json, refuse_special, replace_file, write_bytes
from cotracker.model import published
from cotracker.model.hardware import usual_defaults
from cotracker.model.networks import build_network, network_name
from cotracker.model.published import Published
from cotracker.model.windowed import WindowedNetwork
from cotracker.stored import read_tensors

CHECKOUT = Path(__file__).resolve().parents[1]  # or the folder where the package is installed
CARRIED = Path(__file__).resolve().with_name("checkpoints")  # in an installed package: see setup.py
CHECKPOINTS = CHECKOUT / "checkpoints" if (CHECKOUT / "pyproject.toml").is_file() else CARRIED
CARD = {  # what a card holds at least, and of what kind the rest is that we read
    "model": dict,
    "hash": str,
    "network?": str,
    "licence?": (str, type(None)),
    "threshold?": (int, float),
    "visible_by?": str,
    "confidence_px?": (int, float),
    "confidence_fit?": list,
    "reliability?": dict,
    "v1_compat?": bool,
    "training?": dict,
}
SHIPPED = "generation2"  # the checkpoint used where none is named


class LicenceWarning(UserWarning):
    """Weights that may not be used for every purpose were loaded."""


def save(path: str | Path, model: WindowedNetwork, card: dict) -> dict:
    """The card as written: safetensors weights at `path` (atomically), the card as JSON inside.

    The card is completed with the model's config, its parameter count and the hash of its weights.
    """
    tensors = {
        name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()
    }
    card = _complete(card, model, tensors)
    write_bytes(path, safetensors.torch.save(tensors, metadata={"card": json.dumps(card)}))
    return card


def read_card(path: str | Path) -> dict:
    """The card of a checkpoint of ours; ValueError where `path` is none."""
    return _read(path)[1]


@usual_defaults()
def load(path: str | Path, window: int | None = None) -> tuple[WindowedNetwork, dict]:
    """The network of a checkpoint, ours or a published one, in evaluation mode, and its card.

    Its `forward(video, queries, iters=None)` returns the Estimates, one a window.
    window: frames of a window, others than in training (table 9); no weight depends on it.
    ValueError: the file is damaged, does not fit its config, or is neither.
    """
    refuse_special(path)
    if not zipfile.is_zipfile(path):
        tensors, card = _read(path)
        model = _fitted(path, tensors, card, window)
    else:  # as torch.save writes them
        found = load_published(path)
        model, tensors = found.model, found.model.state_dict()
        card = _complete(found.card, model, tensors)
        if window is not None and not model.sees_whole_clips:
            model = _fitted(path, tensors, card, window)
    tell_licence(card.get("licence"))
    return model.eval(), card


def load_model(path: str | Path, window: int | None = None) -> WindowedNetwork:
    """The network of `load`."""
    return load(path, window)[0]


def load_published(
    path: str | Path,
    stride: int | None = None,
    window: int | None = None,
    trained: str | None = None,
) -> Published:
    """What a published file holds; arguments and errors as of `published.open_published`."""
    state = load_state(path)
    try:
        return published.open_published(state, Path(path).name, stride, window, trained)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def tell_licence(licence: str | None, whose: str = "these weights") -> None:
    """Warns of weights that are not for every purpose; Python shows it once a process."""
    if licence is not None and "NC" in licence:
        told = f"{whose} are for non-commercial use only ({licence})"
        warnings.warn(told, LicenceWarning, 1)


def find(name_or_path: str | Path) -> Path:
    """The file of a checkpoint: a path, or the name of one in checkpoints/."""
    path = checks.path("checkpoint", name_or_path)
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
        return read_tensors(path)
    except ValueError as error:
        raise ValueError(
            f"{path} cannot be read as tensors and plain values: {error}; take an older one, or "
            "fetch or make it again"
        ) from error


def keys_difference(model: nn.Module, tensors: dict[str, Tensor]) -> str:
    """Lines on missing, unknown and misshapen tensors, at most 11; or ""."""
    return published.shorten(published.list_differences(model.state_dict(), tensors))


def weights_hash(tensors: dict[str, Tensor]) -> str:
    """sha256 over names, shapes and bytes of the tensors, in order of their names."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        value = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tuple(value.shape)} {value.dtype}".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _read(path: str | Path) -> tuple[dict[str, Tensor], dict]:
    refuse_special(path)
    try:
        with safetensors.safe_open(str(path), framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}
    except (safetensors.SafetensorError, OSError) as error:
        raise ValueError(
            f"{path} is not a safetensors checkpoint ({_first_line(error)}): fetch it again"
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


def _complete(card: dict, model: WindowedNetwork, tensors: dict[str, Tensor]) -> dict:
    return card | {
        "format": 2,
        "network": network_name(model),
        "model": {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in asdict(model.config).items()
        },
        "parameters": sum(p.numel() for p in model.parameters()),
        "hash": weights_hash(tensors),
    }


def _fitted(
    path: str | Path, tensors: dict[str, Tensor], card: dict, window: int | None
) -> WindowedNetwork:
    """The network of a card with these weights; ValueError where they do not fit or are damaged."""
    whole = "window" in card["model"] and card["model"]["window"] is None
    config = card["model"] if window is None or whole else card["model"] | {"window": window}
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
    return model


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
