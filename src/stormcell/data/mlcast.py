"""Check a store against the MLCast source-data specification 0.3.0 for radar precipitation.

The requirements are those that mlcast-dataset-validator 0.4.0 checks, and those of its text that it does not.
Some can be met only inside the MLCast organisation; they are listed as such and not as failed.
"""

from collections.abc import Callable, Iterator
from typing import Literal

import numpy as np
import pyproj
import xarray as xr
from numpy.typing import NDArray
from pyproj.exceptions import CRSError

from stormcell.data import mlcast_attributes
from stormcell.data.grid import pixel_km
from stormcell.data.mlcast_result import Result, failed, passed, warned
from stormcell.errors import ArchiveError, StormcellError

_SIDE = 256  # pixels of the square that must be observed
_FRAMES_READ = 5  # in search of a frame in which it is
_MOST_KM = 1.01  # 1 km with a tolerance of 1 %
_YEARS = 3
_DEGREES = 1e-4  # by which positions may differ
_NOT_CF = {"crs_wkt", "spatial_ref", "proj4", "projdef_original", "GeoTransform", "epsg_code"}
_AXES = {
    "x": ("projection_x_coordinate", ("m", "metre", "meter", "km", "kilometre", "kilometer"), "X"),
    "y": ("projection_y_coordinate", ("m", "metre", "meter", "km", "kilometre", "kilometer"), "Y"),
    "lat": ("latitude", ("degrees_north", "degree_north"), None),
    "lon": ("longitude", ("degrees_east", "degree_east"), None),
}
# By standard name: the allowed names of the variable, and of its units, the first being CF's.
_QUANTITIES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "rainfall_flux": (
        ("mmh", "rr", "rain_rate", "rainfall_rate", "rainfall_flux"),
        ("kg m-2 h-1", "mm h-1", "mm/h"),
    ),
    "precipitation_flux": (("tprate", "prate"), ("kg m-2 h-1", "mm h-1", "mm/h")),
    "equivalent_reflectivity_factor": (("equivalent_reflectivity_factor", "dbz", "rare"), ("dBZ",)),
    "precipitation_amount": (("rainfall_amount", "mm", "precipitation_amount", "tp"), ("kg m-2", "mm")),
    "rainfall_amount": (("rainfall_amount", "mm", "precipitation_amount", "tp"), ("kg m-2", "mm")),
}


def check(ds: xr.Dataset) -> tuple[Result, ...]:
    """Check a store against all requirements. At most five frames are read.

    Args:
        ds: The store, opened lazily by xarray from Zarr, with the names that it has in the store.

    Returns:
        The results, in the order of the specification.

    Raises:
        ArchiveError: It has no data variable ``(time, y, x)``.
    """
    rates = _data_variables(ds)
    cubes = [name for name in rates if ds[name].ndim == 3 and "time" in ds[name].dims]
    if not cubes:
        raise ArchiveError("expected a data variable (time, y, x), found none")
    rate = ds[cubes[0]]
    groups: list[Callable[[], Iterator[Result]]] = [
        lambda: _coordinates(ds),
        lambda: _space(ds, rate),
        lambda: _time(ds),
        *(lambda name=name: _variable(ds[name]) for name in rates),
        lambda: _georeference(ds, rate),
        lambda: mlcast_attributes.check(ds.attrs, variable_step=_is_variable(ds["time"].values)),
        lambda: _tools(ds, rate),
    ]
    return tuple(result for group in groups for result in group())


def _data_variables(ds: xr.Dataset) -> list[str]:
    mappings = {array.attrs.get("grid_mapping") for array in ds.data_vars.values()}
    return [str(name) for name in ds.data_vars if name not in mappings]


def _coordinates(ds: xr.Dataset) -> Iterator[Result]:
    has_time = "time" in ds.coords and ds["time"].dtype.kind == "M"
    yield Result.of("3.1", "time coordinate", has_time, "time", "no dates in a coordinate time")
    for name, (standard_name, units, axis) in _AXES.items():
        label = f"coordinate {name}"
        if name not in ds.coords:
            yield failed("3.1", label, "missing")
            continue
        attributes = ds[name].attrs
        expected = [
            ("standard_name", (standard_name,)),
            ("units", units),
            *([("axis", (axis,))] if axis else []),
        ]
        wrong = [
            f"{key} is {attributes.get(key)!r}, expected {allowed[0]!r}"
            for key, allowed in expected
            if attributes.get(key) not in allowed
            and f"{attributes.get(key)}".removesuffix("s") not in allowed
        ]
        yield Result.of("3.1", label, not wrong, ", ".join(k for k, _ in expected), "; ".join(wrong))


