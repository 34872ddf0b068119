"""Composites of MeteoSwiss as GIF: the colours of the pixels are codes, and the grid is that of Switzerland.

Product, time and period are in the name of the file, such as ``AQC161932100V_00005.801.gif``: product, year,
day of the year, hour and minute in UTC, quality, and the minutes of the accumulation, which ends at the time.

- AQC, CPC, CPCH (amounts): code c is ((10^((c − 71.5) / 20)) / 316)^(2/3) mm in the period. For CPC since
  version 3.5, of 28 June 2018, it is c + 1. Codes 0 and 1 are dry. The five-minute CPC is documented as mm
  and as mm/h, so it is read with ``units`` only.
- AZC (amounts): code c is 2^(c / 20) − 1 mm in the hours at the end of the name (``.801``: one hour).
- RZC (rates): the scale of Metranet, version 103, in mm/h. Codes 0 and 1 are dry.

Codes above 250 mean not observed. Sources: the importers of pysteps and of MeteoSwiss's Py-ART.
"""

import re
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import pyproj
import xarray as xr
from numpy.typing import NDArray

from stormcell.data import schema
from stormcell.data.grid import Grid
from stormcell.data.quantity import Quantity
from stormcell.data.read_options import ReadOptions
from stormcell.data.readers.packing import Packing
from stormcell.data.readers.picture import opened
from stormcell.data.readers.source import Source
from stormcell.errors import InputError

NAME = "MeteoSwiss GIF"
SUFFIXES = (".gif",)

_SHAPE = (640, 710)
_NAME = re.compile(
    r"(AQC|CPCH?|AZC|RZC)(\d\d)(\d{3})(\d\d)(\d\d)\w{0,3}?(?:_(\d{5}))?(?:\.8(\d\d))?(?:\.gif)?", re.I
)
_CPC_3_5 = np.datetime64("2018-06-28")
_FIRST_UNOBSERVED = 251
# Colours of Metranet's scale, red, green and blue of the codes 0 to 255. Those of AZC differ in some codes.
_COLOURS = bytes.fromhex(
    "ffffffebebeb91a1a18f9fa38d9da58c9ca78a9aa88898aa8696ac8595ae8393af8191b17f8fb37e8eb57c8cb67a8ab8"
    "7888ba7787bb7786bc7584be7382c0717fc36f7dc56d7ac76b78ca6975cc6873cf6671d1646ed3626cd66069d85e67da"
    "5c64dd5a62df5960e15960e2555fe3525fe54f5fe74c5ee9495eeb465eec435dee405df03d5df23a5cf4375cf5345cf7"
    "315bf92e5bfb2b5bfd285bfe285eff285ffd2864fc2868fa286df92872f72876f6287bf42880f32884f22889f0288def"
    "2892ed2897ec289bea28a0e928a3e828a5e728a6e629a8e42aa9e22babe12caddf2caedd2db0db2eb2da2fb3d830b5d6"
    "30b6d431b8d332bad133bbcf34bdcd35becc35bfcb36c0ca37c1c939c3c83ac4c63cc6c53dc7c43fc9c240cac141cbc0"
    "43cdbe44cebd46d0bc47d1ba49d3b94ad4b84cd5b74cd6b64dd7b54ed8b350d9b251dbb053dcaf54ddad56deac57e0aa"
    "58e1a85ae2a75be3a55de5a45ee6a260e7a161e89f63e99e63ea9d66ea9c69eb9a6deb9970ec9773ed9577ed947aee92"
    "7eef9181ef8f84f08d88f08c8bf18a8ef28892f28795f38597f48499f4839bf4819df57f9ff67da1f67ba3f779a6f877"
    "a8f875aaf973acfa71aefa6fb1fb6db3fc6bb5fc69b7fd67b9fe65baff63bcff62beff61c0ff5fc3ff5ec5ff5cc7ff5a"
    "caff59ccff57cfff56d1ff54d3ff52d6ff51d8ff4fdaff4dddff4cdfff4ae0ff49e2ff47e2fd45e3fb41e3f93ee4f73a"
    "e5f537e5f333e6f130e7f02ce7ee28e8ec25e8ea21e9e81eeae61aeae417ebe213ece111ece010eddf0feedd0eefdb0d"
    "f0d90cf1d70bf3d60af4d409f5d209f6d008f7ce07f9cd06facb05fbc904fcc703fdc502fec402ffc403ffc005ffbd08"
    "ffba0bffb70effb411ffb014ffad17ffaa1affa71dffa420ffa023ff9d26ff9a29ff972cff942fff9330ff9132fe8c31"
    "fd8830fc842ffc7f2ffb7b2efa772dfa722cf96e2cf86a2bf8652af76129f65d29f65828f55427f45026f44e26f44c26"
    "f44927f54628f64329f6412af73e2bf83b2cf8392df9362ffa3330fa3131fb2e32ff000000ff000000ffffffff000037"
)
# Codes whose colours are the same in all versions of the scale.
_LANDMARKS = (20, 50, 100, 150, 200, 250)


@dataclass(frozen=True)
class _Product:
    name: str
    time: np.datetime64
    minutes: int | None


def recognises(source: Source) -> bool:
    """Whether the file is a GIF of the size of MeteoSwiss's composites."""
    head = source.head(10)
    size = (int.from_bytes(head[8:10], "little"), int.from_bytes(head[6:8], "little"))
    return head[:6] in (b"GIF87a", b"GIF89a") and size == _SHAPE


def times(source: Source, options: ReadOptions) -> NDArray[np.datetime64]:  # noqa: ARG001
    """Return the time in the name, or else in the comment of the GIF: the end of an accumulation."""
    return np.array([_product(source).time], "datetime64[s]")


