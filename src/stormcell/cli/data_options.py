"""What the command line says of files that do not say it themselves."""

from typing import cast

from stormcell.data.quantity import Quantity, Told
from stormcell.errors import ArgumentError


def told(quantity: str | None, units: str | None, zr: str | None) -> Told:
    """The three options together.

    Raises:
        ArgumentError: One of them cannot be understood.
    """
    return Told(quantity=cast(Quantity | None, quantity), units=units, zr=_constants(zr))


def _constants(zr: str | None) -> tuple[float, float] | None:
    if zr is None:
        return None
    try:
        a, b = map(float, zr.split(","))
    except ValueError:
        raise ArgumentError(f'--zr: expected two numbers A,B, found "{zr}"') from None
    return a, b
