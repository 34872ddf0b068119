"""The grid of a GRIB2 message: section 3, with WMO's templates 3.0, 3.10, 3.20, 3.30 and 3.140."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pyproj
from numpy.typing import NDArray

from stormcell.data.grid import MOST_PIXELS, Grid
from stormcell.data.readers.grib2_sections import Section
from stormcell.errors import InputError

LAT_LON, MERCATOR, POLAR, LAMBERT, EQUAL_AREA = 0, 10, 20, 30, 140
_MISSING = 2**32 - 1
# The scanning mode: octet of each template, and its bits.
_SCANNING = {LAT_LON: 72, MERCATOR: 60, POLAR: 65, LAMBERT: 65, EQUAL_AREA: 64}
_WESTWARD, _NORTHWARD, _BY_COLUMNS, _ALTERNATING, _OTHER = 0x80, 0x40, 0x20, 0x10, 0x0F
# WMO's code table 3.2, without the shapes that give their own lengths (1, 3, 7).
_SHAPES: dict[int, dict[str, Any]] = {
    0: {"R": 6367470.0},
    2: {"a": 6378160.0, "b": 6356775.0},
    4: {"ellps": "GRS80"},
    5: {"ellps": "WGS84"},
    6: {"R": 6371229.0},
    8: {"R": 6371200.0},
    9: {"a": 6377563.396, "b": 6356256.909},
}
_INCREMENTS_GIVEN = 0x20, 0x10  # along a row, along a column
_MILLI, _MICRO = 1e-3, 1e-6


@dataclass(frozen=True)
class Layout:
    """The order of the values of a field.

    Attributes:
        rows: Number of rows.
        columns: Number of columns.
        scanning: WMO's scanning mode.
    """

    rows: int
    columns: int
    scanning: int

    def arrange(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return the values ``(rows × columns,)`` as ``(rows, columns)``, from the north-west.

        Example:
            >>> Layout(2, 3, _NORTHWARD).arrange(np.arange(6)).tolist()
            [[3, 4, 5], [0, 1, 2]]
        """
        by_columns = bool(self.scanning & _BY_COLUMNS)
        shape = (self.columns, self.rows) if by_columns else (self.rows, self.columns)
        field = values.reshape(shape)
        if self.scanning & _ALTERNATING:
            field = field.copy()
            field[1::2] = field[1::2, ::-1].copy()
        if by_columns:
            field = field.T
        if self.scanning & _WESTWARD:
            field = field[:, ::-1]
        return field[::-1] if self.scanning & _NORTHWARD else field


def grid_of(section: Section) -> tuple[Grid, Layout]:
    """Return the grid of a field and the order of its values, from section 3.

    Longitudes from 180 to 360° become −180 to 0°.

    Raises:
        InputError: The template is not read, or its numbers contradict each other.
    """
    return _grid_of(bytes(section.content))


# All messages of a folder have the same grid.
@lru_cache(maxsize=8)
def _grid_of(content: bytes) -> tuple[Grid, Layout]:
    section = Section(3, content)
    template = section.unsigned(13, 2)
    if template not in _SCANNING:
        raise InputError(
            "grid: expected latitude–longitude, Mercator, polar stereographic, Lambert conformal or "
            f"equal-area, found template 3.{template}"
        )
    columns, rows = section.unsigned(31, 4), section.unsigned(35, 4)
    points = section.unsigned(7, 4)
    if section.unsigned(11) or points != rows * columns:
        raise InputError(f"grid: expected {rows} rows of {columns} points, found {points} points")
    if points > MOST_PIXELS:
        raise InputError(f"grid: expected at most {MOST_PIXELS} points, found {points}")
    scanning = section.unsigned(_SCANNING[template])
    if scanning & _OTHER:
        raise InputError(f"scanning mode: expected rows without offsets, found {scanning:#04x}")
    layout = Layout(rows, columns, scanning)
    place = _in_degrees if template == LAT_LON else _projected
    return place(section, template, layout), layout


def _in_degrees(section: Section, template: int, layout: Layout) -> Grid:  # noqa: ARG001
    # Angles are in a fraction of a basic angle in degrees, or in millionths of a degree.
    basic, parts = section.unsigned(39, 4), section.unsigned(43, 4)
    if basic in (0, _MISSING) or parts in (0, _MISSING):
        basic, parts = 1, 1_000_000
    lat, lon, last_lat, last_lon = (section.signed(octet, 4) * basic / parts for octet in (47, 51, 56, 60))
    unit = basic / parts
    dx = _step(section, 0, 64, unit, lon, last_lon, layout.columns, bool(layout.scanning & _WESTWARD))
    dy = _step(section, 1, 68, unit, lat, last_lat, layout.rows, not layout.scanning & _NORTHWARD)
    west = lon - dx * (layout.columns - 1) if layout.scanning & _WESTWARD else lon
    north = lat + dy * (layout.rows - 1) if layout.scanning & _NORTHWARD else lat
    if west >= 180:
        west -= 360
    if max(abs(lat), abs(last_lat)) > 90 or not -360 <= west < 360:
        raise InputError(f"grid: expected a place on the earth, found latitude {lat:g}, longitude {lon:g}")
    earth = _earth(section)
    crs = pyproj.CRS(4326) if earth == _SHAPES[5] else _longitudes(earth)
    return Grid(crs.to_wkt(), west, north, dx, dy, layout.columns, layout.rows)


