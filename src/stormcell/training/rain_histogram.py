"""Histograms of forecast and observed rain, from which a nowcaster is calibrated."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stormcell.training.processes import rank, total

_RETAINED = 0.98  # share of the counts that remains after an update, because the network changes
_ENOUGH = 200.0  # pixels: a frequency of fewer is not trusted


class RainHistogram:
    """Counts of scaled rain by lead time, of forecasts and of targets, in which older updates fade.

    In a process group each process counts its own part of the batches. All of them must call
    :meth:`levels` and :meth:`state` together.

    Args:
        steps: Number of lead times.
        bins: Classes between 0 and 1; higher values count in the last.
    """

    def __init__(self, steps: int, bins: int) -> None:
        self.steps, self.bins = steps, bins
        self.counts = torch.zeros(2, steps, bins, dtype=torch.float64)  # of forecasts and of targets

    @torch.no_grad()
    def add(
        self,
        forecast: Tensor,  # (B, steps, H, W) scaled
        target: Tensor,  # (B, steps, H, W) scaled, NaN where not observed
    ) -> None:
        """Add a batch; only observed pixels count."""
        self.counts *= _RETAINED
        observed = target.isfinite()
        for row, values in enumerate((forecast, target)):
            classes = (values.float().nan_to_num(0.0) * self.bins).clamp(0, self.bins - 1).long()
            for lead in range(self.steps):
                chosen = classes[:, lead][observed[:, lead]]
                self.counts[row, lead] += torch.bincount(chosen, minlength=self.bins).cpu()

    def state(self) -> Tensor:
        """Return the counts of all processes together, ``(2, steps, bins)``."""
        return total(self.counts)

    def restore(self, counts: Tensor) -> None:
        """Take over the counts of all processes together."""
        self.counts = counts if rank() == 0 else torch.zeros_like(counts)

    def levels(self) -> Tensor:
        """Return the value that each class boundary, 0 to 1, must become to be exceeded as often as observed.

        Returns:
            ``(steps, bins + 1)``, rising along each row from 0. Where too few pixels were counted, the map
            has slope 1. A lead time without counts takes the map of the lead time before it.
        """
        boundaries = np.linspace(0, 1, self.bins + 1)
        maps = [boundaries]
        for forecast, observed in self.state().numpy().transpose(1, 0, 2):
            enough = forecast.sum() >= _ENOUGH
            maps.append(_matched(boundaries, forecast, observed) if enough else maps[-1])
        return torch.from_numpy(np.stack(maps[1:])).float()


def _matched(
    boundaries: NDArray[np.float64], forecast: NDArray[np.float64], observed: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the levels that are observed to be exceeded as often as the boundaries are forecast to be."""
    forecast_above, observed_above = (
        np.append(counts[::-1].cumsum()[::-1], 0.0) for counts in (forecast, observed)
    )
    levels = np.interp(forecast_above, observed_above[::-1], boundaries[::-1])
    levels[0] = 0.0
    trusted = max(int((forecast_above >= _ENOUGH).sum()) - 1, 0)
    levels[trusted:] = levels[trusted] + boundaries[trusted:] - boundaries[trusted]
    return np.maximum.accumulate(levels)
