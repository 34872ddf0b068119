"""Ensembles from predictive distributions: quantiles of every pixel, at levels that correlated noise gives.

A member's rate is the rate exceeded with probability ``Φ(-z)``, where ``z`` is the member's Gaussian noise
(:mod:`~stormcell.forecast.noise`). At every pixel the members are draws from the predictive distribution, and
together they are correlated in space and time as rain is, so sums over areas and hours have the right
spread, too.

*Placed* members have the quantiles at the levels ``(rank - 0.5) / M`` instead, where ``rank`` is that of a
member's noise among those of all M members at the pixel (ensemble copula coupling, Schefzik et al. 2013,
doi:10.1214/13-STS443). Of 20 of them, the score of a pixel (CRPS) is 5 % better than that of draws. But a
member then depends on the number of members, scores that are fair for independent draws are not for them,
and the rates above the highest level are left out, so the spread of amounts over areas is too small.
"""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import xarray as xr

from stormcell.data.grid import pixel_km
from stormcell.errors import ArgumentError
from stormcell.forecast.contract import Analysis, Field, Needs, forecast_array
from stormcell.forecast.member_texture import MemberTexture
from stormcell.forecast.noise import ErrorNoise, Places, carried_places, carry, noise_period
from stormcell.forecast.rain_distribution import RainDistribution
from stormcell.forecast.rain_spectrum import RainSpectrum, rain_spectrum
from stormcell.forecast.requested import check_ensemble, check_steps
from stormcell.forecast.wave_memory import WaveMemory
from stormcell.motion.cascade import FRAMES
from stormcell.motion.sprog import moving_cascade

THREADS = 2
BAND_PIXELS = 2**15  # rows are processed in bands whose temporary fields fit into the cache
MOST_COMPARED = 48  # members that are ranked by comparing pairs; more are sorted


def ensemble_of(
    distributions: Iterable[RainDistribution],
    analysis: Analysis,
    *,
    steps: int,
    members: int,
    seed: int,
    placed: bool = False,
) -> xr.DataArray:
    """Make an ensemble with noise whose spectrum, memory and motion are those of the last frames.

    Args:
        distributions: The predictive distribution of each lead time, at the time step of the frames; one is
            taken at a time.
        analysis: The frames known at the issue time, three or more.
        steps: Number of lead times, ≥ 1.
        members: Number of members, ≥ 1.
        seed: Seed of the members, ≥ 0.
        placed: Whether members have the quantiles that represent the distribution best.

    Returns:
        As :func:`ensemble_array`.

    Raises:
        ArgumentError: A number is too low, a grid differs, or there are fewer distributions than steps.
        FramesError: The frames are too few, have a gap, or have no coordinates.

    Example:
        >>> from stormcell.data.synthetic import generate
        >>> analysis = Analysis(generate(seed=1, shape=(32, 32), steps=3).rainfall_rate)
        >>> rain = RainDistribution([0.1, 1.0], np.full((2, 32, 32), 0.3, np.float32))
        >>> ensemble_of([rain] * 2, analysis, steps=2, members=4, seed=0).shape
        (4, 2, 32, 32)
    """
    check_steps(steps)
    check_ensemble(members, seed)
    frames, motion = analysis.latest(Needs(FRAMES)), analysis.motion()
    memory = WaveMemory.of_cascade(moving_cascade(frames.values, motion))
    spectrum = rain_spectrum(frames.values[-1], float(np.mean(pixel_km(frames))))
    rates = np.empty((members, steps, *motion.shape[1:]), np.float32)
    leads = draw_members(
        distributions,
        motion,
        spectrum,
        memory,
        members=members,
        steps=steps,
        seed=seed,
        placed=placed,
        newest=frames.values[-1],
        into=rates,
    )
    for _ in leads:
        pass  # it is written to the rates
    return ensemble_array(rates, frames, seed=seed, placed=placed)


