"""Conversion of rain rates, accumulations and reflectivity to rain rates in mm/h."""

import re
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from stormcell.errors import InputError

Quantity = Literal["rate", "dbz", "amount"]

QUANTITIES: tuple[Quantity, ...] = ("rate", "dbz", "amount")
# Factors to mm/h. A kilogram of water on a square metre is one millimetre deep.
_RATES = {
    "mm/h": 1.0,
    "mm h-1": 1.0,
    "mm/hr": 1.0,
    "mm hr-1": 1.0,
    "mm hour-1": 1.0,
    "kg m-2 h-1": 1.0,
    "kg m-2 hour-1": 1.0,
    "mm/s": 3600.0,
    "mm s-1": 3600.0,
    "kg m-2 s-1": 3600.0,
    "m s-1": 3.6e6,
    "m/s": 3.6e6,
}
_AMOUNTS = {"mm": 1.0, "millimeter": 1.0, "millimetre": 1.0, "kg m-2": 1.0, "kg/m2": 1.0, "m": 1000.0}
_AMOUNT_OVER = re.compile(r"mm ?/ ?(\d+(?:\.\d+)?) ?(min|h)")


def unit(name: str) -> tuple[Quantity, float, float | None]:
    """Return the quantity of a unit, and the factor to mm or mm/h.

    Args:
        name: The unit, as CF or people write it.

    Returns:
        The quantity; the factor to mm/h (a rate) or mm (an amount), 1 for dBZ; and the accumulation period in
        hours, if the unit of an amount contains it.

    Raises:
        InputError: The unit is unknown.

    Example:
        >>> unit("kg m-2 s-1")
        ('rate', 3600.0, None)
        >>> unit("mm/5min")[2] == 5 / 60
        True
    """
    plain = " ".join(name.replace("^", "").replace("**", "").replace("·", " ").split())
    if plain.lower() == "dbz":
        return "dbz", 1.0, None
    if plain in _RATES:
        return "rate", _RATES[plain], None
    if plain in _AMOUNTS:
        return "amount", _AMOUNTS[plain], None
    over = _AMOUNT_OVER.fullmatch(plain)
    if over and float(over[1]) > 0:
        return "amount", 1.0, float(over[1]) / (60 if over[2] == "min" else 1)
    raise InputError(f"units: expected a rate (mm/h, kg m-2 s-1), dBZ, or mm, mm/5min; found {name!r}")


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
