"""Statistics of a frame by tile, from which training chooses its samples without reading the frames.

An archive has them for every frame, in ``tile_statistics``, and their totals in ``frame_statistics``.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray

TILE = 32  # pixels: side of a tile; the last row and column of tiles may be cut off by the frame's edge
WET = 0.1  # mm/h: the smallest rate that a gauge measures
# In sampling, a tile without rain has the weight of a tile with this share of wet pixels.
DRY_SHARE = 0.02
STATISTICS = ("valid_pixels", "wet_pixels", "sum", "maximum")
# Pixels that the rules of :mod:`stormcell.data.cleaning` changed before the frame was archived.
CLEANED = ("impossible_pixels", "speckle_pixels", "clutter_pixels")
FRAME_STATISTICS = (*STATISTICS, "sampling_weight", *CLEANED)

_NAN = np.uint32(0x7FC00000)


def tile_statistics(rate: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the statistics of every tile of a frame.

    Args:
        rate: Rain rates in mm/h ``(y, x)``, at least 0, NaN where not observed.

    Returns:
        ``(statistic, tile_y, tile_x)``: the number of observed pixels, the number with at least 0.1 mm/h, the
        sum of the rates in mm/h, and the highest rate (NaN if nothing was observed).

    Example:
        >>> rate = np.zeros((32, 40), np.float32)
        >>> rate[0, :2] = 0.5, np.nan
        >>> statistics = tile_statistics(rate)
        >>> statistics[:, 0, 0].tolist(), statistics[:, 0, 1].tolist()
        ([1023.0, 1.0, 0.5, 0.5], [256.0, 0.0, 0.0, 0.0])
    """
    rows, columns = rate.shape
    starts = np.arange(0, columns, TILE)
    result = np.empty((len(STATISTICS), -(-rows // TILE), len(starts)), np.float32)
    # One row of tiles at a time, which fits into the processor's cache. A column of a tile has at most 32
    # pixels, so that a byte can count them.
    for tile, row in enumerate(range(0, rows, TILE)):
        band = rate[row : row + TILE]
        observed = ~np.isnan(band)
        filled = np.where(observed, band, np.float32(0))
        result[0, tile] = np.add.reduceat(observed.sum(axis=0, dtype=np.uint8), starts, dtype=np.int64)
        wet = (filled >= np.float32(WET)).sum(axis=0, dtype=np.uint8)
        result[1, tile] = np.add.reduceat(wet, starts, dtype=np.int64)
        # In float64, so that the sum does not depend on how NumPy orders the additions.
        result[2, tile] = np.add.reduceat(filled.sum(axis=0, dtype=np.float64), starts)
        result[3, tile] = np.maximum.reduceat(filled.max(axis=0), starts)
    result[3][result[0] == 0] = np.nan
    return result


def frame_statistics(tiles: NDArray[np.float32], cleaned: Sequence[int] = (0, 0, 0)) -> NDArray[np.float64]:
    """Return the totals over a frame.

    Args:
        tiles: Statistics of its tiles, from :func:`tile_statistics`.
        cleaned: Number of pixels that each rule of :mod:`stormcell.data.cleaning` changed.

    Returns:
        The statistics of :data:`FRAME_STATISTICS`: observed pixels, wet pixels, sum of the rates in mm/h, the
        highest rate (NaN if nothing was observed), the sum of :func:`sampling_weights`, and the changed
        pixels.

    Example:
        >>> rate = np.zeros((32, 40), np.float32)
        >>> rate[0, :2] = 0.5, np.nan
        >>> frame_statistics(tile_statistics(rate)).round(3).tolist()
        [1279.0, 1.0, 0.5, 0.5, 0.041, 0.0, 0.0, 0.0]
    """
    valid, wet, total, highest = tiles.astype(np.float64)
    highest = np.fmax.reduce(highest, axis=None)
    weight = sampling_weights(tiles).sum()
    return np.array([valid.sum(), wet.sum(), total.sum(), highest, weight, *cleaned], np.float64)


def sampling_weights(tiles: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the weight with which training draws each tile, ``(tile_y, tile_x)``.

    It is the share of wet pixels among the observed ones, plus 0.02; and 0 where nothing is observed.

    Args:
        tiles: Statistics ``(statistic, tile_y, tile_x)``, from :func:`tile_statistics`.
    """
    valid, wet = tiles[0].astype(np.float64), tiles[1].astype(np.float64)
    return np.where(valid > 0, wet / np.maximum(valid, 1) + DRY_SHARE, 0.0)


def frame_hash(rate: NDArray[np.float32]) -> np.uint64:
    """Return the first 8 bytes of the SHA-256 of a frame's rates, as a little-endian number.

    The rates are hashed as little-endian float32, row by row, and every NaN as the same NaN.

    Example:
        >>> hex(frame_hash(np.zeros((1, 2), np.float32)))
        '0x7a0b81a1f57055af'
    """
    digest = hashlib.sha256()
    # Some rows at a time, which fit into the processor's cache.
    for row in range(0, len(rate), TILE):
        band = np.ascontiguousarray(rate[row : row + TILE], "<f4")
        bits = band.view("<u4")
        other = np.isnan(band) & (bits != _NAN)
        digest.update((np.where(other, _NAN, bits).astype("<u4") if other.any() else bits).data)
    return np.uint64(int.from_bytes(digest.digest()[:8], "little"))


@dataclass(frozen=True)
class StoredIndex:
    """The statistics that an archive has of its frames.

    Attributes:
        frames: ``(time, statistic)`` float64, the statistics of :data:`FRAME_STATISTICS`.
        hashes: ``(time,)`` uint64, from :func:`frame_hash`.
        tiles: ``(time, statistic, tile_y, tile_x)`` float32, lazy: ``tiles[position].values``.
    """

    frames: NDArray[np.float64]
    hashes: NDArray[np.uint64]
    tiles: xr.DataArray


def stored(ds: xr.Dataset) -> StoredIndex | None:
    """Return the statistics that are stored in an archive; None if it has none, or other ones.

    Args:
        ds: An archive, from :func:`stormcell.data.archive.open`.
    """
    expected = {"frame_statistics": FRAME_STATISTICS, "tile_statistics": STATISTICS, "frame_hash": None}
    for name, statistics in expected.items():
        if name not in ds or "time" not in ds[name].dims:
            return None
        if statistics is not None and tuple(ds[name].attrs.get("statistics", ())) != statistics:
            return None
    if ds["tile_statistics"].attrs.get("tile_pixels") != TILE:
        return None
    frames, hashes = ds["frame_statistics"].values, ds["frame_hash"].values
    return StoredIndex(frames.astype(np.float64), hashes.astype(np.uint64), ds["tile_statistics"])


def data_hash(
    ds: xr.Dataset | xr.DataArray, positions: NDArray[np.integer] | slice, hashes: NDArray[np.uint64]
) -> str:
    """Return the SHA-256 of some frames of an archive: their grid, their times and the hashes of their rates.

    Args:
        ds: An archive, or its rates.
        positions: Positions of the frames.
        hashes: Hashes of the frames, from :func:`frame_hash`.
    """
    digest = hashlib.sha256()
    for axis in ("y", "x"):
        digest.update(np.ascontiguousarray(ds[axis].values, "<f8").tobytes())
    digest.update(ds["time"].values[positions].astype("datetime64[s]").astype("<i8").tobytes())
    digest.update(hashes.astype("<u8").tobytes())
    return digest.hexdigest()
