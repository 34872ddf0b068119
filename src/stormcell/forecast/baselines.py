"""What a model has to beat: persistence, extrapolation and, where pysteps is installed, S-PROG and ANVIL.

All but persistence move with one motion, :func:`stormcell.motion.optical_flow.estimate` of the last three
frames, and are undefined where the newest rain would have come from a place not observed; ANVIL also
where older rain would have.
"""

import contextlib
import importlib
import io
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from stormcell.errors import ArgumentError, MissingExtraError
from stormcell.forecast.contract import forecast_array, require
from stormcell.motion.advection import extrapolate
from stormcell.motion.optical_flow import estimate

Field = NDArray[np.float32]

# pysteps's own examples: rain from 0.1 mm/h (-10 dB) on, no rain at -15 dB, six cascade levels.
LEAST_RAIN = 0.1
LEAST_DB, DRY_DB = -10.0, -15.0
CASCADE_LEVELS = 6


@dataclass(frozen=True)
class Baseline:
    """A forecaster without parameters: see :class:`stormcell.forecast.contract.Forecaster`.

    Attributes:
        name: What the command line calls it.
        needs: Frames it looks back on.
        compute: Frames ``(needs, y, x)`` in mm/h and a number of steps to a forecast ``(steps, y, x)``.
        extra: The package it needs beyond the verbs' own; None if none.
    """

    name: str
    needs: int
    compute: Callable[[Field, int], Field]
    extra: str | None = None

    def __call__(self, frames: xr.DataArray, steps: int) -> xr.DataArray:
        """Forecast the ``steps`` frames that follow the last of ``frames``.

        Raises:
            ArgumentError: ``steps`` is less than 1.
            FramesError: The frames are too few or have a hole.
        """
        if steps < 1:
            raise ArgumentError(f"steps: expected 1 or more, found {steps}")
        recent = require(frames, self.needs)
        return forecast_array(self.compute(recent.values, steps), recent, attrs={"forecaster": self.name})


def baseline(name: str) -> Baseline:
    """The baseline of a name.

    Raises:
        ArgumentError: There is none of that name.
        MissingExtraError: It needs a package that is not installed.

    Example:
        >>> times = np.array(["2024-06-01T00:00", "2024-06-01T00:05"], "datetime64[ns]")
        >>> frames = xr.DataArray(np.ones((2, 3, 4)), coords={"time": times}, dims=("time", "y", "x"))
        >>> baseline("persistence")(frames, steps=12).shape
        (12, 3, 4)
    """
    if name not in BASELINES:
        raise ArgumentError(f'baseline: expected one of {", ".join(BASELINES)}, found "{name}"')
    found = BASELINES[name]
    if found.extra and find_spec(found.extra) is None:
        raise MissingExtraError(
            f'{name}: expected {found.extra}, found none; pip install "stormcell[{found.extra}]", '
            "which needs a C compiler with OpenMP"
        )
    return found


def _persistence(frames: Field, steps: int) -> Field:
    return np.repeat(frames[-1:], steps, axis=0)


def _extrapolation(frames: Field, steps: int) -> Field:
    return extrapolate(frames[-1], estimate(frames), steps)


def _sprog(frames: Field, steps: int) -> Field:
    """Seed (2003), doi:10.1175/1520-0450(2003)042<0381:ADASSA>2.0.CO;2: what is small is forgotten first."""
    decibels = np.where(frames >= LEAST_RAIN, 10 * np.log10(np.maximum(frames, LEAST_RAIN)), DRY_DB)
    options = {"precip_thr": LEAST_DB, "n_cascade_levels": CASCADE_LEVELS}
    return _pysteps("sprog", frames, decibels, steps, _rate_from_db, options)


def _anvil(frames: Field, steps: int) -> Field:
    """Pulkkinen et al. (2020), doi:10.1109/TGRS.2020.2984594: growth and decay go on for a while."""
    return _pysteps("anvil", frames, frames, steps, np.asarray, {"n_cascade_levels": CASCADE_LEVELS})


def _rate_from_db(decibels: NDArray[Any]) -> NDArray[Any]:
    rate = 10 ** (decibels / 10)
    return np.where(decibels < LEAST_DB, 0.0, rate)  # NaN is not less, and stays


def _pysteps(
    name: str,
    frames: Field,
    transformed: NDArray[Any],
    steps: int,
    back: Callable[[NDArray[Any]], NDArray[Any]],
    options: dict[str, Any],
) -> Field:
    """A nowcast by pysteps; extrapolation where its statistics have no answer.

    That is where a frame is dry or unobserved throughout, and where nothing varies: its correlation
    matrices are singular then, and what it raises says no more than that.
    """
    motion = estimate(frames[-3:])
    drifted = extrapolate(frames[-1], motion, steps)
    if not (np.fmax.reduce(frames, axis=(1, 2)) >= LEAST_RAIN).all():
        return drifted
    # It speaks on standard output, when imported too, and warns of divisions that it provides for.
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        method = importlib.import_module(f"pysteps.nowcasts.{name}")
        try:
            nowcast = method.forecast(transformed, motion, steps, **options)
        except (ArithmeticError, IndexError, ValueError):
            return drifted
    return np.where(np.isnan(drifted), np.nan, back(nowcast)).astype(np.float32)


BASELINES = {
    method.name: method
    for method in (
        Baseline("persistence", 2, _persistence),
        Baseline("extrapolation", 3, _extrapolation),
        Baseline("sprog", 3, _sprog, extra="pysteps"),
        Baseline("anvil", 4, _anvil, extra="pysteps"),
    )
}
