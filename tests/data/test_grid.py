import numpy as np
import pyproj
import pytest
import xarray as xr

from stormcell.data.grid import Grid, Spacing, crs_name, parse_crs, pixel_km
from stormcell.errors import FramesError, InputError


def frames(y, x, units):
    coords = {"y": y, "x": ("x", x, {"units": units})}
    return xr.DataArray(np.zeros((1, len(y), len(x))), coords=coords, dims=("time", "y", "x"))


def test_pixel_km_of_metres_divides_each_axis():
    assert pixel_km(frames([4000.0, 2000.0, 0.0], [0.0, 500.0], "m")) == (2.0, 0.5)


def test_coordinates_in_kilometres_are_those_in_metres():
    x, y = np.arange(4.0), 6601 - np.arange(3.0)
    kilometres, metres = frames(y, x, "km"), frames(1000 * y, 1000 * x, "m")
    kilometres["y"].attrs["units"] = "kilometers"
    assert pixel_km(kilometres) == pixel_km(metres) == (1.0, 1.0)
    crs = xr.DataArray(0, attrs={"crs_wkt": pyproj.CRS(3067).to_wkt()})
    grids = [Grid.of(given.to_dataset(name="rain").assign(crs=crs)) for given in (kilometres, metres)]
    assert grids[0] == grids[1]
    with pytest.raises(InputError, match="expected a unit of length such as m or km, found 'rad'"):
        pixel_km(frames(y, x, "rad"))


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


def grid(west=0.0, north=7e6, pixel=1000.0, columns=4, crs=3067):
    x, y = west + pixel * np.arange(columns), north - pixel * np.arange(3)
    return Grid.from_centres(pyproj.CRS(crs), x, y)


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (grid(), None),
        (grid(west=9.0), None),  # a hundredth of a pixel is 10 m
        (grid(west=11.0), "expected the archive's x = 0 … 3000, found 11 … 3011"),
        (grid(north=7e6 + 500), "expected the archive's y = 7000000 … 6998000, found 7000500 … 6998500"),
        (grid(pixel=1004.0), "expected the archive's x = 0"),
        (grid(columns=5), "expected the archive's grid of 3 × 4, found 3 × 5"),
        (grid(crs=3035), "expected the archive's projection Transverse Mercator with"),
    ],
)
def test_grid_difference_names_what_differs(other, words):
    found = grid().difference(other)
    assert found is None if words is None else found.startswith(words)


@pytest.mark.parametrize(("crs", "pixel", "unit"), [(3067, 1000.0, "m"), (4326, 0.01, "degree")])
def test_grid_of_a_dataset_is_the_grid_it_was_made_from(crs, pixel, unit):
    made = grid(north=50.0, pixel=pixel, crs=crs)
    ds = xr.Dataset(coords={"x": made.x, "y": made.y, "crs": ((), 0, made.crs_attributes())})
    assert made.difference(Grid.of(ds)) is None
    assert Grid.of(ds).spacing.same_as(made.spacing)
    assert made.spacing.same_as(Spacing(pixel, pixel, unit))


def test_parse_crs_of_other_text_raises():
    with pytest.raises(
        InputError, match="expected WKT, a PROJ string or a known EPSG code, found 'somewhere'"
    ):
        parse_crs("somewhere")
    assert crs_name("somewhere") == "unknown"


def test_spacing_of_a_row_or_without_a_coordinate_names_it():
    given = frames([0.0], [0.0, 500.0], "m")
    with pytest.raises(FramesError, match="frames: expected 2 or more values of y, found 1"):
        Spacing.of(given)
    with pytest.raises(FramesError, match="frames: expected a coordinate y, found none"):
        Spacing.of(given.drop_vars("y"))
