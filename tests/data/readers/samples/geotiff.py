"""A small GeoTIFF of rates, with two frames."""

from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.transform import Affine

from stormcell.data.read_options import ReadOptions

CONTRADICTION = ReadOptions(units="dBZ")


def write(path: Path, request: pytest.FixtureRequest) -> None:
    del request
    values = np.random.default_rng(0).gamma(1, 2, (2, 6, 5)).astype(np.float32)
    profile = {"driver": "GTiff", "dtype": "float32", "count": 2, "height": 6, "width": 5, "nodata": -1}
    where = {"crs": "EPSG:3067", "transform": Affine(1000, 0, 300_000, 0, -1000, 7_000_000)}
    with rasterio.open(path, "w", **profile, **where, compress="deflate") as file:
        file.write(values)
        file.descriptions = ("2020-05-01T12:00", "2020-05-01T12:05")
        file.units = ("mm/h", "mm/h")
