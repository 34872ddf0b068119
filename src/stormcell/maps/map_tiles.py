"""Map tiles: squares of a picture by zoom, column and row, as every web map asks for them.

At zoom z the world is ``2**z`` tiles wide. Column 0 begins at 180° W, row 0 at the top.
"""

import io
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from stormcell.data.grid import Grid
from stormcell.errors import ArgumentError
from stormcell.maps import pictures
from stormcell.maps.levels import MISSING, Levels
from stormcell.maps.mercator import WORLD, Bounds, to_lon_lat
from stormcell.maps.overviews import highest
from stormcell.maps.palettes import Palette
from stormcell.maps.places import cells_at

HIGHEST_ZOOM = 12
SIZES = (256, 512)


def tile_bounds(zoom: int, column: int, row: int) -> Bounds:
    """Return left, bottom, right and top of a tile in metres of EPSG:3857.

    Raises:
        ArgumentError: There is no such tile.

    Example:
        >>> [round(value) for value in tile_bounds(1, 0, 0)]
        [-20037508, 0, 0, 20037508]
    """
    if not (0 <= zoom <= HIGHEST_ZOOM and 0 <= column < 2**zoom and 0 <= row < 2**zoom):
        raise ArgumentError(
            f"tile: expected zoom 0 to {HIGHEST_ZOOM}, column and row 0 to 2**zoom - 1, "
            f"found {zoom}/{column}/{row}"
        )
    side = WORLD / 2**zoom
    left, top = column * side - WORLD / 2, WORLD / 2 - row * side
    return left, top - side, left + side, top


def meet(picture: Bounds, tile: Bounds) -> bool:
    """Whether a tile and a picture have an area in common.

    Example:
        >>> meet((0, 0, 9, 9), (8, 8, 16, 16)), meet((0, 0, 9, 9), (9, 0, 17, 8))
        (True, False)
    """
    left, bottom, right, top = picture
    shift = _worlds_between(left, tile)
    return tile[0] + shift < right and tile[1] < top and bottom < tile[3]


def _worlds_between(left: float, tile: Bounds) -> float:
    """Return the metres that bring a tile right of a picture's left edge: some end in the next world."""
    return float(WORLD * np.ceil((left - tile[2]) / WORLD))


def overview(bounds: Bounds, columns: int, factors: Sequence[int], zoom: int, size: int = 256) -> int:
    """Return the coarsest overview whose pixels are not larger than those of tiles; 1 for the picture itself.

    Args:
        bounds: Of the picture, in metres.
        columns: Of the picture.
        factors: Its overviews.
        zoom: Of the tiles.
        size: Side of a tile in pixels.
    """
    pixel = (bounds[2] - bounds[0]) / columns
    return max((n for n in factors if n * pixel <= WORLD / 2**zoom / size), default=1)


def cut(
    levels: Levels, bounds: Bounds, tile: Bounds, size: int = 256
) -> tuple[Levels, NDArray[np.bool_]] | None:
    """Return the levels of a tile.

    Where a tile's pixels are larger than the picture's, they have the highest level of the pixels that they
    cover.

    Args:
        levels: The picture, or its overview, ``(y, x)``.
        bounds: Of the picture, in metres.
        tile: Bounds of the tile.
        size: Side of the tile in pixels.

    Returns:
        Levels ``(size, size)``, 255 beyond the picture, and where the tile lies inside the picture; None if
        it does nowhere.

    Raises:
        ArgumentError: The size is not offered.
    """
    _expect_offered(size)
    left, bottom, right, top = bounds
    width, height = (right - left) / levels.shape[1], (top - bottom) / levels.shape[0]
    shift = _worlds_between(left, tile)
    side = (tile[2] - tile[0]) / size
    columns = _pixels((tile[0] + shift - left) / width, side / width, size, levels.shape[1])
    rows = _pixels((top - tile[3]) / height, side / height, size, levels.shape[0])
    if not (len(rows.starts) and len(columns.starts)):
        return None
    found = np.full((size, size), MISSING, np.uint8)
    (y, *_), (x, *_) = rows.starts, columns.starts
    window = levels[y : rows.end, x : columns.end]
    found[rows.inside, columns.inside] = highest(window, rows.starts - y, columns.starts - x)
    inside = np.zeros((size, size), bool)
    inside[rows.inside, columns.inside] = True
    return found, inside


class _Pixels(NamedTuple):
    """The pixels of a picture that those of a tile show, along one axis.

    Attributes:
        inside: Pixels of the tile that lie inside the picture.
        starts: First pixel of the picture that each of them shows.
        end: End of the last.
    """

    inside: slice
    starts: NDArray[np.int64]
    end: int


def _pixels(first: float, ratio: float, size: int, length: int) -> _Pixels:
    """Return the pixels of a picture that ``size`` pixels of a tile show, along one axis.

    Args:
        first: Place of the tile's edge, in pixels of the picture.
        ratio: Size of the tile's pixels, in pixels of the picture.
        size: Number of the tile's pixels.
        length: Number of the picture's pixels.
    """
    # Larger pixels begin at the pixel nearest to their edge. Smaller ones show the pixel at their centre.
    edges = first + ratio * np.arange(size + 1)
    places = (np.rint(edges) if ratio > 1 else np.floor(edges + ratio / 2)).astype(np.int64)
    starts = places[:-1]
    ends = np.maximum(places[1:], starts + 1)
    inside = np.flatnonzero((ends > 0) & (starts < length))
    if not len(inside):
        return _Pixels(slice(0), inside, 0)
    return _Pixels(
        slice(int(inside[0]), int(inside[-1]) + 1), starts[inside].clip(0), min(int(ends[inside[-1]]), length)
    )


def unseen(often_observed: NDArray[np.bool_], grid: Grid, tile: Bounds, size: int = 256) -> bytes:
    """Return a tile as PNG that is black where the radar does not observe, and transparent where it does.

    Args:
        often_observed: Where the radar usually observes, ``(y, x)``.
        grid: The radar's grid.
        tile: Bounds of the tile.
        size: Side of the tile in pixels.

    Raises:
        ArgumentError: The size is not offered.
    """
    _expect_offered(size)
    steps = (np.arange(size) + 0.5) / size
    lon, lat = to_lon_lat(tile[0] + (tile[2] - tile[0]) * steps, tile[3] - (tile[3] - tile[1]) * steps)
    cells = cells_at(grid, lon, lat[:, None])
    seen = np.append(often_observed, False)[cells]  # outside of the grid, the cell is -1: the last
    file = io.BytesIO()
    image = Image.fromarray(np.where(seen, np.uint8(0), np.uint8(1)))
    image.putpalette(bytes(6))
    image.save(file, "png", transparency=0)
    return file.getvalue()


def encode(levels: Levels, inside: NDArray[np.bool_], palette: Palette) -> bytes:
    """Return a tile as PNG: indexed like a picture, or in colours with opacity if it ends beyond the picture.

    Beyond the picture, tiles are transparent, whereas not observed is grey.
    """
    if inside.all():
        return pictures.encode(levels, palette)
    colours = palette.colours[levels]
    colours[~inside] = 0
    file = io.BytesIO()
    Image.fromarray(colours).save(file, "png")
    return file.getvalue()


def _expect_offered(size: int) -> None:
    if size not in SIZES:
        raise ArgumentError(f"tile: expected {' or '.join(map(str, SIZES))} pixels, found {size}")


def empty(size: int = 256) -> bytes:
    """Return a transparent tile."""
    file = io.BytesIO()
    Image.new("LA", (size, size)).save(file, "png")
    return file.getvalue()
