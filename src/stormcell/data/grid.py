"""Pixel positions: a regular grid in a map projection, or in degrees, and the spacing of its pixels."""

import re
import warnings
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, Literal

import numpy as np
import pyproj
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from pyproj.exceptions import CRSError, ProjError

from stormcell.data.projection import expect_on_earth, to_degrees
from stormcell.data.units import length
from stormcell.errors import FramesError, InputError

# The largest composite in use has 24.5 million pixels (the United States at 0.01°). A file that claims
# several times that number is refused before memory is allocated for it.
MOST_PIXELS = 2**27
_INIT = re.compile(r"\+?init=epsg:(\d+)(?:\s+\+(?:no_defs|type=crs|wktext))*", re.IGNORECASE)
_ROWS = 64  # that are projected at once
_DEGREE_KM = 111.2  # of latitude, on a sphere of 6371 km


@dataclass(frozen=True)
class Spacing:
    """Distance between neighbouring pixel centres.

    Attributes:
        dy: From row to row, positive.
        dx: From column to column, positive.
        unit: Unit of both.

    Example:
        >>> y, x = 500.0 - 1000 * np.arange(4), 1000.0 * np.arange(6)
        >>> frames = xr.DataArray(np.zeros((1, 4, 6)), coords={"y": y, "x": x}, dims=("time", "y", "x"))
        >>> str(Spacing.of(frames))
        '1000 × 1000 m'
    """

    dy: float
    dx: float
    unit: Literal["m", "degree"]

    @classmethod
    def of(cls, frames: xr.DataArray) -> "Spacing":
        """Return the spacing of frames ``(time, y, x)``, from their coordinates.

        Raises:
            FramesError: A coordinate is missing, or has fewer than two values.
            InputError: They are not in a unit of length or in degrees.
        """
        steps = []
        for axis in ("y", "x"):
            if axis not in frames.coords:
                raise FramesError(f"frames: expected a coordinate {axis}, found none")
            if frames.sizes[axis] < 2:
                raise FramesError(f"frames: expected 2 or more values of {axis}, found {frames.sizes[axis]}")
            values = frames[axis].values
            steps.append(abs(float(values[-1] - values[0])) / (len(values) - 1))
        if str(frames["x"].attrs.get("units")).startswith("degree"):
            return cls(steps[0], steps[1], "degree")
        return cls(steps[0] * _metres(frames["y"]), steps[1] * _metres(frames["x"]), "m")

    def same_as(self, other: "Spacing") -> bool:
        """Whether two spacings agree to one per cent, because file headers round their numbers."""
        close = np.isclose([self.dy, self.dx], [other.dy, other.dx], rtol=0.01, atol=0)
        return self.unit == other.unit and bool(close.all())

    def __str__(self) -> str:
        return f"{self.dy:g} × {self.dx:g} {self.unit}"


def pixel_km(frames: xr.DataArray) -> tuple[float, float]:
    """Return height and width of a pixel in kilometres; for a grid in degrees, at its mean latitude.

    Raises:
        FramesError: A coordinate is missing, or has fewer than two values.

    Example:
        >>> degrees = {"units": "degrees_east"}
        >>> coords = {"y": [60.01, 60.0, 59.99], "x": ("x", [24.0, 24.01], degrees)}
        >>> dy, dx = pixel_km(xr.DataArray(np.zeros((1, 3, 2)), coords=coords, dims=("time", "y", "x")))
        >>> round(dy, 3), round(dx, 3)
        (1.112, 0.556)
    """
    spacing = Spacing.of(frames)
    if spacing.unit == "m":
        return spacing.dy / 1000, spacing.dx / 1000
    narrower = float(np.cos(np.deg2rad(frames["y"].mean())))
    return spacing.dy * _DEGREE_KM, spacing.dx * _DEGREE_KM * narrower


