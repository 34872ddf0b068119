"""Which variable of a CF dataset is the rain, what it measures, and which of its axes is which."""

from dataclasses import dataclass

import xarray as xr

from stormcell.data.quantity import Quantity, Told, settle, unit
from stormcell.errors import InputError

# CF's standard names, and the names that the MLCast conventions and pysteps give to variables.
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
class Rain:
    """The rain of a dataset.

    Attributes:
        array: The variable, with ``y``, ``x`` and mostly ``time`` among its dimensions.
        units: Of its values.
        y: Name of the dimension along a column.
        x: Name of the dimension along a row.
        degrees: Whether y and x are latitude and longitude.
    """

    array: xr.DataArray
    units: str
    y: str
    x: str
    degrees: bool


def find_rain(ds: xr.Dataset, told: Told) -> Rain:
    """The one variable that is rain.

    Raises:
        InputError: There is none, or several, or what it measures is not said or contradicts itself.
    """
    gridded = {
        str(name): array
        for name, array in ds.data_vars.items()
        if array.dtype.kind in "fiu"
        and _axis(array, "y")
        and _axis(array, "x")
        and array.ndim == 2 + ("time" in array.dims)
    }
    known = {name: array for name, array in gridded.items() if _said(array)}
    candidates = known or gridded
    if told.quantity and len(candidates) > 1:
        candidates = {name: array for name, array in candidates.items() if _said(array) == told.quantity}
    if len(candidates) != 1:
        raise InputError(
            f"expected one variable of rain (time, y, x), found {', '.join(candidates) or 'none'}"
        )
    (array,) = candidates.values()
    if array.size == 0:
        raise InputError(f"{array.name}: expected frames, found {dict(array.sizes)}")
    y, x = _axis(array, "y"), _axis(array, "x")
    degrees = y.lower().startswith("lat") or str(array[y].attrs.get("units", "")).startswith("degree")
    return Rain(array, _units(array, told), y, x, degrees)


def _axis(array: xr.DataArray, axis: str) -> str:
    """The name of the y or x dimension, empty if there is none with a coordinate."""
    standard = {"y": ("projection_y_coordinate", "latitude"), "x": ("projection_x_coordinate", "longitude")}[
        axis
    ]
    for name in map(str, array.dims):
        if name in array.coords and (
            array[name].attrs.get("standard_name") in standard or name.lower() in _AXES[axis]
        ):
            return name
    return ""


def _said(array: xr.DataArray) -> Quantity | None:
    """What the variable's names say it measures."""
    standard = str(array.attrs.get("standard_name", ""))
    return _STANDARD_NAMES.get(standard) or _NAMES.get(str(array.name).lower())


def _units(array: xr.DataArray, told: Told) -> str:
    """The units, of the file or told, once nothing contradicts them."""
    own = array.attrs.get("units")
    if own is None and told.units is None:
        raise InputError(f"{array.name}: expected units, found none; tell them (mm/h, mm/5min, dBZ)")
    units = str(told.units if own is None else own)
    quantity = unit(units)[0]
    if own is not None:
        settle(told, quantity, units)
        # "mm/5min" told of a file that says "mm" adds what the file left out.
        units = told.units or units
    # A standard name is a statement; any other name counts only where the file states no units.
    named = (
        _STANDARD_NAMES.get(str(array.attrs.get("standard_name", ""))) if own is not None else _said(array)
    )
    if told.quantity is None and named not in (None, quantity):
        raise InputError(
            f"{array.name}: expected its name ({named}) and its units {units!r} ({quantity}) to agree; "
            "tell the quantity"
        )
    return units
