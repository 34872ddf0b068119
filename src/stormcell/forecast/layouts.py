"""The layouts of a forecast's file: variables, their names and units, for the programs that read it.

- ``cf``: rates in mm/h, further products, and the amounts of the time steps beside the rates.
- ``fews``: each member, quantile and probability as a variable ``(time, y, x)``, which Delft-FEWS reads as
  ``NETCDF-CF_GRID``; amounts in place of rates.
- ``pysteps``: rates as ``precip_intensity``, which ``pysteps.io.import_netcdf_pysteps`` reads.

An amount is the rate of a valid time multiplied by the time step that ends there, in mm. Its interval is in
``time_bnds``, without which HEC's tools do not know what an amount is of.
"""

import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import numpy as np
import xarray as xr

from stormcell.data.grid import parse_crs
from stormcell.errors import ArgumentError

CONVENTIONS = "CF-1.11"
RATE, AMOUNT, BOUNDS = "rainfall_rate", "rainfall_amount", "time_bnds"

# Attributes of a field; all others describe the forecast as a whole and become attributes of the file.
_FIELD_ATTRIBUTES = ("standard_name", "long_name", "units", "grid_mapping", "cell_methods")
_AMOUNT_ATTRIBUTES = {
    # CF's rainfall_amount is a mass, in kg m-2; hydrological programs ask for a depth, in mm.
    "standard_name": "thickness_of_rainfall_amount",
    "units": "mm",
    "cell_methods": "time: sum",
}


def dataset(forecast: xr.DataArray, products: Sequence[xr.DataArray], layout: str) -> xr.Dataset:
    """Return a forecast and its products as they are written. Amounts are computed when they are.

    Args:
        forecast: Rain rates in mm/h ``(time, y, x)`` or ``(realization, time, y, x)``.
        products: Further fields of the same times and grid.
        layout: One of :data:`LAYOUTS`.

    Raises:
        ArgumentError: The layout has no place for a product.

    Example:
        >>> from stormcell.data.synthetic import generate
        >>> from stormcell.forecast.baselines import baseline
        >>> made = baseline("persistence")(generate(seed=1, shape=(16, 16), steps=3).rainfall_rate, steps=2)
        >>> sorted(dataset(made, [], "fews").data_vars)
        ['crs', 'rainfall_amount', 'time_bnds']
    """
    ds = _as_cf(LAYOUTS[layout](forecast, products))
    made_by = f"stormcell {version('stormcell')}"
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    ds.attrs = {
        "Conventions": CONVENTIONS,
        "title": "Rain forecast",
        "source": made_by,
        "history": f"{now} written by {made_by}",
        **{key: value for key, value in forecast.attrs.items() if key not in _FIELD_ATTRIBUTES},
        **ds.attrs,
    }
    # The encoding of the frames in their archive does not apply to a forecast.
    return ds.drop_encoding()


def _as_cf(ds: xr.Dataset) -> xr.Dataset:
    """Return a dataset whose variables have the attributes that CF asks for, and no others."""
    for variable in ds.data_vars.values():
        variable.attrs = {key: value for key, value in variable.attrs.items() if key in _FIELD_ATTRIBUTES}
        # IMPROVER's name; CF has none for probabilities.
        if str(variable.attrs.get("standard_name")).startswith("probability_of"):
            del variable.attrs["standard_name"]
    # The times of radar files do not count leap seconds.
    ds["time"].attrs["units_metadata"] = "leap_seconds: none"
    if "y" in ds.coords and ds["y"].attrs.get("standard_name") == "latitude":
        ds = ds.drop_vars(["lat", "lon"], errors="ignore")  # y and x are the latitude and longitude
    mappings = {variable.attrs.get("grid_mapping") for variable in ds.data_vars.values()}
    for name in mappings & set(ds.coords):
        attributes = ds[name].attrs
        if attributes.get("grid_mapping_name") == "polar_stereographic":
            # Required, but PROJ omits it if there is a standard parallel.
            pole = math.copysign(90.0, attributes.get("standard_parallel", 90.0))
            ds[name].attrs = {"latitude_of_projection_origin": pole, **attributes}
    # CF's grid mapping is a variable. If it were a coordinate, xarray would list it as one.
    return ds.reset_coords(list(mappings & set(ds.coords)))


