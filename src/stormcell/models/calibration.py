"""Rain as often as it rains: a map that lets each rate be forecast as often as it was observed."""

import torch
from torch import Tensor, nn


class Calibration(nn.Module):
    """A monotone map of scaled rain for every lead time, piecewise linear; as made it changes nothing.

    A network that learns to make a squared error small forecasts less and less heavy rain as it grows
    less sure. The map undoes that, as the probability matching of S-PROG does (Ebert 2001,
    doi:10.1175/1520-0493(2001)129<2461:AOAPMS>2.0.CO;2), but by what training saw at each lead time and not
    by the newest frame, so that growth and decay may still be forecast. Zero stays zero.

    Args:
        steps: Lead times with a map of their own; later ones share the last.
        bins: Knots of a map between 0 and 1; above 1 it rises with slope 1.

    Example:
        >>> calibration = Calibration(steps=2)
        >>> y = torch.rand(1, 3, 4, 4)               # (B, steps, H, W), any number of steps
        >>> torch.allclose(calibration(y), y)
        True
    """

    levels: Tensor  # (steps, bins + 1): what the values 0, 1/bins, …, 1 become

    def __init__(self, steps: int, bins: int = 128) -> None:
        super().__init__()
        self.steps, self.bins = steps, bins
        self.register_buffer("levels", torch.linspace(0, 1, bins + 1).repeat(steps, 1))

    def forward(
        self,
        y: Tensor,  # (B, steps, H, W) scaled, ≥ 0
    ) -> Tensor:  # (B, steps, H, W) scaled, ≥ 0
        """Map every lead time."""
        lead = torch.arange(y.shape[1], device=y.device).clamp_max(self.steps - 1)[:, None, None]
        position = y * self.bins
        knot = position.detach().clamp(0, self.bins - 1).long()
        below, above = self.levels[lead, knot], self.levels[lead, knot + 1]
        mapped = below + (position - knot) * (above - below)
        beyond: Tensor = self.levels[lead, -1] + (y - 1)
        return torch.where(y > 1, beyond, mapped)
