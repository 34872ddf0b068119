"""Composites in ODIM_H5, the OPERA data information model, versions 2.0 to 2.4.

Most European weather services write it: rates (RATE), accumulations (ACRR) and reflectivity (DBZH, TH), one
image or several in a file. ``undetect`` is dry and ``nodata`` is not observed; a pixel whose number is both
counts as not observed. Numbers without ``gain`` and ``offset`` are the values themselves.

The time of an accumulation is its end. The time of rates and reflectivity is the nominal time of the file; in
a file with images of several times, each has the end of its own interval.

Source: Michelson et al., EUMETNET OPERA weather radar information model for implementation with the HDF5 file
format, versions 2.0 to 2.4.
"""

from collections.abc import Callable
from typing import Any

import h5py
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from stormcell.data import schema
from stormcell.data.quantity import to_rate, unit
from stormcell.data.read_options import ReadOptions
from stormcell.data.readers.hdf5 import decode, has_groups, number, open_hdf5
from stormcell.data.readers.odim_grid import grid_of
from stormcell.data.readers.odim_images import RAIN, Image, images, quality
from stormcell.data.readers.odim_levels import Levels, find, value
from stormcell.data.readers.source import Source
from stormcell.errors import InputError

NAME = "ODIM_H5"
SUFFIXES = (".h5", ".hdf", ".hdf5", "-hd5")

# Credits that the providers ask for, by the code in what/source.
_CREDITS = {
    "ORG:247": ("EUMETNET OPERA", "EUMETNET OPERA; modified.", "CC-BY-4.0"),
}


def recognises(source: Source) -> bool:
    """Whether the file is HDF5 and has the groups of ODIM_H5, of a composite or of anything else."""
    return has_groups(source, "what@object") or has_groups(source, "dataset1/data1/data")


def times(source: Source, options: ReadOptions) -> NDArray[np.datetime64]:
    """Return the valid times of the rain images."""
    with open_hdf5(source) as file:
        return np.array([image.time for image in images(file, options)], "datetime64[s]")


def read(source: Source, options: ReadOptions, frames: slice) -> xr.Dataset:
    """Return frames in mm/h. Pixels of a quality below ``min_quality`` count as not observed.

    Pixels without a quality stay as they are, because OPERA gives none where it is dry.
    """
    with open_hdf5(source) as file:
        chosen = images(file, options)[frames]
        if not chosen:
            raise InputError(f"expected frames, found none in {frames}")
        shape = _shape(chosen[0])
        grid = grid_of(chosen[0].levels, shape, options)
        rates = np.empty((len(chosen), *shape), np.float32)
        measured: dict[str, Any] = {}
        for position, image in enumerate(chosen):
            rate = rates[position]
            if _shape(image) != shape:
                raise InputError(f"{image.name}: expected {shape} pixels, found {_shape(image)}")
            meaning, measured = _rate(image, options)
            rate[...] = decode(image.data, meaning)
            if options.min_quality is not None:
                index = quality(file, image)
                found = decode(index[0]["data"], _values(index))
                if found.shape != shape:
                    raise InputError(f"{index[0].name}: expected {shape} pixels, found {found.shape}")
                rate[np.isfinite(found) & (found < options.min_quality)] = np.nan
        return schema.build(
            rates,
            [image.time for image in chosen],
            grid,
            measured=measured,
            attributes=_attributes(file, chosen[0], source),
        )


def _shape(image: Image) -> tuple[int, int]:
    shape: tuple[int, ...] = image.data.shape or ()
    if len(shape) < 2:
        raise InputError(f"{image.name}: expected (y, x), found {shape}")
    return shape[-2], shape[-1]


def _values(levels: Levels) -> Callable[[NDArray[np.float64]], NDArray[np.float64]]:
    """Return the function from stored numbers to values: NaN for ``nodata``, −inf for ``undetect``."""
    gain, offset, nodata, undetect = (
        None if (place := find(levels, "what", name)) is None else number(*place)
        for name in ("gain", "offset", "nodata", "undetect")
    )
    if gain == 0:
        raise InputError("gain: expected a factor other than 0, found 0")
    # In single precision, a code is stored as its nearest number.
    single = levels[0]["data"].dtype == np.float32

    def convert(codes: NDArray[np.float64]) -> NDArray[np.float64]:
        values = codes * (1 if gain is None else gain) + (0 if offset is None else offset)
        for code, meaning in ((undetect, -np.inf), (nodata, np.nan)):
            if code is not None:
                values[codes == (np.float32(code) if single else code)] = meaning
        values[np.isnan(codes)] = -np.inf if undetect is not None and np.isnan(undetect) else np.nan
        return values

    return convert


def _rate(
    image: Image, options: ReadOptions
) -> tuple[Callable[[NDArray[np.float64]], NDArray[np.float64]], dict[str, Any]]:
    """Return the function from stored numbers to mm/h, and the attributes that describe the conversion."""
    convert = _values(image.levels)
    # Units are stated by the user only for quantities that the specification does not know.
    known = image.code.upper() in RAIN
    factor = 1.0 if known or options.units is None else unit(options.units)[1]
    zr = options.zr or _zr(image.levels)

    def rates(codes: NDArray[np.float64]) -> NDArray[np.float64]:
        values = convert(codes) * factor
        dry = np.isneginf(values)
        found = to_rate(values, image.quantity, hours=image.hours, zr=zr)[0]
        found[dry] = 0
        return found

    _, measured = to_rate(np.zeros(1), image.quantity, hours=image.hours, zr=zr)
    return rates, {"cell_methods": "time: point", **measured}


def _zr(levels: Levels) -> tuple[float, float] | None:
    """Return a and b of the Z–R relation that the provider states, if it does."""
    places = [find(levels, "how", name) for name in ("zr_a", "zr_b")]
    a, b = (0.0 if place is None else number(*place) for place in places)
    return (a, b) if a > 0 and b > 0 else None


def _attributes(file: h5py.File, image: Image, source: Source) -> dict[str, str]:
    product = str(value(image.levels, "what", "product") or "")
    origin = str(value((file,), "what", "source") or "").strip()
    attributes = {"title": f"Radar composite {product}".strip(), "source": origin or source.name}
    for code, (institution, credit, licence) in _CREDITS.items():
        if code in origin.split(","):
            attributes |= {"institution": institution, "source": credit, "license": licence}
    return attributes
