import numpy as np
import pyproj
import pytest
import xarray as xr

from stormcell.data.grid import pixel_km
from stormcell.errors import FramesError


def frames(y, x, units):
    coords = {"y": y, "x": ("x", x, {"units": units})}
    return xr.DataArray(np.zeros((1, len(y), len(x))), coords=coords, dims=("time", "y", "x"))


def test_pixel_km_of_metres_divides_each_axis():
    assert pixel_km(frames([4000.0, 2000.0, 0.0], [0.0, 500.0], "m")) == (2.0, 0.5)


@pytest.mark.parametrize("south", [-60.0, 0.0, 35.0, 59.0])
def test_pixel_km_of_degrees_depends_on_latitude(south):
    y, x = south + np.array([1.0, 0.5, 0.0]), np.array([10.0, 10.25, 10.5])
    height, width = pixel_km(frames(y, x, "degrees_east"))
    earth = pyproj.Geod(ellps="WGS84")
    # The Earth's radius of curvature is within 1 % of that of the sphere, along both axes.
    assert height == pytest.approx(earth.inv(10, south + 0.25, 10, south + 0.75)[2] / 1000, rel=0.01)
    assert width == pytest.approx(earth.inv(10, south + 0.5, 10.25, south + 0.5)[2] / 1000, rel=0.01)


def test_pixel_km_without_coordinates_raises():
    with pytest.raises(FramesError, match="expected a coordinate y"):
        pixel_km(xr.DataArray(np.zeros((1, 3, 3)), dims=("time", "y", "x")))
