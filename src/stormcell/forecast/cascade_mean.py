"""The cascade's expectation of a lead time, in a C kernel where there is one."""

import torch
from torch import Tensor

from stormcell.forecast.rain_kernels import rain_kernels
from stormcell.models.rain_cascade import (
    SHORT_WAVES,
    BandProcess,
    RainCascade,
    expectation,
    expectation_of_long_waves,
)


def cascade_mean(cascade: RainCascade, process: BandProcess) -> Tensor:  # (1, 1, H, W)
    """Return what :func:`~stormcell.models.rain_cascade.expectation` does, of one example.

    The kernel is for processors and float32. It reads every band once, and makes no field of weights.
    """
    kernels, shortest = rain_kernels(), cascade.bands[0]
    if kernels is None or shortest.device.type != "cpu" or shortest.dtype != torch.float32:
        return expectation(cascade, process)
    coarse = expectation_of_long_waves(cascade, process)[0, 0]
    weights = torch.stack([process.newest[0, :SHORT_WAVES], process.before[0, :SHORT_WAVES]], dim=1)
    mean = torch.empty_like(shortest[:, :1])
    bands = [band[0].contiguous().numpy() for band in cascade.bands[:SHORT_WAVES]]
    kernels.mean(coarse.contiguous().numpy(), bands, weights.contiguous().numpy(), mean[0, 0].numpy())
    return mean
