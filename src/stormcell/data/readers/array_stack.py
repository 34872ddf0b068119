"""Plain arrays of rain in NumPy's files, .npz and .npy, that follow no standard.

A .npy file has one array (time, y, x) or (y, x); all else is given by options. A .npz file may also have, by
these names:

- ``time``, ``times``, ``dates`` or ``timestamps``: ``datetime64``, text, or pickled ``datetime`` objects,
  which are read without unpickling;
- ``lat`` and ``lon``, or ``y`` and ``x`` with ``crs``, or ``bounds`` (west, south, east, north) with ``crs``;
- ``units``; ``scale``, ``offset`` and ``nodata`` of packed integers; ``quality``, of the shape of the rain.

Without coordinates, row 0 is the northernmost. NaN is not observed. A file with an array ``mask`` is refused,
because some have true where the rain was observed, and others where it was not; ``variable`` leaves it out.
"""

from typing import Any

import numpy as np
import pyproj
import xarray as xr
from numpy.typing import NDArray

from stormcell.data import schema
from stormcell.data.grid import Grid, parse_crs
from stormcell.data.projection import in_metres
from stormcell.data.quantity import unit
from stormcell.data.read_options import ReadOptions
from stormcell.data.readers.numpy_files import NPY_MAGIC, StoredArray, names, stored_arrays
from stormcell.data.readers.packing import Packing, of_poor_quality, stated_units
from stormcell.data.readers.pickled_dates import MOST_BYTES, read_dates
from stormcell.data.readers.source import Source
from stormcell.data.time_text import nearest_second, parse_time, time_in_name
from stormcell.errors import InputError

NAME = "NumPy arrays"
STATED_NODATA = True
SUFFIXES = (".npz", ".npy")

Arrays = dict[str, StoredArray]

_TIMES = ("time", "times", "dates", "date", "timestamp", "timestamps", "datetimes")
_LATITUDES, _LONGITUDES = ("lat", "lats", "latitude", "latitudes"), ("lon", "lons", "longitude", "longitudes")
_CRS = ("crs", "crs_wkt", "projection", "proj", "proj4")
_SCALES, _OFFSETS = ("scale", "scale_factor", "gain"), ("offset", "add_offset")
_NODATA = ("nodata", "_FillValue", "fill_value", "missing_value")
_OTHERS = {*_TIMES, *_LATITUDES, *_LONGITUDES, "x", "y", "bounds", "quality"}
_LONGEST_TEXT = 2**16


def recognises(source: Source) -> bool:
    """Whether the file is .npy, or a zip file with arrays."""
    return source.head(len(NPY_MAGIC)) == NPY_MAGIC or bool(names(source))


def times(source: Source, options: ReadOptions) -> NDArray[np.datetime64]:
    """Return the times in the file, or those of the options."""
    arrays = stored_arrays(source)
    return _times(arrays, _rain(arrays, options), source, options)


def read(source: Source, options: ReadOptions, frames: slice) -> xr.Dataset:
    """Return frames in mm/h."""
    arrays = stored_arrays(source)
    rain = _rain(arrays, options)
    moments = _times(arrays, rain, source, options)[frames]
    packing = _packing(arrays, rain, options)
    grid, flips = _grid(arrays, rain, options)
    rates, measured = packing.rates(_frames(rain, frames))
    if options.min_quality is not None:
        quality = _frames(_quality(arrays, rain), frames).astype(np.float64)
        rates[of_poor_quality(rates, quality, options.min_quality)] = np.nan
    order = np.argsort(moments, kind="stable")
    return schema.build(
        rates[order][:, flips[0], flips[1]],
        moments[order],
        grid,
        measured=measured,
        attributes={"source": source.name},
    )


def _rain(arrays: Arrays, options: ReadOptions) -> StoredArray:
    """Return the array of rain."""
    if options.variable is not None:
        if options.variable not in arrays:
            raise InputError(
                f"variable: expected {options.variable}, found {', '.join(arrays) or 'no array'}"
            )
        chosen = [arrays[options.variable]]
    else:
        if "mask" in arrays:
            raise InputError(
                "mask: expected NaN where the rain was not observed, found an array whose numbers may mean "
                "observed or not; --variable reads the rain without it"
            )
        chosen = [
            array for name, array in arrays.items() if len(array.shape) in (2, 3) and name not in _OTHERS
        ]
        if len(chosen) != 1:
            found = ", ".join(array.name for array in chosen)
            raise InputError(
                f"expected one array (time, y, x) of rain, found {found or 'no such array'}; choose one with "
                "--variable"
            )
    (rain,) = chosen
    if rain.dtype.hasobject:
        raise InputError(f"{rain.label}: expected numbers, found pickled objects, which are not read")
    if rain.dtype.kind not in "iuf" or len(rain.shape) not in (2, 3) or 0 in rain.shape:
        raise InputError(f"{rain.label}: expected numbers (time, y, x), found {rain.dtype} {rain.shape}")
    return rain


def _frames(array: StoredArray, frames: slice) -> NDArray[Any]:
    return array.read(frames) if len(array.shape) == 3 else array.read()[None][frames]


