"""Rain that is known at the issue time, also where a radar is missing in the newest frame."""

import numpy as np

from stormcell.forecast.contract import Field
from stormcell.motion.advection import EVERYTHING
from stormcell.motion.coordinates import rain_to_moving


def known_rain(
    frames: Field,  # (T, y, x) in mm/h, the last at the issue time
    motion: Field,  # (2, y, x)
    rows: slice = EVERYTHING,
    cols: slice = EVERYTHING,
) -> Field:  # (T, rows, cols) in mm/h
    """Move past rain to the issue time; where only the newest frames have a gap, those before replace them.

    There, all frames are replaced by the ones before, so that they still change as rain does from one time to
    the next. The oldest is then unknown. Gaps of all frames are left as they are: at their borders, filling
    them with rain that has moved into them made forecasts worse.
    """
    moved = rain_to_moving(frames, motion, rows, cols)
    seen = np.isfinite(frames[:-1, rows, cols]).any(axis=0)
    for _ in range(len(moved) - 1):
        missing = seen & np.isnan(moved[-1])
        if not missing.any():
            break
        moved[1:, missing] = moved[:-1, missing]
        moved[0, missing] = np.nan
    return moved
