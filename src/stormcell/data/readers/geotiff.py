"""GeoTIFF of any provider, such as FMI's 8-bit reflectivity and cloud-optimized files with rates.

The file is opened from memory by GDAL's GeoTIFF driver only, so nothing beside it is read. Overviews are not
used; an internal mask or an alpha band means not observed. One band is one frame. Several bands are several
frames if each has its own time, or if the user gives their start and step.

The time of a file is in its metadata, or else in its name, or else in ``TIFFTAG_DATETIME``. By TIFF 6.0, this
tag has the time when the file was made: it may be later than the time in the name, which then counts.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pyproj
import rasterio
import xarray as xr
from numpy.typing import NDArray
from rasterio.errors import RasterioError
from rasterio.io import MemoryFile

from stormcell.data import schema
from stormcell.data.grid import MOST_PIXELS, Grid, parse_crs
from stormcell.data.projection import in_metres
from stormcell.data.quantity import unit
from stormcell.data.read_options import ReadOptions
from stormcell.data.readers import fmi_pgm
from stormcell.data.readers.geotiff_metadata import Band, bands, time_of
from stormcell.data.readers.packing import Packing, stated_units
from stormcell.data.readers.source import Source
from stormcell.data.time_text import parse_time, time_in_name
from stormcell.errors import InputError

NAME = "GeoTIFF"
STATED_NODATA = True
SUFFIXES = (".tif", ".tiff")

_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
# No network, no files beside the source, and half a pixel between a point and the corner of its pixel.
_SETTINGS = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "GDAL_PAM_ENABLED": "NO",
    "GTIFF_POINT_GEO_IGNORE": "NO",
    "GDAL_CACHEMAX": 64,
    "PROJ_NETWORK": "OFF",
}
_MOST_BANDS = 2**16
_MOST_BLOCK_BYTES = 2**30
# The items that mark FMI's files, which do not name the institute.
_FMI_ITEMS = {"observation_time", "quantity", "gain", "offset", "nodata", "undetect"}


def recognises(source: Source) -> bool:
    """Whether the file is a TIFF, classic or big."""
    return source.head(4).startswith(_MAGIC)


def times(source: Source, options: ReadOptions) -> NDArray[np.datetime64]:
    """Return the times of the bands, in the order of the bands."""
    with _open(source) as file:
        return _times(file, _choose(file, options), source, options)


def read(source: Source, options: ReadOptions, frames: slice) -> xr.Dataset:
    """Return frames in mm/h, with rows from north to south."""
    options.expect_no_quality(NAME)
    with _open(source) as file:
        chosen = _choose(file, options)
        moments = _times(file, chosen, source, options)[frames]
        grid, flips = _grid(file, options)
        fmi = chosen[0].items.keys() >= _FMI_ITEMS
        measured: dict[str, Any] = {}
        rates = []
        for band in chosen[frames]:
            values = file.read(band.number, masked=True)
            packing = _packing(file, band, options, fmi_pgm.ZR if fmi else None)
            rate, measured = packing.rates(values.data, np.ma.getmaskarray(values))
            rates.append(rate[flips])
        order = np.argsort(moments, kind="stable")
        return schema.build(
            np.stack(rates)[order],
            moments[order],
            grid,
            measured=measured,
            attributes=fmi_pgm.origin("of Finland") if fmi else _attributes(chosen[0], source),
        )


@contextmanager
def _open(source: Source) -> Iterator[Any]:
    """Open the file for reading, after a check of the sizes that it claims."""
    with rasterio.Env(**_SETTINGS), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # such as "not georeferenced", which is checked later
        try:
            with (
                MemoryFile(source.contents()) as memory,
                memory.open(driver="GTiff", sharing=False) as file,
            ):
                _check_sizes(file)
                yield file
        except RasterioError as error:
            raise InputError(f"expected a complete GeoTIFF: {error}") from None


def _check_sizes(file: Any) -> None:
    rows, columns = file.block_shapes[0]
    together = file.count if file.interleaving and file.interleaving.name == "pixel" else 1
    block = rows * columns * together * max(np.dtype(dtype).itemsize for dtype in file.dtypes)
    if file.width * file.height > MOST_PIXELS or file.count > _MOST_BANDS or block > _MOST_BLOCK_BYTES:
        raise InputError(
            f"expected a size that a radar file can have, found {file.height} × {file.width} pixels, "
            f"{file.count} bands, blocks of {rows} × {columns}"
        )


def _choose(file: Any, options: ReadOptions) -> list[Band]:
    """Return the bands that are frames: one, or several with a time each."""
    found = bands(file)
    if options.variable is not None:
        chosen = [band for band in found if options.variable in (band.name, str(band.number))]
    elif len(found) > 1 and options.quantity is not None:
        chosen = [band for band in found if band.units and unit(band.units)[0] == options.quantity] or found
    else:
        chosen = found
    if not chosen:
        names = ", ".join(band.name or str(band.number) for band in found)
        raise InputError(f"bands: expected {options.variable}, found {names or 'no band'}")
    own_times = {band.time for band in chosen} - {None}
    same = len({(band.name, band.units) for band in chosen}) == 1
    one_each = same and len(own_times) == len(chosen)
    stated = not own_times and options.start is not None and options.step is not None
    if len(chosen) > 1 and not one_each and not stated:
        names = ", ".join(band.name or str(band.number) for band in chosen[:20])
        raise InputError(
            f"bands: expected one, or several of one quantity with a time each, found {names}; choose one "
            "with --variable, or give --start and --step if they are frames"
        )
    return chosen


def _times(file: Any, chosen: list[Band], source: Source, options: ReadOptions) -> NDArray[np.datetime64]:
    for band in chosen:
        band.expect_observation()
    own = [band.time for band in chosen]
    if len(chosen) == 1 and own[0] is None:
        own = [_file_time(file, chosen[0], source, options)]
    if own[0] is None:
        return options.times(len(chosen))
    moments = np.array(own, "datetime64[s]")
    if options.start is not None and moments[0] != parse_time(options.start):
        raise InputError(f"time: expected the file's {moments[0]}, found {options.start} in the options")
    return moments


def _file_time(file: Any, band: Band, source: Source, options: ReadOptions) -> np.datetime64 | None:
    """Return the time of a file with one frame; None if only the options can give it."""
    try:
        inside = time_of(band.items)
    except InputError:
        if options.start is None:
            raise
        inside = None
    if inside is not None or options.start is not None:
        return inside
    named = time_in_name(source.name)
    text = file.tags().get("TIFFTAG_DATETIME", "").strip()
    made = parse_time(text) if text else None
    if named is not None and made is not None and made < named:
        raise InputError(
            f"time: expected one time, found {named} in the file name and {made} in TIFFTAG_DATETIME; "
            "give it with --start"
        )
    return made if named is None else named


def _grid(file: Any, options: ReadOptions) -> tuple[Grid, tuple[slice, slice]]:
    """Return the grid, and how rows and columns are reversed to run south and east."""
    transform = file.transform
    along = slice(None)
    if transform.is_identity:
        return options.grid(file.width, file.height), (along, along)
    if transform.b or transform.d:
        raise InputError("grid: expected rows and columns along the axes of the projection, found a rotation")
    if not transform.a or not transform.e:
        raise InputError(f"grid: expected a pixel size above 0, found {transform.a:g} × {transform.e:g}")
    crs, factor = in_metres(_crs(file, options))
    x = (transform.c + transform.a * (np.arange(file.width) + 0.5)) * factor
    y = (transform.f + transform.e * (np.arange(file.height) + 0.5)) * factor
    reverse = slice(None, None, -1)
    flips = (reverse if transform.e > 0 else along, reverse if transform.a < 0 else along)
    return Grid.from_centres(crs, x, y), flips


def _crs(file: Any, options: ReadOptions) -> pyproj.CRS:
    if not file.crs:
        if options.crs is None:
            raise InputError("projection: expected one in the file, found none; give it with --crs")
        return parse_crs(options.crs)
    crs = parse_crs(file.crs.to_wkt())
    if crs.is_compound:  # with heights
        crs = crs.sub_crs_list[0]
    if options.crs is not None and not _same_places(file, crs, parse_crs(options.crs)):
        raise InputError(f"projection: expected the file's {crs.name}, found {options.crs} in the options")
    return crs


def _same_places(file: Any, crs: pyproj.CRS, other: pyproj.CRS) -> bool:
    """Whether two systems give the corners of the file the same coordinates, whatever their names are."""
    x, y = np.array([file.transform @ (0, 0), file.transform @ (file.width, file.height)]).T
    back = pyproj.Transformer.from_crs(crs, other, always_xy=True).transform(x, y)
    off = np.hypot(back[0] - x, back[1] - y).max()
    return bool(off < 0.01 * abs(file.transform.a))


def _packing(file: Any, band: Band, options: ReadOptions, zr: tuple[float, float] | None) -> Packing:
    dtype = np.dtype(file.dtypes[band.number - 1])
    if dtype.kind not in "iuf":
        raise InputError(f"band {band.number}: expected real numbers, found {dtype}")
    units = stated_units(band.units, options, f"band {band.number} of {dtype}")
    quantity = unit(units)[0]
    scale, offset = file.scales[band.number - 1], file.offsets[band.number - 1]
    if (scale, offset) == (1, 0):
        scale = next(iter(band.numbers("gain", "scale", "scale_factor")), 1.0)
        offset = next(iter(band.numbers("offset", "add_offset")), 0.0)
    hours = band.hours() if quantity == "amount" else None
    options.expect_period(hours)
    nodata = band.numbers("nodata", "no_data", "_fillvalue", "missing_value")
    return Packing(
        units,
        hours=hours,
        zr=options.zr or (zr if quantity == "dbz" else None),
        scale=scale,
        offset=offset,
        nodata=nodata,
        undetect=band.numbers("undetect"),
    ).with_nodata(options, dtype)


def _attributes(band: Band, source: Source) -> dict[str, str]:
    names = {
        "title": ("title", "tifftag_documentname"),
        "institution": ("institution", "tifftag_artist"),
        "source": ("source", "credit", "attribution"),
        "license": ("license", "licence", "tifftag_copyright"),
    }
    found = {
        name: next((band.items[item] for item in items if band.items.get(item)), None)
        for name, items in names.items()
    }
    return {"source": source.name} | {name: text for name, text in found.items() if text}