def read(source: Source, options: ReadOptions, frames: slice) -> xr.Dataset:
    """Return the frame in mm/h."""
    options.expect_no_quality(NAME)
    product = _product(source)
    numbers, colours, _ = opened(source, "GIF", ("P", "L"), _SHAPE)
    table, units = _scale(product, options)
    codes = _codes(product.name, numbers, colours)
    # A table of the values of all codes; the time of an amount is the end of its period.
    table[_FIRST_UNOBSERVED:] = np.nan
    rates, measured = Packing(units, hours=None).rates(table[codes])
    return schema.build(
        rates[None],
        [product.time],
        _grid(),
        measured=measured,
        attributes={
            "title": f"MeteoSwiss {product.name}",
            "institution": "MeteoSwiss",
            "source": "Source: MeteoSwiss; modified.",
        },
    ).isel(time=frames)


def _product(source: Source) -> _Product:
    """Return product, time and period of the name of the file, or of the comment of the GIF."""
    match = _NAME.fullmatch(source.name)
    if match is None:
        match = _NAME.search(opened(source, "GIF", ("P", "L"), _SHAPE)[2])
    if match is None:
        raise InputError(
            "name: expected product and time such as AQC161932100V_00005.801.gif, found neither in the name "
            "nor in the comment"
        )
    name, year, day, hour, minute, period, hours = match.groups()
    start_of_year = datetime(2000 + int(year), 1, 1)
    moment = start_of_year + timedelta(days=int(day) - 1, hours=int(hour), minutes=int(minute))
    if int(hour) > 24 or int(minute) > 59 or not 1 <= int(day) <= 366:
        raise InputError(f"name: expected year, day, hour and minute, found {year}{day}{hour}{minute}")
    minutes = int(period) if period else 60 * int(hours) if name.upper() == "AZC" and hours else None
    return _Product(name.upper(), np.datetime64(moment, "s"), minutes)


def _scale(product: _Product, options: ReadOptions) -> tuple[NDArray[np.float64], str]:
    """Return the values of all codes, and their units."""
    code = np.arange(256.0)
    quantity: Quantity = "rate" if product.name == "RZC" else "amount"
    if quantity == "rate":
        options.expect_agreement("rate", "mm/h")
        return _metranet(), "mm/h"
    if product.minutes is None:
        raise InputError(f"name: expected the period of {product.name}, such as _00005.801, found none")
    units = f"mm/{product.minutes}min"
    if product.name == "AZC":
        options.expect_agreement("amount", units)
        return 2 ** (code / 20) - 1, units
    if product.name != "AQC" and product.minutes == 5:
        if options.units is None:
            raise InputError(
                f"units: expected them for the five-minute {product.name}, which is documented as mm/5min "
                "and as mm/h; give one of them with --units"
            )
        units = options.units
    else:
        options.expect_agreement("amount", units)
    if product.name != "AQC" and product.time > _CPC_3_5:
        code = code + 1
    values: NDArray[np.float64] = (10 ** ((code - 71.5) / 20) / 316) ** (1 / 1.5)
    values[:2] = 0
    return values, units


def _metranet() -> NDArray[np.float64]:
    """Return the rates of Metranet's scale, version 103, in mm/h, of all codes."""
    steps = [
        np.array([0.0, 0.0]),
        np.round(0.05 * np.arange(2, 21), 2),  # 2: 0.10 … 20: 1.00
        np.array([1.1]),
        np.round(1.25 + 0.1 * np.arange(8), 2),  # 22: 1.25 … 29: 1.95
        np.array([2.0]),
        3.05 + np.arange(137),  # 31: 3.05 … 167: 139.05
        141.05 + np.arange(70),  # 168: 141.05 … 237: 210.05
        220.05 + 10 * np.arange(13),  # 238: 220.05 … 250: 340.05
        np.full(256 - _FIRST_UNOBSERVED, np.nan),
    ]
    return np.concatenate(steps)


def _codes(product: str, numbers: NDArray[np.uint8], colours: NDArray[np.uint8] | None) -> NDArray[np.uint8]:
    """Return the codes of pixels that are numbers of colours, because a program may have reordered them."""
    if colours is None:
        if product in ("AZC", "RZC"):
            raise InputError(f"colours: expected those of {product}, found shades of grey")
        return numbers
    used = np.unique(numbers)
    if used[-1] >= len(colours):
        raise InputError(f"colours: expected {used[-1] + 1} or more, found {len(colours)}")
    found = np.zeros(256, np.uint8)
    shown = colours[used].astype(int)
    if product not in ("AZC", "RZC"):
        # These are shades of grey, from white to black; or the numbers are the codes, whatever the colours.
        grey = (shown == shown[:, :1]).all() and not (shown[:, 0] == used).all()
        found[used] = 255 - shown[:, 0] if grey else used
        return found[numbers]
    scale = np.frombuffer(_COLOURS, np.uint8).reshape(256, 3).astype(int)
    if len(colours) > max(_LANDMARKS) and (colours[list(_LANDMARKS)] == scale[list(_LANDMARKS)]).all():
        return numbers
    # White is both code 0, dry, and code 254, which no pixel needs. The first match counts.
    match = (shown[:, None] == scale[None]).all(-1)
    if product == "AZC" or not match.any(1).all():
        raise InputError(f"colours: expected those of {product} in their order, found others")
    found[used] = match.argmax(1)
    return found[numbers]


def _grid() -> Grid:
    rows, columns = _SHAPE
    return Grid(pyproj.CRS(21781).to_wkt(), 255_500.0, 479_500.0, 1000.0, 1000.0, columns, rows)
