"""Where the pixels are: a regular grid in a map projection, or in degrees."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pyproj
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from pyproj.exceptions import CRSError, ProjError

from stormcell.errors import InputError

# 24.5 million pixels is the largest composite in use (the United States at 0.01°). A file that claims
# several times that is not believed, and nothing of that size is allocated for it.
MOST_PIXELS = 2**27


@dataclass(frozen=True)
class Grid:
    """A regular grid of pixels, row 0 the northernmost.

    Attributes:
        crs_wkt: The coordinate reference system, as WKT, in metres or degrees.
        west: x of the centres of the first column.
        north: y of the centres of the first row.
        dx: From column to column, positive.
        dy: From row to row, positive, though y falls.
        columns: Number of columns.
        rows: Number of rows.
    """

    crs_wkt: str
    west: float
    north: float
    dx: float
    dy: float
    columns: int
    rows: int

    @property
    def x(self) -> NDArray[np.float64]:
        """Column centres, rising: metres, or degrees east."""
        return self.west + self.dx * np.arange(self.columns, dtype=np.float64)

    @property
    def y(self) -> NDArray[np.float64]:
        """Row centres, falling: metres, or degrees north."""
        return self.north - self.dy * np.arange(self.rows, dtype=np.float64)

    @property
    def degrees(self) -> bool:
        """Whether x and y are longitude and latitude."""
        return bool(pyproj.CRS.from_wkt(self.crs_wkt).is_geographic)

    def crs_attributes(self) -> dict[str, Any]:
        """Attributes of a CF grid mapping variable, with the WKT under both of its usual names."""
        attributes = pyproj.CRS.from_wkt(self.crs_wkt).to_cf()
        return {**attributes, "crs_wkt": self.crs_wkt, "spatial_ref": self.crs_wkt}

    def lat_lon(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Latitude and longitude of every pixel centre, each ``(y, x)``, in degrees."""
        return _lat_lon(self)


def difference(expected: xr.Dataset, found: xr.Dataset) -> str | None:
    """What sets the grid of one dataset in the schema apart from another's; None if they are the same.

    Headers round their numbers: places count as the same to a hundredth of a pixel.
    """
    shapes = [f"{ds.sizes['y']} × {ds.sizes['x']}" for ds in (expected, found)]
    if shapes[0] != shapes[1]:
        return f"expected a grid of {shapes[0]}, the archive's, found {shapes[1]}"
    for name in ("y", "x"):
        old, new = expected[name].values, found[name].values
        if np.abs(old - new).max() > abs(old[1] - old[0]) / 100:
            ranges = [f"{axis[0]:.10g} … {axis[-1]:.10g}" for axis in (old, new)]
            return f"expected {name} = {ranges[0]}, the archive's, found {ranges[1]}"
    old_crs, new_crs = (str(ds["crs"].attrs["crs_wkt"]) for ds in (expected, found))
    if old_crs != new_crs and pyproj.CRS.from_wkt(old_crs) != pyproj.CRS.from_wkt(new_crs):
        return f"expected the projection {crs_name(old_crs)}, the archive's, found {crs_name(new_crs)}"
    return None


def regular(crs: pyproj.CRS, x: ArrayLike, y: ArrayLike) -> Grid:
    """The grid of given pixel centres: metres (rising or falling), or degrees for a geographic system.

    Raises:
        InputError: The centres are too few, not finite or not evenly spaced, or the system is not in metres.

    Example:
        >>> grid = regular(pyproj.CRS(3067), [0, 1000, 2000], [6_600_000, 6_601_000])
        >>> grid.north, grid.dy, grid.rows
        (6601000.0, 1000.0, 2)
    """
    east, north = np.sort(np.asarray(x, np.float64)), np.sort(np.asarray(y, np.float64))[::-1]
    if not crs.is_geographic and any(axis.unit_conversion_factor != 1 for axis in crs.axis_info[:2]):
        raise InputError(f"projection: expected one in metres, found {crs_name(crs.to_wkt())}")
    if crs.is_geographic and east[0] >= 180:  # 180..360 is -180..0
        east = east - 360
    steps: list[float] = []
    for name, axis in (("x", east), ("y", north)):
        if axis.ndim != 1 or len(axis) < 2 or not np.isfinite(axis).all():
            raise InputError(f"{name}: expected at least 2 finite pixel centres, found {axis.size}")
        step = (axis[-1] - axis[0]) / (len(axis) - 1)
        even = axis[0] + step * np.arange(len(axis))
        # Coordinates in float32 are off by up to a thousandth of a pixel.
        if step == 0 or np.abs(axis - even).max() > abs(step) / 100:
            raise InputError(f"{name}: expected evenly spaced pixel centres, found other steps than {step:g}")
        steps.append(float(abs(step)))
    size = len(east) * len(north)
    if size > MOST_PIXELS:
        raise InputError(f"grid: expected at most {MOST_PIXELS} pixels, found {size}")
    return Grid(crs.to_wkt(), float(east[0]), float(north[0]), steps[0], steps[1], len(east), len(north))


def parse_crs(text: str) -> pyproj.CRS:
    """A coordinate reference system from WKT, a PROJ string or an EPSG code.

    Raises:
        InputError: PROJ cannot read it.
    """
    try:
        return pyproj.CRS.from_user_input(text)
    except CRSError:
        raise InputError(f"projection: expected WKT or a PROJ string, found {text[:80]!r}") from None


@lru_cache(
    maxsize=2
)  # All frames of an archive share one grid; working it out takes longer than reading one.
def _lat_lon(grid: Grid) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    x, y = np.meshgrid(grid.x, grid.y)
    if not grid.degrees:
        crs = pyproj.CRS.from_wkt(grid.crs_wkt)
        to_degrees = pyproj.Transformer.from_crs(crs, crs.geodetic_crs, always_xy=True)
        try:
            x, y = to_degrees.transform(x, y, errcheck=True)
        except ProjError as error:
            raise InputError(f"grid: its pixels have no latitude and longitude: {error}") from None
    # float32 is good to half a metre.
    lat, lon = y.astype(np.float32), x.astype(np.float32)
    lat.flags.writeable = lon.flags.writeable = False
    return lat, lon


def crs_name(crs_wkt: str) -> str:
    """A coordinate reference system in words: the method of its projection and the numbers that are not 0.

    Example:
        >>> crs_name(pyproj.CRS(4326).to_wkt())
        'WGS 84'
    """
    try:
        crs = pyproj.CRS.from_wkt(crs_wkt)
    except CRSError:
        return "unknown"
    operation = crs.coordinate_operation
    if operation is None:
        return str(crs.name)
    numbers = ", ".join(f"{p.name.lower()} {p.value:.10g}" for p in operation.params if p.value)
    return f"{operation.method_name} ({numbers})"
