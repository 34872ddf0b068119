"""How far apart the pixels of a grid are."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import xarray as xr

from stormcell.errors import FramesError

_DEGREE_KM = 111.2  # of latitude, on a sphere of 6371 km


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


def pixel_km(frames: xr.DataArray) -> tuple[float, float]:
    """Height and width of a pixel in kilometres; of a grid in degrees, at its mean latitude.

    Raises:
        FramesError: As :func:`spacing`.

    Example:
        >>> degrees = {"units": "degrees_east"}
        >>> coords = {"y": [60.01, 60.0, 59.99], "x": ("x", [24.0, 24.01], degrees)}
        >>> dy, dx = pixel_km(xr.DataArray(np.zeros((1, 3, 2)), coords=coords, dims=("time", "y", "x")))
        >>> round(dy, 3), round(dx, 3)
        (1.112, 0.556)
    """
    grid = spacing(frames)
    if grid.unit == "m":
        return grid.dy / 1000, grid.dx / 1000
    narrower = float(np.cos(np.deg2rad(frames["y"].mean())))
    return grid.dy * _DEGREE_KM, grid.dx * _DEGREE_KM * narrower
