"""Detection of the rain variable of a CF dataset, with its quantity, units and axes."""

from dataclasses import dataclass

import xarray as xr

from stormcell.data.quantity import Quantity, unit
from stormcell.data.read_options import ReadOptions
from stormcell.errors import InputError

# Standard names of CF, and variable names of the MLCast conventions and pysteps.
_STANDARD_NAMES: dict[str, Quantity] = {
    "rainfall_rate": "rate",
    "rainfall_flux": "rate",
    "precipitation_flux": "rate",
    "lwe_precipitation_rate": "rate",
    "rainfall_amount": "amount",
    "precipitation_amount": "amount",
    "thickness_of_rainfall_amount": "amount",
    "lwe_thickness_of_precipitation_amount": "amount",
    "equivalent_reflectivity_factor": "dbz",
}
_NAMES: dict[str, Quantity] = {
    **_STANDARD_NAMES,
    **dict.fromkeys(("mmh", "rr", "rain_rate", "precip_intensity", "precipitation_rate"), "rate"),
    **dict.fromkeys(("mm", "tp", "precip_accum", "acrr"), "amount"),
    **dict.fromkeys(("dbz", "dbzh", "rare", "reflectivity"), "dbz"),
}
_AXES = {
    "y": ("y", "yc", "lat", "latitude"),
    "x": ("x", "xc", "lon", "longitude"),
}


@dataclass(frozen=True)
class RainVariable:
    """The rain variable of a dataset.

    Attributes:
        array: The variable, with dimensions ``y``, ``x`` and usually ``time``.
        units: Units of its values.
        y: Name of the dimension along a column.
        x: Name of the dimension along a row.
        degrees: Whether y and x are latitude and longitude.
    """

    array: xr.DataArray
    units: str
    y: str
    x: str
    degrees: bool


def find_rain(ds: xr.Dataset, options: ReadOptions) -> RainVariable:
    """Return the rain variable of a dataset.

    Raises:
        InputError: No variable or several variables qualify, or the quantity is missing or contradictory.
    """
    gridded = {
        str(name): array
        for name, array in ds.data_vars.items()
        if array.dtype.kind in "fiu"
        and _axis(array, "y")
        and _axis(array, "x")
        and array.ndim == 2 + ("time" in array.dims)
    }
    known = {name: array for name, array in gridded.items() if _named_quantity(array)}
    candidates = known or gridded
    if options.quantity and len(candidates) > 1:
        candidates = {
            name: array for name, array in candidates.items() if _named_quantity(array) == options.quantity
        }
    if len(candidates) != 1:
        raise InputError(
            f"expected one variable of rain (time, y, x), found {', '.join(candidates) or 'no variable'}"
        )
    (array,) = candidates.values()
    if array.size == 0:
        raise InputError(f"{array.name}: expected frames, found {dict(array.sizes)}")
    y, x = _axis(array, "y"), _axis(array, "x")
    degrees = y.lower().startswith("lat") or str(array[y].attrs.get("units", "")).startswith("degree")
    return RainVariable(array, _units(array, options), y, x, degrees)


def _axis(array: xr.DataArray, axis: str) -> str:
    """Return the name of the y or x dimension; empty if no dimension with a coordinate qualifies."""
    standard = {"y": ("projection_y_coordinate", "latitude"), "x": ("projection_x_coordinate", "longitude")}[
        axis
    ]
    for name in map(str, array.dims):
        if name in array.coords and (
            array[name].attrs.get("standard_name") in standard or name.lower() in _AXES[axis]
        ):
            return name
    return ""


def _named_quantity(array: xr.DataArray) -> Quantity | None:
    """Return the quantity that the variable's standard name, or else its name, implies."""
    standard = str(array.attrs.get("standard_name", ""))
    return _STANDARD_NAMES.get(standard) or _NAMES.get(str(array.name).lower())


def _units(array: xr.DataArray, options: ReadOptions) -> str:
    """Return the units of the file or of the options, after a check for contradictions."""
    own = array.attrs.get("units")
    if own is None and options.units is None:
        raise InputError(
            f"{array.name}: expected units, found none; give them with --units (mm/h, mm/5min, dBZ)"
        )
    units = str(options.units if own is None else own)
    quantity = unit(units)[0]
    if own is not None:
        options.expect_agreement(quantity, units)
        # An override "mm/5min" adds the period that a file with "mm" leaves out.
        units = options.units or units
    # A standard name states the quantity. Any other name counts only if the file states no units.
    named = (
        _STANDARD_NAMES.get(str(array.attrs.get("standard_name", "")))
        if own is not None
        else _named_quantity(array)
    )
    if options.quantity is None and named not in (None, quantity):
        raise InputError(
            f"{array.name}: expected its name ({named}) and its units {units!r} ({quantity}) to agree; "
            "give the quantity with --quantity"
        )
    return units
