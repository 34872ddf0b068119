"""The command line's options for metadata that files do not give, and for cleaning and regridding."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, cast

from stormcell.data import archive, readers
from stormcell.data.cleaning import Cleaning
from stormcell.data.grid import Grid
from stormcell.data.processing import Processing
from stormcell.data.quantity import Quantity
from stormcell.data.read_options import ReadOptions
from stormcell.data.regrid import Target
from stormcell.errors import ArgumentError


def read_options(
    quantity: str | None = None,
    units: str | None = None,
    zr: str | None = None,
    *,
    variable: str | None = None,
    min_quality: float | None = None,
    nodata: tuple[float, ...] = (),
    start: str | None = None,
    step: str | None = None,
    crs: str | None = None,
    bounds: str | None = None,
    format: str | None = None,  # noqa: A002 - the name of the option
) -> ReadOptions:
    """Combine the options about files.

    Raises:
        ArgumentError: An option is malformed.
        InputError: There is no such format.
    """
    if format is not None:
        readers.named(format)  # once, and not for each file
    return ReadOptions(
        quantity=cast(Quantity | None, quantity),
        units=units,
        zr=cast(tuple[float, float] | None, _numbers("--zr", "two numbers A,B", 2, zr)),
        variable=variable,
        min_quality=min_quality,
        nodata=nodata,
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


def processing(
    *,
    max_rate: str | None = None,
    min_group: int = 1,
    clutter: Path | None = None,
    grid: str | None = None,
    whole_frames: bool = False,
    attribute: Sequence[str] = (),
    **attributes: str | None,
) -> Processing:
    """Combine the options for cleaning and regridding, and the attributes of the archive.

    Raises:
        ArgumentError: An option is malformed.
        ArchiveError: The archive whose grid is to be taken cannot be opened.
    """
    stated = {name: value for name, value in attributes.items() if value is not None}
    for text in attribute:
        name, separator, value = text.partition("=")
        if not separator:
            raise ArgumentError(f'--attribute: expected NAME=VALUE, found "{text}"')
        stated[name.strip()] = value.strip()
    cleaning = Cleaning(_limit(max_rate), min_group, clutter)
    return Processing(cleaning, _grid(grid), stated, whole_frames)


def _limit(text: str | None) -> float | Literal["record"] | None:
    if text is None:
        return "record"
    if text == "none":
        return None
    try:
        return float(text)
    except ValueError:
        raise ArgumentError(f'--max-rate: expected a rate in mm/h or "none", found "{text}"') from None


def _grid(text: str | None) -> Target | Grid | None:
    if text is None:
        return None
    if "://" in text or Path(text).is_dir():
        return Grid.of(archive.open(text))
    return Target.parse(text)
