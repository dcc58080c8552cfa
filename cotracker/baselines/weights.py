"""Published files of other systems: read without running their code, and fitted strictly."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from cotracker import checkpoint

RANDOM = "random"  # in place of a file: weights as they are initialised, to measure time
Source = str | Path | dict[str, Tensor]  # a file, RANDOM, or the published state dict itself


@dataclass(frozen=True)
class Published:
    """What is known of a system's published files.

    system: its name.
    files: what they are called.
    licence: of the weights; of one for non-commercial use, loading says so once.
    container: the key under which the file keeps its tensors, where it has one.
    computed: names of tensors in the file that our network computes.
    renames: (pattern, replacement) pairs that make our names of the published ones, in order.
    """

    system: str
    files: str
    licence: str
    container: str | None = None
    computed: tuple[str, ...] = ()
    renames: tuple[tuple[str, str | Callable], ...] = ()

    def load(
        self, network: nn.Module, source: Source | None, read: Callable = checkpoint.load_state
    ) -> dict:
        """{name, hash, licence} of the weights, which `network` then has, in evaluation mode.

        source: the file, a state dict with the published names, or RANDOM.
        read: path -> the file's contents.
        ValueError, one sentence or a list of differing tensors: it holds other weights.
        """
        network.eval().requires_grad_(False)
        if source is None:
            raise ValueError(
                f"{self.system} needs checkpoint=FILE, or a command's "
                f"--checkpoint FILE: one of {self.files}"
            )
        if source == RANDOM:
            return {"name": "random weights", "hash": None}
        tensors = self.rename(self.read(source, read))
        expected = network.state_dict()
        tensors = {name: _as_matrix(value, expected.get(name)) for name, value in tensors.items()}
        name = Path(source).name if is_file(source) else self.system
        difference = checkpoint.keys_difference(network, tensors)
        if difference:
            raise ValueError(f"{name} does not hold the weights of {self.files}:\n{difference}")
        network.load_state_dict(tensors)
        checkpoint.tell_licence(self.licence, f"the weights of {self.system}")
        digest = checkpoint.weights_hash(tensors)
        return {"name": Path(name).stem, "hash": digest, "licence": self.licence}

    def read(self, source: Source | None, read: Callable = checkpoint.load_state) -> dict:
        """The state dict with the published names; empty for RANDOM or None."""
        if source is None or source == RANDOM:
            return {}
        return self.unwrap(read(source) if is_file(source) else source)

    def unwrap(self, state: dict) -> dict:
        """The state dict, out of its container."""
        return state[self.container] if self.container in state else state

    def rename(self, state: dict) -> dict[str, Tensor]:
        """The tensors under our names; one that is published under two names comes once."""
        out = {}
        for name, value in state.items():
            for pattern, replacement in self.renames:
                name = re.sub(pattern, replacement, name)
            if isinstance(value, Tensor) and name not in self.computed:
                out[name] = value
        return out


def _as_matrix(value: Tensor, expected: Tensor | None) -> Tensor:
    """The value; of a convolution of one tap, O I 1, the matrix, where that is what is expected."""
    one_tap = value.ndim == 3 and value.shape[-1] == 1
    return value[..., 0] if one_tap and expected is not None and expected.ndim == 2 else value


def is_file(source: Source) -> bool:
    """Whether the source is a path, which must exist: ValueError."""
    if isinstance(source, dict):
        return False
    if not Path(source).is_file():
        raise ValueError(f"checkpoint {source} does not exist: pass a published file")
    return True


def seeded(build: Callable[[], nn.Module]) -> nn.Module:
    """build() with the same random weights each time; the global state of randomness stays."""
    with torch.random.fork_rng(devices=[]):
        torch.random.default_generator.manual_seed(0)
        return build()


def load_trained(source: Source | None, network: type[nn.Module]) -> tuple[nn.Module, dict] | None:
    """The network, and {name, hash, licence}, of a file of train.py; None for another source.

    ValueError: the file holds a network of another class.
    """
    if not str(source).endswith(".safetensors") or not is_file(source):
        return None
    found, card = checkpoint.load(source)
    if not isinstance(found, network):
        name = network.__name__
        raise ValueError(f"{source} holds no {name}: pass a file of train.py model={name.lower()}")
    known = {"name": Path(source).stem, "hash": card["hash"], "licence": card.get("licence")}
    return found.requires_grad_(False), known
