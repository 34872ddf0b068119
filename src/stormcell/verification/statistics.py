"""The registry of statistics: numbers that are computed from pairs of forecast and observation, and added.

A statistic of one lead time is computed from a :class:`Pair`, or, if it is given by threshold, from an
:class:`EventPair`. Pairs compute what several statistics need, such as window fractions, only once.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, overload

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from scores.probability import crps_for_ensemble

from stormcell.verification.axes import Axes
from stormcell.verification.contingency import Contingency, count_events
from stormcell.verification.spatial import Mask, band_power, fss_sums, window_fractions, window_weights

Rate = NDArray[np.float32]
T = TypeVar("T")


class _Once(Generic[T]):
    """A property that is computed once.

    Unlike ``functools.cached_property`` before Python 3.12, it holds no lock. That lock is shared by all
    instances, so that lead times could not be processed in parallel.
    """

    def __init__(self, compute: Callable[[Any], T]) -> None:
        self.compute, self.__doc__ = compute, compute.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, instance: None, owner: type) -> "_Once[T]": ...
    @overload
    def __get__(self, instance: object, owner: type) -> T: ...
    def __get__(self, instance: object | None, owner: type) -> "T | _Once[T]":
        if instance is None:
            return self
        value = self.compute(instance)
        instance.__dict__[self.name] = value  # found before this descriptor from now on
        return value


@dataclass(frozen=True)
class Observed:
    """The observation of one lead time, which all forecasters share.

    Attributes:
        rate: Rain rate in mm/h, ``(y, x)``.
        mask: Pixels to score, ``(y, x)``.
        axes: The axes of the statistics.
    """

    rate: Rate
    mask: Mask
    axes: Axes

    @_Once
    def inside(self) -> Rate:
        """Rates of the pixels to score."""
        return self.rate[self.mask]

    @_Once
    def power(self) -> NDArray[np.float64]:
        """Spectral power by band."""
        return self.power_of(self.rate)

    @_Once
    def weights(self) -> list[Rate]:
        """Weights of the mask for each window; see :func:`~stormcell.verification.spatial.window_weights`."""
        return [window_weights(self.mask, window) for _, window in self.axes.windows]

    def power_of(self, rate: Rate) -> NDArray[np.float64]:
        """Return the spectral power of a field under this mask, by band."""
        edges = tuple(wavelength / self.axes.pixel_km for wavelength in self.axes.bands)
        return band_power(rate, self.mask, edges)

    def fractions_of(self, events: Mask) -> Iterator[Rate]:
        """Yield the fractions of events in each window."""
        for weights, (_, window) in zip(self.weights, self.axes.windows, strict=True):
            yield window_fractions(events, weights, window)


@dataclass(frozen=True)
class ObservedEvents:
    """The observed events of one lead time and threshold, which all forecasters share."""

    observed: Observed
    threshold: float

    @_Once
    def events(self) -> Mask:
        """Pixels with an event, ``(y, x)``."""
        return (self.observed.rate >= self.threshold) & self.observed.mask

    @_Once
    def fractions(self) -> list[Rate]:
        """Fractions of events in each window."""
        return list(self.observed.fractions_of(self.events))


@dataclass(frozen=True)
class Pair:
    """A forecast and the observation of one lead time.

    Attributes:
        members: Rain rates in mm/h, ``(realization, y, x)``; a single forecast is one member.
        observed: The observation.
    """

    members: Rate
    observed: Observed

    @_Once
    def forecast(self) -> Rate:
        """The mean of the members, ``(y, x)``."""
        if len(self.members) == 1:
            return np.asarray(self.members[0])
        return np.asarray(self.members.mean(axis=0, dtype=np.float64), np.float32)

    @_Once
    def errors(self) -> tuple[float, float]:
        """Sums of the absolute and the squared error."""
        error = self.forecast[self.observed.mask].astype(np.float64) - self.observed.inside
        return np.abs(error).sum(), np.square(error).sum()

    @_Once
    def crps(self) -> float:
        """Σ CRPS of the members' empirical distribution, doi:10.1007/s11004-017-9709-7."""
        if len(self.members) == 1:
            return self.errors[0]
        members = self.members[:, self.observed.mask].astype(np.float64)
        crps = crps_for_ensemble(
            xr.DataArray(members, dims=("realization", "pixel")),
            xr.DataArray(self.observed.inside.astype(np.float64), dims="pixel"),
            "realization",
            method="ecdf",
            preserve_dims="all",
        )
        return float(crps.values.sum())


