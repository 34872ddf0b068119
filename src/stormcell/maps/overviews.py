"""Coarser copies of a picture, in which isolated rain remains.

A pixel of the copy has the highest level of the pixels that it covers. It is not observed only if all of them
are not. Every n-th pixel instead would lose showers, and a mean would weaken them.
"""

import numpy as np

from stormcell.maps.levels import MISSING, Levels


def coarsen(levels: Levels, factor: int) -> Levels:
    """Return the highest level of each block of ``factor × factor`` pixels, whose last may be smaller.

    Example:
        >>> coarsen(np.array([[0, 9, 255], [0, 255, 255]], np.uint8), 2).tolist()
        [[9, 255]]
    """
    if factor == 1:
        return levels
    # One more, so that 255 becomes 0, below all others.
    rows, columns = (-(-side // factor) * factor for side in levels.shape)
    more = np.zeros((rows, columns), np.uint8)
    more[: levels.shape[0], : levels.shape[1]] = levels + np.uint8(1)
    blocks = more.reshape(rows // factor, factor, columns, 1).max(axis=1)
    blocks = blocks.reshape(rows // factor, columns // factor, factor).max(axis=2)
    highest: Levels = blocks - np.uint8(1)
    assert highest.dtype == np.uint8
    assert MISSING == 255
    return highest