def _times(arrays: Arrays, rain: StoredArray, source: Source, options: ReadOptions) -> NDArray[np.datetime64]:
    count = rain.shape[0] if len(rain.shape) == 3 else 1
    stored = _one_of(arrays, _TIMES)
    numbers = stored is not None and stored.dtype.kind in "iuf"
    if stored is None or (numbers and options.start is not None):
        named = time_in_name(source.name) if count == 1 and options.start is None else None
        return options.times(count) if named is None else np.array([named], "datetime64[s]")
    if numbers:
        raise InputError(
            f"{stored.name}: expected dates, found {stored.dtype} without units; give --start and --step"
        )
    if stored.shape not in ((count,), ()) or (stored.shape == () and count != 1):
        raise InputError(f"{stored.name}: expected {count} times, found {stored.shape}")
    if stored.dtype.hasobject:
        moments = read_dates(stored.raw(MOST_BYTES), count) if stored.shape else None
    elif stored.dtype.kind == "M":
        moments = nearest_second(np.atleast_1d(stored.read()))
    else:
        moments = np.array(
            [parse_time(_text(item)) for item in np.atleast_1d(stored.read())], "datetime64[s]"
        )
    if moments is None or np.isnat(moments).any():
        raise InputError(f"{stored.name}: expected a date for each time, found missing ones")
    if options.start is not None and moments[0] != parse_time(options.start):
        raise InputError(f"time: expected the file's {moments[0]}, found {options.start} in the options")
    return moments


def _packing(arrays: Arrays, rain: StoredArray, options: ReadOptions) -> Packing:
    own = _one_of(arrays, ("units", "unit"))
    units = stated_units(None if own is None else _stored_text(own), options, f"{rain.label} of {rain.dtype}")
    unit(units)
    scale, offset, nodata = (_number(arrays, choice) for choice in (_SCALES, _OFFSETS, _NODATA))
    return Packing(
        units,
        zr=options.zr,
        scale=1.0 if scale is None else scale,
        offset=0.0 if offset is None else offset,
        nodata=() if nodata is None else (nodata,),
    ).with_nodata(options, rain.dtype)


def _quality(arrays: Arrays, rain: StoredArray) -> StoredArray:
    quality = arrays.get("quality")
    if quality is None or quality.shape != rain.shape or quality.dtype.kind not in "iuf":
        raise InputError(
            f"min_quality: expected an array quality of the shape {rain.shape}, found no such array"
        )
    return quality


def _grid(arrays: Arrays, rain: StoredArray, options: ReadOptions) -> tuple[Grid, tuple[slice, slice]]:
    """Return the grid, and how rows and columns are reversed to run south and east."""
    rows, columns = rain.shape[-2:]
    crs = _one_of(arrays, _CRS)
    stated = options.crs if crs is None else _stored_text(crs)
    if crs is not None and options.crs is not None and parse_crs(options.crs) != parse_crs(str(stated)):
        raise InputError(f"crs: expected the file's {stated}, found {options.crs} in the options")
    lat, lon = _one_of(arrays, _LATITUDES), _one_of(arrays, _LONGITUDES)
    if lat is not None and lon is not None:
        return _placed(pyproj.CRS(4326), _axis(lon, columns, -1), _axis(lat, rows, 0))
    if "x" in arrays and "y" in arrays:
        if stated is None:
            raise InputError("projection: expected that of x and y, found none; give it with --crs")
        return _placed(parse_crs(stated), _axis(arrays["x"], columns, -1), _axis(arrays["y"], rows, 0))
    bounds = options.bounds
    if "bounds" in arrays and bounds is None:
        edges = _numbers(arrays["bounds"])
        if edges.shape != (4,):
            raise InputError(f"bounds: expected west, south, east and north, found {edges.shape} numbers")
        bounds = (float(edges[0]), float(edges[1]), float(edges[2]), float(edges[3]))
    return ReadOptions(crs=stated, bounds=bounds).grid(columns, rows), (slice(None), slice(None))


def _placed(
    crs: pyproj.CRS, x: NDArray[np.float64], y: NDArray[np.float64]
) -> tuple[Grid, tuple[slice, slice]]:
    system, factor = in_metres(crs)
    reverse = slice(None, None, -1)
    flips = (
        reverse if len(y) > 1 and y[0] < y[-1] else slice(None),
        reverse if len(x) > 1 and x[0] > x[-1] else slice(None),
    )
    return Grid.from_centres(system, x * factor, y * factor), flips


def _axis(array: StoredArray, size: int, along: int) -> NDArray[np.float64]:
    """Return the coordinates of rows or columns, of an array with one or two dimensions."""
    values = _numbers(array)
    if values.ndim == 2:
        lines = np.moveaxis(values, along, -1)
        if not np.allclose(lines, lines[:1], rtol=0, atol=1e-5):
            raise InputError(
                f"{array.name}: expected a regular grid, found coordinates that vary along both axes"
            )
        values = lines[0]
    if values.shape != (size,):
        raise InputError(f"{array.name}: expected {size} coordinates, found {values.shape}")
    return values


def _one_of(arrays: Arrays, choice: tuple[str, ...]) -> StoredArray | None:
    return next((arrays[name] for name in choice if name in arrays), None)


def _numbers(array: StoredArray) -> NDArray[np.float64]:
    if array.dtype.kind not in "iuf":
        raise InputError(f"{array.name}: expected numbers, found {array.dtype}")
    return array.read().astype(np.float64)


def _number(arrays: Arrays, choice: tuple[str, ...]) -> float | None:
    array = _one_of(arrays, choice)
    if array is None:
        return None
    values = _numbers(array)
    if values.size != 1:
        raise InputError(f"{array.name}: expected one number, found {values.size}")
    return float(values.reshape(-1)[0])


def _stored_text(array: StoredArray) -> str:
    """Return the text of an array with one element."""
    if array.dtype.kind not in "US" or array.shape not in ((), (1,)) or array.dtype.itemsize > _LONGEST_TEXT:
        raise InputError(f"{array.name}: expected text, found {array.dtype} {array.shape}")
    return _text(array.read().reshape(-1)[0])


def _text(item: Any) -> str:
    return item.decode("utf-8", "replace") if isinstance(item, bytes) else str(item)
