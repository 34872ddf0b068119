"""A small zip file of CF Zarr."""

import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from stormcell.data.read_options import ReadOptions

CONTRADICTION = ReadOptions(units="mm/7min")


def write(path: Path, request: pytest.FixtureRequest) -> None:
    make: Callable[..., xr.Dataset] = request.getfixturevalue("cf")
    folder = path.with_name("unzipped")
    ds = make(np.random.default_rng(0).gamma(1, 2, (3, 4, 5)), units="mm/h")
    ds.to_zarr(folder, zarr_format=3, consolidated=False)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as file:
        for member in sorted(folder.rglob("*")):
            if member.is_file():
                file.write(member, member.relative_to(folder))
