"""Rain that is too light for the network, from the area around the place that it comes from.

A network takes rates below 0.1 mm/h as dry, because radars differ in the lightest rain that they detect. If
the newest frame has lighter rain, later ones will have it, too. So a pixel that does not reach 0.1 mm/h
reaches 0.03 mm/h with a probability of its own: the share of light rain, among the pixels below 0.1 mm/h, in
a square around the place that its rain comes from. The square grows with the lead time: the local Lagrangian
method of Germann & Zawadzki (2004), doi:10.1175/1520-0450(2004)043<0074:SDOTPO>2.0.CO;2.
"""

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from stormcell.forecast.contract import Field
from stormcell.forecast.rain_distribution import Probabilities
from stormcell.models.rain_cascade import CELL
from stormcell.models.rain_pyramid import Area
from stormcell.motion.coordinates import Carrier
from stormcell.motion.decibels import LEAST_RAIN

LIGHT = 0.03  # mm/h

# Half the side of the square in kilometres: at the issue time, and what each minute adds.
_HALF_SIDE, _GROWTH = 2.0, 0.5


class LightRain:
    """The light rain of the newest frame.

    Args:
        newest: Rain rates in mm/h ``(y, x)``, NaN where not observed.
        kilometres: Width of a pixel.

    Example:
        >>> newest = np.zeros((64, 64), np.float32)
        >>> newest[:, :32] = 0.05
        >>> (100 * LightRain(newest, kilometres=1.0).chances(minutes=10)[0, 16, ::8]).round().tolist()
        [100.0, 100.0, 44.0, 0.0]
    """

    def __init__(self, newest: Field, kilometres: float) -> None:
        self._light = _in_cells(_is_light(newest))
        self._below = _in_cells(newest < np.float32(LEAST_RAIN))  # False where not observed
        self._cell = CELL * kilometres

    def __bool__(self) -> bool:
        """Whether there is any."""
        return bool(self._light.any())

    def chances(self, minutes: float) -> Field:
        """Return the probability of 0.03 mm/h or more where 0.1 mm/h is not reached.

        Args:
            minutes: Lead time.

        Returns:
            In moving coordinates, in cells of 2 × 2 pixels ``(1, y, x)``; 0 where all is unknown around.
        """
        side = 2 * round((_HALF_SIDE + _GROWTH * minutes) / self._cell) + 1
        light, below = (
            cv2.blur(field, (side, side), borderType=cv2.BORDER_CONSTANT)
            for field in (self._light, self._below)
        )
        shares: Field = np.divide(light, below, out=np.zeros_like(light), where=below > 1e-6)
        return np.minimum(shares, 1)[None]


def with_light_rain(rates: Field, newest: Field) -> Field:
    """Return rates without those below 0.1 mm/h, with the light rain of the newest frame added."""
    return np.where(_is_light(newest), newest, rates)


def add_light_rain(found: Probabilities, chances: Field, carry: Carrier, block: Area) -> None:
    """Write the probabilities of 0.03 mm/h or more in a block of the grid.

    Args:
        found: Probabilities ``(threshold, y, x)``: the first are written; the second are those of
            0.1 mm/h.
        chances: Those of :meth:`LightRain.chances`.
        carry: What moves the rain.
        block: Rows and columns.
    """
    reached = torch.from_numpy(found[1][block]).float()
    share = torch.from_numpy(carry.sample(chances, *block, cell=CELL)[0])
    torch.from_numpy(found[0][block]).copy_(reached + (1 - reached) * share)


def _is_light(newest: Field) -> NDArray[np.bool_]:
    light: NDArray[np.bool_] = (newest >= np.float32(LIGHT)) & (newest < np.float32(LEAST_RAIN))
    return light


def _in_cells(mask: NDArray[np.bool_]) -> Field:
    """Return the share of pixels in cells of 2 × 2; a cell beyond the edge has none there."""
    rows, cols = (-(-length // CELL) * CELL for length in mask.shape)
    whole = np.zeros((rows, cols), np.float32)
    whole[: mask.shape[0], : mask.shape[1]] = mask
    return np.asarray(cv2.resize(whole, (cols // CELL, rows // CELL), interpolation=cv2.INTER_AREA))
