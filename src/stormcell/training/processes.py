"""The processes that train together: those of torchrun or of SLURM's srun, or a single one."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from torch import Tensor, distributed

from stormcell.errors import ArgumentError

_TIMEOUT = timedelta(hours=3)  # the others wait while the first process reads an archive or validates


def environment() -> ClusterEnvironment | None:
    """Return the environment that torchrun or srun has set up, or None for a single process.

    It gives the rank, the local rank and the number of processes. An interactive SLURM session, in which no
    processes were started, counts as a single process.

    Raises:
        ArgumentError: SLURM was given ``--ntasks`` without ``--ntasks-per-node``.
    """
    if not distributed.is_available():
        return None
    if TorchElasticEnvironment.detect():
        return TorchElasticEnvironment()
    try:
        if int(os.environ.get("SLURM_NTASKS", "1")) > 1 and SLURMEnvironment.detect():
            return SLURMEnvironment(auto_requeue=False)
    except RuntimeError as error:  # the settings contradict each other
        raise ArgumentError(f"SLURM: {error}") from None
    return None


@contextmanager
def joined_processes() -> Iterator[None]:
    """Join the process group, and leave it at the end; a single process does nothing."""
    cluster = environment()
    if cluster is None:
        yield
        return
    on_cuda = torch.cuda.is_available()
    if on_cuda:
        torch.cuda.set_device(cluster.local_rank())
    # PyTorch reads the meeting point from these variables; srun does not set them.
    os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"] = cluster.main_address, str(cluster.main_port)
    distributed.init_process_group(
        "nccl" if on_cuda else "gloo",
        timeout=_TIMEOUT,
        rank=cluster.global_rank(),
        world_size=cluster.world_size(),
    )
    try:
        yield
    finally:
        distributed.destroy_process_group()


def _joined() -> bool:
    return distributed.is_available() and distributed.is_initialized()


def rank() -> int:
    """Return the number of this process; process 0 writes files and shows progress."""
    return distributed.get_rank() if _joined() else 0


def process_count() -> int:
    """Return the number of processes."""
    return distributed.get_world_size() if _joined() else 1


def local_process_count() -> int:
    """Return the number of processes on this machine."""
    if not _joined():
        return 1
    if "LOCAL_WORLD_SIZE" in os.environ:  # torchrun
        return int(os.environ["LOCAL_WORLD_SIZE"])
    return process_count() // int(os.environ.get("SLURM_NNODES", "1"))


def agreed(value: float) -> float:
    """Return the first process's value in all processes: clocks differ, but decisions must not."""
    if not _joined():
        return value
    tensor = torch.tensor(value, dtype=torch.float64, device=_device())
    distributed.broadcast(tensor, 0)
    return float(tensor)


def total(values: Tensor) -> Tensor:
    """Return the sum of a tensor over all processes; a single process gets the tensor itself."""
    if not _joined():
        return values
    summed = values.to(_device(), copy=True)
    distributed.all_reduce(summed)
    return summed.to(values.device)


def barrier() -> None:
    """Wait until all processes have reached this call."""
    if _joined():
        distributed.barrier()


@contextmanager
def first_process_first() -> Iterator[None]:
    """Run the block in the first process, and then in the others."""
    if rank() > 0:
        barrier()
    yield
    if rank() == 0:
        barrier()


def _device() -> torch.device:
    """Return the device of tensors that processes exchange."""
    return torch.device("cuda" if distributed.get_backend() == "nccl" else "cpu")
