"""Regridding of rain rates to another projection and resolution, which preserves the amount of rain.

The rate of a target pixel is the area-weighted mean of the observed source pixels that it overlaps. It is
observed if at least half of its area is. On a finer grid, parts of source pixels are repeated: nothing is
interpolated.

The overlaps of a pair of grids are one sparse matrix, so that regridding a frame is a multiplication.
"""

from dataclasses import dataclass

import numpy as np
import pyproj
import xarray as xr
from numpy.typing import NDArray
from scipy import sparse

from stormcell.data import schema
from stormcell.data.grid import MOST_PIXELS, Grid, parse_crs
from stormcell.data.overlaps import overlaps
from stormcell.errors import ArgumentError, InputError

OBSERVED_SHARE = 0.5  # of a target pixel's area
_ROUNDING = 1e-4  # of a pixel: sums of float32 weights, and coordinates of files
_EDGE_POINTS = 200  # on each side of the source grid, to find its outline on the target's projection


@dataclass(frozen=True)
class Target:
    """A projection and resolution, from which the grid follows for each source grid.

    Attributes:
        crs: Projection as text that PROJ reads.
        resolution: Side of a pixel, in metres, or degrees for longitude and latitude.
        bounds: Outer edges west, south, east, north; None for the outline of the source grid.

    Raises:
        ArgumentError: The projection cannot be read, or a number is impossible.
    """

    crs: str
    resolution: float
    bounds: tuple[float, float, float, float] | None = None

    def __post_init__(self) -> None:
        try:
            parse_crs(self.crs)
        except InputError as error:
            raise ArgumentError(f"grid: {error}") from None
        if not 0 < self.resolution < np.inf:
            raise ArgumentError(f"grid: expected a resolution above 0, found {self.resolution:g}")
        if self.bounds is not None:
            west, south, east, north = self.bounds
            if not (np.isfinite(self.bounds).all() and west < east and south < north):
                raise ArgumentError(f"grid: expected bounds W,S,E,N, found {self.bounds}")

    @classmethod
    def parse(cls, text: str) -> "Target":
        """Return the target that ``CRS,RESOLUTION`` or ``CRS,RESOLUTION,W,S,E,N`` describes.

        Raises:
            ArgumentError: The text is something else.

        Example:
            >>> Target.parse("EPSG:3067,1000").resolution
            1000.0
            >>> Target.parse("EPSG:4326,0.01,5,45,15,55").bounds
            (5.0, 45.0, 15.0, 55.0)
        """
        words = text.split(",")
        numbers: list[float] = []
        while len(words) > 1 and len(numbers) < 5:
            try:
                numbers.insert(0, float(words[-1]))
            except ValueError:
                break
            words.pop()
        if len(numbers) not in (1, 5):
            raise ArgumentError(
                f'grid: expected CRS,RESOLUTION or CRS,RESOLUTION,W,S,E,N or an archive, found "{text}"'
            )
        bounds = (numbers[1], numbers[2], numbers[3], numbers[4]) if len(numbers) == 5 else None
        return cls(",".join(words), numbers[0], bounds)

    def grid(self, source: Grid) -> Grid:
        """Return the target grid of a source grid; its edges are multiples of the resolution, unless stated.

        Raises:
            InputError: It would have more pixels than any radar grid, or the source cannot be projected.
        """
        crs = parse_crs(self.crs)
        west, south, east, north = self.bounds or _snapped(_outline(source, crs), self.resolution)
        columns, rows = (
            max(2, round((high - low) / self.resolution)) for low, high in ((west, east), (south, north))
        )
        if columns * rows > MOST_PIXELS:
            raise InputError(f"grid: expected at most {MOST_PIXELS} pixels, found {rows} × {columns}")
        half = self.resolution / 2
        return Grid.from_centres(
            crs,
            west + half + self.resolution * np.arange(columns),
            north - half - self.resolution * np.arange(rows),
        )


def regrid(frames: xr.Dataset, target: Target | Grid) -> xr.Dataset:
    """Return frames of the schema on another grid.

    Args:
        frames: Frames of the schema.
        target: The grid, or the projection and resolution from which it follows.

    Raises:
        InputError: The grids do not overlap, or cannot be projected to one another.

    Example:
        >>> grid = Grid.from_centres(pyproj.CRS(3067), [500, 1500, 2500, 3500], [7_001_500, 7_000_500])
        >>> rate = [[[0.0, 4.0, 1.0, np.nan], [0.0, 0.0, 1.0, np.nan]]]
        >>> frames = schema.build(rate, ["2016-09-28T14:45"], grid, measured={}, attributes={})
        >>> coarse = regrid(frames, Target("EPSG:3067", 2000, (0, 6_998_000, 4000, 7_002_000)))
        >>> coarse.rainfall_rate.values[0].tolist()
        [[1.0, 1.0], [nan, nan]]
    """
    source = Grid.of(frames)
    grid = target if isinstance(target, Grid) else target.grid(source)
    matrix = overlaps(source, grid)
    rate = frames[schema.RATE]
    values = np.stack([_mean(matrix, frame, (grid.rows, grid.columns)) for frame in rate.values])
    measured = {
        **rate.attrs,
        "regridding": f"area-weighted mean of {source.rows} x {source.columns} pixels of {source.spacing}",
    }
    return schema.build(values, frames["time"].values, grid, measured=measured, attributes=frames.attrs)


def _mean(matrix: sparse.csr_array, rate: NDArray[np.float32], shape: tuple[int, int]) -> NDArray[np.float32]:
    """Return the area-weighted mean of the observed pixels, NaN where less than half was observed."""
    observed = np.isfinite(rate)
    total = matrix @ np.where(observed, rate, np.float32(0)).ravel()
    share = matrix @ observed.ravel().astype(np.float32)
    enough = share >= OBSERVED_SHARE - _ROUNDING
    mean = np.full(share.shape, np.nan, np.float32)
    np.divide(total, share, out=mean, where=enough)
    return mean.reshape(shape)


def _outline(source: Grid, crs: pyproj.CRS) -> tuple[float, float, float, float]:
    """Return the bounds of a grid in another projection."""
    west, north = source.west - source.dx / 2, source.north + source.dy / 2
    east, south = west + source.dx * source.columns, north - source.dy * source.rows
    transformer = pyproj.Transformer.from_crs(source.crs_wkt, crs, always_xy=True)
    try:
        found = transformer.transform_bounds(west, south, east, north, densify_pts=_EDGE_POINTS)
    except pyproj.exceptions.ProjError:
        found = (np.nan,) * 4
    if not np.isfinite(found).all() or not (found[0] < found[2] and found[1] < found[3]):
        raise InputError("grid: expected a projection of all of the file's grid; state bounds with W,S,E,N")
    return found[0], found[1], found[2], found[3]


def _snapped(bounds: tuple[float, float, float, float], step: float) -> tuple[float, float, float, float]:
    """Return the smallest bounds around these that are multiples of a step."""
    west, south, east, north = bounds
    low = [np.floor(edge / step + _ROUNDING) * step for edge in (west, south)]
    high = [np.ceil(edge / step - _ROUNDING) * step for edge in (east, north)]
    return float(low[0]), float(low[1]), float(high[0]), float(high[1])