def _cf(forecast: xr.DataArray, products: Sequence[xr.DataArray]) -> xr.Dataset:
    ds = forecast.to_dataset(name=RATE)
    for product in products:
        ds[str(product.name)] = product
    ds[AMOUNT] = _amount(forecast)
    return _with_bounds(ds)


def _fews(forecast: xr.DataArray, products: Sequence[xr.DataArray]) -> xr.Dataset:
    fields = dict(field for array in (forecast, *products) for field in _flat(array))
    return _with_bounds(xr.Dataset(fields).drop_vars(["lat", "lon"], errors="ignore"))


def _pysteps(forecast: xr.DataArray, products: Sequence[xr.DataArray]) -> xr.Dataset:
    if products:
        names = ", ".join(str(product.name) for product in products)
        raise ArgumentError(
            f"layout: expected only rates for pysteps, which reads nothing else, found {names}"
        )
    rate = forecast.rename("precip_intensity").assign_attrs(
        standard_name="rainfall_rate", long_name="instantaneous precipitation rate", units="mm h-1"
    )
    if "realization" in rate.dims:
        attributes = {"standard_name": "realization", "long_name": "ensemble member", "units": "1"}
        numbers = np.arange(1, rate.sizes["realization"] + 1)
        rate = rate.drop_vars("realization").rename(realization="ens_number")
        rate = rate.assign_coords(ens_number=("ens_number", numbers, attributes))
    ds = rate.to_dataset()
    if "crs" in ds.coords:
        # pysteps finds the projection under its name.
        mapping = str(ds["crs"].attrs.get("grid_mapping_name", "crs"))
        ds[rate.name].attrs["grid_mapping"] = mapping
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="You will likely lose important projection information")
            ds.attrs["projection"] = parse_crs(str(ds["crs"].attrs["crs_wkt"])).to_proj4()
        ds = ds.rename_vars(crs=mapping)
    return ds.assign_attrs(precip_var="precip_intensity")


LAYOUTS: dict[str, Callable[[xr.DataArray, Sequence[xr.DataArray]], xr.Dataset]] = {
    "cf": _cf,
    "fews": _fews,
    "pysteps": _pysteps,
}


def _flat(array: xr.DataArray) -> Iterator[tuple[str, xr.DataArray]]:
    """Yield every field ``(time, y, x)`` of a product, rates as amounts, under a name of its own."""
    rates = array.attrs.get("units") != "1"
    name = str(array.name).replace("rate", "amount") if rates else str(array.name)
    first = str(array.dims[0])
    if first == "time":
        yield name, _amount(array) if rates else array
        return
    for number, value in enumerate(array[first].values, start=1):
        field = array.sel({first: value}).drop_vars(first)
        if first == "realization":
            text, words = f"{name}_member_{number}", f"member {number}"
        elif first == "quantile":
            text, words = f"{name.removesuffix('_quantile')}_p{_digits(100 * value)}", f"{100 * value:g} %"
        else:
            text, words = f"{name}_above_{_digits(value)}", f"threshold {value:g} mm/h"
        field = _amount(field) if rates else field
        yield text, field.assign_attrs(long_name=f"{field.attrs.get('long_name', name)}, {words}")


def _digits(number: float) -> str:
    """Return a number as a part of a variable's name."""
    return f"{round(float(number), 3):g}".replace(".", "_")


def _amount(rate: xr.DataArray) -> xr.DataArray:
    """Return the amounts of the time steps that end at the valid times, computed field by field."""
    hours = (np.diff(_edges(rate)) / np.timedelta64(1, "h")).astype(np.float32)
    fields = rate.chunk({dim: 1 for dim in rate.dims if dim not in ("y", "x")})
    amount = fields * xr.DataArray(hours, dims="time")
    long_name = str(rate.attrs.get("long_name", "rainfall rate")).replace("rate", "amount")
    kept = {key: value for key, value in rate.attrs.items() if key == "grid_mapping"}
    return amount.rename(AMOUNT).assign_attrs(_AMOUNT_ATTRIBUTES, long_name=long_name, **kept)


def _with_bounds(ds: xr.Dataset) -> xr.Dataset:
    edges = _edges(ds)
    ds[BOUNDS] = (("time", "bnds"), np.stack([edges[:-1], edges[1:]], axis=1))
    ds["time"].attrs["bounds"] = BOUNDS
    return ds


def _edges(array: xr.DataArray | xr.Dataset) -> Any:
    """Return the issue time and the valid times."""
    return np.append(array["forecast_reference_time"].values, array["time"].values)
