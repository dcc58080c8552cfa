"""Feature maps kept in memory, and in a file when that is full."""

import tempfile
import weakref

import torch
from torch import Tensor

from cotracker.trackers.views import FEATURE_MEMORY, FeatureCache

FEATURE_DISK = 20_000_000_000  # bytes of a file


class SpillingCache(FeatureCache):
    """A FeatureCache whose surplus goes to a temporary file, which ends with it.

    budget, disk: bytes in memory, and in the file; what comes when both are full is lost.
    """

    def __init__(self, budget: float = FEATURE_MEMORY, disk: float = FEATURE_DISK):
        super().__init__(budget)
        self.disk = disk
        self._places: dict[tuple, tuple[int, list[Tensor]]] = {}  # offset, tensors without storage
        self._file = tempfile.TemporaryFile(prefix="cotracker-features-") if disk else None
        if self._file is not None:
            weakref.finalize(self, self._file.close)
        self._end = 0

    def get(self, key: tuple) -> list[Tensor] | None:
        if key not in self._places:
            return super().get(key)
        offset, shapes = self._places[key]
        self._file.seek(offset)
        return [self._read(like) for like in shapes]

    def put(self, key: tuple, value: list[Tensor]) -> None:
        super().put(key, value)
        size = sum(tensor.numel() * tensor.element_size() for tensor in value)
        stored = key in self.values or key in self._places
        if stored or self._file is None or self._end + size > self.disk:
            return
        self._file.seek(self._end)
        for tensor in value:
            flat = tensor.detach().cpu().contiguous().view(-1)
            self._file.write(flat.view(torch.uint8).numpy().tobytes())
        self._places[key] = self._end, [torch.empty_like(t, device="meta") for t in value]
        self._devices = value[0].device
        self._end += size

    def _read(self, like: Tensor) -> Tensor:
        data = bytearray(self._file.read(like.numel() * like.element_size()))
        read = torch.frombuffer(data, dtype=like.dtype).view(like.shape)
        return read.to(self._devices)
