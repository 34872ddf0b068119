"""The schema of an archive: one ``xarray.Dataset`` that follows the MLCast source-data conventions 0.2.0.

    rainfall_rate (time, y, x)  float32, kg m-2 h-1 (= mm/h); NaN: not observed, 0: observed dry
    time                        strictly increasing, UTC; for an accumulation, the end of its period
    y, x                        pixel centres, row 0 the northernmost: metres of the projection, or degrees
    lat, lon (y, x)             degrees
    crs                         the grid mapping: spatial_ref, crs_wkt
    missing_times               missing steps between the first and the last time

The time step is the most common distance between neighbouring times. The attributes of ``rainfall_rate``
describe the measured quantity: ``source_quantity`` (rate, dbz or amount), ``accumulation_minutes`` of an
amount, ``zr_a`` and ``zr_b`` of a reflectivity. The attributes of the dataset give its ``source`` and
``license``.
"""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyproj
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from pyproj.exceptions import CRSError
from xarray.backends import BackendArray
from xarray.core.indexing import (
    ExplicitIndexer,
    IndexingSupport,
    LazilyIndexedArray,
    explicit_indexing_adapter,
)

from stormcell.data.grid import Grid, Spacing
from stormcell.data.time_axis import TimeAxis
from stormcell.errors import ArchiveError

RATE = "rainfall_rate"
UNITS = "kg m-2 h-1"
STANDARD_NAME = "rainfall_flux"
# Attributes of the dataset that describe the origin of the data.
ORIGIN = ("title", "source", "license", "institution")
# Attributes of the rate that all frames of an archive share: the quantity, and the rules for cleaning.
MEANING = (
    "source_quantity",
    "accumulation_minutes",
    "stated_nodata",
    "zr_a",
    "zr_b",
    "highest_rate_kept",
    "smallest_group_kept",
    "clutter_mask",
)

_SURROGATE = re.compile("[\ud800-\udfff]")
_MAP_AXES = {
    "y": {"standard_name": "projection_y_coordinate", "units": "m", "axis": "Y"},
    "x": {"standard_name": "projection_x_coordinate", "units": "m", "axis": "X"},
}
_DEGREES = {
    "y": {"standard_name": "latitude", "units": "degrees_north"},
    "x": {"standard_name": "longitude", "units": "degrees_east"},
}
_DEGREE_AXES = {name: {**attributes, "axis": name.upper()} for name, attributes in _DEGREES.items()}


def build(
    rate: ArrayLike,
    times: ArrayLike,
    grid: Grid,
    *,
    measured: Mapping[str, Any],
    attributes: Mapping[str, Any],
) -> xr.Dataset:
    """Return frames as a dataset of the schema.

    Args:
        rate: Rain rates ``(time, y, x)`` in mm/h, row 0 the northernmost, NaN where not observed.
        times: Times of the frames, strictly increasing, UTC.
        grid: Positions of the pixels.
        measured: Attributes of the rate: ``source_quantity`` and the attributes that belong to it.
        attributes: Attributes of the dataset: ``source``, ``license``, …

    Raises:
        ArchiveError: The times are too far apart to belong to one archive.

    Example:
        >>> grid = Grid.from_centres(pyproj.CRS(3067), [0, 1000, 2000], [6_601_000, 6_600_000])
        >>> ds = build(np.zeros((1, 2, 3)), ["2016-09-28T14:45"], grid, measured={}, attributes={})
        >>> check(ds)
        >>> ds.rainfall_rate.attrs["units"]
        'kg m-2 h-1'
    """
    seconds = np.asarray(times, "datetime64[s]")
    axes = _DEGREE_AXES if grid.degrees else _MAP_AXES
    what = {"standard_name": STANDARD_NAME, "long_name": "rain rate", "units": UNITS, "grid_mapping": "crs"}
    return xr.Dataset(
        {RATE: (("time", "y", "x"), np.asarray(rate, np.float32), {**what, **measured})},
        coords={
            # The default resolution of xarray. Not every version preserves others.
            "time": ("time", seconds.astype("datetime64[ns]"), {"standard_name": "time", "axis": "T"}),
            "y": ("y", grid.y, axes["y"]),
            "x": ("x", grid.x, axes["x"]),
            **{
                name: (("y", "x"), LazilyIndexedArray(_Degrees(grid, k)), _DEGREES[axis])
                for k, (name, axis) in enumerate((("lat", "y"), ("lon", "x")))
            },
            "crs": ((), np.int32(0), grid.crs_attributes()),
            "missing_times": (
                "missing_times",
                TimeAxis(seconds).missing().astype("datetime64[ns]"),
                {"long_name": "time steps without a frame"},
            ),
        },
        attrs=readable({"Conventions": "CF-1.11", **attributes}),
    )


