"""GRIB2: the products of MRMS, and rain or radar reflectivity of other centres; one frame per message.

Messages of other parameters are ignored. If a file has several products of rain, ``--variable`` chooses one.
``grib2_sections`` finds the sections, ``grib2_field`` reads their meaning, ``grib2_grid`` the grid and
``grib2_values`` the values.

**Times.** A time is that of the observation, or the end of the interval. MRMS gives its sums no interval: the
length is part of the product (RadarOnly_QPE_01H), and the time of the message is the end.

**Values.** Negative rain of MRMS (−1 missing, −3 no coverage) is not observed, and neither is reflectivity
below −90 dBZ (−99, −999). Of other centres, values that a bitmap marks as missing are not observed, and rain
that rounding made slightly negative is dry. Reflectivity needs a Z–R relation.
"""

from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from stormcell.data import schema
from stormcell.data.grid import Grid
from stormcell.data.quantity import to_rate, unit
from stormcell.data.read_options import ReadOptions
from stormcell.data.readers.grib2_field import Field, field_of, is_rain, parameter
from stormcell.data.readers.grib2_grid import grid_of
from stormcell.data.readers.grib2_sections import messages
from stormcell.data.readers.grib2_values import values
from stormcell.data.readers.mrms_products import LEAST_DBZ
from stormcell.data.readers.source import Source
from stormcell.errors import InputError

NAME = "GRIB2"
SUFFIXES = (".grib2", ".grb2", ".grib")

_START = b"GRIB"
# A bulletin's heading before the first message is shorter.
_LONGEST_HEADING = 100
# Packing rounds values. Rain down to this rate, in mm/h, is 0.
_ROUNDING = -0.01


def recognises(source: Source) -> bool:
    """Whether the file begins with a GRIB message, perhaps after a bulletin's heading."""
    head = source.head()
    at = head.find(_START, 0, _LONGEST_HEADING)
    return at >= 0 and head[at + 7 : at + 8] in (b"\x01", b"\x02")


def times(source: Source, options: ReadOptions) -> NDArray[np.datetime64]:
    """Return the time of each frame, in time order."""
    return np.array([field.time for field in _fields(source, options)], "datetime64[s]")


def read(source: Source, options: ReadOptions, frames: slice) -> xr.Dataset:
    """Return the frames in mm/h: rates, amounts divided by their interval, or reflectivity by Z–R."""
    fields = _fields(source, options)[frames]
    if not fields:
        raise InputError(f"expected frames {frames.start} to {frames.stop}, found none")
    first = fields[0]
    options.expect_agreement(first.product.quantity, first.product.units)
    grid, _ = grid_of(first.message.sections[3])
    # The attributes are those of no values, because the values are converted inside the decoder.
    _, measured = _to_rate(np.zeros(0), first, options)
    return schema.build(
        _rates(fields, grid, options),
        [field.time for field in fields],
        grid,
        measured=measured,
        attributes=_attributes(first, source),
    )


def _rates(fields: list[Field], grid: Grid, options: ReadOptions) -> NDArray[np.float32]:
    if len(fields) == 1:
        return _frame(fields[0], grid, options)[None]  # without a copy
    rates = np.empty((len(fields), grid.rows, grid.columns), np.float32)
    for place, field in enumerate(fields):
        rates[place] = _frame(field, grid, options)
    return rates


def _frame(field: Field, grid: Grid, options: ReadOptions) -> NDArray[np.float32]:
    own, layout = grid_of(field.message.sections[3])
    if difference := grid.difference(own):
        raise InputError(f"{field.product.name} of {field.time}: {difference}")
    convert = partial(_rate, field=field, options=options)
    rate: NDArray[np.float32] = layout.arrange(values(field.message, grid.rows * grid.columns, convert))
    _expect_rain(rate, field)
    return rate


def _fields(source: Source, options: ReadOptions) -> list[Field]:
    """Return the fields of one product, in time order."""
    found = list(messages(source.contents()))
    fields = [field_of(message) for message in found if is_rain(message)]
    if not fields:
        others = "; ".join(sorted({parameter(message) for message in found}))
        raise InputError(f"expected rain or reflectivity, found {others}")
    names = sorted({field.product.name for field in fields})
    if options.variable is not None:
        fields = [field for field in fields if field.product.name == options.variable]
        if not fields:
            raise InputError(f"variable: expected one of {', '.join(names)}, found {options.variable}")
    elif len(names) > 1:
        raise InputError(f"expected one product, found {', '.join(names)}; choose one with --variable")
    if len({(field.hours, field.centre) for field in fields}) > 1:
        periods = ", ".join(sorted({f"{field.hours} h" for field in fields}))
        raise InputError(f"{fields[0].product.name}: expected the same interval and centre, found {periods}")
    fields.sort(key=lambda field: field.time)
    for one, other in pairwise(fields):
        if one.time == other.time:
            raise InputError(f"{one.product.name}: expected one frame per time, found two of {one.time}")
    return fields


def _to_rate(
    numbers: NDArray[np.float64], field: Field, options: ReadOptions
) -> tuple[NDArray[np.float64], dict[str, Any]]:
    product = field.product
    _, factor, _ = unit(product.units)
    rate, measured = to_rate(numbers * factor, product.quantity, hours=field.hours, zr=options.zr)
    if product.quantity != "amount":
        measured["cell_methods"] = "time: point" if field.hours is None else "time: mean"
    return rate, measured


def _rate(numbers: NDArray[np.float64], field: Field, options: ReadOptions) -> NDArray[np.float64]:
    """Convert values to mm/h, element by element."""
    rate, _ = _to_rate(numbers, field, options)
    if field.mrms:
        rate[numbers < (LEAST_DBZ if field.product.quantity == "dbz" else 0)] = np.nan
    elif field.product.quantity == "dbz":
        rate[numbers < LEAST_DBZ] = -np.inf  # not dry: a code, which is refused below
    else:
        rate[(rate < 0) & (rate >= _ROUNDING)] = 0
    return rate


def _expect_rain(rate: NDArray[np.float32], field: Field) -> None:
    lowest, highest = np.fmin.reduce(rate, axis=None), np.fmax.reduce(rate, axis=None)
    if lowest < 0 or np.isinf(highest):
        raise InputError(
            f"{field.product.name}: expected rates of 0 or more, found {lowest:g} to {highest:g}; "
            "is one of them a code for missing values?"
        )


def _attributes(field: Field, source: Source) -> dict[str, str]:
    if field.mrms:
        return {
            "title": f"MRMS {field.product.name}",
            "institution": "NOAA National Severe Storms Laboratory",
            "source": "Data: NOAA/NSSL MRMS.",
            "license": "US Government work, public domain",
        }
    return {
        "title": f"{field.product.name} of WMO centre {field.centre}",
        "institution": f"WMO centre {field.centre}",
        "source": source.name,
    }
