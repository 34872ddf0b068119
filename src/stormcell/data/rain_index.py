"""Statistics of a frame by tile, from which training chooses its samples without reading the frames."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

TILE = 32  # pixels: side of a tile; the last row and column of tiles may be cut off by the frame's edge
WET = 0.1  # mm/h: the smallest rate that a gauge measures
STATISTICS = ("valid_pixels", "wet_pixels", "sum", "maximum")


def tile_statistics(rate: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the statistics of every tile of a frame.

    Args:
        rate: Rain rates in mm/h ``(y, x)``, NaN where not observed.

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
    observed = np.isfinite(rate)
    filled = np.where(observed, rate, np.float32(0))
    highest = _reduce(np.maximum, np.where(observed, rate, np.float32(-np.inf)), np.float32(-np.inf))
    return np.stack(
        [
            _reduce(np.add, observed, np.float32(0)),
            _reduce(np.add, filled >= WET, np.float32(0)),
            # In float64, so that the sum does not depend on how NumPy orders the additions.
            _reduce(np.add, filled.astype(np.float64), np.float64(0)).astype(np.float32),
            np.where(np.isfinite(highest), highest, np.float32(np.nan)),
        ]
    )


def _reduce(function: np.ufunc, values: NDArray[Any], fill: np.floating) -> NDArray[Any]:
    """Reduce every tile of an array to one number."""
    rows, columns = values.shape
    padded = np.pad(
        values.astype(fill.dtype), ((0, -rows % TILE), (0, -columns % TILE)), constant_values=fill
    )
    tiles = padded.reshape(padded.shape[0] // TILE, TILE, padded.shape[1] // TILE, TILE)
    result: NDArray[Any] = function.reduce(function.reduce(tiles, axis=1), axis=2)
    return result
