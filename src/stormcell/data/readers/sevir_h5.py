"""Vertically integrated liquid (VIL) of the SEVIR dataset: one storm event of an HDF5 file with hundreds.

VIL is not rain. The files have its 8-bit numbers 0 … 254 without a unit, and 255 where it is missing. Models
on SEVIR are trained on these numbers and compared at thresholds of them. So the numbers are archived as they
are, in place of mm/h, and only if the user asks for it by ``--quantity rate``.

An event is chosen by its id (``--variable S856130``) and has its own grid of 384 × 384 km, so each event
becomes an archive. Its times and its place stand in SEVIR's ``CATALOG.csv``, which is looked for beside the
file and in the folders above. Without it, they are given by ``--start``, ``--crs`` and ``--bounds``. Rows run
from the south.

Source: Veillette et al. 2020, SEVIR: a storm event imagery dataset for deep learning applications in radar
and satellite meteorology, NeurIPS 33.
"""

import csv
from collections.abc import Mapping
from pathlib import Path

import h5py
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from stormcell.data import schema
from stormcell.data.grid import MOST_PIXELS, Grid, parse_crs
from stormcell.data.projection import in_metres, to_degrees
from stormcell.data.read_options import ReadOptions
from stormcell.data.readers.hdf5 import has_groups, open_hdf5
from stormcell.data.readers.packing import Packing
from stormcell.data.readers.source import Source
from stormcell.data.time_text import parse_step, parse_time
from stormcell.errors import InputError

NAME = "SEVIR VIL"
SUFFIXES = (".h5", ".hdf5")

_CATALOG = "CATALOG.csv"
# The catalogue is in the folder above data/vil/2019.
_FOLDERS_ABOVE = 4
_MISSING = 255
_STEP = np.timedelta64(300, "s")


def recognises(source: Source) -> bool:
    """Whether the file is HDF5 and has VIL of SEVIR's events."""
    return has_groups(source, "vil", "id")


def times(source: Source, options: ReadOptions) -> NDArray[np.datetime64]:
    """Return the times of the chosen event."""
    with open_hdf5(source) as file:
        _expect_choice(options)
        _data(file)
        name, _ = _event(file, options)
        return _times(_row(source, name), _data(file).shape[3], options)


def read(source: Source, options: ReadOptions, frames: slice) -> xr.Dataset:
    """Return frames of the chosen event: the numbers of the file, 0 … 254, in place of mm/h."""
    with open_hdf5(source) as file:
        _expect_choice(options)
        _data(file)
        name, index = _event(file, options)
        data = _data(file)
        row = _row(source, name)
        moments = _times(row, data.shape[3], options)[frames]
        values = np.moveaxis(data[index, :, :, frames], -1, 0)[:, ::-1]  # rows from the north
        rates, measured = Packing("mm/h", nodata=(_MISSING,)).rates(values)
        return schema.build(
            rates,
            moments,
            _grid(row, data.shape[1], data.shape[2], options),
            measured={
                **measured,
                "cell_methods": "time: point",
                "comment": "Numbers of vertically integrated liquid as SEVIR encodes it, 0 to 254; not mm/h.",
            },
            attributes={
                "title": f"SEVIR event {name}, vertically integrated liquid",
                "institution": "MIT Lincoln Laboratory",
                "source": "SEVIR (Veillette et al. 2020), from NEXRAD; modified.",
            },
        )


def _expect_choice(options: ReadOptions) -> None:
    if options.quantity is None and options.units is None:
        raise InputError(
            "vil: expected rain, found vertically integrated liquid as numbers 0 … 254 without a unit; "
            "archive them as they are with --quantity rate"
        )
    options.expect_agreement("rate", "mm/h")


