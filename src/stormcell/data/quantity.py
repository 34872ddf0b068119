"""Conversion of rain rates, accumulations and reflectivity to rain rates in mm/h."""

import re
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from stormcell.data.units import parse_unit, split_period
from stormcell.errors import InputError

Quantity = Literal["rate", "dbz", "amount"]

QUANTITIES: tuple[Quantity, ...] = ("rate", "dbz", "amount")
_DBZ = re.compile(r"db(?:ze?|\(ze?\)| ze?)", re.IGNORECASE)
_MM, _MM_PER_HOUR = 1e3, 3.6e6
# Exponents of length, mass and time: the quantity, and the factor from metres, kilograms and seconds.
# A kilogram of water on a square metre is one millimetre deep.
_DIMENSIONS: dict[tuple[float, float, float], tuple[Quantity, float]] = {
    (1, 0, 0): ("amount", _MM),
    (-2, 1, 0): ("amount", _MM / 1e3),
    (1, 0, -1): ("rate", _MM_PER_HOUR),
    (-2, 1, -1): ("rate", _MM_PER_HOUR / 1e3),
}


@lru_cache(maxsize=256)
def unit(name: str) -> tuple[Quantity, float, float | None]:
    """Return the quantity of a unit, and the factor to mm or mm/h.

    The quantity follows from the dimension: a length or a mass per area is an amount, and divided by a time
    it is a rate. A number before the time makes it an amount over this period.

    Args:
        name: The unit, as CF, UDUNITS or people write it.

    Returns:
        The quantity; the factor to mm/h (a rate) or mm (an amount), 1 for dBZ; and the accumulation period in
        hours, if the unit of an amount contains it.

    Raises:
        InputError: The unit is not one of rain.

    Example:
        >>> unit("kg m-2 s-1"), unit("inch/day")[0], unit("0.1 mm")[1]
        (('rate', 3600.0, None), 'rate', 0.1)
        >>> unit("mm/5min")[2] == unit("mm (5 min)-1")[2] == 5 / 60
        True
    """
    if _DBZ.fullmatch(name.strip()):
        return "dbz", 1.0, None
    amount, hours = split_period(name)
    parsed = parse_unit(amount)
    if parsed:
        found = _DIMENSIONS.get((parsed.length, parsed.mass, parsed.time))
        if found and (hours is None or found[0] == "amount"):
            # Fifteen digits: the factor of mm/h is 1 and not 0.9999999999999999.
            return found[0], float(f"{parsed.factor * found[1]:.15g}"), hours
    raise InputError(f"units: expected a rate (mm/h, kg m-2 s-1), dBZ, or mm, mm/5min; found {name[:60]!r}")


def rate_from_dbz(dbz: NDArray[np.floating], zr: tuple[float, float]) -> NDArray[np.float64]:
    """Convert reflectivity in dBZ to rain rate in mm/h, by Z = a R^b (Marshall & Palmer 1948).

    Args:
        dbz: Reflectivity, any shape; −inf means no echo.
        zr: The constants a and b.

    Source: doi:10.1175/1520-0469(1948)005<0165:TDORWS>2.0.CO;2.

    Example:
        >>> round(float(rate_from_dbz(np.array(23.0103), (200.0, 1.6))), 4)  # Z = 200
        1.0
    """
    a, b = zr
    rate: NDArray[np.float64] = (10.0 ** (np.asarray(dbz, np.float64) / 10) / a) ** (1 / b)
    return rate


def to_rate(
    values: NDArray[np.floating],
    quantity: Quantity,
    *,
    hours: float | NDArray[np.float64] | None = None,
    zr: tuple[float, float] | None = None,
) -> tuple[NDArray[np.float64], dict[str, Any]]:
    """Convert a measured quantity to rain rates in mm/h.

    Args:
        values: Rates in mm/h, amounts in mm or reflectivity in dBZ, ``(time, y, x)`` or ``(y, x)``.
        quantity: Quantity of the values.
        hours: Accumulation period of an amount in hours, > 0: one, or one per time ``(time, 1, 1)``.
        zr: The constants a and b of Z = a R^b, required for reflectivity; for other quantities, the constants
            by which the provider converted them, if known.

    Returns:
        The rates, and the attributes of the archive's rate that describe the conversion.

    Raises:
        InputError: The period of an amount, or the Z–R relation of reflectivity, is missing.

    Example:
        >>> rate, attributes = to_rate(np.array([[1.0]]), "amount", hours=0.5)
        >>> float(rate[0, 0]), attributes["accumulation_minutes"]
        (2.0, 30.0)
    """
    attributes: dict[str, Any] = {"source_quantity": quantity}
    if zr is not None:
        attributes |= {"zr_a": zr[0], "zr_b": zr[1]}
    if quantity == "dbz":
        if zr is None:
            raise InputError(
                "zr: expected a and b of Z = a R^b for reflectivity, found neither; give them with --zr"
            )
        return rate_from_dbz(values, zr), attributes
    rate = np.asarray(values, np.float64)
    if quantity == "rate":
        return rate, attributes
    if hours is None or not np.all(hours > 0):
        raise InputError(
            "accumulation period: expected a period above 0, found none; give it with the units: "
            '--units "mm/5min"'
        )
    minutes = float(np.ravel(hours)[0]) * 60
    return rate / hours, attributes | {"accumulation_minutes": minutes, "cell_methods": "time: mean"}