def _longitudes(earth: dict[str, Any]) -> pyproj.CRS:
    crs = pyproj.CRS.from_dict({"proj": "longlat", **earth}).to_json_dict()
    # PROJ has no name for it but "unknown".
    axes = ", ".join(f"{name} = {value}" for name, value in earth.items())
    return pyproj.CRS.from_json_dict({**crs, "name": f"Latitude and longitude, {axes}"})


def _step(
    section: Section, bit: int, octet: int, unit: float, first: float, last: float, number: int, falling: bool
) -> float:
    """Return the distance between neighbours in degrees, positive, from the increment or from both ends."""
    way = first - last if falling else last - first
    if octet == 64 and way < 0:
        way += 360  # across the meridian where longitudes begin anew
    if number < 2 or not way > 0:
        raise InputError(f"grid: expected {number} points from {first:g}° to {last:g}°, found another order")
    step = way / (number - 1)
    units = section.unsigned(octet, 4)
    if not section.unsigned(55) & _INCREMENTS_GIVEN[bit] or units in (0, _MISSING):
        return step
    given = units / round(1 / unit) if unit < 1 else units * unit
    # The ends are rounded by at most a few units, and the increment by half a unit at every point.
    if abs(given * (number - 1) - way) > unit * (number - 1) / 2 + 10 * unit:
        raise InputError(f"grid: expected an increment of {step:.6g}°, found {given:.6g}°")
    # An increment that reaches the last point is exact.
    return given if abs(given * (number - 1) - way) <= step / 100 else step


def _projected(section: Section, template: int, layout: Layout) -> Grid:
    lat, lon = section.signed(39, 4) * _MICRO, section.signed(43, 4) * _MICRO
    crs = pyproj.CRS.from_dict({**_projection(section, template), **_earth(section), "units": "m"})
    octets = (65, 69) if template == MERCATOR else (56, 60)
    dx, dy = (section.unsigned(octet, 4) * _MILLI for octet in octets)
    x, y = pyproj.Proj(crs)(lon, lat)
    if not np.isfinite((x, y)).all():
        raise InputError(f"grid: expected a place of the projection, found {lat:g}° N, {lon:g}° E")
    west = x - dx * (layout.columns - 1) if layout.scanning & _WESTWARD else x
    north = y + dy * (layout.rows - 1) if layout.scanning & _NORTHWARD else y
    return Grid(crs.to_wkt(), west, north, dx, dy, layout.columns, layout.rows)


def _projection(section: Section, template: int) -> dict[str, Any]:
    degrees = {octet: section.signed(octet, 4) * _MICRO for octet in (47, 48, 51, 52)}
    if template == MERCATOR:
        if turned := section.unsigned(61, 4):
            raise InputError(f"grid: expected rows along the equator, found an angle of {turned * _MICRO:g}°")
        return {"proj": "merc", "lat_ts": degrees[48]}
    if template == EQUAL_AREA:
        return {"proj": "laea", "lat_0": degrees[47], "lon_0": degrees[51]}
    south = section.unsigned(64) & 0x80
    if template == POLAR:
        pole = -90 if south else 90
        return {"proj": "stere", "lat_0": pole, "lat_ts": degrees[48], "lon_0": degrees[52]}
    return {
        "proj": "lcc",
        "lat_0": degrees[48],
        "lon_0": degrees[52],
        "lat_1": section.signed(66, 4) * _MICRO,
        "lat_2": section.signed(70, 4) * _MICRO,
    }


def _earth(section: Section) -> dict[str, Any]:
    shape = section.unsigned(15)
    if shape in _SHAPES:
        return _SHAPES[shape]

    def length(octet: int) -> float:
        return section.unsigned(octet + 1, 4) / 10.0 ** section.unsigned(octet)

    if shape == 1:
        earth = {"R": length(17)}
    elif shape in (3, 7):
        kilometres = 1000 if shape == 3 else 1
        earth = {"a": length(22) * kilometres, "b": length(27) * kilometres}
    else:
        raise InputError(f"shape of the earth: expected 0 to 9 of WMO's code table 3.2, found {shape}")
    if not all(6.3e6 < each < 6.4e6 for each in earth.values()):
        raise InputError(f"shape of the earth: expected a radius of about 6371 km, found {earth}")
    return earth
