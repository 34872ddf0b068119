"""Detection of the rain variable of a CF dataset, with its quantity, units and dimensions."""

import re
from dataclasses import dataclass

import xarray as xr

from stormcell.data.quantity import Quantity, unit
from stormcell.data.read_options import ReadOptions
from stormcell.data.readers import cf_roles
from stormcell.errors import InputError

# Standard names of CF, and variable names of the MLCast conventions and pysteps.
_STANDARD_NAMES: dict[str, Quantity] = {
    "rainfall_rate": "rate",
    "rainfall_flux": "rate",
    "precipitation_flux": "rate",
    "precipitation_rate": "rate",
    "convective_precipitation_flux": "rate",
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
    **dict.fromkeys(("mm", "tp", "precip_accum", "acrr", "rain_amount"), "amount"),
    **dict.fromkeys(("dbz", "dbzh", "rare", "reflectivity"), "dbz"),
}
_RAIN = re.compile(r"rain|precip|reflectiv|dbz|^(?:rr|rw|ry|yw|tp|pr|sri|acrr)(?:[_\d]|$)", re.IGNORECASE)


@dataclass(frozen=True)
class RainVariable:
    """The rain variable of a dataset.

    Attributes:
        name: Its name.
        variable: The variable, not decoded.
        units: Units of its values.
        y: Name of the dimension along a column.
        x: Name of the dimension along a row.
        others: Names of the other dimensions, such as time, in order.
    """

    name: str
    variable: xr.Variable
    units: str
    y: str
    x: str
    others: tuple[str, ...]


def find_rain(ds: xr.Dataset, options: ReadOptions) -> RainVariable:
    """Return the rain variable of a dataset that was opened without decoding.

    Latitude, longitude, bounds, qualities and flags are not rain. Of the others, the options choose: by name,
    or by quantity and units. Of the rest, those with a standard name of rain come first, then those with a
    usual name.

    Raises:
        InputError: No variable or several variables qualify, or the quantity is missing or contradictory.
    """
    gridded = {
        str(name): axes
        for name, variable in ds.variables.items()
        if variable.dtype.kind in "fiu" and (axes := horizontal_axes(ds, variable))
    }
    if options.variable is not None:
        if options.variable not in gridded:
            raise InputError(
                f"variable: expected one of {', '.join(gridded) or 'no variable'}, found {options.variable!r}"
            )
        names = [options.variable]
    else:
        names = _candidates(ds, [name for name in gridded if name not in ds.dims], options)
    if len(names) != 1:
        if names:
            found = f"{', '.join(names)}; choose with --quantity or --variable"
        else:
            found = f"no variable of this kind among {', '.join(map(str, ds.variables))[:80] or 'nothing'}"
        raise InputError(f"expected one variable of rain (time, y, x), found {found}")
    variable = ds.variables[names[0]]
    if variable.size == 0:
        raise InputError(f"{names[0]}: expected frames, found {dict(variable.sizes)}")
    y, x = gridded[names[0]]
    others = tuple(str(dim) for dim in variable.dims if dim not in (y, x))
    return RainVariable(names[0], variable, _units(names[0], variable, options), y, x, others)


def horizontal_axes(ds: xr.Dataset, variable: xr.Variable) -> tuple[str, str] | None:
    """Return the names of a variable's dimensions y and x; None if it is not on a grid."""
    if variable.ndim < 2:
        return None
    found: dict[str, list[str]] = {"y": [], "x": [], "t": [], "": []}
    for dim in map(str, variable.dims):
        found[cf_roles.axis(*cf_roles.along(ds, dim))].append(dim)
    if len(found["y"]) == len(found["x"]) == 1:
        return found["y"][0], found["x"][0]
    # Dimensions without coordinates are those of a latitude (y, x).
    for name, place in ds.variables.items():
        if place.ndim == 2 and cf_roles.is_latitude_or_longitude(str(name), place):
            y, x = map(str, place.dims)
            if {y, x} <= set(variable.dims):
                return y, x
    return None


def _candidates(ds: xr.Dataset, names: list[str], options: ReadOptions) -> list[str]:
    """Return the names of the variables that may be the rain; one, if the file or the options are clear."""
    names = [
        name
        for name in names
        if not cf_roles.is_latitude_or_longitude(name, ds.variables[name])
        and not cf_roles.is_quality(ds, name)
        and not cf_roles.is_bounds(ds, name)
        and not cf_roles.text(ds.variables[name].attrs.get("grid_mapping_name"))
        and _may_be_rain(ds.variables[name])
    ]
    wanted = options.quantity or (options.units and unit(options.units)[0])
    if wanted:
        names = [name for name in names if _quantity(name, ds.variables[name]) == wanted] or names
    ranks = {name: _rank(name, ds.variables[name]) for name in names}
    best = [name for name in names if ranks[name] == max(ranks.values())]
    # A total or a climatology beside the frames has no time.
    return [name for name in best if _has_time(ds, ds.variables[name])] or best


def _has_time(ds: xr.Dataset, variable: xr.Variable) -> bool:
    return any(cf_roles.axis(dim, ds.variables.get(dim)) == "t" for dim in map(str, variable.dims))


def _may_be_rain(variable: xr.Variable) -> bool:
    """Whether a variable has a standard name of rain, or none."""
    stated = cf_roles.standard_name(variable)
    return not stated or stated in _STANDARD_NAMES or _RAIN.search(stated) is not None


def _rank(name: str, variable: xr.Variable) -> int:
    """Return how well a variable qualifies as rain, by its standard name, its name and its units."""
    if cf_roles.standard_name(variable) in _STANDARD_NAMES:
        return 4
    named, measured = name.lower() in _NAMES, _unit_quantity(variable) is not None
    if measured and (named or _RAIN.search(name)):
        return 3
    return 2 if named else int(measured or _RAIN.search(name) is not None)


def _quantity(name: str, variable: xr.Variable) -> Quantity | None:
    """Return the quantity of a variable by its units, or else by its names."""
    return _unit_quantity(variable) or _named_quantity(name, variable)


def _unit_quantity(variable: xr.Variable) -> Quantity | None:
    try:
        return unit(cf_roles.units(variable))[0]
    except InputError:
        return None


def _named_quantity(name: str, variable: xr.Variable) -> Quantity | None:
    """Return the quantity that the variable's standard name, or else its name, implies."""
    return _STANDARD_NAMES.get(cf_roles.standard_name(variable)) or _NAMES.get(name.lower())


def _units(name: str, variable: xr.Variable, options: ReadOptions) -> str:
    """Return the units of the file or of the options, after a check for contradictions."""
    own = cf_roles.units(variable)
    known = _unit_quantity(variable)
    if known is None and options.units is None:
        expected, found = ("units of rain", repr(own)) if own else ("units", "none")
        raise InputError(
            f"{name}: expected {expected}, found {found}; give them with --units (mm/h, mm/5min, dBZ)"
        )
    # An override "mm/5min" adds the period that a file with "mm" leaves out.
    units = options.units or own
    quantity = unit(units)[0]
    if known is not None:
        options.expect_agreement(known, own)
    # A standard name states the quantity. Any other name counts only if the file states no units.
    named = (
        _STANDARD_NAMES.get(cf_roles.standard_name(variable))
        if known is not None
        else _named_quantity(name, variable)
    )
    if options.quantity is None and named not in (None, quantity):
        raise InputError(
            f"{name}: expected its name ({named}) and its units {units!r} ({quantity}) to agree; "
            "give the quantity with --quantity"
        )
    return units
