"""Files that an importer of pysteps reads, its plugins included: ``--format pysteps:NAME``.

An importer returns one image, a quality field or nothing, and metadata, but no time. The time is the only one
in the file's name, or that of ``--start``. The metadata give the unit, the accumulation period, the
projection and the outer edges. What an importer requires beyond the file's name comes from the options: its
product or quantity from ``--variable``, its unit and accumulation period from ``--units``.
"""

import inspect
from contextlib import redirect_stdout
from io import StringIO
from typing import Any

import numpy as np
import pyproj
import xarray as xr
from numpy.typing import NDArray

from stormcell.data import schema
from stormcell.data.grid import Grid, parse_crs
from stormcell.data.projection import in_metres
from stormcell.data.quantity import to_rate, unit
from stormcell.data.read_options import ReadOptions
from stormcell.data.readers.packing import NO_ECHO, of_poor_quality
from stormcell.data.readers.plain_file import plain_file
from stormcell.data.readers.source import Source
from stormcell.data.time_text import parse_time, time_in_name
from stormcell.data.units import is_degrees, length, split_period
from stormcell.errors import InputError, MissingExtraError

_PRODUCTS = ("qty", "product", "product_name", "variable", "varname")


class PystepsImporter:
    """A reader that calls an importer of pysteps.

    Attributes:
        NAME: Name of the format.
        SUFFIXES: Nothing: the user states the format.
    """

    SUFFIXES: tuple[str, ...] = ()

    def __init__(self, importer: str) -> None:
        self.NAME = f"pysteps:{importer}"
        self._importer = importer

    def recognises(self, source: Source) -> bool:
        """Whether there is a file; pysteps does not recognise formats."""
        return not source.is_folder

    def times(self, source: Source, options: ReadOptions) -> NDArray[np.datetime64]:
        """Return the time that the user states, or that in the file's name.

        Raises:
            InputError: There is no such time.
        """
        source.head(1)  # names a missing file
        if options.start is not None:
            return np.array([parse_time(options.start)])
        found = time_in_name(source.name)
        if found is None:
            raise InputError(
                f"time: expected one in the file's name, or --start, because importers of pysteps return no "
                f"time; found {source.name!r}"
            )
        return np.array([found])

    def read(self, source: Source, options: ReadOptions, frames: slice) -> xr.Dataset:
        """Return the frame in mm/h."""
        importer = self._function()
        arguments = _arguments(self.NAME, importer, options)
        with plain_file(source) as path, redirect_stdout(StringIO()):
            values, quality, metadata = importer(str(path), **arguments)
        values = np.asarray(np.ma.filled(values, np.nan), np.float64)
        if values.ndim != 2:
            raise InputError(f"{self.NAME}: expected one image (y, x), found {values.shape}")
        rate, measured = _rate(values, metadata, options)
        if options.min_quality is not None:
            if np.shape(quality) != values.shape:
                raise InputError(f"min_quality: expected a quality field, found none by {self.NAME}")
            quality = np.asarray(np.ma.filled(np.ma.asarray(quality, np.float64), np.nan))
            rate[of_poor_quality(rate, quality, options.min_quality)] = np.nan
        if str(metadata.get("yorigin", "upper")) == "lower":
            rate = rate[::-1]
        ds = schema.build(
            rate[np.newaxis],
            self.times(source, options),
            _grid(metadata, *values.shape),
            measured=measured,
            attributes={
                "source": source.name,
                **({"institution": str(metadata["institution"])} if metadata.get("institution") else {}),
            },
        )
        return ds.isel(time=frames)

    def _function(self) -> Any:
        try:
            # pysteps prints where its settings are.
            with redirect_stdout(StringIO()):
                from pysteps.io import get_method
        except ImportError as error:
            raise MissingExtraError(
                f"{self.NAME}: expected the package pysteps, found {error}; install stormcell[pysteps]"
            ) from None
        try:
            return get_method(self._importer, "importer")
        except (ValueError, TypeError):
            raise InputError(f"format: expected an importer of pysteps, found {self._importer!r}") from None


