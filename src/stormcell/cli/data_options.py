"""The command line's options for metadata that files do not give."""

from typing import cast

from stormcell.data.quantity import Quantity
from stormcell.data.read_options import ReadOptions
from stormcell.errors import ArgumentError


def read_options(
    quantity: str | None,
    units: str | None,
    zr: str | None,
    *,
    variable: str | None = None,
    min_quality: float | None = None,
    start: str | None = None,
    step: str | None = None,
    crs: str | None = None,
    bounds: str | None = None,
    format: str | None = None,  # noqa: A002 - the name of the option
) -> ReadOptions:
    """Combine the options about files.

    Raises:
        ArgumentError: An option is malformed.
    """
    return ReadOptions(
        quantity=cast(Quantity | None, quantity),
        units=units,
        zr=cast(tuple[float, float] | None, _numbers("--zr", "two numbers A,B", 2, zr)),
        variable=variable,
        min_quality=min_quality,
        start=start,
        step=step,
        crs=crs,
        bounds=cast(
            tuple[float, float, float, float] | None,
            _numbers("--bounds", "four numbers WEST,SOUTH,EAST,NORTH", 4, bounds),
        ),
        format=format,
    )


def _numbers(option: str, expected: str, count: int, text: str | None) -> tuple[float, ...] | None:
    if text is None:
        return None
    try:
        numbers = tuple(map(float, text.split(",")))
    except ValueError:
        numbers = ()
    if len(numbers) != count:
        raise ArgumentError(f'{option}: expected {expected}, found "{text}"')
    return numbers
