"""The distribution of a lead time in coordinates that move with the rain, and where the rain will be."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from stormcell.forecast.anchored_logits import Correction
from stormcell.forecast.cell_thresholds import planes
from stormcell.forecast.contract import Field
from stormcell.forecast.rain_distribution import Probabilities
from stormcell.forecast.rain_kernels import Cells, rain_kernels
from stormcell.models.exceedance import LOGISTIC, exceedance_logits
from stormcell.models.rain_cascade import CELL, ENERGY_SIDE
from stormcell.models.rain_pyramid import Area, upsample
from stormcell.motion.coordinates import Carrier


@dataclass(frozen=True)
class CellForecast:
    """The distribution of a lead time in coordinates that move with the rain.

    Attributes:
        mean: Expected logarithmic rain ``(H, W)``.
        spread: Standard deviation of its error, in cells of 8 × 8 pixels ``(H/8, W/8)``.
        cells: Logarithms of the corrected thresholds, in cells of 2 × 2 pixels ``(H/2, W/2, thresholds)``, in
            whole groups.
        thresholds: Number of thresholds.
    """

    mean: Tensor
    spread: Tensor
    cells: Field
    thresholds: int

    @property
    def at(self) -> Tensor:  # (K, H/2, W/2)
        """Logarithms of the corrected thresholds."""
        return planes(self.cells, self.thresholds)

    def logits(self, every: int = 1) -> Tensor:  # (K, rows, cols)
        """Return the logits of exceedance in cells of 2 × 2 pixels: of every n-th row and column."""
        nth = [slice(first, None, CELL * every) for first in range(CELL)]
        mean = torch.stack([self.mean[row, col] for row in nth for col in nth]).mean(dim=0)[None]
        spread = upsample(self.spread[None, None], ENERGY_SIDE // CELL)[0, ..., ::every, ::every]
        return exceedance_logits(mean[None], spread[None], self.at[None, :, ::every, ::every])[0]

    def coarse_logits(self) -> Tensor:  # (K, H/8, W/8)
        """Return the logits of exceedance in cells of 8 × 8 pixels, from their means."""
        mean, side = avg_pool2d(self.mean[None], ENERGY_SIDE), ENERGY_SIDE // CELL
        rows = functools.reduce(np.add, [self.cells[first::side] for first in range(side)])
        total = functools.reduce(np.add, [rows[:, first::side] for first in range(side)])
        at = planes(total / np.float32(side**2), self.thresholds)
        return exceedance_logits(mean[None], self.spread[None, None], at[None])[0]


def writer(
    found: Probabilities, made: CellForecast, correction: Correction, carry: Carrier
) -> Callable[[Area], None]:
    """Return what writes the probabilities of exceeding the thresholds in a block of the grid.

    Args:
        found: The probabilities of the whole grid ``(threshold, y, x)``.
        made: The forecast.
        correction: Of the logits.
        carry: What moves the rain.
    """
    kernels = rain_kernels()
    if kernels is None:
        at = made.at.contiguous().numpy()
        return partial(_write_without_kernels, found, made, at, correction, carry)
    write = partial(
        kernels.chances,
        mean=Cells(made.mean.numpy(), 1),
        spread=Cells(made.spread.numpy(), ENERGY_SIDE),
        at=Cells(made.cells, CELL),
        slopes=(LOGISTIC * correction.slopes).numpy(),
        shifts=correction.shifts.numpy(),
    )
    if found.dtype == np.float32:
        return partial(write, found, carry.places)
    return partial(_write_rounded, found, write, carry.places)


def _write_rounded(
    found: Probabilities, write: Callable[..., None], places: tuple[Field, Field], block: Area
) -> None:
    x, y = (np.ascontiguousarray(place[block]) for place in places)
    exact = np.empty((len(found), *x.shape), np.float32)
    write(exact, (x, y), (slice(0, x.shape[0]), slice(0, x.shape[1])))
    torch.from_numpy(found[:, *block]).copy_(torch.from_numpy(exact))  # NumPy takes far longer


def _write_without_kernels(
    found: Probabilities,
    made: CellForecast,
    at: Field,
    correction: Correction,
    carry: Carrier,
    block: Area,
) -> None:
    logits = carry.sample(at, *block, cell=CELL)
    np.subtract(carry.sample(made.mean.numpy()[None], *block), logits, out=logits)
    logits *= np.float32(LOGISTIC) / carry.sample(made.spread.numpy()[None], *block, cell=ENERGY_SIDE)
    with torch.inference_mode():
        correction.apply_(torch.from_numpy(logits)).sigmoid_()
    found[:, *block] = logits
