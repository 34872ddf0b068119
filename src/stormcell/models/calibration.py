"""Calibration: a map that gives every rain rate its observed frequency."""

import torch
from torch import Tensor, nn


class Calibration(nn.Module):
    """A monotone, piecewise linear map of scaled rain for every lead time; at first it is the identity.

    A network that minimises a squared error forecasts less heavy rain the more uncertain it is. The map
    corrects this, as the probability matching of S-PROG does (Ebert 2001,
    doi:10.1175/1520-0493(2001)129<2461:AOAPMS>2.0.CO;2). It matches the rates that were observed at each lead
    time in training rather than those of the newest frame, so that growth and decay can still be forecast.
    Zero stays zero.

    Args:
        steps: Number of lead times with a separate map; later ones share the last map.
        bins: Number of intervals of a map between 0 and 1; above 1 its slope is 1.

    Example:
        >>> calibration = Calibration(steps=2)
        >>> y = torch.rand(1, 3, 4, 4)               # (B, steps, H, W), any number of steps
        >>> torch.allclose(calibration(y), y)
        True
    """

    levels: Tensor  # (steps, bins + 1): values of the map at 0, 1/bins, …, 1

    def __init__(self, steps: int, bins: int = 128) -> None:
        super().__init__()
        self.steps, self.bins = steps, bins
        self.register_buffer("levels", torch.linspace(0, 1, bins + 1).repeat(steps, 1))

    def forward(
        self,
        y: Tensor,  # (B, steps, H, W) scaled, ≥ 0
    ) -> Tensor:  # (B, steps, H, W) scaled, ≥ 0
        """Map scaled rain."""
        lead = torch.arange(y.shape[1], device=y.device).clamp_max(self.steps - 1)[:, None, None]
        position = y * self.bins
        knot = position.detach().clamp(0, self.bins - 1).long()
        below, above = self.levels[lead, knot], self.levels[lead, knot + 1]
        mapped = below + (position - knot) * (above - below)
        above_one: Tensor = self.levels[lead, -1] + (y - 1)
        return torch.where(y > 1, above_one, mapped)
