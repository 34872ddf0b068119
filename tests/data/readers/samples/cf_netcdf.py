"""A small file of CF NetCDF."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from stormcell.data.read_options import ReadOptions

CONTRADICTION = ReadOptions(units="mm/7min")


def write(path: Path, request: pytest.FixtureRequest) -> None:
    make: Callable[..., xr.Dataset] = request.getfixturevalue("cf")
    make(np.random.default_rng(0).gamma(1, 2, (3, 4, 5)), units="mm/h").to_netcdf(path, engine="h5netcdf")
