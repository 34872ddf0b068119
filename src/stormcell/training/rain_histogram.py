"""How often each rate was forecast, and how often it fell: what a calibration is made from."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_MEMORY = 0.98  # of the counts stay at an update: the network changes, and with it what it forecasts
_ENOUGH = 200.0  # pixels: a frequency that fewer stand behind is not trusted


class Frequencies:
    """Counts of scaled rain by lead time, of forecasts and of truth, older updates slowly forgotten.

    Args:
        steps: Lead times.
        bins: Classes between 0 and 1; what is above counts in the last.
    """

    def __init__(self, steps: int, bins: int) -> None:
        self.steps, self.bins = steps, bins
        self.counts = torch.zeros(2, steps, bins, dtype=torch.float64)  # of forecasts and of truths

    @torch.no_grad()
    def note(
        self,
        forecast: Tensor,  # (B, steps, H, W) scaled
        truth: Tensor,  # (B, steps, H, W) scaled, NaN where not observed
    ) -> None:
        """Count another batch, over observed pixels only."""
        self.counts *= _MEMORY
        observed = truth.isfinite()
        for row, values in enumerate((forecast, truth)):
            classes = (values.float().nan_to_num(0.0) * self.bins).clamp(0, self.bins - 1).long()
            for lead in range(self.steps):
                chosen = classes[:, lead][observed[:, lead]]
                self.counts[row, lead] += torch.bincount(chosen, minlength=self.bins).cpu()

    def levels(self) -> Tensor:
        """What each class boundary, 0 to 1, must become to be exceeded as often as observed.

        Returns:
            ``(steps, bins + 1)``, rising along each row from 0. Where too few pixels were counted the
            map goes on with slope 1; a lead time without counts takes that of the one before.
        """
        boundaries = np.linspace(0, 1, self.bins + 1)
        found = [boundaries]
        for said, fell in self.counts.numpy().transpose(1, 0, 2):
            enough = said.sum() >= _ENOUGH
            found.append(_matched(boundaries, said, fell) if enough else found[-1])
        return torch.from_numpy(np.stack(found[1:])).float()


def _matched(
    boundaries: NDArray[np.float64], said: NDArray[np.float64], fell: NDArray[np.float64]
) -> NDArray[np.float64]:
    said_above, fell_above = (np.append(counts[::-1].cumsum()[::-1], 0.0) for counts in (said, fell))
    levels = np.interp(said_above, fell_above[::-1], boundaries[::-1])
    levels[0] = 0.0
    trusted = max(int((said_above >= _ENOUGH).sum()) - 1, 0)
    levels[trusted:] = levels[trusted] + boundaries[trusted:] - boundaries[trusted]
    return np.maximum.accumulate(levels)
