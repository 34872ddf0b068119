import numpy as np
import pyproj
import pytest

from stormcell.data.grid import Grid
from stormcell.data.projection import in_metres
from stormcell.errors import InputError

STEREO = "+proj=stere +lat_0=90 +lon_0=10 +lat_ts=60"


@pytest.mark.parametrize(
    ("given", "factor"),
    [
        (f"{STEREO} +a=6378137 +b=6356752 +x_0=5000 +units=km", 1000),
        (f"{STEREO} +a=6378137 +b=6356752 +x_0=5000 +to_meter=1000", 1000),
        (f"{STEREO} +a=6378.137 +b=6356.752 +x_0=5 +y_0=0", 1000),
        (f"{STEREO} +a=6378.137 +b=6356.752 +x_0=5 +units=km", 1000),
        (f"{STEREO} +a=6378137 +b=6356752 +x_0=5000 +units=m", 1),
    ],
)
def test_in_metres_of_any_unit_gives_the_same_positions(given, factor):
    crs, found = in_metres(pyproj.CRS(given))
    assert found == factor
    expected = pyproj.Proj(f"{STEREO} +a=6378137 +b=6356752 +x_0=5000 +units=m")
    to_metres = pyproj.Transformer.from_crs(crs.geodetic_crs, crs, always_xy=True)
    # Both are computed in float64, at 4e6 m to 1e-9 m; a millimetre is far below a pixel.
    np.testing.assert_allclose(to_metres.transform(4.9, 52.4), expected(4.9, 52.4), atol=1e-3, rtol=0)


def test_in_metres_of_feet_gives_the_metres_of_a_foot():
    feet = pyproj.CRS(2263)
    crs, factor = in_metres(feet)
    assert factor == pytest.approx(1200 / 3937, rel=1e-12)
    expected = np.array(pyproj.Proj(feet)(-74.0, 40.7)) * 1200 / 3937
    found = pyproj.Transformer.from_crs(crs.geodetic_crs, crs, always_xy=True).transform(-74.0, 40.7)
    np.testing.assert_allclose(found, expected, atol=1e-3, rtol=0)


def test_in_metres_of_degrees_stays_in_degrees():
    assert in_metres(pyproj.CRS(4326)) == (pyproj.CRS(4326), 1)
    grads, factor = in_metres(pyproj.CRS(4807))  # the Paris meridian's system, in grads
    assert factor == pytest.approx(0.9, rel=1e-12)
    assert {axis.unit_name for axis in grads.axis_info} == {"degree"}


def test_in_metres_of_a_geocentric_system_raises():
    with pytest.raises(InputError, match="expected a map projection or latitude and longitude"):
        in_metres(pyproj.CRS(4978))


def centres(first, step, count=5):
    return first + step * np.arange(count)


@pytest.mark.parametrize(
    ("crs", "x", "y", "reason"),
    [
        # Kilometres that were multiplied by a thousand twice: the pole's other side.
        (STEREO, centres(0, 1e6), centres(-3.65e9, -1e6), "m of the projection are"),
        # Kilometres taken as metres.
        (STEREO, centres(0, 1), centres(-3650, -1), "neighbouring pixels are only 1.07"),
        # A transverse Mercator projection half around the earth.
        (3067, centres(2e8, 1000), centres(7e6, -1000), ""),
        ("+proj=laea +lat_0=55 +lon_0=10", centres(3e7, 1000), centres(0, -1000), ""),
        ("+proj=geos +h=35785831 +lon_0=0", centres(5.6e6, 3000), centres(0, -3000), ""),
        (4326, centres(0, 1), centres(91, -1), "do not exist"),
        (4326, centres(-180, 1, 400), centres(50, -1), "do not exist"),
    ],
)
def test_grid_of_pixels_where_the_projection_is_not_valid_raises(crs, x, y, reason):
    with pytest.raises(InputError, match=f"grid: expected pixels on the earth where .*{reason}"):
        Grid.from_centres(pyproj.CRS(crs), x, y)


@pytest.mark.parametrize(
    ("crs", "x", "y"),
    [
        (STEREO, centres(-2e6, 2000, 2000), centres(-1e6, -2000, 2000)),
        (
            "+proj=laea +lat_0=55 +lon_0=10 +x_0=1950000 +y_0=-2100000",
            centres(0, 1e5, 38),
            centres(0, -1e5, 44),
        ),
        (3857, centres(-2e7, 1e5, 400), centres(1e7, -1e5, 200)),
        (4326, centres(-179.5, 1, 360), centres(89.5, -1, 180)),
        (4326, centres(170, 1, 20), centres(0, -1)),  # across the date line
        ("+proj=omerc +lat_0=48 +lonc=8 +alpha=30", centres(0, 50), centres(0, -50)),
    ],
)
def test_grid_of_pixels_where_the_projection_is_valid_is_made(crs, x, y):
    assert Grid.from_centres(pyproj.CRS(crs), x, y).columns == len(x)


@pytest.mark.parametrize(
    "numbers",
    [
        (np.nan, 7e6, 1000.0, 1000.0, 4, 4),
        (0.0, 7e6, -1000.0, 1000.0, 4, 4),
        (0.0, 7e6, 1000.0, 0.0, 4, 4),
        (0.0, 7e6, 1000.0, 1000.0, 1, 4),
    ],
)
def test_grid_of_impossible_numbers_raises(numbers):
    with pytest.raises(InputError, match="grid: expected at least 2 × 2 pixels at finite places"):
        Grid(pyproj.CRS(3067).to_wkt(), *numbers)
