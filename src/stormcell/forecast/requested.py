"""Numbers that a forecast is requested with: steps, members, a seed, thresholds and levels."""

import math
from collections.abc import Sequence

import numpy as np

from stormcell.errors import ArgumentError


def check_steps(steps: int) -> None:
    """Raise :class:`~stormcell.errors.ArgumentError` if a number of lead times is not 1 or more.

    Example:
        >>> check_steps(1.5)
        Traceback (most recent call last):
        ...
        stormcell.errors.ArgumentError: steps: expected a whole number, found 1.5
    """
    _check_whole("steps", steps, least=1)


def check_ensemble(members: int, seed: int) -> None:
    """Raise :class:`~stormcell.errors.ArgumentError` if members are below 1 or a seed is below 0."""
    _check_whole("members", members, least=1)
    _check_whole("seed", seed, least=0)


def expect_thresholds(thresholds: Sequence[float]) -> list[float]:
    """Return thresholds as floats.

    Raises:
        ArgumentError: They are no sequence of rates above 0.
    """
    return _within("thresholds", thresholds, "rates > 0", math.inf)


def expect_levels(levels: Sequence[float]) -> list[float]:
    """Return the levels of quantiles as floats.

    Raises:
        ArgumentError: They are no sequence of probabilities above 0 and below 1.

    Example:
        >>> expect_levels(0.5)
        Traceback (most recent call last):
        ...
        stormcell.errors.ArgumentError: levels: expected probabilities above 0 and below 1, found 0.5
    """
    return _within("levels", levels, "probabilities above 0 and below 1", 1.0)


def _check_whole(name: str, number: int, least: int) -> None:
    if not isinstance(number, int | np.integer) or isinstance(number, bool):
        raise ArgumentError(f"{name}: expected a whole number, found {number!r}")
    if number < least:
        raise ArgumentError(f"{name}: expected {least} or more, found {number}")


def _within(name: str, given: Sequence[float], expected: str, below: float) -> list[float]:
    try:
        found = [float(number) for number in given]
    except (TypeError, ValueError):
        found = [math.nan]
    if not all(0 < number < below for number in found):
        raise ArgumentError(f"{name}: expected {expected}, found {given!r}")
    return found