def draw_members(
    distributions: Iterable[RainDistribution],
    motion: Field,
    spectrum: RainSpectrum,
    memory: WaveMemory,
    *,
    members: int,
    steps: int,
    seed: int,
    placed: bool = False,
    newest: Field | None = None,
    into: Field | None = None,
) -> Iterator[Field]:
    """Yield the members' rain rates, one lead time at a time.

    Args:
        distributions: The predictive distribution of each lead time, on the grid of ``motion``.
        motion: Pixels per time step ``(2, y, x)``: the motion of the rain, which the noise follows.
        spectrum: The spectrum of the noise.
        memory: The autoregression of the noise, in the time step of the forecast.
        members: Number of members, ≥ 1.
        steps: Number of lead times, ≥ 1.
        seed: The same seed gives the same members. Member k does not depend on ``members`` unless
            ``placed``.
        placed: Whether members have the quantiles that represent the distribution best.
        newest: Rain rates of the newest frame in mm/h ``(y, x)``, whose texture the members are to have
            (:mod:`~stormcell.forecast.member_texture`). Without it, the spectrum of the noise stays.
        into: Where the rates are written: float32 ``(realization, time, y, x)``. Without it, every lead time
            has an array of its own.

    Yields:
        mm/h ``(realization, y, x)``; NaN where the distribution is undefined.

    Raises:
        ArgumentError: A number is less than 1, a grid differs, or there are fewer distributions than steps.

    Example:
        >>> exceedance = np.array([0.6, 0.3, 0.1], np.float32)[:, None, None].repeat(32, 1).repeat(32, 2)
        >>> rain = RainDistribution([0.1, 1.0, 10.0], exceedance)
        >>> spectrum = RainSpectrum(np.array([0.01, 0.5]), np.array([1.0, 1e-3]))
        >>> memory = WaveMemory(np.array([10.0]), np.array([0.9]), np.array([0.0]))
        >>> still = np.zeros((2, 32, 32), np.float32)
        >>> leads = draw_members([rain] * 2, still, spectrum, memory, members=3, steps=2, seed=1)
        >>> [lead.shape for lead in leads]
        [(3, 32, 32), (3, 32, 32)]
    """
    shape = (motion.shape[1], motion.shape[2])
    period = noise_period(shape, motion, steps)
    noise = ErrorNoise(spectrum.power(period), period, memory, members=members, steps=steps, seed=seed)
    if into is not None and (into.shape != (members, steps, *shape) or into.dtype != np.float32):
        expected = (members, steps, *shape)
        raise ArgumentError(f"into: expected float32 {expected}, found {into.dtype} {into.shape}")
    texture = None if newest is None else MemberTexture(newest)
    given = iter(distributions)
    with ThreadPoolExecutor(THREADS) as pool:
        for lead, places in enumerate(carried_places(motion, steps, period), 1):
            rain = next(given, None)
            if rain is None or rain.shape != shape:
                found = "none" if rain is None else f"one of {rain.shape}"
                raise ArgumentError(f"distributions: expected one of {shape} for lead {lead}, found {found}")
            rates = np.empty((members, *shape), np.float32) if into is None else into[:, lead - 1]
            one_lead = _Lead(rain, noise, places, rates)
            if placed:
                fields = list(pool.map(noise.advance, range(members)))
                list(
                    pool.map(
                        lambda rows, lead=one_lead, fields=fields: lead.place(fields, rows), _bands(shape)
                    )
                )
            else:
                list(pool.map(one_lead.draw, range(members)))
            del rain, one_lead  # before the next are computed
            if texture is not None and texture.compare(rates[0]):
                noise.weigh(texture.frequencies, texture.powers)
            yield rates


