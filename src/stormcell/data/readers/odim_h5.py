"""Composites in ODIM_H5, the OPERA data information model, versions 2.0 to 2.4.

Most European weather services write it: rates (RATE), accumulations (ACRR) and reflectivity (DBZH, TH), one
image or several in a file. ``undetect`` is dry and ``nodata`` is not observed; a pixel whose number is both
counts as not observed. Numbers without ``gain`` and ``offset`` are the values themselves.

The time of an accumulation is its end. The time of rates and reflectivity is the nominal time of the file; in
a file with images of several times, each has the end of its own interval.

Source: Michelson et al., EUMETNET OPERA weather radar information model for implementation with the HDF5 file
format, versions 2.0 to 2.4.
"""

from typing import Any

import h5py
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from stormcell.data import schema
from stormcell.data.read_options import ReadOptions
from stormcell.data.readers.hdf5 import has_groups, number, numbers, open_hdf5, scaled
from stormcell.data.readers.odim_grid import grid_of
from stormcell.data.readers.odim_images import RAIN, UNITS, Image, images, quality
from stormcell.data.readers.odim_levels import Levels, find, value
from stormcell.data.readers.packing import NO_ECHO_DBZ, Packing, of_poor_quality
from stormcell.data.readers.source import Source
from stormcell.errors import InputError

NAME = "ODIM_H5"
STATED_NODATA = True
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
    """Return frames in mm/h."""
    with open_hdf5(source) as file:
        chosen = images(file, options)[frames]
        if not chosen:
            raise InputError(f"expected frames, found none in {frames}")
        shape = _shape(chosen[0])
        grid = grid_of(chosen[0].levels, shape, options)
        rates = np.empty((len(chosen), *shape), np.float32)
        measured: dict[str, Any] = {}
        for position, image in enumerate(chosen):
            if _shape(image) != shape:
                raise InputError(f"{image.name}: expected {shape} pixels, found {_shape(image)}")
            rates[position], measured = _packing(image, options).rates(numbers(image.data))
            if options.min_quality is not None:
                poor = of_poor_quality(rates[position], _index(file, image), options.min_quality)
                rates[position][poor] = np.nan
        return schema.build(
            rates,
            [image.time for image in chosen],
            grid,
            measured={"cell_methods": "time: point", **measured},
            attributes=_attributes(file, chosen[0], source),
        )


def _shape(image: Image) -> tuple[int, int]:
    shape: tuple[int, ...] = image.data.shape or ()
    if len(shape) < 2:
        raise InputError(f"{image.name}: expected (y, x), found {shape}")
    return shape[-2], shape[-1]


def _scaling(levels: Levels) -> tuple[float, float, tuple[float, ...], tuple[float, ...]]:
    """Return gain, offset, and the numbers for not observed and for dry."""
    places = {name: find(levels, "what", name) for name in ("gain", "offset", "nodata", "undetect")}
    stated = {name: number(*place) for name, place in places.items() if place is not None}
    if stated.get("gain") == 0:
        raise InputError("gain: expected a factor other than 0, found 0")
    nodata, undetect = ((stated[name],) if name in stated else () for name in ("nodata", "undetect"))
    return stated.get("gain", 1.0), stated.get("offset", 0.0), nodata, undetect


def _packing(image: Image, options: ReadOptions) -> Packing:
    # Units are stated by the user only for quantities that the specification does not know.
    known = image.code.upper() in RAIN or options.units is None
    scale, offset, nodata, undetect = _scaling(image.levels)
    return Packing(
        UNITS[image.quantity] if known else str(options.units),
        hours=image.hours,
        zr=options.zr or _zr(image.levels),
        scale=scale,
        offset=offset,
        nodata=nodata,
        undetect=undetect,
        no_echo=-np.inf if undetect else NO_ECHO_DBZ,
    ).with_nodata(options, image.data.dtype)


def _index(file: h5py.File, image: Image) -> NDArray[np.float32]:
    """Return the quality of an image: NaN where it has none."""
    levels = quality(file, image)
    gain, offset, nodata, undetect = _scaling(levels)
    index = scaled(numbers(levels[0]["data"]), gain, offset, (*nodata, *undetect))
    if index.shape != _shape(image):
        raise InputError(f"{levels[0].name}: expected {_shape(image)} pixels, found {index.shape}")
    return index


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