def _space(ds: xr.Dataset, rate: xr.DataArray) -> Iterator[Result]:
    try:
        sides = pixel_km(rate)
        detail = f"{sides[0]:.4g} × {sides[1]:.4g} km"
        yield Result.of("3.2", "pixels of 1 km or finer", max(sides) <= _MOST_KM, detail, detail)
    except StormcellError as error:
        yield failed("3.2", "pixels of 1 km or finer", str(error))
    shape = rate.shape[1:]
    size = f"{shape[0]} × {shape[1]}"
    yield Result.of("3.2", "256 × 256 pixels", min(shape) >= _SIDE, size, size)
    observed = min(shape) >= _SIDE and any(
        _has_square(np.isfinite(rate[-1 - back].values)) for back in range(min(_FRAMES_READ, len(ds["time"])))
    )
    yield Result.of(
        "3.2",
        "256 × 256 observed pixels",
        observed,
        "a square of the newest frames is observed",
        f"no such square in the newest {_FRAMES_READ} frames",
    )
    yield passed("3.2", "constant domain", "one grid for all times")


def _has_square(observed: NDArray[np.bool_]) -> bool:
    count = np.pad(observed.cumsum(0, dtype=np.int64).cumsum(1), ((1, 0), (1, 0)))
    inside = count[_SIDE:, _SIDE:] - count[:-_SIDE, _SIDE:] - count[_SIDE:, :-_SIDE] + count[:-_SIDE, :-_SIDE]
    return bool((inside == _SIDE**2).any())


def _is_variable(times: NDArray[np.datetime64]) -> bool:
    return len(np.unique(np.diff(times))) > 1


def _time(ds: xr.Dataset) -> Iterator[Result]:
    times = ds["time"].values
    steps = np.diff(times)
    if not (steps > np.timedelta64(0)).all():
        yield failed("3.3", "strictly increasing times", "times repeat or go back")
        return
    yield passed("3.3", "strictly increasing times", f"{len(times)} times")
    years = int((times[-1] - times[0]) / np.timedelta64(1, "D")) / 365.25
    yield Result.of("3.3", "three years", years >= _YEARS, f"{years:.1f} years", f"{years:.1f} years")
    yield _missing_times(ds, times)


def _missing_times(ds: xr.Dataset, times: NDArray[np.datetime64]) -> Result:
    label = "missing_times"
    start = ds.attrs.get("consistent_timestep_start")
    if start is not None:
        try:
            times = times[times >= np.datetime64(str(start).removesuffix("Z"), "ns")]
        except ValueError:
            return failed("3.3", label, f"consistent_timestep_start is {start!r}, expected an ISO 8601 time")
    if len(times) < 2:
        return warned("3.3", label, "too few times for a time step")
    every = np.arange(times[0], times[-1] + np.timedelta64(1, "ns"), np.diff(times).min())
    absent = np.setdiff1d(every, times)
    if not absent.size:
        return passed("3.3", label, "no step is missing")
    if label not in ds.variables or ds[label].dtype.kind != "M":
        return failed("3.3", label, f"no such variable of dates, though {len(absent)} steps are missing")
    listed = ds[label].values
    if np.isin(listed, times).any():
        return failed("3.3", label, "lists times that have a frame")
    unlisted = absent[~np.isin(absent, listed)]
    if unlisted.size:
        return failed("3.3", label, f"{len(unlisted)} steps of {np.diff(times).min()} are not listed")
    return passed("3.3", label, f"lists all {len(absent)} missing steps")


def _variable(array: xr.DataArray) -> Iterator[Result]:
    name, shape = str(array.name), array.shape
    chunks = array.encoding.get("chunks")
    whole = chunks is not None and tuple(chunks) == (1, *shape[1:])
    detail = " × ".join(map(str, chunks or ("unknown",)))
    yield Result.of("4.1", f"{name}: one chunk per frame", whole, detail, f"found chunks of {detail}")
    codecs = [
        type(codec).__name__.removesuffix("Codec").lower()
        for codec in array.encoding.get("compressors") or ()
    ]
    if not codecs:
        yield failed("4.2", f"{name}: compressed", "no compression")
    elif codecs[0] == "zstd":
        yield passed("4.2", f"{name}: compressed", "zstd (their validator calls it zstdcodec and warns)")
    else:
        yield warned("4.2", f"{name}: compressed", f"{', '.join(codecs)}; zstd is recommended")
    dims = ", ".join(map(str, array.dims))
    yield Result.of("4.3", f"{name}: (time, y, x)", array.dims == ("time", "y", "x"), dims, f"found ({dims})")
    is_float = array.dtype in (np.float16, np.float32, np.float64)
    yield Result.of("4.3", f"{name}: floating point", is_float, f"{array.dtype}", f"found {array.dtype}")
    yield _naming(name, array)