def _arguments(name: str, importer: Any, options: ReadOptions) -> dict[str, Any]:
    """Return the importer's arguments that the options state.

    Raises:
        InputError: A required argument is not stated.
    """
    unit_of_amount, hours = split_period(options.units) if options.units else (None, None)
    stated = {
        **dict.fromkeys(_PRODUCTS, options.variable),
        "unit": unit_of_amount,
        "accutime": None if hours is None else hours * 60,
    }
    parameters = list(inspect.signature(importer).parameters.values())[1:]
    arguments = {}
    for parameter in parameters:
        if parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
            continue
        if stated.get(parameter.name) is not None:
            arguments[parameter.name] = stated[parameter.name]
        elif parameter.default is parameter.empty:
            raise InputError(
                f"{name}: expected {parameter.name}, which this importer requires, found nothing; "
                "give a product with --variable, and a unit and its period with --units mm/5min"
            )
    return arguments


def _rate(
    values: NDArray[np.float64], metadata: dict[str, Any], options: ReadOptions
) -> tuple[NDArray[np.float32], dict[str, Any]]:
    """Return the rates in mm/h ``(y, x)``, and the attributes that describe the conversion."""
    own, transform = metadata.get("unit"), metadata.get("transform")
    if own is None and options.units is None:
        raise InputError("units: expected units from the importer, found none; give them with --units")
    if own is not None:
        options.expect_agreement(unit(str(own))[0], str(own))
    quantity, factor, hours = unit(options.units or str(own))
    if transform not in (None, "dB"):
        raise InputError(f"transform: expected values without one, or in dB, found {transform!r}")
    if quantity == "dbz":
        # A value that stands for no echo. Where all pixels have rain, importers give the weakest instead.
        floor = metadata.get("zerovalue")
        if floor is not None and np.isfinite(floor) and floor <= 0:
            values = np.where(values <= floor, -np.inf, values)
    elif transform == "dB":
        values = 10.0 ** (values / 10)
    if metadata.get("accutime") is not None and quantity == "amount":
        period = float(metadata["accutime"]) / 60
        options.expect_period(period)
        hours = hours or period
    zr = options.zr
    if zr is None and metadata.get("zr_a") is not None and metadata.get("zr_b") is not None:
        zr = (float(metadata["zr_a"]), float(metadata["zr_b"]))
    rate, measured = to_rate(values * factor, quantity, hours=hours, zr=zr)
    lowest = np.fmin.reduce(rate, axis=None, initial=np.inf)
    if lowest < -NO_ECHO:
        raise InputError(f"expected 0 or more, found {lowest:g}")
    return np.where(rate < NO_ECHO, 0, rate).astype(np.float32), measured


def _grid(metadata: dict[str, Any], rows: int, columns: int) -> Grid:
    """Return the grid between the outer edges in the metadata."""
    try:
        text = str(metadata["projection"])
        x1, y1, x2, y2 = (float(metadata[name]) for name in ("x1", "y1", "x2", "y2"))
        sizes = [float(metadata[name]) for name in ("xpixelsize", "ypixelsize") if name in metadata]
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"metadata: expected a projection and outer edges, found no {error}") from None
    crs, _ = in_metres(parse_crs(text))
    name = str(metadata.get("cartesian_unit", "m"))
    size = 1.0 if crs.is_geographic and (is_degrees(name) or name == "m") else _metres(crs, name)
    width, height = abs(x2 - x1) * size, abs(y2 - y1) * size
    dx, dy = width / columns, height / rows
    for stated, found in zip(sizes, (dx, dy), strict=False):
        if not np.isclose(stated * size, found, rtol=0.01):
            raise InputError(
                f"metadata: expected outer edges that are {columns} × {rows} pixels of {stated:g} apart, "
                f"found edges for pixels of {found / size:g}"
            )
    west, north = min(x1, x2) * size, max(y1, y2) * size
    x = west + (np.arange(columns) + 0.5) * dx
    return Grid.from_centres(crs, x, north - (np.arange(rows) + 0.5) * dy)


def _metres(crs: pyproj.CRS, name: str) -> float:
    if crs.is_geographic:
        raise InputError(f"cartesian_unit: expected degrees, found {name!r}")
    return length(name)
