"""A NetCDF file of RADOLAN's RY without any description, as pysteps ships it: 5 wet pixels."""

from pathlib import Path

import h5netcdf
import numpy as np
import pytest

from stormcell.data.read_options import ReadOptions

CONTRADICTION = ReadOptions(units="mm/h")
# x and y of the lower left corner of the lower left pixel in kilometres, by DWD's description of the format.
WEST, SOUTH = -523.4622, -4658.6447


def write(path: Path, request: pytest.FixtureRequest) -> None:  # noqa: ARG001
    with h5netcdf.File(path, "w") as file:
        file.dimensions = {"time": 2, "y": 900, "x": 900}
        values = np.full((2, 900, 900), -9999, np.int32)
        values[:, 100:200, 100:200] = 0
        values[0, 150, 100:105] = [1, 2, 3, 10, 100]
        item = file.create_variable(
            "RY", ("time", "y", "x"), "i4", fillvalue=np.int32(-9999), compression="gzip"
        )
        item[...] = values
        item.attrs["scale_factor"] = 0.01
        file.create_variable("x", ("x",), "f8")[...] = WEST + np.arange(900)
        file.create_variable("y", ("y",), "f8")[...] = SOUTH + np.arange(900)
        time = file.create_variable("time", ("time",), "i8")
        time[...] = [0, 5]
        time.attrs["units"] = "minutes since 2021-08-23T08:50:00"
