import numpy as np
import pyproj
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.maps.grids import GRIDS, square

from stormcell.errors import InputError
from stormcell.maps.levels import MISSING
from stormcell.maps.mercator import LARGEST, MOST_NORTHERN, WORLD, Warp, to_lon_lat, to_metres
from stormcell.maps.places import cell_at, cells_at

NAMES = sorted(GRIDS)
TO_MERCATOR = pyproj.Transformer.from_crs("EPSG:4326", "EPSG:3857", always_xy=True)


def pixel_at(warp, lon, lat):
    """Row and column of the pixel at a place, as numbers with fractions, by pyproj."""
    x, y = TO_MERCATOR.transform(lon, lat)
    left, bottom, right, top = warp.bounds
    while x < left - WORLD / 2:
        x += WORLD
    rows, columns = warp.shape
    return (top - y) / (top - bottom) * rows, (x - left) / (right - left) * columns


def numbered(grid):
    return np.arange(grid.rows * grid.columns, dtype=np.int32).reshape(grid.rows, grid.columns)


def place_of(warp, row, column):
    left, bottom, right, top = warp.bounds
    x = left + (right - left) / warp.shape[1] * column
    return to_lon_lat(x, top - (top - bottom) / warp.shape[0] * row)


@pytest.mark.parametrize(("lon", "lat"), [(0, 0), (24.9, 60.2), (-97, 38), (170, -85), (-180, MOST_NORTHERN)])
def test_to_metres_agrees_with_pyproj(lon, lat):
    assert to_metres(lon, lat) == pytest.approx(TO_MERCATOR.transform(lon, lat), abs=1e-6)
    assert to_lon_lat(*to_metres(lon, lat)) == pytest.approx((lon, lat), abs=1e-9)


@given(st.sampled_from(NAMES), st.floats(0, 1, exclude_max=True), st.floats(0, 1, exclude_max=True))
def test_warp_pixel_has_the_cell_at_its_centre(name, down, along):
    grid = GRIDS[name]
    warp = Warp.of(grid)
    row, column = int(down * warp.shape[0]), int(along * warp.shape[1])
    lon, lat = place_of(warp, row + 0.5, column + 0.5)
    cell = cell_at(grid, lon, lat)
    expected = -1 if cell is None else cell[0] * grid.columns + cell[1]
    assert warp.apply(numbered(grid), outside=-1)[row, column] == expected


# Some way from the pixel's edges, which may be edges of cells: there, rounding decides.
INSIDE = st.floats(0.001, 0.999)


@given(st.sampled_from(NAMES), st.integers(0, 10**6), st.integers(0, 10**6), INSIDE, INSIDE)
def test_warp_pixel_of_a_place_has_a_cell_within_its_own_extent(name, row, column, down, along):
    grid = GRIDS[name]
    warp = Warp.of(grid)
    row, column = row % warp.shape[0], column % warp.shape[1]
    lon, lat = place_of(warp, row + down, column + along)
    assert pixel_at(warp, lon, lat) == pytest.approx((row + down, column + along), abs=1e-6)
    found = warp.apply(numbered(grid), outside=-1)[row, column]
    lines = np.linspace(0.001, 0.999, 41)
    cells = cells_at(grid, *place_of(warp, row + lines[:, None], column + lines))
    assert found in cells


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("block", [(0, 0), (0, 75), (55, 0), (55, 75), (31, 17)])
def test_warp_block_of_rain_lies_where_pyproj_says(name, block):
    grid, (row, column) = GRIDS[name], block
    rain = np.zeros((grid.rows, grid.columns), np.uint8)
    rain[row : row + 5, column : column + 5] = 100
    warp = Warp.of(grid)
    wet = np.argwhere(warp.apply(rain, outside=MISSING) == 100) + 0.5
    x, y = grid.west + grid.dx * (column + 2), grid.north - grid.dy * (row + 2)
    crs = pyproj.CRS.from_wkt(grid.crs_wkt)
    lon, lat = (x, y) if crs.is_geographic else pyproj.Proj(crs)(x, y, inverse=True)
    expected = pixel_at(warp, lon, lat)
    assert np.abs(wet.mean(axis=0) - expected).max() < 1
    assert np.abs(wet - expected).max() < 2.5 * np.sqrt(2) + 1  # a rotated square


