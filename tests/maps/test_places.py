import numpy as np
import pyproj
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.maps.grids import GRIDS, square

from stormcell.maps.places import cell_at, cells_at, centre_of, extent, outline

NAMES = sorted(GRIDS)


def independent(grid, row, column):
    """Longitude and latitude of a cell's centre, by pyproj alone."""
    x, y = grid.west + column * grid.dx, grid.north - row * grid.dy
    crs = pyproj.CRS.from_wkt(grid.crs_wkt)
    if crs.is_geographic:
        return x, y
    return pyproj.Proj(crs)(x, y, inverse=True)


@pytest.mark.parametrize("name", NAMES)
def test_cell_at_centre_of_any_cell_is_that_cell(name):
    grid = GRIDS[name]
    for row, column in [(0, 0), (0, 79), (59, 0), (59, 79), (17, 42)]:
        lon, lat = independent(grid, row, column)
        assert cell_at(grid, lon, lat) == (row, column)
        assert cell_at(grid, lon + 360, lat) == (row, column)
        assert cell_at(grid, lon - 360, lat) == (row, column)
        back = centre_of(grid, row, column)
        assert (back[0] - lon + 180) % 360 - 180 == pytest.approx(0, abs=1e-9)
        assert back[1] == pytest.approx(lat, abs=1e-9)
        assert -180 <= back[0] < 180


@given(st.sampled_from(NAMES), st.floats(-0.499, 59.499), st.floats(-0.499, 79.499))
def test_cell_at_any_place_in_a_cell_is_that_cell(name, row, column):
    grid = GRIDS[name]
    if min(abs(row % 1 - 0.5), abs(column % 1 - 0.5)) < 1e-6:  # rounding may decide
        return
    assert cell_at(grid, *independent(grid, row, column)) == (round(row), round(column))


@pytest.mark.parametrize("name", NAMES)
def test_cell_at_half_a_pixel_beyond_the_border_is_outside(name):
    grid = GRIDS[name]
    for row, column in [(-0.51, 5), (59.51, 5), (5, -0.51), (5, 79.51)]:
        assert cell_at(grid, *independent(grid, row, column)) is None


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "place", [(0, 0), (-97, -38), (170, 80), (45, 90), (45, -90), (np.inf, 0), (0, np.nan)]
)
def test_cell_at_distant_or_impossible_place_is_outside(name, place):
    assert cell_at(GRIDS[name], *place) is None


def test_cells_at_antipode_is_outside_of_every_grid():
    for grid in GRIDS.values():
        lon, lat = centre_of(grid, 30, 40)
        assert cell_at(grid, lon + 180, -lat) is None
        assert cell_at(grid, lon, -lat) is None
        assert cell_at(grid, lon + 180, lat) is None


def test_cells_at_arrays_gives_flat_cells():
    grid = GRIDS["utm"]
    lon, lat = np.array([independent(grid, 3, column) for column in (7, 8)]).T
    np.testing.assert_array_equal(cells_at(grid, [*lon, 0], [*lat, 0]), [3 * 80 + 7, 3 * 80 + 8, -1])


@pytest.mark.parametrize("name", NAMES)
def test_extent_contains_every_pixel_and_is_tight(name):
    grid = GRIDS[name]
    around = extent(grid)
    corners = [independent(grid, row, column) for row in (-0.5, 59.5) for column in (-0.5, 79.5)]
    assert -180 <= around.west < 180
    assert around.west < around.east < around.west + 5
    for lon, lat in corners:
        lon = around.west + (lon - around.west + 1e-9) % 360 - 1e-9
        assert around.west - 1e-9 <= lon <= around.east + 1e-9
        assert around.south - 1e-9 <= lat <= around.north + 1e-9
    for row in (-0.5, 59.5):  # the northernmost and southernmost places are on these edges, or on the others
        assert all(
            around.south - 1e-7 <= independent(grid, row, column)[1] <= around.north + 1e-7
            for column in np.linspace(-0.5, 79.5, 37)
        )
    assert (around.north - around.south) < 1.5


def test_extent_across_the_180th_meridian_ends_beyond_it():
    around = extent(GRIDS["antimeridian"])
    assert (around.west, around.east) == pytest.approx((179.6, 180.4))
    around = extent(GRIDS["antimeridian-projected"])
    assert around.west < 180 < around.east


def test_extent_of_longitudes_beyond_180_is_continuous():
    around = extent(square("EPSG:4326", 190.0, -17.0, size=0.01))
    assert (around.west, around.east) == pytest.approx((-170.4, -169.6))


def test_extent_around_a_pole_is_the_whole_circle():
    around = extent(square("+proj=stere +lat_0=90 +lat_ts=60", 1e5, 2e5, size=50_000))
    assert (around.west, around.east, around.north) == (-180, 180, 90)
    assert 60 < around.south < 80
    around = extent(square("+proj=stere +lat_0=-90 +lat_ts=-60", 1e5, 2e5, size=50_000))
    assert (around.west, around.east, around.south) == (-180, 180, -90)


def test_extent_of_the_whole_earth_is_the_whole_earth():
    around = extent(square("EPSG:4326", 0, 0, shape=(180, 360), size=1.0))
    assert (around.west, around.south, around.east, around.north) == (-180, -90, 180, 90)
    assert cell_at(square("EPSG:4326", 0, 0, shape=(180, 360), size=1.0), 179.9, 0.5) == (89, 359)


@pytest.mark.parametrize("name", NAMES)
def test_outline_is_closed_and_goes_along_the_edges(name):
    grid = GRIDS[name]
    around, line = extent(grid), outline(grid, points=8)
    assert line[0] == line[-1]
    assert len(line) == 33
    assert line[0] == pytest.approx(
        [
            around.west + (independent(grid, -0.5, -0.5)[0] - around.west) % 360,
            independent(grid, -0.5, -0.5)[1],
        ],
        abs=1e-5,
    )
    assert line[16] == pytest.approx(
        [
            around.west + (independent(grid, 59.5, 79.5)[0] - around.west) % 360,
            independent(grid, 59.5, 79.5)[1],
        ],
        abs=1e-5,
    )
    assert all(around.west - 1e-4 <= lon <= around.east + 1e-4 for lon, _ in line)
