"""The processes that train together: plain torch.distributed, as torchrun or Slurm (through submitit) starts them."""

import gc
import os
import time
from collections.abc import Sequence
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
    """Who this process is: rank of world, on a device. Every call is made by all ranks, or by none."""

    rank: int
    world: int
    device: torch.device

    @property
    def first(self) -> bool:
        """Rank 0: the one that reads and writes the run's folder, and speaks."""
        return self.rank == 0

    def tell(self, words: str) -> None:
        """Prints the words, on rank 0 alone."""
        if self.first:
            print(words, flush=True)

    def wrapped(self, module: nn.Module, static: bool) -> nn.Module:
        """The module with its gradients averaged over the ranks; itself where there is one.

        static: the same parameters take part in every step, which saves DDP's search and lets activations be
        recomputed; not together with `no_sync`, which PyTorch then refuses.
        """
        if self.world == 1:
            return module
        on = [self.device] if self.device.type == "cuda" else None
        return DistributedDataParallel(
            module, device_ids=on, static_graph=static, gradient_as_bucket_view=True
        )

    def from_first(self, value: Any) -> Any:
        """What rank 0 holds, on every rank; tensors on the CPU."""
        if self.world == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0, device=self.device)
        return box[0]

    def sums(self, numbers: Sequence[torch.Tensor | float]) -> list[float]:
        """The numbers summed over the ranks, by one all-reduce and one wait for the device."""
        rows = [
            torch.as_tensor(number, dtype=torch.float64, device=self.device) for number in numbers
        ]
        packed = torch.stack(rows)
        if self.world > 1:
            dist.all_reduce(packed)
        return packed.tolist()

    def gathered(self, value: Any) -> list:
        """Every rank's value, by rank, on every rank."""
        if self.world == 1:
            return [value]
        values = [None] * self.world
        dist.all_gather_object(values, value)
        return values

    def leave(self) -> None:
        """Ends the group, once all is done and what it wrapped is let go of.

        gloo's threads end with the last reference to the group, and wrapped modules hold some, in cycles. A thread
        that is left over drops a tensor while Python ends, and that aborts the process (PyTorch 2.14: 3 of 22 runs).
        """
        if self.world > 1:
            gc.collect()
            dist.destroy_process_group()


def local_rank() -> int:
    """This process's number on its machine: which GPU is its own; 0 where it is alone."""
    return int(os.environ.get("LOCAL_RANK", 0))


def export_slurm() -> None:
    """Sets RANK, WORLD_SIZE, … where submitit started this process among others and torchrun did not."""
    if "RANK" in os.environ or "SUBMITIT_EXECUTOR" not in os.environ:
        return
    from submitit.helpers import TorchDistributedEnvironment  # the extra slurm

    place = TorchDistributedEnvironment()
    if place.world_size > 1:  # overwrite: a MASTER_ADDR left in the shell is not this job's
        place.export(set_cuda_visible_devices=False, overwrite=True)


def join(device: torch.device, timeout_minutes: float) -> Group:
    """The group that the environment names (RANK, WORLD_SIZE, …), over NCCL on GPUs and gloo on CPUs; alone without.

    timeout_minutes: a rank that waits longer than this for the others gives up with an error.
    """
    world = int(os.environ.get("WORLD_SIZE", 1))
    if world == 1:
        return Group(0, 1, device)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    import_module(
        "torch._dynamo"
    )  # DDP does; once there is a group, it would keep a reference to it for good
    backend, timeout = (
        "nccl" if device.type == "cuda" else "gloo",
        timedelta(minutes=timeout_minutes),
    )
    store, rank, world = next(dist.rendezvous("env://", timeout=timeout))
    store = fresh(store, rank, world, timeout)
    dist.init_process_group(backend, store=store, rank=rank, world_size=world, timeout=timeout)
    return Group(rank, world, device)


def fresh(store: dist.Store, rank: int, world: int, timeout: timedelta) -> dist.Store:
    """The part of a store that is these processes' own; called by all of them. TimeoutError: some did not come.

    torchrun's store outlives its workers: those that it starts again find the addresses of the dead ones in it, and
    may try to reach those (PyTorch 2.14: every second restart failed or hung). So rank 0 names a new part of the
    store, and answers each rank by a number which that rank has just drawn, until the rank says that it knows.
    """
    if rank:
        number = uuid4().hex
        store.set(f"here/{rank}", number)
        part = store.get(f"part/{number}").decode()
        store.set(f"{part}/{rank}", "known")
        return dist.PrefixStore(part, store)
    part, absent, deadline = (
        uuid4().hex,
        set(range(1, world)),
        time.monotonic() + timeout.total_seconds(),
    )
    while absent:
        if time.monotonic() > deadline:
            raise TimeoutError(f"ranks {sorted(absent)} did not come within {timeout}")
        for other in [other for other in absent if store.check([f"here/{other}"])]:
            store.set(f"part/{store.get(f'here/{other}').decode()}", part)
        absent = {other for other in absent if not store.check([f"{part}/{other}"])}
        time.sleep(0.02)
    return dist.PrefixStore(part, store)
