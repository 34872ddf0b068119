"""The rain of an archive's frames and tiles: stored in the archive, or found by reading its frames once."""

import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from stormcell.atomic import make_folder, write_file
from stormcell.data import rain_index
from stormcell.data.splits import Positions

_TILES = 256  # frames whose tile weights stay in memory
_COMPARED = 16  # frames that a kept scan is compared with

Weights = NDArray[np.float64]
Counts = NDArray[np.uint16]  # a tile has 1024 pixels at most


class SamplingIndex:
    """The rain of frames and tiles, from which crops are drawn without reading the frames.

    Args:
        frames: ``(time, statistic)``, the statistics of :data:`stormcell.data.rain_index.FRAME_STATISTICS`.
        hashes: Hash of each frame, ``(time,)``.
        tiles: Function from a frame's position to the first two statistics of its tiles, observed and wet
            pixels, ``(2, tile_y, tile_x)``; it is called when a tile of the frame is drawn.
    """

    def __init__(
        self,
        frames: NDArray[np.float64],
        hashes: NDArray[np.uint64],
        tiles: Callable[[int], NDArray[np.float32]],
    ) -> None:
        names = rain_index.FRAME_STATISTICS
        self.hashes = hashes
        self.observed, self.wet, self.weight = (
            np.nan_to_num(frames[:, names.index(name)])
            for name in ("valid_pixels", "wet_pixels", "sampling_weight")
        )

        @lru_cache(maxsize=_TILES)
        def tile_weights(position: int) -> Weights:
            return rain_index.sampling_weights(tiles(position))

        self._tile_weights = tile_weights

    def tile_weights(self, position: int) -> Weights:
        """Return the weight of each tile of a frame, ``(tile_y, tile_x)``; 0 where nothing is observed."""
        return self._tile_weights(position)

    def data_hash(self, rain: xr.DataArray, positions: Positions) -> str:
        """Return the SHA-256 of grid, times and rates of some frames."""
        return rain_index.data_hash(rain, positions, self.hashes[positions])


def stored_index(ds: xr.Dataset) -> SamplingIndex | None:
    """Return the index that an archive has; None for a store without one."""
    found = rain_index.stored(ds)
    if found is None:
        return None
    tiles = found.tiles.variable
    return SamplingIndex(found.frames, found.hashes, lambda position: np.asarray(tiles[position, :2].values))


@dataclass(frozen=True)
class Scan:
    """The index of some frames, found by reading them.

    Attributes:
        positions: Positions of the frames, ascending.
        frames: Their statistics ``(frame, statistic)``.
        hashes: Their hashes ``(frame,)``.
        tiles: Observed and wet pixels of their tiles, ``(frame, 2, tile_y, tile_x)``.
    """

    positions: Positions
    frames: NDArray[np.float64]
    hashes: NDArray[np.uint64]
    tiles: Counts

    def index(self, count: int) -> SamplingIndex:
        """Return the index for an archive of ``count`` frames; frames that were not read have no weight."""
        frames = np.zeros((count, self.frames.shape[1]))
        frames[self.positions] = self.frames
        hashes = np.zeros(count, np.uint64)
        hashes[self.positions] = self.hashes
        row = {int(position): k for k, position in enumerate(self.positions)}
        return SamplingIndex(frames, hashes, lambda position: self.tiles[row[position]].astype(np.float32))


def scan(
    rain: xr.DataArray, positions: Positions, kept: Path, progress: Callable[[int], None]
) -> tuple[Scan, Path]:
    """Read every frame once, or take the scan that an earlier call kept.

    A kept scan is used if grid, times and sixteen frames, spread over the archive, are those that were read.

    Args:
        rain: Rain rates in mm/h ``(time, y, x)``.
        positions: Positions of the frames to read, ascending.
        kept: Folder of kept scans; it need not exist.
        progress: Called with the number of frames read.

    Returns:
        The scan, and the file in which :func:`keep` keeps it.
    """
    file = kept / f"frames-{_key(rain, positions)}.npz"
    if (found := _read(file, rain, positions)) is not None:
        return found, file
    statistics, hashes, counts = [], [], []
    for done, position in enumerate(positions, 1):
        rate = np.asarray(rain[int(position)].values, np.float32)
        tiles = rain_index.tile_statistics(rate)
        statistics.append(rain_index.frame_statistics(tiles))
        hashes.append(rain_index.frame_hash(rate))
        counts.append(tiles[:2].astype(np.uint16))
        progress(done)
    return Scan(positions, np.stack(statistics), np.array(hashes, np.uint64), np.stack(counts)), file


def keep(scanned: Scan, file: Path) -> None:
    """Write a scan into its file, from which the next call of :func:`scan` takes it.

    Raises:
        OutputError: It cannot be written.
    """
    content = io.BytesIO()
    np.savez_compressed(content, frames=scanned.frames, hashes=scanned.hashes, tiles=scanned.tiles)
    make_folder(file.parent)
    write_file(file, content.getvalue())


def _read(file: Path, rain: xr.DataArray, positions: Positions) -> Scan | None:
    """Return a kept scan; None if it is missing or damaged."""
    count, tile = len(positions), rain_index.TILE
    grid = (-(-rain.sizes["y"] // tile), -(-rain.sizes["x"] // tile))
    try:
        with np.load(io.BytesIO(file.read_bytes()), allow_pickle=False) as arrays:
            found = Scan(positions, arrays["frames"], arrays["hashes"], arrays["tiles"])
    except (OSError, ValueError, KeyError, BadZipFile):
        return None
    shapes = (count, len(rain_index.FRAME_STATISTICS)), (count,), (count, 2, *grid)
    return found if (found.frames.shape, found.hashes.shape, found.tiles.shape) == shapes else None


def _key(rain: xr.DataArray, positions: Positions) -> str:
    """Return a name for the frames at some positions; of their rates, it depends on sixteen frames."""
    compared = positions[np.unique(np.linspace(0, len(positions) - 1, _COMPARED).astype(int))]
    rates = (np.asarray(rain[int(position)].values, np.float32) for position in compared)
    hashes = np.array([rain_index.frame_hash(rate) for rate in rates], np.uint64)
    return rain_index.data_hash(rain, positions, hashes)[:16]