class _Degrees(BackendArray):
    """Latitudes or longitudes of a grid, which are computed when they are used.

    Only the first frame of an archive needs them, and for a large grid they take longer than the frame.
    """

    dtype = np.dtype(np.float32)

    def __init__(self, grid: Grid, index: int) -> None:
        self.grid, self.index = grid, index
        self.shape = grid.rows, grid.columns

    def __getitem__(self, key: ExplicitIndexer) -> Any:
        return explicit_indexing_adapter(key, self.shape, IndexingSupport.BASIC, self._basic)

    def _basic(self, key: Any) -> Any:
        return self.grid.lat_lon()[self.index][key]


def readable(attributes: Mapping[Any, Any]) -> dict[str, Any]:
    r"""Return attributes in which every text is Unicode: bytes that are not UTF-8 are replaced.

    Example:
        >>> readable({"title": b"caf\xc3\xa9", "zr_a": 200.0})
        {'title': 'café', 'zr_a': 200.0}
        >>> readable({"title": "caf\udce9"})["title"] == "caf\ufffd"
        True
    """

    def text(value: Any) -> Any:
        if isinstance(value, bytes):
            return value.decode("utf-8", "replace")
        # Python keeps a byte that it cannot decode as a lone surrogate, which no file can have.
        return _SURROGATE.sub("\N{REPLACEMENT CHARACTER}", value) if isinstance(value, str) else value

    return {str(text(name)): text(value) for name, value in attributes.items()}


def adopt(ds: xr.Dataset) -> xr.Dataset:
    """Rename the variables of an opened store to the names of this schema.

    Other writers of the MLCast conventions name the rate ``mmh`` or ``rain_rate`` and its unit mm/h.

    Raises:
        ArchiveError: It has no rain rate, or more than one.
    """
    rates = [
        name
        for name, array in ds.data_vars.items()
        if array.ndim == 3
        and (name == RATE or array.attrs.get("standard_name") in ("rainfall_flux", "rainfall_rate"))
    ]
    if len(rates) != 1:
        raise ArchiveError(f"expected one variable of rain rate (time, y, x), found {len(rates)}")
    rate = ds[rates[0]]
    mapping = rate.attrs.get("grid_mapping", "crs")
    names = {
        old: new for old, new in ((rates[0], RATE), (mapping, "crs")) if old != new and old in ds.variables
    }
    ds = ds.rename_vars(names).assign_attrs(readable(ds.attrs))
    ds[RATE].attrs.update(standard_name=STANDARD_NAME, grid_mapping="crs")
    if rate.attrs.get("units") in ("mm/h", "mm h-1"):
        ds[RATE].attrs["units"] = UNITS
    # The index of an archive is no property of a pixel or a time, and does not go where rates go.
    index = [name for name in ("tile_statistics", "frame_statistics", "frame_hash") if name in ds.coords]
    return ds.reset_coords(index).set_coords([name for name in ("lat", "lon", "crs") if name in ds.variables])


def check(ds: xr.Dataset) -> None:
    """Check a dataset against the schema. The rates are not read; see :func:`value_problems`.

    Raises:
        ArchiveError: The dataset does not follow the schema; the message lists every problem.
    """
    if found := problems(ds):
        raise ArchiveError("; ".join(found))


def problems(ds: xr.Dataset) -> list[str]:
    """List the deviations from the schema, except in the rates; empty if the dataset follows it."""
    if RATE not in ds.data_vars:
        return [
            f"{RATE}: expected this variable, found {', '.join(map(str, ds.data_vars)) or 'no variables'}"
        ]
    rate = ds[RATE]
    if rate.dims != ("time", "y", "x") or 0 in rate.shape:
        return [f"{RATE}: expected non-empty dimensions (time, y, x), found {dict(rate.sizes)}"]
    absent = [
        name for name in ("time", "y", "x", "lat", "lon", "crs", "missing_times") if name not in ds.variables
    ]
    if absent:
        return [f"variables: expected {', '.join(absent)} beside {RATE}, found no such variables"]
    return [*_rate_problems(rate), *_time_problems(ds), *_grid_problems(ds)]


