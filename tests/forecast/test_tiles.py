import numpy as np
import pytest

from stormcell.forecast.tiles import tiles


@pytest.mark.parametrize(
    ("height", "width", "side", "overlap", "multiple"),
    [(50, 61, 24, 4, 4), (50, 61, 24, 5, 4), (7, 300, 40, 8, 1), (100, 100, 100, 8, 4), (33, 33, 10, 8, 4)],
)
def test_tiles_cover_every_pixel_once_with_overlap(height, width, side, overlap, multiple):
    count = np.zeros((height, width), int)
    for tile in tiles(height, width, side=side, overlap=overlap, multiple=multiple):
        count[tile.rows, tile.cols] += 1
        spans = ((tile.rows, tile.read_rows, height), (tile.cols, tile.read_cols, width))
        for (inner, read, length), crop in zip(spans, tile.crop, strict=True):
            assert read.start % multiple == 0
            assert read.start == 0 or inner.start - read.start >= overlap
            assert read.stop == length or read.stop - inner.stop >= overlap
            assert np.arange(length)[read][crop].tolist() == np.arange(length)[inner].tolist()
            if side > 2 * overlap + 2 * multiple:
                assert read.stop - read.start <= side
    np.testing.assert_array_equal(count, 1)


def test_tiles_small_grid_is_one_tile_without_overlap():
    (tile,) = tiles(50, 61, side=64, overlap=16, multiple=4)
    assert tile.rows == tile.read_rows == slice(0, 50)
    assert tile.cols == tile.read_cols == slice(0, 61)
