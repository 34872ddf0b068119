"""Tiles of published pictures: cut from the levels of a picture, and kept."""

from dataclasses import dataclass
from datetime import datetime

import numpy as np

from stormcell.maps import map_tiles, pictures
from stormcell.maps.levels import Levels
from stormcell.maps.mercator import WORLD, Bounds, to_metres
from stormcell.maps.palettes import palette
from stormcell.published.manifest import COVERAGE, Manifest, picture_name
from stormcell.published.reading import Shelf
from stormcell.serve.byte_cache import ByteCache
from stormcell.serve.publication import Publication

_TILES = 2**26  # bytes of tiles that are kept
_LEVELS = 2**27  # bytes of pictures whose levels are kept


@dataclass(frozen=True)
class TileAsked:
    """A tile of a picture.

    Attributes:
        manifest: Of the publication.
        product: Name of the product.
        valid: The valid time.
        bounds: Left, bottom, right and top in metres of EPSG:3857.
        zoom: Zoom at which such tiles are shown.
        size: Side in pixels.
        palette: Name of the palette.
    """

    manifest: Manifest
    product: str
    valid: datetime
    bounds: Bounds
    zoom: int
    size: int
    palette: str


class TileMaker:
    """Tiles of the pictures of a published folder.

    Args:
        shelf: The folder.
    """

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf
        self._tiles = ByteCache(_TILES)
        self._levels = ByteCache(_LEVELS)

    def etag(self, asked: TileAsked) -> str:
        """Return the entity tag of a tile, without cutting it.

        Raises:
            NotPublishedError: The publication does not have this picture.
            PrunedError: It is no longer kept.
            ArgumentError: The palette is not offered.
        """
        self._shelf.picture(asked.manifest, asked.product, asked.valid)
        file = asked.manifest.files[picture_name(asked.product, asked.valid)]
        place = "-".join(f"{edge:.0f}" for edge in asked.bounds)
        return f'"{file.sha256[:32]}-{place}-{asked.size}-{palette(asked.palette).name}"'

    def tile(self, asked: TileAsked) -> bytes:
        """Return a tile as a PNG file.

        Raises:
            NotPublishedError: The publication does not have this picture.
            PrunedError: It is no longer kept.
            ArgumentError: The size or the palette is not offered.
        """
        key = self.etag(asked)
        content = self._tiles.get(asked.manifest.folder, key)
        if content is None:
            content = self._cut(asked)
            self._tiles.put(asked.manifest.folder, key, content)
        return content

    def unseen(self, publication: Publication, bounds: Bounds, size: int) -> bytes:
        """Return a tile that is black where the radar does not observe, as a PNG file.

        Raises:
            ArgumentError: The size is not offered.
        """
        key = (publication.manifest.files[COVERAGE].sha256, bounds, size)
        content = self._tiles.get(COVERAGE, key)
        if content is None:
            content = map_tiles.unseen(publication.often_observed, publication.grid, bounds, size)
            self._tiles.put(COVERAGE, key, content)
        return content

    def _cut(self, asked: TileAsked) -> bytes:
        raster = asked.manifest.raster
        factor = map_tiles.overview(raster.bounds, raster.shape[1], raster.overviews, asked.zoom, asked.size)
        levels = self._picture(asked, factor)
        found = map_tiles.cut(levels, raster.bounds, asked.bounds, asked.size)
        if found is None:
            return map_tiles.empty(asked.size)
        return map_tiles.encode(*found, palette(asked.palette))

    def _picture(self, asked: TileAsked, factor: int) -> Levels:
        name = picture_name(asked.product, asked.valid, factor)
        sha256, raster = asked.manifest.files[name].sha256, asked.manifest.raster
        shape = raster.shape[0] // factor, raster.shape[1] // factor
        kept = self._levels.get(asked.manifest.folder, sha256)
        if kept is not None:
            return np.frombuffer(kept, np.uint8).reshape(shape)
        path = self._shelf.picture(asked.manifest, asked.product, asked.valid, factor)
        levels = pictures.decode(path.read_bytes())
        self._levels.put(asked.manifest.folder, sha256, levels.tobytes())
        return levels


def around(lat: float, lon: float, zoom: int) -> Bounds:
    """Return the bounds of a square of the size of a tile with a place in its middle."""
    x, y = to_metres(lon, lat)
    half = WORLD / 2**zoom / 2
    return float(x - half), float(y - half), float(x + half), float(y + half)
