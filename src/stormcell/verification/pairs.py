"""Forecast and observation of one lead time, with what several statistics are computed from.

Each of these is computed once, when it is first needed: window fractions, contingency tables, sorted members.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

from stormcell.motion.band_power import band_power
from stormcell.verification.amounts import AreaRates, area_rates
from stormcell.verification.axes import Axes
from stormcell.verification.contingency import Contingency, count_events
from stormcell.verification.ensemble_sums import EnsembleSums, ensemble_sums
from stormcell.verification.probability_table import ProbabilityTable, probability_table
from stormcell.verification.products import LeadProducts, Mask, Rate
from stormcell.verification.spatial import (
    fss_sums,
    window_fractions,
    window_means,
    window_weights,
)

POWER_MEMBERS = 4  # all members have the same expected spectrum, and a transform of each takes long

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
        axes: The axes of the statistics; they are the same for all forecasters in what is used here.
        seed: Seed of the random order of equal ranks: the issue time and the lead time.
    """

    rate: Rate
    mask: Mask
    axes: Axes
    seed: tuple[int, int] = (0, 0)

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

    @_Once
    def ties(self) -> Rate:
        """Random numbers in [0, 1) that decide between equal ranks, ``(pixel,)``.

        They depend on the times and on the pixel, and not on the mask or on how the work is divided.
        """
        generator = np.random.default_rng([value % 2**64 for value in self.seed])
        return generator.random(self.rate.size, np.float32)

    def power_of(self, rate: Rate) -> NDArray[np.float64]:
        """Return the spectral power of a field under this mask, by band."""
        edges = tuple(wavelength / self.axes.pixel_km for wavelength in self.axes.bands)
        return band_power(rate, self.mask, edges)

    def fractions_of(self, events: Mask) -> Iterator[Rate]:
        """Yield the fractions of events in each window."""
        for weights, (_, window) in zip(self.weights, self.axes.windows, strict=True):
            yield window_fractions(events, weights, window)

    def means_of(self, values: Rate) -> Iterator[Rate]:
        """Yield the means of a field in each window."""
        inside = np.where(self.mask, values, np.float32(0))
        for weights, (_, window) in zip(self.weights, self.axes.windows, strict=True):
            yield window_means(inside, weights, window)


@dataclass(frozen=True)
class ObservedEvents:
    """The observed events of one lead time and threshold, which all forecasters share.

    Attributes:
        observed: The observation.
        threshold: Rain rate in mm/h.
        position: Position of the threshold among the thresholds.
    """

    observed: Observed
    threshold: float
    position: int = 0

    @_Once
    def events(self) -> Mask:
        """Pixels with an event, ``(y, x)``."""
        return (self.observed.rate >= self.threshold) & self.observed.mask

    @_Once
    def inside(self) -> Mask:
        """Events of the pixels to score."""
        return self.events[self.observed.mask]

    @_Once
    def fractions(self) -> list[Rate]:
        """Fractions of events in each window."""
        return list(self.observed.fractions_of(self.events))


