"""MeteoNet: radar composites of the north-west and south-east of France, ten days a file, in NumPy's .npz.

``data`` (time, y, x) are integers, and ``dates`` pickled ``datetime`` objects, which are read without
unpickling. The kind of a file is in its name:

- ``rainfall``: hundredths of a millimetre in the five minutes that end at the date; −1 is missing.
- ``reflectivity_old``: dBZ, the lower bound of a class; 0 is below 8 dBZ and counts as dry; 255 is missing.
- ``reflectivity_new``: tenths of a dBZ; −100 is no echo, −200 is missing.

The positions of the pixels are in ``radar_coords_ZONE.npz``, beside the file or in a folder above it. With
``min_quality``, rainfall is filtered by the daily mean quality (0 … 100 %), plus the difference from it if
the file of differences is there too. Source: the documentation of MeteoNet, Larvor et al. 2020.
"""

import re
from collections.abc import Iterator

import numpy as np
import pyproj
import xarray as xr
from numpy.typing import NDArray

from stormcell.data import schema
from stormcell.data.grid import Grid
from stormcell.data.object_store import Location
from stormcell.data.quantity import Quantity
from stormcell.data.read_options import ReadOptions
from stormcell.data.readers.companions import companions
from stormcell.data.readers.numpy_files import StoredArray, names, stored_arrays
from stormcell.data.readers.packing import Packing, of_poor_quality
from stormcell.data.readers.pickled_dates import MOST_BYTES, read_dates
from stormcell.data.readers.source import Source
from stormcell.data.time_text import nearest_second
from stormcell.errors import InputError

NAME = "MeteoNet npz"
SUFFIXES = (".npz",)
# Files that are read together with others.
COMPANIONS = ("radar_coords_*.npz", "rainfall_*_quality?code_*.npz")
# Marshall–Palmer, which MeteoNet's documentation states for France.
ZR = (200.0, 1.6)

_PACKINGS = {
    "rainfall": Packing("mm/5min", scale=0.01, nodata=(-1,)),
    "reflectivity_old": Packing("dBZ", zr=ZR, nodata=(255,), undetect=(0,)),
    "reflectivity_new": Packing("dBZ", zr=ZR, scale=0.1, nodata=(-200,), undetect=(-100,)),
}
_KIND = re.compile("|".join(_PACKINGS))
_ZONE = re.compile(r"_([A-Z]{2})_(\d{4}_\d{2}\.\d)")
_FOLDERS_ABOVE = 4  # MeteoNet's own tree has the coordinates up to this number of folders above
_MISSING_QUALITY = 255


def recognises(source: Source) -> bool:
    """Whether the file has MeteoNet's arrays."""
    found = names(source)
    return {"data", "dates", "miss_dates"} <= found or found == {"lats", "lons"}


def times(source: Source, options: ReadOptions) -> NDArray[np.datetime64]:
    """Return the dates; those of rainfall are the ends of five-minute intervals."""
    _kind(source, options)
    return _dates(_arrays(source))


def read(source: Source, options: ReadOptions, frames: slice) -> xr.Dataset:
    """Return frames in mm/h, by the Z–R relation of MeteoNet's documentation or that of the options."""
    kind = _kind(source, options)
    packing = _PACKINGS[kind]
    quantity: Quantity = "amount" if kind == "rainfall" else "dbz"
    options.expect_agreement(quantity, packing.units)
    arrays = _arrays(source)
    moments = _dates(arrays)[frames]
    data = arrays["data"]
    grid, rows = _grid(source, data)
    numbers = data.read(frames)
    if kind != "rainfall" and options.zr:
        packing = Packing(**{**vars(packing), "zr": options.zr})
    rates, measured = packing.rates(numbers)
    if options.min_quality is not None:
        if kind != "rainfall":
            raise InputError("min_quality: expected rainfall, found reflectivity, which has no quality code")
        for rate, quality in zip(rates, _qualities(source, moments, rates.shape[1:]), strict=True):
            rate[of_poor_quality(rate, quality, options.min_quality)] = np.nan
    order = np.argsort(moments, kind="stable")
    return schema.build(
        rates[order][:, rows],
        moments[order],
        grid,
        measured=measured,
        attributes={
            "title": f"MeteoNet {kind.replace('_', ' ')}",
            "institution": "Météo-France",
            "source": "METEO FRANCE, MeteoNet (Larvor et al., 2020).",
            "license": "etalab-2.0",
        },
    )


