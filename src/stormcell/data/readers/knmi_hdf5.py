"""Composites of the Royal Netherlands Meteorological Institute: KNMI's HDF5 format 3.5.

The calibration formula and the numbers for pixels outside the image are read from the file. 0 is no echo,
which is dry. The time of an accumulation is the end of its period; the images of a file with several each
have their own. Lengths of the projection and of the pixels may be in kilometres or metres.

Source: Roozekrans and Holleman, KNMI HDF5 Data Format Specification, v3.5, KNMI internal report IR-2003-05.
"""

from typing import Any

import h5py
import numpy as np
import pyproj
import xarray as xr
from numpy.typing import NDArray

from stormcell.data import schema
from stormcell.data.grid import Grid, parse_crs
from stormcell.data.projection import in_metres, to_degrees
from stormcell.data.read_options import ReadOptions
from stormcell.data.readers.hdf5 import attribute, has_groups, number, numbers, open_hdf5, scaled
from stormcell.data.readers.knmi_images import UNITS, Calibration, Image, images, quality
from stormcell.data.readers.packing import Packing, of_poor_quality
from stormcell.data.readers.source import Source
from stormcell.errors import InputError

NAME = "KNMI HDF5"
SUFFIXES = (".h5", ".hdf", ".hdf5")
# Marshall–Palmer, which KNMI uses and pysteps states for KNMI's files.
ZR = (200.0, 1.6)

_UNITS = {"KM": 1000.0, "M": 1.0, "DEG": 1.0, "DEGREE": 1.0, "DEGREES": 1.0}
_EARTH = {"a", "b", "R", "ellps", "datum"}


def recognises(source: Source) -> bool:
    """Whether the file is HDF5 and has KNMI's groups, of images or of a polar volume."""
    return has_groups(source, "overview", "geographic", "image1/image_data") or has_groups(
        source, "overview@product_group_name", "scan1"
    )


def times(source: Source, options: ReadOptions) -> NDArray[np.datetime64]:
    """Return the valid times of the rain images; of accumulations, the ends of their periods."""
    with open_hdf5(source) as file:
        return np.array([image.time for image in _images(file, options)], "datetime64[s]")


def read(source: Source, options: ReadOptions, frames: slice) -> xr.Dataset:
    """Return frames in mm/h: accumulations divided by their period, or reflectivity converted by Z–R."""
    with open_hdf5(source) as file:
        chosen = _images(file, options)[frames]
        if not chosen:
            raise InputError(f"expected frames, found none in {frames}")
        images_read = [_rates(file, image, options) for image in chosen]
        rates = [rate for rate, _ in images_read]
        if len({rate.shape for rate in rates}) > 1:
            raise InputError(f"image_data: expected one size, found {', '.join(str(r.shape) for r in rates)}")
        return schema.build(
            np.stack(rates),
            [image.time for image in chosen],
            _grid(file, *rates[0].shape),
            measured={"cell_methods": "time: point", **images_read[0][1]},
            attributes={
                "title": f"Radar composite {attribute(file['overview'], 'product_group_name')}",
                "institution": "Royal Netherlands Meteorological Institute (KNMI)",
                "source": "Source: Royal Netherlands Meteorological Institute (KNMI); modified.",
                "license": "CC-BY-4.0",
            },
        )


def _images(file: h5py.File, options: ReadOptions) -> list[Image]:
    if "image1" not in file:
        raise InputError(
            "expected images on a grid, found a polar volume of KNMI; put it on a grid first, for example "
            "with wradlib"
        )
    return images(file, options)


def _rates(file: h5py.File, image: Image, options: ReadOptions) -> tuple[NDArray[np.float32], dict[str, Any]]:
    calibration = Calibration.of(file, image.group)
    packing = Packing(
        UNITS[image.quantity],
        hours=image.hours,
        zr=options.zr or (ZR if image.quantity == "dbz" else None),
        scale=calibration.gain,
        offset=calibration.offset,
        nodata=calibration.unobserved,
        # If pixels outside of the image have the number 0, it cannot mean no echo.
        undetect=(0,) if 0 not in calibration.unobserved else (),
        no_echo=-np.inf,
    )
    rates, measured = packing.rates(numbers(image.group["image_data"]))
    if options.min_quality is not None:
        group = quality(file, image)
        scale = Calibration.of(file, group)
        index = scaled(numbers(group["image_data"]), scale.gain, scale.offset, scale.unobserved)
        if index.shape != rates.shape:
            raise InputError(f"{group.name}: expected {rates.shape} pixels, found {index.shape}")
        rates[of_poor_quality(rates, index, options.min_quality)] = np.nan
    return rates, measured


def _grid(file: h5py.File, rows: int, columns: int) -> Grid:
    geographic = file["geographic"]
    column, row, dx, dy = (
        number(geographic, f"geo_{name}")
        for name in ("column_offset", "row_offset", "pixel_size_x", "pixel_size_y")
    )
    for name, size in (("geo_number_rows", rows), ("geo_number_columns", columns)):
        if name in geographic.attrs and number(geographic, name) != size:
            raise InputError(
                f"image_data: expected the {number(geographic, name):g} of {name}, found {rows} × {columns}"
            )
    words = str(attribute(geographic, "geo_dim_pixel")).upper().split(",")
    x_unit, y_unit = (_UNITS.get(word.strip(), 0) for word in (words[0], words[-1]))
    crs = _crs(file)
    if not dx * x_unit > 0 > dy * y_unit or crs.is_geographic != words[0].strip().startswith("DEG"):
        raise InputError(
            f"geographic: expected pixels in KM or M, rows from the north, found {dx:g}, {dy:g} "
            f"{','.join(words)}"
        )
    # The offsets are in pixels, from the projection's origin to the upper left corner of the image.
    dx, dy = dx * x_unit, dy * y_unit
    grid = Grid(crs.to_wkt(), (column + 0.5) * dx, (row + 0.5) * dy, dx, -dy, columns, rows)
    _expect_corners(geographic, grid, crs)
    return grid


def _expect_corners(geographic: h5py.Group, grid: Grid, crs: pyproj.CRS) -> None:
    """Compare the corners that the file gives in degrees with those of the grid."""
    stated = np.ravel(geographic.attrs.get("geo_product_corners", ())).astype(np.float64)
    if stated.size != 8 or not stated.any():
        return
    lon, lat = stated.reshape(4, 2).T  # lower left, upper left, upper right, lower right
    x, y = (lon, lat) if crs.is_geographic else to_degrees(crs).transform(lon, lat, direction="INVERSE")
    west, north = grid.west - grid.dx / 2, grid.north + grid.dy / 2
    east, south = west + grid.dx * grid.columns, north - grid.dy * grid.rows
    off = np.hypot(x - [west, west, east, east], y - [south, north, north, south]).max()
    # The corners have three decimals: 0.1 km.
    if not off <= max(grid.dx, grid.dy):
        raise InputError(
            f"geo_product_corners: expected the corners of the grid, found corners {off:.3g} "
            f"{grid.spacing.unit} away"
        )


def _crs(file: h5py.File) -> pyproj.CRS:
    text = str(attribute(file["geographic/map_projection"], "projection_proj4_params"))
    words = dict(word.lstrip("+").partition("=")[::2] for word in text.split())
    if not _EARTH & words.keys():
        raise InputError(f"projection: expected the earth's axes a and b, found {text!r}")
    plain = " ".join(f"+{name}={value}" if value else f"+{name}" for name, value in words.items())
    return in_metres(parse_crs(f"{plain} +type=crs"))[0]