@dataclass(frozen=True)
class Grid:
    """A regular grid of pixels, row 0 the northernmost.

    Attributes:
        crs_wkt: Coordinate reference system as WKT, in metres or degrees.
        west: x of the pixel centres of the first column.
        north: y of the pixel centres of the first row.
        dx: Distance between columns, positive.
        dy: Distance between rows, positive (although y decreases).
        columns: Number of columns.
        rows: Number of rows.

    Raises:
        InputError: A number is not finite, the pixels are fewer than 2 × 2 or too many, or they are not on
            the earth where the projection is valid.

    Example:
        >>> grid = Grid.from_centres(pyproj.CRS(3067), [0, 1000, 2000], [6_600_000, 6_601_000])
        >>> grid.north, grid.dy, grid.rows
        (6601000.0, 1000.0, 2)
    """

    crs_wkt: str
    west: float
    north: float
    dx: float
    dy: float
    columns: int
    rows: int

    def __post_init__(self) -> None:
        place = (self.west, self.north, self.dx, self.dy)
        if not (np.isfinite(place).all() and min(self.dx, self.dy) > 0 and min(self.columns, self.rows) >= 2):
            raise InputError(
                f"grid: expected at least 2 × 2 pixels at finite places, found {self.rows} × {self.columns} "
                f"at {self.west:g}, {self.north:g}, {self.dx:g} × {self.dy:g} apart"
            )
        if self.columns * self.rows > MOST_PIXELS:
            raise InputError(f"grid: expected at most {MOST_PIXELS} pixels, found {self.columns * self.rows}")
        _expect_on_earth(self)

    @classmethod
    def from_centres(cls, crs: pyproj.CRS, x: ArrayLike, y: ArrayLike) -> "Grid":
        """Return the grid of pixel centres in metres, or in degrees for a geographic system.

        Args:
            crs: Coordinate reference system.
            x: Centres of the columns, increasing or decreasing.
            y: Centres of the rows, increasing or decreasing.

        Raises:
            InputError: The centres are too few, not finite or not evenly spaced, or the system is not in
                metres.
        """
        east, north = np.sort(np.asarray(x, np.float64)), np.sort(np.asarray(y, np.float64))[::-1]
        if not crs.is_geographic and any(axis.unit_conversion_factor != 1 for axis in crs.axis_info[:2]):
            raise InputError(f"projection: expected one in metres, found {crs_name(crs.to_wkt())}")
        if crs.is_geographic and east[0] >= 180:  # from 180 … 360 to -180 … 0
            east = east - 360
        dx, dy = _even_distance("x", east), _even_distance("y", north)
        return cls(crs.to_wkt(), float(east[0]), float(north[0]), dx, dy, len(east), len(north))

    @classmethod
    def of(cls, ds: xr.Dataset) -> "Grid":
        """Return the grid of a dataset that has ``x``, ``y`` and ``crs`` as in an archive.

        Raises:
            InputError: The pixel centres are not evenly spaced, or the projection cannot be read.
        """
        crs = parse_crs(str(ds["crs"].attrs.get("crs_wkt")))
        if crs.is_geographic:
            return cls.from_centres(crs, ds["x"].values, ds["y"].values)
        return cls.from_centres(crs, ds["x"].values * _metres(ds["x"]), ds["y"].values * _metres(ds["y"]))

    @property
    def spacing(self) -> Spacing:
        """Spacing of the pixels."""
        return Spacing(self.dy, self.dx, "degree" if self.degrees else "m")

    @property
    def x(self) -> NDArray[np.float64]:
        """Column centres, increasing, in metres or degrees east."""
        return self.west + self.dx * np.arange(self.columns, dtype=np.float64)

    @property
    def y(self) -> NDArray[np.float64]:
        """Row centres, decreasing, in metres or degrees north."""
        return self.north - self.dy * np.arange(self.rows, dtype=np.float64)

    @cached_property
    def degrees(self) -> bool:
        """Whether x and y are longitude and latitude."""
        return bool(pyproj.CRS.from_wkt(self.crs_wkt).is_geographic)

    def crs_attributes(self) -> dict[str, Any]:
        """Return the attributes of a CF grid mapping variable, with the WKT under both common names."""
        with warnings.catch_warnings():
            # CF has no name for the skew of an oblique Mercator projection (Switzerland). The WKT has it.
            warnings.filterwarnings("ignore", message=".*lost in conversion to CF")
            attributes = pyproj.CRS.from_wkt(self.crs_wkt).to_cf()
        return {**attributes, "crs_wkt": self.crs_wkt, "spatial_ref": self.crs_wkt}

    def lat_lon(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return latitude and longitude of every pixel centre, each ``(y, x)``, in degrees."""
        return _lat_lon(self)

    def difference(self, other: "Grid") -> str | None:
        """Describe how another grid differs from an archive's; None if it is the same.

        Positions may differ by a hundredth of a pixel, because file headers round their numbers.

        Example:
            >>> grid = Grid.from_centres(pyproj.CRS(3067), [0, 1000], [1000, 0])
            >>> grid.difference(Grid.from_centres(pyproj.CRS(3067), [0, 2000], [1000, 0]))
            "expected the archive's x = 0 … 1000, found 0 … 2000"
        """
        shapes = [f"{grid.rows} × {grid.columns}" for grid in (self, other)]
        if shapes[0] != shapes[1]:
            return f"expected the archive's grid of {shapes[0]}, found {shapes[1]}"
        for name, step, old, new in (("y", self.dy, self.y, other.y), ("x", self.dx, self.x, other.x)):
            if np.abs(old - new).max() > step / 100:
                ranges = [f"{axis[0]:.10g} … {axis[-1]:.10g}" for axis in (old, new)]
                return f"expected the archive's {name} = {ranges[0]}, found {ranges[1]}"
        crs, other_crs = self.crs_wkt, other.crs_wkt
        if crs != other_crs and pyproj.CRS.from_wkt(crs) != pyproj.CRS.from_wkt(other_crs):
            return f"expected the archive's projection {crs_name(crs)}, found {crs_name(other_crs)}"
        return None


def parse_crs(text: str) -> pyproj.CRS:
    """Return a coordinate reference system from WKT, a PROJ string or an EPSG code.

    Raises:
        InputError: PROJ cannot read it.
    """
    try:
        # pyproj warns of the form "+init=epsg:3067", which means the same.
        init = _INIT.fullmatch(text.strip())
        return pyproj.CRS.from_user_input(f"EPSG:{init[1]}" if init else text)
    except CRSError:
        raise InputError(
            f"projection: expected WKT, a PROJ string or a known EPSG code, found {text[:80]!r}"
        ) from None


def crs_name(crs_wkt: str) -> str:
    """Describe a coordinate reference system: the projection's method and its non-zero parameters.

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
    return f"{operation.method_name} with {numbers}" if numbers else str(operation.method_name)


def _metres(axis: xr.DataArray) -> float:
    """Return the unit of a coordinate of a map projection in metres; without the attribute, it is 1."""
    return length(str(axis.attrs.get("units") or "m"))


def _even_distance(name: str, centres: NDArray[np.float64]) -> float:
    """Return the distance between evenly spaced centres, positive."""
    if centres.ndim != 1 or len(centres) < 2 or not np.isfinite(centres).all():
        raise InputError(f"{name}: expected at least 2 finite pixel centres, found {centres.size}")
    step = (centres[-1] - centres[0]) / (len(centres) - 1)
    even = centres[0] + step * np.arange(len(centres))
    # Coordinates in float32 are off by up to a thousandth of a pixel.
    if step == 0 or np.abs(centres - even).max() > abs(step) / 100:
        raise InputError(f"{name}: expected evenly spaced pixel centres, found other steps than {step:g}")
    return float(abs(step))


@lru_cache(maxsize=8)
def _expect_on_earth(grid: Grid) -> None:
    expect_on_earth(pyproj.CRS.from_wkt(grid.crs_wkt), grid.x, grid.y)


# All frames of an archive share one grid, and computing its coordinates takes longer than reading a frame.
@lru_cache(maxsize=2)
def _lat_lon(grid: Grid) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    shape = grid.rows, grid.columns
    if grid.degrees:
        lat = np.broadcast_to(grid.y.astype(np.float32)[:, None], shape)
        return lat, np.broadcast_to(grid.x.astype(np.float32), shape)
    lat, lon = np.empty(shape, np.float32), np.empty(shape, np.float32)  # accurate to half a metre
    degrees = to_degrees(pyproj.CRS.from_wkt(grid.crs_wkt))
    # Some rows at a time, because PROJ takes and returns float64.
    for start in range(0, grid.rows, _ROWS):
        rows = slice(start, start + _ROWS)
        x, y = np.meshgrid(grid.x, grid.y[rows])
        try:
            lon[rows], lat[rows] = degrees.transform(x, y, errcheck=True)
        except ProjError as error:
            raise InputError(f"grid: expected pixels with latitude and longitude: {error}") from None
    lat.flags.writeable = lon.flags.writeable = False
    return lat, lon