def _kind(source: Source, options: ReadOptions) -> str:
    found = names(source)
    if "data" not in found:
        raise InputError("expected frames, found positions of pixels, which are read together with frames")
    if "quality" in source.name:
        raise InputError("expected frames, found a quality code; use --min-quality when reading the rainfall")
    match = _KIND.search(source.name)
    named = match[0] if match else "reflectivity_new" if {"prob", "height"} <= found else None
    if options.variable is not None and options.variable not in _PACKINGS:
        raise InputError(f"variable: expected {', '.join(_PACKINGS)}, found {options.variable}")
    if named and options.variable not in (None, named):
        raise InputError(f"variable: expected the file's {named}, found {options.variable} in the options")
    kind = named or options.variable
    if kind is None:
        raise InputError(
            f"expected {', '.join(_PACKINGS)} in the name of the file, found another name; "
            "give one with --variable"
        )
    return kind


def _arrays(source: Source) -> dict[str, StoredArray]:
    arrays = stored_arrays(source)
    data, dates = arrays["data"], arrays["dates"]
    if (
        len(data.shape) != 3
        or data.dtype.kind not in "iu"
        or dates.shape != data.shape[:1]
        or not data.shape[0]
    ):
        raise InputError(
            f"data: expected integers (time, y, x) and a date for each time, found {data.dtype} {data.shape} "
            f"and {dates.shape} dates"
        )
    return arrays


def _dates(arrays: dict[str, StoredArray]) -> NDArray[np.datetime64]:
    dates = arrays["dates"]
    if dates.dtype.kind == "M":
        moments = nearest_second(dates.read())
    elif dates.dtype.hasobject:
        moments = read_dates(dates.raw(MOST_BYTES), dates.shape[0])
    else:
        raise InputError(f"dates: expected dates, found {dates.dtype}")
    if np.isnat(moments).any():
        raise InputError("dates: expected a date for each time, found missing ones")
    return moments


def _grid(source: Source, data: StoredArray) -> tuple[Grid, slice]:
    """Return the grid, and the order of rows from north to south."""
    zone = _ZONE.search(source.name)
    wanted = f"radar_coords_{zone[1]}.npz" if zone else "radar_coords_*.npz"
    problems = []
    for path in companions(source, wanted, _FOLDERS_ABOVE):
        arrays = stored_arrays(Source(path))
        if not {"lats", "lons"} <= arrays.keys() or {arrays[name].shape for name in ("lats", "lons")} != {
            data.shape[1:]
        }:
            problems.append(path.name)
            continue
        lat, lon = arrays["lats"].read().astype(np.float64), arrays["lons"].read().astype(np.float64)
        if not (np.allclose(lat, lat[:, :1], atol=1e-6) and np.allclose(lon, lon[:1], atol=1e-6)):
            raise InputError(
                f"{path.name}: expected a regular grid of latitudes and longitudes, found another"
            )
        rows = slice(None) if lat[0, 0] > lat[-1, 0] else slice(None, None, -1)
        return Grid.from_centres(pyproj.CRS(4326), lon[0], lat[:, 0]), rows
    found = f"{', '.join(problems)} of another size" if problems else "no such file"
    raise InputError(f"grid: expected {wanted} beside the file or in a folder above it, found {found}")


def _qualities(
    source: Source, moments: NDArray[np.datetime64], shape: tuple[int, ...]
) -> Iterator[NDArray[np.float64]]:
    """Yield the quality of rainfall in percent at each time, ``(y, x)``, NaN where it is missing."""
    zone = _ZONE.search(source.name)
    if zone is None:
        raise InputError(f"min_quality: expected a name like rainfall_NW_2016_08.3.npz, found {source.name}")
    mean, difference = (
        next(
            companions(source, f"rainfall_{part}_quality?code_{zone[1]}_{zone[2]}.npz", _FOLDERS_ABOVE), None
        )
        for part in ("mean", "diff")
    )
    if mean is None:
        raise InputError(
            f"min_quality: expected rainfall_mean_quality-code_{zone[1]}_{zone[2]}.npz beside the file, "
            "found no such file"
        )
    days, daily = _quality(mean, shape)
    exact, departures = _quality(difference, shape) if difference else (moments[:0], None)
    for moment in moments:
        day = np.flatnonzero(days == moment.astype("datetime64[D]"))
        if not len(day):
            raise InputError(
                f"{mean.name}: expected the quality of {moment.astype('datetime64[D]')}, found none"
            )
        quality = daily.read(slice(day[0], day[0] + 1))[0].astype(np.int32)
        missing = quality == _MISSING_QUALITY
        at = np.flatnonzero(exact == moment)
        if departures is not None and len(at):
            change = departures.read(slice(at[0], at[0] + 1))[0].astype(np.int32)
            missing |= np.abs(change) > 100
            quality = quality + change
        yield np.where(missing, np.nan, quality)


def _quality(path: Location, shape: tuple[int, ...]) -> tuple[NDArray[np.datetime64], StoredArray]:
    arrays = _arrays(Source(path))
    if arrays["data"].shape[1:] != shape:
        raise InputError(f"{path.name}: expected {shape} pixels, found {arrays['data'].shape[1:]}")
    return _dates(arrays), arrays["data"]