@pytest.mark.parametrize("name", NAMES)
def test_warp_shows_nearly_every_cell_in_pixels_of_about_their_size(name):
    grid = GRIDS[name]
    warp = Warp.of(grid)
    shown = np.unique(warp.cells[warp.cells < grid.rows * grid.columns])
    # Nearest cells of a rotated grid of the same spacing leave some of them out.
    assert len(shown) > 0.8 * grid.rows * grid.columns
    inside = (warp.cells < grid.rows * grid.columns).sum()
    assert inside == pytest.approx(grid.rows * grid.columns, rel=0.05)


def test_warp_of_degrees_shows_every_column_once():
    grid = GRIDS["degrees"]
    warp = Warp.of(grid)
    assert warp.shape == (60, 80)
    np.testing.assert_array_equal(warp.cells[0], np.arange(80))


def test_warp_outside_of_the_grid_is_what_the_caller_says():
    warp = Warp.of(GRIDS["rotated"])
    levels = np.zeros((60, 80), np.uint8)
    picture = warp.apply(levels, outside=MISSING)
    assert picture.dtype == np.uint8
    assert set(np.unique(picture)) == {0, MISSING}
    assert picture[0, 0] == MISSING  # the grid is a square on its point
    field = warp.apply(np.zeros((60, 80), np.float32), outside=np.nan)
    np.testing.assert_array_equal(np.isnan(field), picture == MISSING)


def test_warp_across_the_180th_meridian_is_one_picture():
    warp = Warp.of(GRIDS["antimeridian"])
    assert warp.bounds[0] < WORLD / 2 < warp.bounds[2]
    assert warp.shape == (60, 80)
    assert (warp.cells < 60 * 80).all()


def test_warp_around_the_pole_is_as_wide_as_the_world():
    warp = Warp.of(square("+proj=stere +lat_0=90 +lat_ts=60", 1e5, 2e5, size=50_000))
    assert warp.bounds[2] - warp.bounds[0] == pytest.approx(WORLD)
    assert warp.bounds[3] == pytest.approx(WORLD / 2, rel=1e-6)
    assert (warp.cells[0] < 60 * 80).all()


def test_warp_beyond_web_mercator_raises():
    grid = square("EPSG:4326", 10, 88, size=0.01)
    with pytest.raises(InputError, match=r"expected a grid between 85\.05° S and N"):
        Warp.of(grid)


def test_warp_with_too_many_pixels_raises():
    # As wide as the world, since the pole is inside.
    grid = square("+proj=stere +lat_0=90 +lat_ts=60", 0, 0, shape=(20_000, 6700), size=100)
    with pytest.raises(InputError, match=r"expected a picture of at most \d+ pixels"):
        Warp.of(grid)


@pytest.mark.parametrize(
    ("columns", "overviews"), [(LARGEST, ()), (LARGEST + 1, (2,)), (2 * LARGEST + 1, (2, 4))]
)
def test_warp_overviews_halve_sides_until_they_are_small(columns, overviews):
    warp = Warp.of(square("EPSG:4326", 0, 0, shape=(3, columns), size=0.01))
    assert warp.overviews == overviews
    largest = max((1, *overviews))
    assert [side % largest for side in warp.shape] == [0, 0]
    assert 0 <= warp.shape[1] - columns < largest
    assert warp.bounds[2] - warp.bounds[0] == pytest.approx(WORLD * 0.01 * columns / 360)
    assert len(np.unique(warp.cells)) == 3 * columns


def test_warp_of_an_equal_grid_is_computed_once():
    grid = square("EPSG:3067", 4e5, 7e6)
    assert Warp.of(grid) is Warp.of(square("EPSG:3067", 4e5, 7e6))
