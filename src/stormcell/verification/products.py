"""The products of a forecaster at an issue time: its single forecast, members and distributions."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from stormcell.data.time_axis import Times
from stormcell.errors import ArgumentError, NotOfferedError
from stormcell.forecast.contract import Analysis, Forecaster, make_forecast
from stormcell.forecast.probabilistic import DistributionForecaster, EnsembleForecaster, LeadDistribution

Rate = NDArray[np.float32]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class LeadProducts:
    """The products of a forecaster for one lead time.

    Attributes:
        rate: The single forecast, mm/h ``(y, x)``.
        members: mm/h ``(realization, y, x)``; None without an ensemble.
        probabilities: Of an event at each threshold, ``(threshold, y, x)``; None without a distribution.
        crps: CRPS of the distribution in mm/h ``(y, x)``; None without a distribution.
    """

    rate: Rate
    members: Rate | None = None
    probabilities: Rate | None = None
    crps: Rate | None = None

    def fields(self) -> Iterator[tuple[str, Rate]]:
        """Yield every field ``(y, x)`` with what it is called in errors."""
        yield "a rate", self.rate
        for member in () if self.members is None else self.members:
            yield "a member's rate", member
        for probability in () if self.probabilities is None else self.probabilities:
            yield "a probability", probability
        if self.crps is not None:
            yield "a CRPS", self.crps

    def defined(self, observed: Mask) -> Mask:
        """Return the observed pixels at which every field has a value, ``(y, x)``."""
        result = observed.copy()
        for _, field in self.fields():
            result &= ~np.isnan(field)
        return result

    def filled(self, observation: Rate) -> "LeadProducts":
        """Return the products with dry where they are undefined.

        The rates and probabilities are 0 there, and the CRPS is that of a certainly dry forecast: the rate
        that was observed.
        """

        def zero(field: Rate | None) -> Rate | None:
            return None if field is None else np.where(np.isnan(field), np.float32(0), field)

        # The CRPS is NaN also where nothing was observed; so is the observation.
        crps = None if self.crps is None else np.where(np.isnan(self.crps), observation, self.crps)
        return LeadProducts(
            np.where(np.isnan(self.rate), np.float32(0), self.rate),
            zero(self.members),
            zero(self.probabilities),
            crps,
        )


@dataclass(frozen=True)
class Products:
    """The products of a forecaster at one issue time.

    Attributes:
        forecast: The single forecast, mm/h ``(lead, y, x)``; of members alone, their mean.
        members: mm/h ``(realization, lead, y, x)``; None without an ensemble.
        distributions: Distributions by lead time, which can be read once; None without.
        seed: Seed of the members; None if the forecaster was not asked for them.
    """

    forecast: Rate
    members: Rate | None = None
    distributions: Iterator[LeadDistribution] | None = None
    seed: int | None = None

    @classmethod
    def of_values(cls, values: Rate) -> "Products":
        """Return the products of ``(lead, y, x)``, or of an ensemble ``(realization, lead, y, x)``.

        An ensemble of one member is a single forecast.
        """
        if values.ndim == 3:
            return cls(values)
        if len(values) == 1:
            return cls(values[0])
        return cls(np.asarray(values.mean(axis=0, dtype=np.float64), np.float32), values)

    @property
    def count(self) -> int:
        """Number of members; 0 without an ensemble."""
        return 0 if self.members is None else len(self.members)

    def by_lead(self, observation: Rate, thresholds: tuple[float, ...]) -> Iterator[LeadProducts]:
        """Yield the products for each lead time; only one distribution is in memory at a time.

        Args:
            observation: Rain rates in mm/h, ``(lead, y, x)``.
            thresholds: Rain rates in mm/h.
        """
        for lead, rate in enumerate(self.forecast):
            members = None if self.members is None else self.members[:, lead]
            if self.distributions is None:
                yield LeadProducts(rate, members)
                continue
            distribution = next(self.distributions, None)
            if distribution is None:
                raise ArgumentError(
                    f"distributions: expected one for each of {len(self.forecast)} lead times, found {lead}"
                )
            probabilities = np.asarray(distribution.probability(thresholds), np.float32)
            yield LeadProducts(
                rate, members, probabilities, np.asarray(distribution.crps(observation[lead]), np.float32)
            )


def products_of(
    forecaster: Forecaster,
    analysis: Analysis,
    times: Times,
    *,
    name: str,
    members: int | None = None,
    seed: int = 0,
) -> Products:
    """Ask a forecaster for all that it offers.

    Args:
        forecaster: The forecaster.
        analysis: The frames known at the issue time.
        times: Valid times, one per lead time.
        name: Its name, for errors.
        members: Number of members to ask for; None for no ensemble, unless the forecast is one.
        seed: Seed of the members.

    Raises:
        ArgumentError: A forecast does not have the form that the contract prescribes.
        FramesError: The frames do not meet the forecaster's needs.
    """
    steps, shape = len(times), analysis.frames.shape[1:]
    single = Products.of_values(_values(make_forecast(forecaster, analysis, steps), name, times, shape))
    ensemble, asked = single.members, None
    if members is not None and isinstance(forecaster, EnsembleForecaster):
        try:
            offered = forecaster.ensemble_from(analysis, steps, members, seed)
        except NotOfferedError:  # a model without a distribution has the method, but not the members
            pass
        else:
            ensemble, asked = _values(offered, name, times, shape, members), seed
    return Products(single.forecast, ensemble, _distributions(forecaster, analysis, steps), asked)


def _distributions(
    forecaster: Forecaster, analysis: Analysis, steps: int
) -> Iterator[LeadDistribution] | None:
    if not isinstance(forecaster, DistributionForecaster):
        return None
    try:  # a generator does not run before its first value is asked for
        found = iter(forecaster.distributions_from(analysis, steps))
        return chain([next(found)], found)
    except NotOfferedError:
        return None


def defined_by_all(products: Mapping[str, LeadProducts], observed: Mask) -> Mask:
    """Return the observed pixels at which the products of every forecaster have values, ``(y, x)``."""
    result = observed
    for one in products.values():
        result = one.defined(result)
    return result


def _values(
    forecast: xr.DataArray,
    name: str,
    times: Times,
    shape: tuple[int, ...],
    members: int | None = None,
) -> Rate:
    """Return a forecast's values after checking that it has the right times, grid and number of members."""
    if not isinstance(forecast, xr.DataArray):
        raise ArgumentError(f"{name}: expected a forecast as a DataArray, found {type(forecast).__name__}")
    dims = ("time", "y", "x")
    forms = [("realization", *dims)] if members is not None else [dims, ("realization", *dims)]
    if forecast.dims not in forms:
        raise ArgumentError(
            f"{name}: expected a forecast ({', '.join(forms[0])}), "
            f"found ({', '.join(map(str, forecast.dims))})"
        )
    if members is not None and forecast.sizes["realization"] != members:
        raise ArgumentError(f"{name}: expected {members} members, found {forecast.sizes['realization']}")
    if forecast.shape[-2:] != shape:
        raise ArgumentError(f"{name}: expected a forecast on a grid of {shape}, found {forecast.shape[-2:]}")
    answered = forecast["time"].values.astype("datetime64[ns]")
    if not np.array_equal(answered, times):
        found = f"{len(answered)} from {answered[0]}" if len(answered) else "none"
        raise ArgumentError(
            f"{name}: expected a forecast for {len(times)} times from {times[0]}, found {found}"
        )
    return np.asarray(forecast.values, dtype=np.float32)
