"""The command line's options for metadata that files do not give."""

from typing import cast

from stormcell.data.quantity import Quantity
from stormcell.data.read_options import ReadOptions
from stormcell.errors import ArgumentError


def read_options(quantity: str | None, units: str | None, zr: str | None) -> ReadOptions:
    """Combine the options --quantity, --units and --zr.

    Raises:
        ArgumentError: An option is malformed.
    """
    return ReadOptions(quantity=cast(Quantity | None, quantity), units=units, zr=_constants(zr))


def _constants(zr: str | None) -> tuple[float, float] | None:
    if zr is None:
        return None
    try:
        a, b = map(float, zr.split(","))
    except ValueError:
        raise ArgumentError(f'--zr: expected two numbers A,B, found "{zr}"') from None
    return a, b
