import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from tests.maps.grids import GRIDS

from stormcell.errors import ArgumentError
from stormcell.maps import map_tiles, pictures
from stormcell.maps.levels import MISSING
from stormcell.maps.map_tiles import cut, overview, tile_bounds
from stormcell.maps.mercator import WORLD, Warp, to_metres
from stormcell.maps.overviews import coarsen
from stormcell.maps.palettes import palette
from stormcell.maps.places import cell_at, centre_of


def tile_of(lon, lat, zoom, size=256):
    """Column and row of the tile at a place, and the pixel in it: the formulas of the OpenStreetMap wiki."""
    x = (lon + 180) / 360 * 2**zoom
    y = (1 - np.arcsinh(np.tan(np.deg2rad(lat))) / np.pi) / 2 * 2**zoom
    return int(x), int(y), int(y % 1 * size), int(x % 1 * size)


def test_tile_bounds_are_those_of_the_wiki():
    for lon, lat, zoom in [(13.4, 52.5, 7), (-97, 38.5, 4), (179.9, -17, 11)]:
        column, row, *_ = tile_of(lon, lat, zoom)
        left, bottom, right, top = tile_bounds(zoom, column, row)
        x, y = to_metres(lon, lat)
        assert left <= x < right
        assert bottom < y <= top
        assert right - left == pytest.approx(top - bottom) == pytest.approx(WORLD / 2**zoom)


@pytest.mark.parametrize("tile", [(-1, 0, 0), (13, 0, 0), (3, 8, 0), (3, 0, 8), (3, -1, 0), (0, 0, 1)])
def test_tile_bounds_of_no_tile_raises(tile):
    with pytest.raises(ArgumentError, match="tile: expected zoom 0 to 12"):
        tile_bounds(*tile)


@given(
    st.sampled_from(sorted(GRIDS)),
    st.integers(1, 58),
    st.integers(1, 78),
    st.integers(9, 12),
    st.sampled_from([256, 512]),
)
def test_cut_shows_a_cell_within_a_pixel_of_its_place(name, row, column, zoom, size):
    grid = GRIDS[name]
    warp = Warp.of(grid)
    rain = np.zeros((grid.rows, grid.columns), np.uint8)
    rain[row - 1 : row + 2, column - 1 : column + 2] = 100
    rain[row, column] = 200
    lon, lat = centre_of(grid, row, column)
    x, y, down, along = tile_of(lon, lat, zoom, size)
    found = cut(warp.apply(rain, MISSING), warp.bounds, tile_bounds(zoom, x, y), size)
    assert found is not None
    # The pixel of the tile has the picture's pixel there, whose centre is in this cell or in a neighbour.
    assert found[0][down, along] >= 100
    assert found[1][down, along]


def test_cut_at_the_zoom_of_the_picture_has_its_pixels():
    # A picture whose pixels are exactly those of zoom 5, ten of them from the corner of tile 5/17/11.
    left, bottom, right, top = tile_bounds(5, 17, 11)
    pixel = (right - left) / 256
    levels = np.random.default_rng(0).integers(0, 256, (300, 400), dtype=np.uint8)
    corner = left + 10 * pixel, top - 20 * pixel
    bounds = (corner[0], corner[1] - 300 * pixel, corner[0] + 400 * pixel, corner[1])
    found, inside = cut(levels, bounds, (left, bottom, right, top))
    np.testing.assert_array_equal(found[20:, 10:], levels[:236, :246])
    assert not inside[:20].any()
    assert not inside[:, :10].any()
    assert inside[20:, 10:].all()
    beside, inside = cut(levels, bounds, tile_bounds(5, 18, 11))
    np.testing.assert_array_equal(beside[20:, :154], levels[:236, 246:])
    assert not inside[:, 154:].any()
    assert cut(levels, bounds, tile_bounds(5, 19, 11)) is None


def test_cut_neighbouring_tiles_show_each_pixel_of_the_picture():
    levels = np.arange(64, dtype=np.uint8).reshape(8, 8)
    side = WORLD / 2**9
    bounds = (-side * 0.3, -side * 0.2, side * 0.4, side * 0.5)
    shown = set()
    for column in (255, 256):
        for row in (255, 256):
            found, inside = cut(levels, bounds, tile_bounds(9, column, row))
            shown |= set(found[inside].tolist())
    assert shown == set(range(64))


