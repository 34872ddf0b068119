"""The files of a publication: pictures, the levels of cells, and their descriptions in the manifest."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from stormcell.data.grid import Grid
from stormcell.maps import pictures, places
from stormcell.maps.levels import MISSING, Levels
from stormcell.maps.mercator import Warp
from stormcell.maps.overviews import coarsen
from stormcell.maps.palettes import DEFAULT, palette
from stormcell.published import manifest as contract
from stormcell.published.manifest import File, Product, Raster, picture_name

_ROWS = 8  # that are written at once: all layers of them fit into a processor's cache


def write_pictures(folder: Path, product: Product, levels: Sequence[Levels], warp: Warp) -> None:
    """Write the pictures of a product and their overviews.

    Args:
        folder: Of the publication.
        product: With its times.
        levels: ``(y, x)`` on the grid, for each time.
        warp: The way from the grid to the pictures.
    """
    (folder / picture_name(product.name, product.times[0])).parent.mkdir(parents=True)
    for time, field in zip(product.times, levels, strict=True):
        picture = warp.apply(field, outside=MISSING)
        for factor in (1, *warp.overviews):
            content = pictures.encode(coarsen(picture, factor), palette(DEFAULT))
            (folder / picture_name(product.name, time, factor)).write_bytes(content)


def write_cells(path: Path, layers: Sequence[Levels]) -> None:
    """Write layers ``(y, x)`` as one array ``(y, x, layer)``, in which a cell's values are together."""
    # Not by a memory map: on a full disk, writing to one ends the process.
    rows, columns = layers[0].shape
    header = {"descr": "|u1", "fortran_order": False, "shape": (rows, columns, len(layers))}
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for start in range(0, rows, _ROWS):
            some = np.stack([levels[start : start + _ROWS] for levels in layers], axis=-1)
            file.write(some.tobytes())


def describe_grid(grid: Grid) -> contract.Grid:
    """Return the manifest's description of a grid."""
    around = places.extent(grid)
    return contract.Grid(
        crs_wkt=grid.crs_wkt,
        units=grid.spacing.unit,
        y=(float(grid.y[0]), float(grid.y[-1])),
        x=(float(grid.x[0]), float(grid.x[-1])),
        shape=(grid.rows, grid.columns),
        bounds=(around.west, around.south, around.east, around.north),
        outline=tuple(places.outline(grid)),
    )


def describe_raster(grid: Grid) -> Raster:
    """Return the manifest's description of the pictures of a grid."""
    warp = Warp.of(grid)
    return Raster(bounds=warp.bounds, shape=warp.shape, overviews=warp.overviews)


def describe_files(folder: Path) -> dict[str, File]:
    """Return size and digest of each file in a folder, by path in the folder."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): _describe(path) for path in paths}


def _describe(path: Path) -> File:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return File(bytes=path.stat().st_size, sha256=digest)
