"""The contract of probabilistic forecasters: predictive distributions by lead time, and ensembles.

A forecaster may offer one of them, both or neither, besides the single forecast that every forecaster makes.
"""

from collections.abc import Iterator, Sequence
from typing import Protocol, runtime_checkable

import xarray as xr

from stormcell.errors import ArgumentError
from stormcell.forecast.contract import Analysis, DescribedForecaster, Field, make_forecast


class LeadDistribution(Protocol):
    """The predictive distribution of the rain rate at every pixel, at one lead time."""

    def single(self) -> Field:
        """Return the single forecast that is made of it: one field for all thresholds.

        Returns:
            Rain rates in mm/h ``(y, x)``, NaN where the forecast is undefined.
        """
        ...

    def probability(self, thresholds: Sequence[float]) -> Field:
        """Return the probabilities of a rate at or above each threshold.

        Args:
            thresholds: Rain rates in mm/h, > 0.

        Returns:
            ``(threshold, y, x)``, 0 to 1, NaN where the forecast is undefined.
        """
        ...

    def quantile(self, levels: Sequence[float]) -> Field:
        """Return the quantiles of the distribution.

        Args:
            levels: Probabilities of not exceeding the quantile, above 0 and below 1.

        Returns:
            Rain rates in mm/h ``(quantile, y, x)``, NaN where the forecast is undefined.
        """
        ...

    def crps(self, observation: Field) -> Field:
        """Return the continuous ranked probability score of the distribution at every pixel.

        Args:
            observation: Rain rates in mm/h ``(y, x)``, NaN where not observed.

        Returns:
            mm/h ``(y, x)``, NaN where the forecast is undefined or the rate was not observed.
        """
        ...


@runtime_checkable
class DistributionForecaster(Protocol):
    """A forecaster that also gives a predictive distribution."""

    def distributions_from(self, analysis: Analysis, steps: int) -> Iterator[LeadDistribution]:
        """Yield the distribution of each lead time; one is in memory at a time.

        Args:
            analysis: The frames known at the issue time.
            steps: Number of lead times, ≥ 1.
        """
        ...


@runtime_checkable
class EnsembleForecaster(Protocol):
    """A forecaster that also gives ensembles."""

    def ensemble_from(self, analysis: Analysis, steps: int, members: int, seed: int) -> xr.DataArray:
        """Forecast an ensemble.

        Args:
            analysis: The frames known at the issue time.
            steps: Number of lead times, ≥ 1.
            members: Number of members, ≥ 1.
            seed: Seed of the members. A forecast with the same seed and frames is the same.

        Returns:
            Rain rates in mm/h ``(realization, time, y, x)``, in the form of
            :func:`~stormcell.forecast.contract.forecast_array`.
        """
        ...


@runtime_checkable
class ProductForecaster(DistributionForecaster, EnsembleForecaster, Protocol):
    """A forecaster that makes several products at once."""

    def products_from(
        self,
        analysis: Analysis,
        steps: int,
        *,
        members: int | None = None,
        seed: int = 0,
        thresholds: Sequence[float] = (),
        levels: Sequence[float] = (),
    ) -> list[xr.DataArray]:
        """Forecast several products.

        Args:
            analysis: The frames known at the issue time.
            steps: Number of lead times, ≥ 1.
            members: Number of members, ≥ 1; None for the single forecast instead of an ensemble.
            seed: Seed of the members.
            thresholds: Rain rates in mm/h, > 0, whose probabilities are wanted.
            levels: Probabilities above 0 and below 1, whose quantiles are wanted.

        Returns:
            Rain rates in mm/h, ``(time, y, x)`` or ``(realization, time, y, x)``; then, if wanted,
            probabilities ``(threshold, time, y, x)`` and quantiles ``(quantile, time, y, x)``.
        """
        ...


def make_products(
    chosen: DescribedForecaster,
    analysis: Analysis,
    steps: int,
    *,
    members: int | None = None,
    seed: int = 0,
    thresholds: Sequence[float] = (),
    levels: Sequence[float] = (),
) -> list[xr.DataArray]:
    """Forecast what is wanted, if the forecaster offers it.

    Args:
        chosen: The forecaster.
        analysis: The frames known at the issue time.
        steps: Number of lead times, ≥ 1.
        members: Number of members, ≥ 1; None for the single forecast instead of an ensemble.
        seed: Seed of the members.
        thresholds: Rain rates in mm/h, > 0, whose probabilities are wanted.
        levels: Probabilities above 0 and below 1, whose quantiles are wanted.

    Returns:
        What :meth:`ProductForecaster.products_from` returns.

    Raises:
        ArgumentError: The forecaster does not offer ensembles or distributions that are wanted.
        FramesError: The frames do not meet the forecaster's needs.

    Example:
        >>> from stormcell.data.synthetic import generate
        >>> from stormcell.forecast.baselines import baseline
        >>> analysis = Analysis(generate(seed=1, steps=3).rainfall_rate)
        >>> [product.shape for product in make_products(baseline("extrapolation"), analysis, 2)]
        [(2, 128, 128)]
    """
    if isinstance(chosen, ProductForecaster):
        return chosen.products_from(
            analysis, steps, members=members, seed=seed, thresholds=thresholds, levels=levels
        )
    if thresholds or levels:
        raise _not_offered("--probabilities and --quantiles", "distributions", chosen)
    if members is None:
        return [make_forecast(chosen, analysis, steps)]
    if isinstance(chosen, EnsembleForecaster):
        return [chosen.ensemble_from(analysis, steps, members, seed)]
    raise _not_offered("--members", "ensembles", chosen)


def _not_offered(option: str, what: str, chosen: DescribedForecaster) -> ArgumentError:
    return ArgumentError(f"{option}: expected a forecaster that offers {what}, found {chosen.title}")