@pytest.mark.parametrize("zoom", range(7))
def test_cut_isolated_rain_remains_at_every_lower_zoom(zoom):
    warp = Warp.of(GRIDS["utm"])
    picture = np.zeros(warp.shape, np.uint8)
    picture[23, 37] = 150
    left, bottom, right, top = warp.bounds
    x, y = left + (right - left) * 37.5 / warp.shape[1], top - (top - bottom) * 23.5 / warp.shape[0]
    at = int((x / WORLD + 0.5) * 2**zoom), int((0.5 - y / WORLD) * 2**zoom)
    found, inside = cut(picture, warp.bounds, tile_bounds(zoom, *at))
    assert 1 <= (found == 150).sum() <= 4
    if inside.sum() > 16:
        place = (np.argwhere(found == 150) + 0.5).mean(axis=0) / 256
        exact = (0.5 - y / WORLD) * 2**zoom % 1, (x / WORLD + 0.5) * 2**zoom % 1
        assert np.abs(place - exact).max() < 1.5 / 256


def test_cut_overview_differs_by_no_more_than_its_blocks():
    picture = np.zeros((64, 64), np.uint8)
    picture[17, 42] = 150
    side = WORLD / 2**4
    bounds = (0.0, -side / 8, side / 8, 0.0)  # 64 pixels on 32 of the tile
    whole, _ = cut(picture, bounds, tile_bounds(4, 8, 8))
    half, _ = cut(coarsen(picture, 2), bounds, tile_bounds(4, 8, 8))
    np.testing.assert_array_equal(whole, half)
    assert np.argwhere(whole == 150).tolist() == [[8, 21]]


def test_cut_picture_across_the_180th_meridian_is_in_tiles_on_both_sides():
    warp = Warp.of(GRIDS["antimeridian"])
    numbers = np.full(warp.shape, 100, np.uint8)
    numbers[:, warp.shape[1] // 2 :] = 200
    _, row, *_ = tile_of(180, -17, 8)
    west, inside_west = cut(numbers, warp.bounds, tile_bounds(8, 255, row))
    east, inside_east = cut(numbers, warp.bounds, tile_bounds(8, 0, row))
    assert set(west[inside_west].tolist()) == {100}
    assert set(east[inside_east].tolist()) == {200}
    assert inside_west[:, -1].any()
    assert inside_east[:, 0].any()


def test_cut_of_grid_cells_far_east_is_the_cell_at_the_place():
    grid = GRIDS["antimeridian-projected"]
    warp = Warp.of(grid)
    lon, lat = centre_of(grid, 12, 70)
    assert lon < 0
    x, y, down, along = tile_of(lon, lat, 11)
    picture = warp.apply(np.arange(4800, dtype=np.int64).reshape(60, 80).astype(np.uint8), MISSING)
    found, _ = cut(picture, warp.bounds, tile_bounds(11, x, y))
    row, column = cell_at(grid, lon, lat)
    expected = {(r * 80 + c) % 256 for r in range(row - 1, row + 2) for c in range(column - 1, column + 2)}
    assert int(found[down, along]) in expected


def test_cut_other_size_raises():
    with pytest.raises(ArgumentError, match="tile: expected 256 or 512 pixels, found 100"):
        cut(np.zeros((2, 2), np.uint8), (0, 0, 1, 1), tile_bounds(0, 0, 0), 100)


def test_overview_is_the_coarsest_that_is_not_coarser_than_the_tile():
    pixel = WORLD / 2**8 / 256  # that of zoom 8
    bounds = (0.0, 0.0, 4096 * pixel, 4096 * pixel)
    chosen = {zoom: overview(bounds, 4096, (2, 4), zoom) for zoom in (9, 8, 7, 6, 5, 0)}
    assert chosen == {9: 1, 8: 1, 7: 2, 6: 4, 5: 4, 0: 4}
    assert overview(bounds, 4096, (2, 4), 7, size=512) == 1


def test_encode_inside_is_indexed_and_at_the_edge_in_colours():
    levels = np.full((256, 256), 80, np.uint8)
    levels[0] = MISSING
    inside = np.ones((256, 256), bool)
    whole = map_tiles.encode(levels, inside, palette("dark"))
    np.testing.assert_array_equal(pictures.decode(whole), levels)
    inside[:, :100] = False
    with Image.open(io.BytesIO(map_tiles.encode(levels, inside, palette("dark")))) as image:
        seen = np.array(image.convert("RGBA"))
    assert (seen[:, :100, 3] == 0).all()
    assert seen[0, 100].tolist() == palette("dark").colours[MISSING].tolist()
    assert seen[5, 100].tolist() == palette("dark").colours[80].tolist()


@pytest.mark.parametrize("size", map_tiles.SIZES)
def test_empty_is_transparent(size):
    with Image.open(io.BytesIO(map_tiles.empty(size))) as image:
        assert image.size == (size, size)
        assert (np.array(image.convert("RGBA"))[..., 3] == 0).all()
