"""Probability matching: a forecast is given the wet area and the rain rates of the newest frame.

A forecast from scales that are forgotten one after the other becomes ever smoother and weaker. Matching
leaves the order of its pixels as it is, and gives the highest the highest rate of the frame, the second
highest the second, and so on (Ebert 2001, doi:10.1175/1520-0493(2001)129<2461:AOAPMS>2.0.CO;2).
"""

import numpy as np
from numpy.typing import NDArray

from stormcell.errors import ArgumentError

Field = NDArray[np.float32]


def wet_rates(frame: Field, least: float) -> Field:
    """Return the sorted rates of the wet pixels of a frame.

    Args:
        frame: Rates of any shape, NaN where not observed.
        least: Lowest rate that counts as wet.

    Returns:
        ``(n,)``, ascending.

    Example:
        >>> wet_rates(np.array([[3, 0, 1], [np.nan, 2, 0]], np.float32), least=0.1).tolist()
        [1.0, 2.0, 3.0]
    """
    return np.sort(frame[frame >= least])


def match(field: Field, rates: Field, *, dry: float = 0.0, where: NDArray[np.bool_] | None = None) -> Field:
    """Give the highest pixels of a field these rates, in their order, and make all others dry.

    Args:
        field: Values of any unit ``(y, x)``, without NaN where they count.
        rates: Rates ``(n,)``, ascending, in mm/h or any other unit.
        dry: Value of a dry pixel in the unit of the rates.
        where: Pixels ``(y, x)`` that count, such as those that were observed; None for all. The others become
            dry.

    Returns:
        Rates ``(y, x)``: n pixels have the given rates, the others are dry.

    Raises:
        ArgumentError: There are more rates than pixels that count.

    Example:
        >>> field = np.array([[-1, 5, 2], [0, 1, 7]], np.float32)
        >>> match(field, np.array([1, 2, 3], np.float32)).tolist()
        [[0.0, 2.0, 1.0], [0.0, 0.0, 3.0]]
        >>> match(field, np.array([1, 2, 3], np.float32), where=field < 6).tolist()
        [[0.0, 3.0, 2.0], [0.0, 1.0, 0.0]]
    """
    values, count = field.reshape(-1) if where is None else field[where], len(rates)
    if count > values.size:
        raise ArgumentError(f"rates: expected {values.size} or fewer, one a pixel, found {count}")
    matched = np.full(values.size, dry, np.float32)
    if count:
        lowest = np.partition(values, values.size - count)[values.size - count]
        wet = np.flatnonzero(values >= lowest)
        # Equal values at the limit may be more pixels than there are rates.
        order = np.argsort(values[wet])[len(wet) - count :]
        matched[wet[order]] = rates
    if where is None:
        return matched.reshape(field.shape)
    result = np.full(field.shape, dry, np.float32)
    result[where] = matched
    return result
