"""S-PROG: extrapolation that forgets small scales first.

Seed (2003), doi:10.1175/1520-0450(2003)042<0381:ADASSA>2.0.CO;2, with the settings of pysteps (Pulkkinen et
al. 2019, doi:10.5194/gmd-12-4185-2019): decibels of the rain rate, six bands, autoregression of second order,
and matching to the wet area and the rates of the newest frame.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from stormcell.errors import ArgumentError
from stormcell.motion.advection import area_displacements, sample
from stormcell.motion.cascade import FRAMES, Cascade, decompose
from stormcell.motion.coordinates import inputs_to_moving
from stormcell.motion.decibels import DRY_DB, LEAST_DB, from_decibels, to_decibels
from stormcell.motion.matching import match, wet_rates

Field = NDArray[np.float32]


def moving_cascade(frames: Field, motion: Field) -> Cascade:
    """Move the last three frames along the motion field to the issue time, and divide them into bands.

    Args:
        frames: Rain rates in mm/h ``(3, y, x)``, the last at the issue time, NaN where not observed.
        motion: Pixels per time step ``(2, y, x)``.

    Returns:
        The cascade in dB (:func:`to_decibels`). What was not observed counts as dry, as in pysteps.

    Raises:
        ArgumentError: The shapes do not match, or ``motion`` is not finite.

    Example:
        >>> from stormcell.data.synthetic import generate
        >>> frames = generate(seed=1, steps=3).rainfall_rate.values
        >>> cascade = moving_cascade(frames, np.zeros((2, 128, 128), np.float32))
        >>> cascade.correlations.shape
        (2, 6)
    """
    if frames.ndim != 3 or len(frames) != FRAMES:
        raise ArgumentError(f"frames: expected shape ({FRAMES}, y, x), found {frames.shape}")
    if motion.shape != (2, *frames.shape[1:]):
        raise ArgumentError(f"motion: expected shape {(2, *frames.shape[1:])}, found {motion.shape}")
    decibels = to_decibels(frames)
    decibels[np.isnan(decibels)] = DRY_DB
    moving = inputs_to_moving(decibels, motion)
    moving[np.isnan(moving)] = DRY_DB  # what comes from outside the grid
    return decompose(moving)


def forecast(frames: Field, motion: Field, steps: int) -> Iterator[Field]:
    """Yield the forecast of each lead time.

    Args:
        frames: Rain rates in mm/h ``(3, y, x)``, the last at the issue time, NaN where not observed.
        motion: Pixels per time step ``(2, y, x)``.
        steps: Number of lead times, ≥ 0.

    Yields:
        Rain rates in mm/h ``(y, x)``; NaN where the rain of the newest frame would come from a place that was
        not observed.

    Raises:
        ArgumentError: The shapes do not match, or ``motion`` is not finite.

    Example:
        >>> from stormcell.data.synthetic import generate
        >>> frames = generate(seed=1, steps=3).rainfall_rate.values
        >>> still = np.zeros((2, 128, 128), np.float32)
        >>> [(field > 0).sum() == (frames[-1] >= 0.1).sum() for field in forecast(frames, still, 2)]
        [np.True_, np.True_]
    """
    cascade = moving_cascade(frames, motion)
    newest = to_decibels(frames[-1])
    observed = np.isfinite(newest)
    rates = wet_rates(newest, LEAST_DB)
    for field, path in zip(cascade.forecast(steps), area_displacements(motion, steps), strict=True):
        matched = match(field, rates, dry=DRY_DB, where=observed)
        matched[~observed] = np.nan
        yield from_decibels(sample(matched, path))