def value_problems(rate: NDArray[np.floating]) -> list[str]:
    """List the impossible values among rain rates in mm/h of any shape; empty if every value is possible."""
    found = []
    if bool(np.isinf(rate).any()):
        found.append(f"{RATE}: expected finite rates or NaN, found infinite values")
    lowest = np.fmin.reduce(rate, axis=None, initial=np.inf)
    if lowest < 0:
        found.append(f"{RATE}: expected rates of 0 or more, found {lowest:g}")
    return found


def _rate_problems(rate: xr.DataArray) -> list[str]:
    expected = {"units": UNITS, "standard_name": STANDARD_NAME, "grid_mapping": "crs"}
    found = [
        f"{RATE}: expected {key} {value!r}, found {rate.attrs.get(key)!r}"
        for key, value in expected.items()
        if rate.attrs.get(key) != value
    ]
    if rate.dtype != np.float32:
        found.append(f"{RATE}: expected float32, found {rate.dtype}")
    return found


def _time_problems(ds: xr.Dataset) -> list[str]:
    time, missing = ds["time"].values, ds["missing_times"].values
    if time.dtype.kind != "M" or missing.dtype.kind != "M":
        return [f"time, missing_times: expected dates, found {time.dtype}, {missing.dtype}"]
    if np.isnat(time).any() or not (np.diff(time) > np.timedelta64(0)).all():
        return ["time: expected strictly increasing dates, found other values"]
    expected = TimeAxis(time).missing()
    if not np.array_equal(missing, expected):
        return [
            f"missing_times: expected the {len(expected)} missing steps, found {len(missing)} other times"
        ]
    return []


def _grid_problems(ds: xr.Dataset) -> list[str]:
    wkt = {ds["crs"].attrs.get(name) for name in ("spatial_ref", "crs_wkt")}
    try:
        crs = pyproj.CRS.from_wkt(str(ds["crs"].attrs.get("crs_wkt")))
    except CRSError:
        return ["crs: expected WKT in spatial_ref and crs_wkt, found text that PROJ cannot read"]
    if len(wkt) != 1:
        return ["crs: expected the same WKT in spatial_ref and crs_wkt, found different ones"]
    found = []
    for name, attributes in (_DEGREE_AXES if crs.is_geographic else _MAP_AXES).items():
        axis = ds[name]
        for key, value in attributes.items():
            if axis.attrs.get(key) != value:
                found.append(f"{name}: expected {key} {value!r}, found {axis.attrs.get(key)!r}")
        steps = np.diff(axis.values) * (-1 if name == "y" else 1)
        if not (len(steps) and (steps > 0).all() and np.ptp(steps) < 0.02 * steps.mean()):
            order = "decreasing (row 0 the northernmost)" if name == "y" else "increasing"
            found.append(f"{name}: expected evenly spaced pixel centres, {order}, found other values")
    return found or _place_problems(ds, crs)


def _place_problems(ds: xr.Dataset, crs: pyproj.CRS) -> list[str]:
    """Check that latitude and longitude of the four corners agree with the projection."""
    if any(ds[name].dims != ("y", "x") for name in ("lat", "lon")):
        return [f"lat, lon: expected (y, x), found {ds['lat'].dims}, {ds['lon'].dims}"]
    corners = {"y": [0, 0, -1, -1], "x": [0, -1, 0, -1]}
    at = {name: xr.DataArray(index, dims="corner") for name, index in corners.items()}
    x, y = ds["x"].isel(x=at["x"]).values, ds["y"].isel(y=at["y"]).values
    lon, lat = (ds[name].isel(at).values.astype(np.float64) for name in ("lon", "lat"))
    back = pyproj.Transformer.from_crs(crs.geodetic_crs, crs, always_xy=True).transform(lon, lat)
    # Latitudes of other writers may refer to another ellipsoid, which shifts them by up to 20 km.
    allowed = Spacing.of(ds[RATE]).dx + (0.2 if crs.is_geographic else 20_000)
    off = np.hypot(back[0] - x, back[1] - y).max()
    if not off <= allowed:
        return [f"lat, lon: expected the positions of the projected x and y, found corners {off:.3g} away"]
    return []