@dataclass(frozen=True)
class EventPair:
    """Forecast and observed events of one lead time and threshold.

    Attributes:
        pair: The forecast, and the observation.
        observed: The observed events.
    """

    pair: Pair
    observed: ObservedEvents

    @_Once
    def events(self) -> Mask:
        """Pixels with a forecast event, ``(y, x)``."""
        return (self.pair.forecast >= self.observed.threshold) & self.pair.observed.mask

    @_Once
    def contingency(self) -> Contingency:
        """Hits, misses, false alarms and correct negatives."""
        return count_events(self.events, self.observed.events, self.pair.observed.mask)

    @_Once
    def fss(self) -> NDArray[np.float64]:
        """Numerators and denominators of 1 − FSS, ``(2, scale)``."""
        fractions = self.pair.observed.fractions_of(self.events)
        sums = [fss_sums(*both) for both in zip(fractions, self.observed.fractions, strict=True)]
        return np.array(sums, np.float64).reshape(-1, 2).T


@dataclass(frozen=True)
class Statistic:
    """A summable number.

    Attributes:
        axes: Names of its axes: the first is ``lead``, and ``threshold``, if given, the second.
        dtype: ``int64`` for counts, ``float64`` for sums.
        compute: Function of an :class:`EventPair` if there is an axis ``threshold``, else of a :class:`Pair`.
            It returns the numbers along the axes that remain.
        description: One line, with the unit.
    """

    axes: tuple[str, ...]
    dtype: type[np.int64] | type[np.float64]
    compute: Callable[[Any], ArrayLike]
    description: str


_LEAD = ("lead",)
_EVENT = ("lead", "threshold")
_SCALE = ("lead", "threshold", "scale")
_BAND = ("lead", "band")

STATISTICS: dict[str, Statistic] = {
    "hits": Statistic(
        _EVENT, np.int64, lambda at: at.contingency.hits, "Pixels: event forecast and observed."
    ),
    "misses": Statistic(_EVENT, np.int64, lambda at: at.contingency.misses, "Pixels: event only observed."),
    "false_alarms": Statistic(
        _EVENT, np.int64, lambda at: at.contingency.false_alarms, "Pixels: event only forecast."
    ),
    "correct_negatives": Statistic(
        _EVENT,
        np.int64,
        lambda at: at.contingency.correct_negatives,
        "Pixels: event neither forecast nor observed.",
    ),
    "pixels": Statistic(_LEAD, np.int64, lambda at: at.observed.inside.size, "Pixels scored."),
    "forecasts": Statistic(_LEAD, np.int64, lambda _: 1, "Forecasts with at least one pixel to score."),
    "absolute_error": Statistic(
        _LEAD, np.float64, lambda at: at.errors[0], "Σ |forecast − observation|, mm/h."
    ),
    "squared_error": Statistic(
        _LEAD, np.float64, lambda at: at.errors[1], "Σ (forecast − observation)², mm²/h²."
    ),
    "crps": Statistic(
        _LEAD, np.float64, lambda at: at.crps, "Σ CRPS, mm/h; of one member the absolute error."
    ),
    "fss_numerator": Statistic(
        _SCALE, np.float64, lambda at: at.fss[0], "Σ (forecast fraction − observed fraction)²."
    ),
    "fss_denominator": Statistic(
        _SCALE, np.float64, lambda at: at.fss[1], "Σ (forecast fraction² + observed fraction²)."
    ),
    "forecast_power": Statistic(
        _BAND, np.float64, lambda at: at.observed.power_of(at.forecast), "Spectral power of the forecast."
    ),
    "observed_power": Statistic(
        _BAND, np.float64, lambda at: at.observed.power, "Spectral power of the observation."
    ),
}
"""A new statistic is one more entry. Tallies, and the files they are saved in, follow from this registry."""


def compute_statistics(
    forecasts: Mapping[str, Rate], observed: Observed
) -> dict[str, dict[str, NDArray[Any]]]:
    """Compute all statistics of one lead time.

    Args:
        forecasts: By forecaster, rain rates in mm/h, ``(realization, y, x)``.
        observed: The observation.

    Returns:
        By forecaster and statistic, an array with the statistic's axes but ``lead``.
    """
    found: dict[str, dict[str, NDArray[Any]]] = {name: {} for name in forecasts}
    pairs = {name: Pair(members, observed) for name, members in forecasts.items()}
    for statistic, entry in STATISTICS.items():
        for name, pair in pairs.items():
            values = found[name][statistic] = np.zeros(observed.axes.shape(entry.axes[1:]), entry.dtype)
            if "threshold" not in entry.axes:
                values[...] = entry.compute(pair)
    # Fractions are fields. One threshold at a time, so that memory does not grow with their number.
    for k, threshold in enumerate(observed.axes.thresholds):
        observed_events = ObservedEvents(observed, threshold)
        for name, pair in pairs.items():
            events = EventPair(pair, observed_events)
            for statistic, entry in STATISTICS.items():
                if "threshold" in entry.axes:
                    found[name][statistic][k] = entry.compute(events)
    return found