def _naming(name: str, array: xr.DataArray) -> Result:
    label = f"{name}: name, standard_name, long_name, units"
    absent = [key for key in ("long_name", "standard_name", "units") if key not in array.attrs]
    if absent:
        return failed("4.4", label, f"no {', '.join(absent)}")
    standard_name, units = str(array.attrs["standard_name"]), str(array.attrs["units"])
    if standard_name not in _QUANTITIES:
        return failed("4.4", label, f"standard_name {standard_name} is not allowed")
    names, allowed = _QUANTITIES[standard_name]
    if name.lower() not in names:
        return failed("4.4", label, f"expected one of {', '.join(names)} for {standard_name}")
    if units not in allowed:
        return failed("4.4", label, f"expected one of {', '.join(allowed)}, found {units}")
    if units != allowed[0]:
        return warned("4.4", label, f"{units} is allowed; {allowed[0]} is CF's unit")
    return passed("4.4", label, f"{standard_name}, {units}")


def _georeference(ds: xr.Dataset, rate: xr.DataArray) -> Iterator[Result]:
    mapping = rate.attrs.get("grid_mapping", rate.encoding.get("grid_mapping"))
    if mapping not in ds.variables:
        yield failed("4.5", "grid mapping", f"no variable for grid_mapping {mapping!r}")
        return
    attributes = ds[mapping].attrs
    absent = [name for name in ("spatial_ref", "crs_wkt") if name not in attributes]
    yield Result.of("4.5", "grid mapping", not absent, "spatial_ref, crs_wkt", f"no {', '.join(absent)}")
    described: dict[str, Callable[[], pyproj.CRS]] = {
        "CF attributes": lambda: pyproj.CRS.from_cf(
            {key: value for key, value in attributes.items() if key not in _NOT_CF}
        ),
        "crs_wkt": lambda: pyproj.CRS.from_wkt(str(attributes.get("crs_wkt"))),
    }
    for name, read in described.items():
        label = f"positions by {name}"
        try:
            off = _degrees_off(ds, read())
        except (CRSError, KeyError, ValueError, IndexError) as error:
            yield failed("4.5", label, " ".join(str(error).split()))
            continue
        detail = f"lat and lon differ by up to {off:.1e}°"
        yield Result.of("4.5", label, off <= _DEGREES, detail, detail)


def _degrees_off(ds: xr.Dataset, crs: pyproj.CRS) -> float:
    """Return by how much lat and lon at nine places differ from the projected x and y."""
    rows, columns = ([0, size // 2, size - 1] for size in (ds.sizes["y"], ds.sizes["x"]))
    x, y = np.meshgrid(ds["x"].values[columns], ds["y"].values[rows])
    lon, lat = pyproj.Transformer.from_crs(crs, "EPSG:4326", always_xy=True).transform(x, y)
    stored = {name: ds[name].values[np.ix_(rows, columns)].astype(np.float64) for name in ("lat", "lon")}
    off = np.abs(np.stack([lat - stored["lat"], (lon - stored["lon"] + 180) % 360 - 180]))
    return float(off.max())


def _tools(ds: xr.Dataset, rate: xr.DataArray) -> Iterator[Result]:
    # rasterio has GDAL, and is imported only here.
    from rasterio import Affine
    from rasterio.errors import RasterioError
    from rasterio.io import MemoryFile

    mapping = rate.attrs.get("grid_mapping", rate.encoding.get("grid_mapping"))
    wkt = str(ds[mapping].attrs.get("crs_wkt")) if mapping in ds.variables else ""
    x, y = ds["x"].values, ds["y"].values
    corner = Affine(abs(float(x[1] - x[0])), 0, float(x[0]), 0, -abs(float(y[1] - y[0])), float(y[0]))
    pixels = np.nan_to_num(rate[-1, :16, :16].values).astype(np.float32)
    try:
        with MemoryFile() as memory:
            height, width = pixels.shape
            profile = {"driver": "GTiff", "height": height, "width": width, "count": 1, "dtype": "float32"}
            with memory.open(**profile, crs=wkt, transform=corner) as file:
                file.write(pixels, 1)
            with memory.open() as file:
                kept = file.crs is not None and file.transform.almost_equals(corner)
        yield Result.of(
            "6.1", "GeoTIFF by GDAL", kept, "written and read again", "projection or place is lost"
        )
    except (RasterioError, ValueError) as error:
        yield failed("6.1", "GeoTIFF by GDAL", " ".join(str(error).split()))
    try:
        crs = pyproj.CRS.from_wkt(wkt)
        to_map = pyproj.Transformer.from_crs(crs, "+proj=eqc +type=crs", always_xy=True)
        finite = np.isfinite(
            to_map.transform(*np.meshgrid(x[:: max(1, len(x) // 5)], y[:: max(1, len(y) // 5)]))
        )
        yield Result.of(
            "6.2", "plate carrée", bool(finite.all()), "all positions", "positions are not finite"
        )
    except CRSError as error:
        yield failed("6.2", "plate carrée", " ".join(str(error).split()))
    found: Literal["pass", "warning"] = "pass" if "bbox" in wkt.lower() else "warning"
    yield Result("6.2", "area of use in crs_wkt", found, "BBOX" if found == "pass" else "no BBOX in the WKT")
