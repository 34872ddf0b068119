"""The processes of one run: torchrun's, or just this one."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
from torch import distributed

_PATIENCE = timedelta(hours=3)  # with the first, while it reads an archive, or validates


@contextmanager
def together() -> Iterator[None]:
    """Join the processes that torchrun started, and leave them at the end; alone, do nothing."""
    if not (distributed.is_available() and distributed.is_torchelastic_launched()):
        yield
        return
    on_cuda = torch.cuda.is_available()
    if on_cuda:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    distributed.init_process_group("nccl" if on_cuda else "gloo", timeout=_PATIENCE)
    try:
        yield
    finally:
        distributed.destroy_process_group()


def _joined() -> bool:
    return distributed.is_available() and distributed.is_initialized()


def rank() -> int:
    """Which process this is; the first, 0, is the one that writes and speaks."""
    return distributed.get_rank() if _joined() else 0


def processes() -> int:
    """How many there are."""
    return distributed.get_world_size() if _joined() else 1


def here() -> int:
    """How many there are on this machine."""
    return int(os.environ["LOCAL_WORLD_SIZE"]) if _joined() else 1


def agreed(value: float, device: torch.device) -> float:
    """The first process's value, in all of them: clocks differ, decisions must not."""
    if not _joined():
        return value
    told = torch.tensor(value, dtype=torch.float64, device=device)
    distributed.broadcast(told, 0)
    return float(told)


def barrier() -> None:
    """Wait until all of them are here."""
    if _joined():
        distributed.barrier()


@contextmanager
def first_before_others() -> Iterator[None]:
    """What is inside is done by the first process, and only then by the others."""
    if rank() > 0:
        barrier()
    yield
    if rank() == 0:
        barrier()