def ensemble_array(rates: Field, frames: xr.DataArray, *, seed: int, placed: bool = False) -> xr.DataArray:
    """Give the members of an ensemble their valid times, their place on the map and their description.

    Args:
        rates: mm/h ``(realization, time, y, x)``.
        frames: The frames that the forecast was made from.
        seed: Seed of the members; it is written to the attributes.
        placed: Whether members are placed quantiles; it is written to the attributes.

    Returns:
        Rain rates in mm/h ``(realization, time, y, x)``, in the form of
        :func:`~stormcell.forecast.contract.forecast_array`, with the attributes ``ensemble_seed`` and
        ``ensemble_method``.
    """
    method = (
        f"quantiles at the levels (rank - 0.5) / {len(rates)}, in the order of correlated noise: a member "
        "depends on the number of members"
        if placed
        else "draws from the predictive distribution with correlated noise: member k is the same for any "
        "number of members"
    )
    attributes: dict[str, Any] = {"ensemble_seed": seed, "ensemble_method": method}
    return forecast_array(rates, frames, attrs=attributes)


class _Lead:
    """One lead time of all members."""

    def __init__(self, rain: RainDistribution, noise: ErrorNoise, places: Places, rates: Field) -> None:
        self.rain, self.noise, self.places, self.rates = rain, noise, places, rates

    def draw(self, member: int) -> None:
        """Write the rates of a member."""
        field = self.noise.advance(member)
        for rows in _bands(self.rain.shape):
            chances = normal_tail(carry(field, self.places[rows]))
            self.rates[member, rows] = self.rain.part(rows).rates_exceeded(chances)

    def place(self, fields: list[Field], rows: slice) -> None:
        """Write the rates of all members in some rows, given the noise of all members."""
        moved = np.stack([carry(field, self.places[rows]) for field in fields])
        chances = (len(fields) - ranks(moved) - np.float32(0.5)) / np.float32(len(fields))
        self.rates[:, rows] = self.rain.part(rows).rates_exceeded(chances)


def ranks(values: Field) -> Field:
    """Return the rank of every member at every pixel.

    Args:
        values: ``(member, y, x)``. Of equal values, the one of the first member has the lower rank.

    Returns:
        0 to M − 1 ``(member, y, x)``.

    Example:
        >>> ranks(np.array([[[3]], [[1]], [[2]], [[1]]], np.float32)).ravel().tolist()
        [3.0, 0.0, 2.0, 1.0]
    """
    count = len(values)
    if count > MOST_COMPARED:
        order = np.argsort(values, axis=0, kind="stable")
        sorted_ranks = np.empty(values.shape, np.float32)
        numbers = np.arange(count, dtype=np.float32).reshape(-1, 1, 1)
        np.put_along_axis(sorted_ranks, order, np.broadcast_to(numbers, values.shape), axis=0)
        return sorted_ranks
    below = np.zeros(values.shape, np.uint8)
    later = np.empty(values.shape[1:], np.bool_)
    for number in range(count):
        for other in range(number + 1, count):
            np.less(values[other], values[number], out=later)
            below[number] += later
            np.logical_not(later, out=later)
            below[other] += later
    return below.astype(np.float32)


def normal_tail(values: Field) -> Field:
    """Return the probability that a normal variate exceeds each value, with an error below 3e-7.

    Abramowitz & Stegun (1964), equation 26.2.17.

    Args:
        values: Any shape.

    Example:
        >>> normal_tail(np.array([0, 1.96, -1.96], np.float32)).round(3).tolist()
        [0.5, 0.02500000037252903, 0.9750000238418579]
    """
    size = np.abs(values)
    inverse = 1 / (1 + np.float32(0.2316419) * size)
    tail = np.full_like(values, 1.330274429)
    for coefficient in (-1.821255978, 1.781477937, -0.356563782, 0.319381530):
        tail *= inverse
        tail += np.float32(coefficient)
    tail *= inverse
    size *= size
    size *= np.float32(-0.5)
    np.exp(size, out=size)
    tail *= size
    tail *= np.float32(0.3989422804)
    upper: Field = np.where(values < 0, 1 - tail, tail)
    return upper


def _bands(shape: tuple[int, int]) -> Iterator[slice]:
    rows = max(1, BAND_PIXELS // shape[1])
    for first in range(0, shape[0], rows):
        yield slice(first, min(first + rows, shape[0]))