def _event(file: h5py.File, options: ReadOptions) -> tuple[str, int]:
    """Return id and position of the event that the options choose."""
    ids = file["id"]
    if not isinstance(ids, h5py.Dataset) or ids.shape != file["vil"].shape[:1]:
        raise InputError("id: expected one for each event, found another number")
    names = [name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name) for name in ids[()]]
    if options.variable is None and len(names) == 1:
        return names[0], 0
    if options.variable not in names:
        some = ", ".join(names[:3])
        raise InputError(
            f"variable: expected the id of one of {len(names)} events ({some}, …), found "
            f"{options.variable or 'none'}; give it with --variable"
        )
    return options.variable, names.index(options.variable)


def _data(file: h5py.File) -> h5py.Dataset:
    data = file["vil"]
    if not isinstance(data, h5py.Dataset) or data.dtype.kind not in "ui" or data.ndim != 4:
        raise InputError(f"vil: expected whole numbers (event, y, x, time), found {data}")
    if data.shape[2] == data.shape[3] != data.shape[1]:
        raise InputError(f"vil: expected (event, y, x, time), found squares in another order, {data.shape}")
    if not 4 <= np.prod(data.shape[1:], dtype=object) <= MOST_PIXELS:
        raise InputError(f"vil: expected at most {MOST_PIXELS} pixels of an event, found {data.shape[1:]}")
    return data


def _row(source: Source, name: str) -> Mapping[str, str] | None:
    """Return an event's row of the catalogue; None if no catalogue has it."""
    path = source.path
    if not isinstance(path, Path):
        return None  # A file in an object store.
    folder = path.absolute().parent
    for place in (folder, *list(folder.parents)[:_FOLDERS_ABOVE]):
        catalog = place / _CATALOG
        if catalog.is_file():
            with catalog.open(encoding="utf-8", errors="replace", newline="") as lines:
                for row in csv.DictReader(lines):
                    if row.get("id") == name and row.get("img_type") == "vil":
                        return row
    return None


def _times(row: Mapping[str, str] | None, count: int, options: ReadOptions) -> NDArray[np.datetime64]:
    try:
        if options.start is not None:
            step = parse_step(options.step) if options.step else _STEP
            moments = parse_time(options.start) + step * np.arange(count)
        elif row is not None:
            offsets = [int(minutes) for minutes in row["minute_offsets"].split(":")]
            moments = parse_time(row["time_utc"]) + np.array(offsets, "timedelta64[m]")
        else:
            raise InputError(
                f"{_CATALOG}: expected the event's row in it, beside the file or in a folder above, found "
                "none; give --start, --crs and --bounds"
            )
    except (KeyError, ValueError, AttributeError, OverflowError) as error:
        raise InputError(f"time: expected time_utc and minute_offsets in {_CATALOG}, found {error}") from None
    found = np.asarray(moments, "datetime64[s]")
    if len(found) != count or not (np.diff(found) > np.timedelta64(0)).all():
        raise InputError(
            f"time: expected {count} increasing times, found {len(found)} others in {_CATALOG}; give --start"
        )
    return found


def _grid(row: Mapping[str, str] | None, rows: int, columns: int, options: ReadOptions) -> Grid:
    if options.crs is not None and options.bounds is not None:
        return options.grid(columns, rows)
    if row is None:
        raise InputError(
            f"grid: expected the event's place in {_CATALOG}, found none; give --crs and --bounds"
        )
    try:
        crs, _ = in_metres(parse_crs(row["proj"]))
        corners = {
            name: (float(row[f"{name}crnrlon"]), float(row[f"{name}crnrlat"])) for name in ("ll", "ur")
        }
    except (KeyError, ValueError, TypeError) as error:
        raise InputError(f"grid: expected proj and corners in {_CATALOG}, found {error}") from None
    degrees = to_degrees(crs)
    west, south = degrees.transform(*corners["ll"], direction="INVERSE")
    east, north = degrees.transform(*corners["ur"], direction="INVERSE")
    dx, dy = (east - west) / columns, (north - south) / rows
    return Grid(crs.to_wkt(), west + dx / 2, north - dy / 2, dx, dy, columns, rows)
