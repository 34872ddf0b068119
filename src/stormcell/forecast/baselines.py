"""Forecasters without training: persistence, extrapolation and, if pysteps is installed, S-PROG and ANVIL.

All but persistence use the analysis's motion field. They are undefined where the rain of the newest frame
would come from a place that was not observed; ANVIL also where the rain of older frames would.
"""

import contextlib
import importlib
import io
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from stormcell.errors import ArgumentError, MissingExtraError
from stormcell.forecast.contract import Analysis, Field, Needs, check_steps, forecast_array
from stormcell.motion.advection import extrapolate

# As in pysteps's own examples: rain begins at 0.1 mm/h (-10 dB), dry is -15 dB, six cascade levels.
LEAST_RAIN = 0.1
LEAST_DB, DRY_DB = -10.0, -15.0
CASCADE_LEVELS = 6

SPROG_NEEDS, ANVIL_NEEDS = Needs(frames=3), Needs(frames=4)


@dataclass(frozen=True)
class Baseline:
    """A forecaster without training; see :class:`stormcell.forecast.contract.DescribedForecaster`.

    Attributes:
        title: Name, also on the command line.
        needs: Requirements on the frames.
        compute: Function of an analysis and a number of steps that returns a forecast ``(steps, y, x)``.
        extra: Extra package that it needs; None if it needs no more than the verbs do.
        default_steps: None: a baseline suits any number of lead times.
        blocks: Empty: a baseline is not trained on any archive.
    """

    title: str
    needs: Needs
    compute: Callable[[Analysis, int], Field]
    extra: str | None = None
    default_steps: None = None
    blocks: tuple[Mapping[str, tuple[str, str]], ...] = ()

    def __call__(self, frames: xr.DataArray, steps: int) -> xr.DataArray:
        """Forecast the ``steps`` frames that follow the last of ``frames``.

        Raises:
            ArgumentError: ``steps`` is less than 1.
            FramesError: The frames are too few or have a gap.
        """
        return self.forecast_from(Analysis(frames), steps)

    def forecast_from(self, analysis: Analysis, steps: int) -> xr.DataArray:
        """Forecast as a call does, from an analysis that other forecasters may share."""
        check_steps(steps)
        recent = analysis.latest(self.needs)
        return forecast_array(self.compute(analysis, steps), recent, attrs={"forecaster": self.title})


def baseline(name: str) -> Baseline:
    """Return the baseline with a name.

    Raises:
        ArgumentError: No baseline has that name.
        MissingExtraError: The baseline needs a package that is not installed.

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
            f'{name}: {found.extra} is not installed: pip install "stormcell[{found.extra}]" '
            "(requires a C compiler with OpenMP)"
        )
    return found


def _persistence(analysis: Analysis, steps: int) -> Field:
    return np.repeat(analysis.latest(Needs(1)).values, steps, axis=0)


def _extrapolation(analysis: Analysis, steps: int) -> Field:
    return extrapolate(analysis.latest(Needs(1)).values[0], analysis.motion(), steps)


def _sprog(analysis: Analysis, steps: int) -> Field:
    """Forget small scales first: Seed (2003), doi:10.1175/1520-0450(2003)042<0381:ADASSA>2.0.CO;2."""
    frames = analysis.latest(SPROG_NEEDS).values
    decibels = np.where(frames >= LEAST_RAIN, 10 * np.log10(np.maximum(frames, LEAST_RAIN)), DRY_DB)
    options = {"precip_thr": LEAST_DB, "n_cascade_levels": CASCADE_LEVELS}
    return _pysteps("sprog", analysis, frames, decibels, steps, _rate_from_db, options)


def _anvil(analysis: Analysis, steps: int) -> Field:
    """Extrapolate growth and decay for a while: Pulkkinen et al. (2020), doi:10.1109/TGRS.2020.2984594."""
    frames = analysis.latest(ANVIL_NEEDS).values
    return _pysteps(
        "anvil", analysis, frames, frames, steps, np.asarray, {"n_cascade_levels": CASCADE_LEVELS}
    )


def _rate_from_db(decibels: NDArray[Any]) -> NDArray[Any]:
    rate = 10 ** (decibels / 10)
    return np.where(decibels < LEAST_DB, 0.0, rate)  # NaN is not less, so it stays NaN


def _pysteps(
    name: str,
    analysis: Analysis,
    frames: Field,
    transformed: NDArray[Any],
    steps: int,
    inverse: Callable[[NDArray[Any]], NDArray[Any]],
    options: dict[str, Any],
) -> Field:
    """Return a nowcast by pysteps, or extrapolation if pysteps cannot compute one.

    Its correlation matrices are singular if a frame is dry or unobserved throughout, or if nothing varies.
    """
    motion = analysis.motion()
    extrapolated = extrapolate(frames[-1], motion, steps)
    if not (np.fmax.reduce(frames, axis=(1, 2)) >= LEAST_RAIN).all():
        return extrapolated
    # pysteps prints, also on import, and warns of divisions by zero that it handles itself.
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        method = importlib.import_module(f"pysteps.nowcasts.{name}")
        try:
            nowcast = method.forecast(transformed, motion, steps, **options)
        except (ArithmeticError, IndexError, ValueError):
            return extrapolated
    return np.where(np.isnan(extrapolated), np.nan, inverse(nowcast)).astype(np.float32)


BASELINES = {
    method.title: method
    for method in (
        Baseline("persistence", Needs(frames=2), _persistence),
        Baseline("extrapolation", Needs(frames=3), _extrapolation),
        Baseline("sprog", SPROG_NEEDS, _sprog, extra="pysteps"),
        Baseline("anvil", ANVIL_NEEDS, _anvil, extra="pysteps"),
    )
}
