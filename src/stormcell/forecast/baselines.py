"""Forecasters without training: persistence, extrapolation, S-PROG and, if pysteps is installed, its methods.

All except persistence use the analysis's motion field. They are undefined where the rain of the newest frame
would come from a place that was not observed; ANVIL also where the rain of older frames would.
"""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec

import numpy as np
import xarray as xr

from stormcell.errors import ArgumentError, MissingExtraError
from stormcell.forecast import pysteps_baselines as by_pysteps
from stormcell.forecast.contract import Analysis, Field, Needs, forecast_array
from stormcell.forecast.requested import check_ensemble, check_steps
from stormcell.motion import sprog
from stormcell.motion.advection import extrapolate

SPROG_NEEDS = Needs(frames=3)
STEPS_MEMBERS, STEPS_SEED = 20, 0  # of the ensemble whose mean is the single forecast


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


@dataclass(frozen=True)
class EnsembleBaseline(Baseline):
    """A baseline that also gives ensembles; see :class:`stormcell.forecast.probabilistic.EnsembleForecaster`.

    Attributes:
        compute_members: Function of an analysis, a number of steps, a number of members and a seed that
            returns an ensemble ``(members, steps, y, x)``.
    """

    compute_members: Callable[[Analysis, int, int, int], Field] = field(kw_only=True)

    def ensemble_from(self, analysis: Analysis, steps: int, members: int, seed: int) -> xr.DataArray:
        """Forecast an ensemble; the same frames and seed give the same members.

        Args:
            analysis: The frames known at the issue time.
            steps: Number of lead times, ≥ 1.
            members: Number of members, ≥ 1.
            seed: Seed of the members, ≥ 0.

        Returns:
            Rain rates in mm/h ``(realization, time, y, x)``.

        Raises:
            ArgumentError: A number is too low.
            FramesError: The frames are too few, have a gap, or have no coordinates.
        """
        check_steps(steps)
        check_ensemble(members, seed)
        recent = analysis.latest(self.needs)
        made = self.compute_members(analysis, steps, members, seed)
        return forecast_array(made, recent, attrs={"forecaster": self.title})


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
    frames = analysis.latest(SPROG_NEEDS).values
    made = np.empty((steps, *frames.shape[1:]), np.float32)
    for lead, rates in enumerate(sprog.forecast(frames, analysis.motion(), steps)):
        made[lead] = rates
    return made


def _steps_mean(analysis: Analysis, steps: int) -> Field:
    """Return the mean of the members; near the edges, of those that are defined."""
    members = _steps_members(analysis, steps, STEPS_MEMBERS, STEPS_SEED)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Mean of empty slice", RuntimeWarning)
        mean: Field = np.nanmean(members, axis=0)
    return mean


def _steps_members(analysis: Analysis, steps: int, members: int, seed: int) -> Field:
    made: Field = analysis.once(
        ("steps", steps, members, seed), lambda: by_pysteps.steps_members(analysis, steps, members, seed)
    )
    return made


BASELINES = {
    method.title: method
    for method in (
        Baseline("persistence", Needs(frames=2), _persistence),
        Baseline("extrapolation", Needs(frames=3), _extrapolation),
        Baseline("sprog", SPROG_NEEDS, _sprog),
        Baseline("pysteps-sprog", by_pysteps.SPROG_NEEDS, by_pysteps.pysteps_sprog, extra="pysteps"),
        Baseline("anvil", by_pysteps.ANVIL_NEEDS, by_pysteps.anvil, extra="pysteps"),
        EnsembleBaseline(
            "steps",
            by_pysteps.STEPS_NEEDS,
            _steps_mean,
            compute_members=_steps_members,
            extra="pysteps",
        ),
    )
}
