"""HKO-7: reflectivity around Hong Kong, one picture of 480 × 480 grey values for each six minutes.

dBZ = 70 · v / 255 − 10; 0 is no echo, which is dry. A picture says nothing about itself, so the format is
recognised by the name of the file too: ``RADyymmddHHMM00.png``. The data set does not document the time zone
of these names; they are taken as UTC.

Beside the picture, or at the same place in a tree that is named like the pictures' with ``_mask`` at its end
(``radarPNG_mask``), lies ``RADyymmddHHMM00.mask``. HKO-7 counts only the pixels that are true in it; the
others are clutter, and echoes below 9.5 dBZ, which HKO-7 takes for noise. They count as not observed here. So
do pixels farther than 256 km from the centre.

The grid is 512 km wide and centred on 22.3° N, 114.2° E, in an azimuthal equidistant projection; ``crs`` and
``bounds`` replace it. Source: Shi et al. 2017, arXiv:1706.03458, and the code that they published.
"""

import re
import zlib
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from stormcell.data import schema
from stormcell.data.grid import Grid, parse_crs
from stormcell.data.object_store import Location, ObjectUrl
from stormcell.data.read_options import ReadOptions
from stormcell.data.readers.companions import companions
from stormcell.data.readers.packing import Packing
from stormcell.data.readers.picture import opened
from stormcell.data.readers.source import Source
from stormcell.errors import InputError

NAME = "HKO-7 PNG"
SUFFIXES = ("00.png",)
# The relation by which HKO-7 scores rain rates.
ZR = (58.53, 1.56)

_SIDE = 480
_RANGE = 256_000.0  # metres
_CENTRE = "+proj=aeqd +lat_0=22.3 +lon_0=114.2 +ellps=WGS84 +units=m +type=crs"
_NAME = re.compile(r"RAD(\d{10})00\.png", re.IGNORECASE)
_PNG = b"\x89PNG\r\n\x1a\n"
_FOLDERS_ABOVE = 5  # year, month and day below the folder with the name of the tree


def recognises(source: Source) -> bool:
    """Whether the file is a PNG of 480 × 480 pixels with a name of HKO-7."""
    if not _NAME.fullmatch(source.name):
        return False
    head = source.head(24)
    size = (int.from_bytes(head[16:20], "big"), int.from_bytes(head[20:24], "big"))
    return head.startswith(_PNG) and size == (_SIDE, _SIDE)


def times(source: Source, options: ReadOptions) -> NDArray[np.datetime64]:  # noqa: ARG001
    """Return the time in the name of the file."""
    return _times(source)


def read(source: Source, options: ReadOptions, frames: slice) -> xr.Dataset:
    """Return the frame in mm/h, by HKO-7's Z–R relation or that of the options."""
    options.expect_no_quality(NAME)
    options.expect_agreement("dbz", "dBZ")
    moments = _times(source)
    numbers = opened(source, "PNG", ("L", "RGB"), (_SIDE, _SIDE))[0]
    if numbers.ndim == 3:
        if not (numbers == numbers[..., :1]).all():
            raise InputError("expected shades of grey, found colours")
        numbers = np.ascontiguousarray(numbers[..., 0])
    packing = Packing("dBZ", zr=options.zr or ZR, scale=70 / 255, offset=-10, undetect=(0,))
    unobserved = _out_of_range()
    mask = next(_masks(source), None)
    if mask is not None:
        unobserved |= ~_counts(mask)
    rates, measured = packing.rates(numbers, unobserved)
    return schema.build(
        rates[None],
        moments,
        _grid(options),
        measured=measured,
        attributes={
            "title": "HKO-7 radar echoes",
            "institution": "Hong Kong Observatory",
            "source": "Hong Kong Observatory, HKO-7 (Shi et al., 2017).",
            "comment": "clutter and noise not observed, by HKO-7's masks"
            if mask
            else "without HKO-7's masks",
        },
    ).isel(time=frames)


def _times(source: Source) -> NDArray[np.datetime64]:
    match = _NAME.fullmatch(source.name)
    try:
        moment = datetime.strptime(match[1] if match else "", "%y%m%d%H%M")
    except ValueError:
        raise InputError(f"name: expected RADyymmddHHMM00.png, found {source.name}") from None
    return np.array([moment], "datetime64[s]")


def _out_of_range() -> NDArray[np.bool_]:
    """Return which pixels have their centre farther than 256 km from the radar."""
    along = (np.arange(_SIDE) - (_SIDE - 1) / 2) * 2 * _RANGE / _SIDE
    beyond: NDArray[np.bool_] = np.hypot(along[:, None], along[None]) > _RANGE
    return beyond


def _masks(source: Source) -> Iterator[Location]:
    """Yield the mask beside the picture, or that at its place in the tree of masks."""
    name = source.name.rpartition(".")[0] + ".mask"
    yield from companions(source, name)
    path = source.path if isinstance(source.path, ObjectUrl) else source.path.absolute()
    if isinstance(path, Path):
        for above in path.parents[:_FOLDERS_ABOVE]:
            mask = above.parent / f"{above.name}_mask" / path.relative_to(above).with_name(name)
            if mask.is_file():
                yield mask
        return
    parts = path.text.split("/")
    for at in range(len(parts) - 2, max(len(parts) - 2 - _FOLDERS_ABOVE, 3), -1):
        url = ObjectUrl("/".join([*parts[:at], f"{parts[at]}_mask", *parts[at + 1 : -1], name]))
        if url.is_file():
            yield url


def _counts(mask: Location) -> NDArray[np.bool_]:
    """Return the pixels that count: a compressed array of 480 × 480 bytes, each 0 or 1."""
    try:
        found = zlib.decompressobj().decompress(Source(mask).contents(), _SIDE * _SIDE + 1)
    except zlib.error as error:
        raise InputError(f"{mask.name}: expected a complete mask: {error}") from None
    values = np.frombuffer(found, np.uint8)
    if values.size != _SIDE * _SIDE or values.max() > 1:
        raise InputError(f"{mask.name}: expected {_SIDE * _SIDE} bytes of 0 or 1, found others")
    return values.reshape(_SIDE, _SIDE).astype(bool)


def _grid(options: ReadOptions) -> Grid:
    if options.crs is not None or options.bounds is not None:
        return options.grid(_SIDE, _SIDE)
    spacing = 2 * _RANGE / _SIDE
    edge = _RANGE - spacing / 2
    return Grid(parse_crs(_CENTRE).to_wkt(), -edge, edge, spacing, spacing, _SIDE, _SIDE)
