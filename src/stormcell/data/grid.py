"""How far apart the pixels of a grid are."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import xarray as xr

from stormcell.errors import FramesError


@dataclass(frozen=True)
class Spacing:
    """Distance between neighbouring pixel centres, positive, in metres or in degrees."""

    dy: float
    dx: float
    unit: Literal["m", "degree"]

    def same_as(self, other: "Spacing") -> bool:
        """Whether two grids are equally fine: to one per cent, for headers round their numbers."""
        close = np.isclose([self.dy, self.dx], [other.dy, other.dx], rtol=0.01, atol=0)
        return self.unit == other.unit and bool(close.all())

    @property
    def km(self) -> float:
        """Pixel size in kilometres, the mean of both axes; of a degree, at the equator."""
        return (self.dy + self.dx) / 2 * (0.001 if self.unit == "m" else 111.2)

    def __str__(self) -> str:
        return f"{self.dy:g} × {self.dx:g} {self.unit}"


def spacing(frames: xr.DataArray) -> Spacing:
    """The pixel spacing of frames ``(time, y, x)``, from their coordinates.

    Raises:
        FramesError: A coordinate is missing, or has fewer than two values.

    Example:
        >>> y, x = 500.0 - 1000 * np.arange(4), 1000.0 * np.arange(6)
        >>> str(spacing(xr.DataArray(np.zeros((1, 4, 6)), coords={"y": y, "x": x}, dims=("time", "y", "x"))))
        '1000 × 1000 m'
    """
    steps = []
    for axis in ("y", "x"):
        if axis not in frames.coords or frames.sizes[axis] < 2:
            raise FramesError(f"frames: expected a coordinate {axis} with at least 2 values, found none")
        values = frames[axis].values
        steps.append(abs(float(values[-1] - values[0])) / (len(values) - 1))
    degrees = str(frames["x"].attrs.get("units", "m")).startswith("degree")
    return Spacing(steps[0], steps[1], "degree" if degrees else "m")
