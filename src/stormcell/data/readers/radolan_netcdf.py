"""RADOLAN composites that were saved as NetCDF without any description, such as pysteps's example of DWD.

The variable has the name of the product (RY, RW, YW, …) and no units. x and y are kilometres of DWD's grid,
and have no units either. The product gives the interval, and x and y are compared with DWD's grids: those
that wradlib writes are the lower left corners of the pixels, others are the centres. Both are found.
"""

import h5py
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from stormcell.data import schema
from stormcell.data.grid import Grid
from stormcell.data.quantity import to_rate, unit
from stormcell.data.read_options import ReadOptions
from stormcell.data.readers import cf_roles
from stormcell.data.readers.cf_intervals import find_intervals
from stormcell.data.readers.cf_netcdf import open_netcdf
from stormcell.data.readers.cf_packed import unpack
from stormcell.data.readers.hdf5 import MAGIC, open_hdf5
from stormcell.data.readers.radolan import GRIDS, composite_grid, origin
from stormcell.data.readers.rain_variable import RainVariable
from stormcell.data.readers.source import Source
from stormcell.errors import InputError

NAME = "RADOLAN NetCDF"
SUFFIXES = (".nc",)

# Minutes of the sums.
_MINUTES = {"RY": 5, "YW": 5, "RZ": 5, "RV": 5, "RH": 60, "RW": 60, "RL": 60, "RU": 60, "SF": 1440}


def recognises(source: Source) -> bool:
    """Whether the file is NetCDF with a product of RADOLAN on one of DWD's grids, and without units."""
    if source.head(4) != MAGIC:
        return False
    try:
        with open_hdf5(source) as file:
            return _product(file) is not None
    except (InputError, RuntimeError, KeyError, OSError, ValueError):
        return False  # The reader of CF NetCDF names the error.


def times(source: Source, options: ReadOptions) -> NDArray[np.datetime64]:
    """Return the ends of the intervals, which are the times of RADOLAN."""
    with open_netcdf(source) as ds:
        return find_intervals(ds, _rain(ds), options, source.name).ends


def read(source: Source, options: ReadOptions, frames: slice) -> xr.Dataset:
    """Return frames in mm/h: sums divided by their interval."""
    if options.min_quality is not None:
        raise InputError("min_quality: expected a format with a quality field, found RADOLAN")
    with open_netcdf(source) as ds:
        rain = _rain(ds)
        factor = _factor(rain, options)
        intervals = find_intervals(ds, rain, options, source.name)
        grid = _grid(ds.variables["x"].values, ds.variables["y"].values)
        variable = rain.variable
        if intervals.dim is None:
            packed = variable.values.reshape(1, grid.rows, grid.columns)
        else:
            packed = variable.isel({intervals.dim: frames}).transpose(intervals.dim, "y", "x").values
        values = unpack(packed, variable, rain.name) * factor
        if ds.variables["y"].values[0] < ds.variables["y"].values[-1]:
            values = values[:, ::-1]
        lowest = np.fmin.reduce(values, axis=None, initial=np.inf)
        if lowest < 0:
            raise InputError(f"{rain.name}: expected 0 or more, found {lowest:g}")
        rate, measured = to_rate(values, "amount", hours=_MINUTES[rain.name] / 60, zr=options.zr)
        return schema.build(
            rate,
            intervals.ends[frames],
            grid,
            measured=measured,
            attributes=origin(rain.name),
        )


def _factor(rain: RainVariable, options: ReadOptions) -> float:
    """Return the millimetres of a number: 1, unless the numbers are whole and only the user knows it.

    Raises:
        InputError: The numbers are whole, and neither the file nor the user gives their size.
    """
    whole = rain.variable.dtype.kind in "iu" and "scale_factor" not in rain.variable.attrs
    if not whole:
        options.expect_agreement("amount", "mm")
        return 1.0
    if options.units is None:
        raise InputError(
            f"{rain.name}: expected a scale_factor of whole numbers, found none; give the size of one with "
            '--units, such as "0.01 mm"'
        )
    quantity, factor, _ = unit(options.units)
    if quantity != "amount":
        raise InputError(f"units: expected a unit of an amount, found {options.units} in the options")
    return factor


def _product(file: h5py.File) -> str | None:
    """Return the name of the product; None if the file is another."""
    for name in _MINUTES:
        data, x, y = (file.get(key) for key in (name, "x", "y"))
        if not all(isinstance(item, h5py.Dataset) for item in (data, x, y)):
            continue
        undescribed = not any("units" in item.attrs for item in (data, x, y))
        if undescribed and data.shape[-2:] == (y.size, x.size) and data.shape[-2:] in GRIDS:
            try:
                _grid(x[()], y[()])
            except InputError:
                continue
            return name
    return None


def _grid(x: NDArray[np.float64], y: NDArray[np.float64]) -> Grid:
    """Return DWD's grid whose corners or centres, in kilometres, are x and y.

    Raises:
        InputError: It is not one of DWD's grids.
    """
    east, north = 1000 * np.sort(x), 1000 * np.sort(y)[::-1]
    for wgs84 in (False, True):
        grid = composite_grid(len(y), len(x), wgs84)
        for shift in (0.0, grid.dx / 2):
            off = max(np.abs(east + shift - grid.x).max(), np.abs(north + shift - grid.y).max())
            if off < grid.dx / 100:
                return grid
    raise InputError(f"x, y: expected DWD's grid of {len(y)} × {len(x)} pixels, found another")


def _rain(ds: xr.Dataset) -> RainVariable:
    for name in _MINUTES:
        if name in ds.variables:
            variable = ds.variables[name]
            others = tuple(str(dim) for dim in variable.dims if dim not in ("y", "x"))
            return RainVariable(name, variable, cf_roles.units(variable), "y", "x", others)
    raise InputError("expected a product of RADOLAN, found no such variable")
