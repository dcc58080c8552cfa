"""The processes that train together, as torchrun or Slurm (through submitit) starts them."""

import gc
import os
import time
from dataclasses import dataclass
from datetime import timedelta
from importlib import import_module
from typing import Any
from uuid import uuid4

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel


@dataclass(frozen=True)
class Group:
    """This process: its rank of `world`, and its device. Each call is made by all ranks or none."""

    rank: int
    world: int
    device: torch.device

    @property
    def is_main(self) -> bool:
        """Whether this is rank 0, which reads and writes the run's folder, and prints."""
        return self.rank == 0

    def print_rank0(self, text: str) -> None:
        """Prints the text on rank 0 alone."""
        if self.is_main:
            print(text, flush=True)

    def wrap_ddp(self, module: nn.Module, static: bool) -> nn.Module:
        """The module with its gradients averaged over the ranks; itself where there is one rank.

        static: the same parameters take part in every step, which saves DDP's search and allows
        recomputation; PyTorch refuses it together with `no_sync`.
        """
        if self.world == 1:
            return module
        ids = [self.device] if self.device.type == "cuda" else None
        return DistributedDataParallel(
            module, device_ids=ids, static_graph=static, gradient_as_bucket_view=True
        )

    def broadcast_object(self, value: Any) -> Any:
        """Rank 0's value on every rank; tensors on the CPU."""
        if self.world == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0, device=self.device)
        return box[0]

    def all_reduce_sum(self, values: dict[str, torch.Tensor | float]) -> dict[str, float]:
        """The values summed over the ranks, by one all-reduce and one wait for the device."""
        dtype = torch.float32 if self.device.type == "mps" else torch.float64  # Apple's has none
        rows = [
            torch.as_tensor(value, dtype=dtype, device=self.device) for value in values.values()
        ]
        packed = torch.stack(rows)
        if self.world > 1:
            dist.all_reduce(packed)
        return dict(zip(values, packed.tolist()))

    def all_gather_object(self, value: Any) -> list:
        """Every rank's value, in the order of ranks, on every rank."""
        if self.world == 1:
            return [value]
        values = [None] * self.world
        dist.all_gather_object(values, value)
        return values

    def all_gather_list(self, values: list) -> list:
        """The values of all ranks in one list, in the order of ranks, on every rank."""
        return [value for part in self.all_gather_object(values) for value in part]

    def destroy(self) -> None:
        """Ends the group; called when nothing refers to a wrapped module.

        gloo's threads end with the last reference to the group, and wrapped modules hold some, in
        cycles. A thread that is left over drops a tensor while Python ends, and that aborts the
        process (PyTorch 2.14: 3 of 22 runs).
        """
        if self.world > 1:
            gc.collect()
            dist.destroy_process_group()


def local_rank() -> int:
    """This process's number on its machine, which is that of its GPU; 0 for a single process."""
    return int(os.environ.get("LOCAL_RANK", 0))


def export_slurm() -> None:
    """Sets RANK, WORLD_SIZE, … where submitit and not torchrun started this process."""
    if "RANK" in os.environ or "SUBMITIT_EXECUTOR" not in os.environ:
        return
    from submitit.helpers import TorchDistributedEnvironment  # the extra slurm

    place = TorchDistributedEnvironment()
    if place.world_size > 1:  # overwrite: a MASTER_ADDR left in the shell is not this job's
        place.export(set_cuda_visible_devices=False, overwrite=True)


def own_device(name: str) -> str:
    """The name of this process's own GPU for `auto` and `cuda`; other names as they are.

    Where Slurm shows each process one GPU alone, that is its first.
    """
    if name in ("auto", "cuda") and torch.cuda.is_available():
        return f"cuda:{local_rank() % torch.cuda.device_count()}"
    return name


def join_group(device: torch.device, timeout_minutes: float) -> Group:
    """The group that the environment names (RANK, WORLD_SIZE, …); without one, this process alone.

    It communicates by NCCL on GPUs and gloo on CPUs.
    timeout_minutes: a rank that waits longer than this for the others gives up with an error.
    """
    world = int(os.environ.get("WORLD_SIZE", 1))
    if world == 1:
        return Group(0, 1, device)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    # DDP imports it; imported when there is a group, it would keep a reference to the group
    import_module("torch._dynamo")
    backend = "nccl" if device.type == "cuda" else "gloo"
    timeout = timedelta(minutes=timeout_minutes)
    store, rank, world = next(dist.rendezvous("env://", timeout=timeout))
    store = agree_on_store(store, rank, world, timeout)
    dist.init_process_group(backend, store=store, rank=rank, world_size=world, timeout=timeout)
    return Group(rank, world, device)


def agree_on_store(store: dist.Store, rank: int, world: int, timeout: timedelta) -> dist.Store:
    """A new part of the store, the same for all ranks; TimeoutError where some do not come.

    torchrun's store outlives its workers. Restarted workers find the addresses of the dead ones in
    it and may try to reach those (PyTorch 2.14: every second restart failed or hung). So rank 0
    names a new part of the store. It answers each rank under a random number of that rank's own,
    until the rank confirms.
    """
    if rank:
        number = uuid4().hex
        store.set(f"here/{rank}", number)
        part = store.get(f"part/{number}").decode()
        store.set(f"{part}/{rank}", "confirmed")
        return dist.PrefixStore(part, store)
    part = uuid4().hex
    absent = set(range(1, world))
    deadline = time.monotonic() + timeout.total_seconds()
    while absent:
        if time.monotonic() > deadline:
            raise TimeoutError(f"ranks {sorted(absent)} did not come within {timeout}")
        for other in [other for other in absent if store.check([f"here/{other}"])]:
            store.set(f"part/{store.get(f'here/{other}').decode()}", part)
        absent = {other for other in absent if not store.check([f"{part}/{other}"])}
        time.sleep(0.02)
    return dist.PrefixStore(part, store)
