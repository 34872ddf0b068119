"""A small file of MeteoNet's rainfall, with the positions of its pixels beside it."""

from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from stormcell.data.read_options import ReadOptions

FILE_NAME = "rainfall_NW_2016_08.3.npz"
CONTRADICTION = ReadOptions(units="dBZ")


def write(path: Path, request: pytest.FixtureRequest) -> None:
    del request
    lat, lon = np.meshgrid(51.891 - 0.01 * np.arange(6), -5.837 + 0.01 * np.arange(5), indexing="ij")
    np.savez_compressed(path.with_name("radar_coords_NW.npz"), lats=lat, lons=lon)
    dates = [datetime(2016, 8, 21, 0, 10) + timedelta(minutes=5 * k) for k in range(3)]
    np.savez_compressed(
        path,
        data=np.random.default_rng(0).integers(-1, 200, (3, 6, 5)).astype(np.int16),
        dates=np.array(dates, object),
        miss_dates=np.array([datetime(2016, 8, 21), datetime(2016, 8, 21, 0, 5)], object),
    )
