"""Map tiles: squares of a picture by zoom, column and row, as every web map asks for them.

At zoom z the world is ``2**z`` tiles wide. Column 0 begins at 180° W, row 0 at the top.
"""

import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from stormcell.errors import ArgumentError
from stormcell.maps import pictures
from stormcell.maps.levels import MISSING, Levels
from stormcell.maps.mercator import WORLD, Bounds
from stormcell.maps.overviews import coarsen
from stormcell.maps.palettes import Palette

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
    if size not in SIZES:
        raise ArgumentError(f"tile: expected {' or '.join(map(str, SIZES))} pixels, found {size}")
    left, bottom, right, top = bounds
    rows, columns = levels.shape
    # The picture may lie beyond the end of the world, where the next world begins.
    shift = WORLD * np.ceil((left - tile[2]) / WORLD)
    centres = (np.arange(size) + 0.5) / size
    x = tile[0] + shift + (tile[2] - tile[0]) * centres
    y = tile[3] - (tile[3] - tile[1]) * centres
    width, height = (right - left) / columns, (top - bottom) / rows
    factor = max(1, int((tile[2] - tile[0]) / size / max(width, height) + 1e-6))
    column, row = np.floor((x - left) / width).astype(np.int64), np.floor((top - y) / height).astype(np.int64)
    wide, high = (column >= 0) & (column < columns), (row >= 0) & (row < rows)
    if not (wide.any() and high.any()):
        return None
    if factor > 1:
        levels = coarsen(levels, factor)
        column, row = column // factor, row // factor
    found = np.full((size, size), MISSING, np.uint8)
    found[np.ix_(high, wide)] = levels[np.ix_(row[high], column[wide])]
    return found, high[:, None] & wide


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


def empty(size: int = 256) -> bytes:
    """Return a transparent tile."""
    file = io.BytesIO()
    Image.new("LA", (size, size)).save(file, "png")
    return file.getvalue()