@dataclass(frozen=True)
class Pair:
    """A forecaster's products for one lead time, and the observation.

    Attributes:
        given: Single forecast, members and distribution.
        observed: The observation.
    """

    given: LeadProducts
    observed: Observed

    @_Once
    def errors(self) -> tuple[float, float]:
        """Sums of the absolute and the squared error of the single forecast."""
        error = self.given.rate[self.observed.mask].astype(np.float64) - self.observed.inside
        return np.abs(error).sum(), np.square(error).sum()

    @property
    def size(self) -> int:
        """Number of members; 0 without an ensemble."""
        return 0 if self.given.members is None else len(self.given.members)

    @_Once
    def ensemble(self) -> EnsembleSums:
        """Sums that verify the members; zeros without an ensemble."""
        members, observed = self.given.members, self.observed
        if members is None:
            return EnsembleSums(0.0, 0.0, 0.0, 0.0, np.zeros(0, np.int64))
        return ensemble_sums(
            members.reshape(len(members), -1), observed.rate.ravel(), observed.mask.ravel(), observed.ties
        )

    @_Once
    def members_power(self) -> NDArray[np.float64]:
        """Mean spectral power of the first members by band, zeros without an ensemble."""
        power = np.zeros(max(len(self.observed.axes.bands) - 1, 0))
        if self.given.members is not None:
            some = self.given.members[:POWER_MEMBERS]
            for member in some:
                power += self.observed.power_of(member) / len(some)
        return power

    @_Once
    def distribution_crps(self) -> float:
        """Σ CRPS of the distribution, 0 without one."""
        if self.given.crps is None:
            return 0.0
        return float(self.given.crps[self.observed.mask].sum(dtype=np.float64))

    @property
    def crps(self) -> float:
        """Σ CRPS of the members, else of the distribution, else of the single forecast."""
        if self.size:
            return self.ensemble.crps
        if self.given.crps is None:
            return self.errors[0]
        return self.distribution_crps

    @property
    def crps_fair(self) -> float:
        """Σ fair CRPS of the members, else CRPS of the distribution; 0 without both."""
        return self.ensemble.crps_fair if self.size > 1 else self.distribution_crps

    @_Once
    def area_rates(self) -> list[AreaRates]:
        """Mean rates over squares of each size, of the members or else of the single forecast."""
        members = self.given.rate[None] if self.given.members is None else self.given.members
        observed = self.observed
        return [area_rates(members, observed.rate, observed.mask, width) for _, width in observed.axes.areas]


@dataclass(frozen=True)
class EventPair:
    """Forecast and observed events of one lead time and threshold.

    Attributes:
        pair: What is forecast, and the observation.
        observed: The observed events.
    """

    pair: Pair
    observed: ObservedEvents

    @_Once
    def events(self) -> Mask:
        """Pixels with an event in the single forecast, ``(y, x)``."""
        return (self.pair.given.rate >= self.observed.threshold) & self.pair.observed.mask

    @_Once
    def contingency(self) -> Contingency:
        """Hits, misses, false alarms and correct negatives of the single forecast."""
        return count_events(self.events, self.observed.events, self.pair.observed.mask)

    @_Once
    def fss(self) -> NDArray[np.float64]:
        """Numerators and denominators of 1 − FSS of the single forecast, ``(2, scale)``."""
        return self._fss(self.pair.observed.fractions_of(self.events))

    @_Once
    def probability(self) -> Rate | None:
        """Probability of an event ``(y, x)``: the distribution's, else the share of members; None without."""
        given = self.pair.given
        if given.probabilities is not None:
            return np.asarray(given.probabilities[self.observed.position])
        if given.members is None:
            return None
        count = np.zeros(given.rate.shape, np.uint16)
        for member in given.members:
            count += member >= self.observed.threshold
        return np.asarray(count / np.float32(len(given.members)), np.float32)

    @_Once
    def table(self) -> ProbabilityTable:
        """Pixels by class of the probability; the single forecast's probability is 0 or 1."""
        mask = self.pair.observed.mask
        if self.probability is None:
            hits, misses, false_alarms, correct_negatives = self.contingency
            yes = hits + false_alarms
            return ProbabilityTable(
                np.array([misses + correct_negatives, yes]),
                np.array([misses, hits]),
                np.array([0.0, yes]),
                float(misses + false_alarms),
            )
        classes = self.pair.observed.axes.of(members=1, distribution=False).classes
        return probability_table(self.probability[mask], self.observed.inside, classes)

    @_Once
    def ensemble_fss(self) -> NDArray[np.float64]:
        """Numerators and denominators of 1 − FSS of the probabilities, ``(2, scale)``."""
        if self.probability is None:
            return self.fss
        return self._fss(self.pair.observed.means_of(self.probability))

    def _fss(self, fractions: Iterator[Rate]) -> NDArray[np.float64]:
        sums = [fss_sums(*both) for both in zip(fractions, self.observed.fractions, strict=True)]
        return np.array(sums, np.float64).reshape(-1, 2).T
