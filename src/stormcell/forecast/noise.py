"""Gaussian noise for ensembles: correlated as rain is in space, and as its forecast errors are in time.

A forecast's error begins at the shortest waves, which rain forgets first, and grows to the longer ones. In
coordinates that move with the rain, every wave of the noise is the error of an autoregressive process of
second order whose last two values are known (Bowler et al. 2006, doi:10.1256/qj.04.100):

    e_k = φ₁ e_{k-1} + φ₂ e_{k-2} + w_k,    e_0 = e_{-1} = 0

with the coefficients of the wave's length and the power of :class:`RainSpectrum`. The noise of lead time k is
the sum of the waves divided by its standard deviation, so it is N(0, 1) at every pixel.

The waves of later lead times may be weighted by frequency, see :meth:`ErrorNoise.weigh`: the noise then has
another texture, and still the variance 1.

White noise is drawn in the spectrum, so a member takes a single transform for each lead time. The field is
periodic with a period that is larger than the grid, so that rain that flows in has noise, too.
"""

from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import fft

from stormcell.errors import ArgumentError
from stormcell.forecast.contract import Field
from stormcell.forecast.wave_memory import WaveMemory
from stormcell.motion.advection import area_displacements, row_bands
from stormcell.motion.band_power import wave_frequencies

Values = NDArray[np.float64]
Places = NDArray[np.int16]

LONGEST_PERIOD = 2048  # pixels: the noise of larger grids repeats, which bounds memory
CLASSES = 96  # of frequencies: the waves of one are weighted alike
ROWS = 16  # of waves that are drawn at once, so that they stay in a processor's cache
MARGIN = 64  # pixels by which the period exceeds grid and inflow, so that opposite edges differ


def noise_period(shape: tuple[int, int], motion: Field, steps: int) -> tuple[int, int]:
    """Return the rows and columns after which the noise of a grid repeats.

    Args:
        shape: Rows and columns of the grid.
        motion: Pixels per time step ``(2, y, x)``.
        steps: Number of lead times.

    Example:
        >>> noise_period((100, 60), np.full((2, 100, 60), 2.0, np.float32), 12)
        (192, 150)
    """
    period = []
    for size, speed in zip(shape, (np.abs(motion[1]).max(), np.abs(motion[0]).max()), strict=True):
        wanted = min(size + int(np.ceil(speed * steps)) + MARGIN, LONGEST_PERIOD)
        period.append(int(fft.next_fast_len(wanted + wanted % 2, real=True)))
    return period[0], period[1]


class ErrorNoise:
    """The noise of the members of an ensemble, lead time by lead time, in moving coordinates.

    Args:
        power: Expected power of the waves ``(y, x // 2 + 1)`` of a field with the period ``(y, x)``, of any
            unit, in the order of :func:`scipy.fft.rfft2`; ≥ 0, not all 0.
        period: Rows and columns after which the noise repeats.
        memory: Coefficients of the autoregression.
        members: Number of members.
        steps: Number of lead times.
        seed: The same seed gives the same noise. A member's does not depend on the number of members.

    Raises:
        ArgumentError: The shapes do not match, or the power is negative or everywhere 0.

    Example:
        >>> memory = WaveMemory(np.array([10.0]), np.array([0.9]), np.array([0.0]))
        >>> noise = ErrorNoise(np.ones((32, 17), np.float32), (32, 32), memory, members=2, steps=2, seed=1)
        >>> first, second = noise.advance(0), noise.advance(0)  # two lead times of member 0
        >>> first.shape, bool(np.corrcoef(first.ravel(), second.ravel())[0, 1] > 0.5)
        ((32, 32), True)
    """

    def __init__(
        self,
        power: Field,
        period: tuple[int, int],
        memory: WaveMemory,
        *,
        members: int,
        steps: int,
        seed: int,
    ) -> None:
        height, width = period
        if power.shape != (height, width // 2 + 1):
            raise ArgumentError(f"power: expected {(height, width // 2 + 1)}, found {power.shape}")
        if min(members, steps) < 1 or seed < 0:
            raise ArgumentError(
                "noise: expected 1 or more members and steps, and a seed of 0 or more, "
                f"found {members}, {steps} and {seed}"
            )
        if not (power >= 0).all() or not power.any():
            raise ArgumentError("power: expected ≥ 0 and not all 0, found others")
        self.period = period
        frequency = wave_frequencies(period)
        self._class, self._frequencies = _frequency_classes(frequency)
        self._weights: Field | None = None
        self._factors = np.ones(CLASSES)
        phi1, phi2 = memory.at(frequency)
        # A real field has every wave twice, except those whose column is its own mirror image.
        count = np.full(width // 2 + 1, 2.0)
        count[0] = 1
        if width % 2 == 0:
            count[-1] = 1
        share = power / np.sum(power * count)
        # Of the columns that are their own mirror image, the transform uses the real part of a complex field:
        # half of its variance. So they are drawn with twice the variance of the others.
        lag1 = phi1 / (1 - phi2)
        drive = 1 - phi1 * lag1 - phi2 * (phi1 * lag1 + phi2)
        self._variances = [
            np.bincount(self._class.ravel(), (share * count * drive * gain).ravel(), CLASSES)
            for gain in _gains(phi1, phi2, steps)
        ]
        amplitude = np.sqrt(share * drive / count) * height * width
        self._phi1, self._phi2, self._amplitude = (
            np.repeat(values.astype(np.float32), 2, axis=1) for values in (phi1, phi2, amplitude)
        )
        # Real and imaginary parts beside each other: the last two errors of each member.
        shape = (height, 2 * (width // 2 + 1))
        self._errors = [(np.zeros(shape, np.float32), np.zeros(shape, np.float32)) for _ in range(members)]
        sequences = [np.random.SeedSequence(seed, spawn_key=(member,)) for member in range(members)]
        self._random = [np.random.Generator(np.random.SFC64(sequence)) for sequence in sequences]
        self._leads = [0] * members

    @property
    def members(self) -> int:
        """Number of members."""
        return len(self._errors)

    def weigh(self, frequencies: Values, powers: Values) -> None:
        """Multiply the power of the waves of all later lead times; the noise keeps its variance of 1.

        What the autoregression remembers stays as it is, so that later weights replace these. No member may
        be advanced at the same time.

        Args:
            frequencies: Cycles per pixel ``(n,)``, > 0, ascending.
            powers: Factors ``(n,)``, > 0. Between two frequencies their logarithm is interpolated over the
                logarithm of the frequency; beyond the ends it is constant.
        """
        self._factors = np.exp(np.interp(np.log(self._frequencies), np.log(frequencies), np.log(powers)))
        self._weights = np.sqrt(self._factors).astype(np.float32)[self._class]

    def advance(self, member: int) -> Field:
        """Return a member's noise at its next lead time, ``(y, x)`` of the period.

        Different members may be advanced by different threads.

        Raises:
            ArgumentError: There are no more lead times.
        """
        lead, (newest, before) = self._leads[member], self._errors[member]
        if lead == len(self._variances):
            raise ArgumentError(f"noise: expected up to {lead} lead times, found one more")
        random = self._random[member]
        draws, product = np.empty((2, ROWS, newest.shape[1]), np.float32)
        for first in range(0, len(newest), ROWS):
            rows = slice(first, min(first + ROWS, len(newest)))
            drawn, part = draws[: rows.stop - first], product[: rows.stop - first]
            following = before[rows]
            np.multiply(following, self._phi2[rows], out=following)
            np.multiply(newest[rows], self._phi1[rows], out=part)
            np.add(following, part, out=following)
            random.standard_normal(dtype=np.float32, out=drawn)
            np.multiply(drawn, self._amplitude[rows], out=part)
            np.add(following, part, out=following)
        self._errors[member] = (before, newest)
        self._leads[member] = lead + 1
        waves = before.view(np.complex64)
        if self._weights is not None:
            waves = waves * self._weights
        field: Field = fft.irfft2(waves, s=self.period)
        field *= np.float32(1 / np.sqrt(self._variances[lead] @ self._factors))
        return field


def _gains(phi1: Values, phi2: Values, steps: int) -> Iterator[Values]:
    """Yield the variance of the error at each lead time, for noise of variance 1."""
    now, before, gain = np.ones_like(phi1), np.zeros_like(phi1), np.zeros_like(phi1)
    for _ in range(steps):
        gain = gain + now**2
        now, before = phi1 * now + phi2 * before, now
        yield gain


def _frequency_classes(frequency: Values) -> tuple[NDArray[np.uint8], Values]:
    """Return the class of each wave, and the frequency of each class: equal steps of the logarithm."""
    least, most = np.log(frequency[frequency > 0].min()), np.log(frequency.max())
    width = (most - least) / (CLASSES - 1) or 1.0  # all waves have one frequency
    log = np.log(np.maximum(frequency, np.exp(least)))
    return np.rint((log - least) / width).astype(np.uint8), np.exp(least + width * np.arange(CLASSES))


def carried_places(motion: Field, steps: int, period: tuple[int, int]) -> Iterator[Places]:
    """Yield the place in moving coordinates from which every pixel takes its noise, for each lead time.

    It is the nearest pixel: interpolation would average the noise, and lower its variance.

    Args:
        motion: Pixels per time step ``(2, y, x)``.
        steps: Number of lead times.
        period: Rows and columns after which the noise repeats.

    Yields:
        Column and row ``(y, x, 2)``, for :func:`carry`.

    Raises:
        ArgumentError: ``motion`` has another shape or is not finite.
    """
    height, width = motion.shape[1:]
    for path in area_displacements(motion, steps):
        places = np.empty((height, width, 2), np.int16)
        for rows in row_bands(height, width):
            y, x = np.ogrid[rows, :width]
            places[rows, :, 0] = np.rint(path[0, rows] + x.astype(np.float32)) % period[1]
            places[rows, :, 1] = np.rint(path[1, rows] + y.astype(np.float32)) % period[0]
        yield places


def carry(noise: Field, places: Places) -> Field:
    """Return the noise at the places, ``(y, x)``.

    Example:
        >>> motion = np.stack([np.full((2, 3), 1.0), np.zeros((2, 3))]).astype(np.float32)
        >>> places = next(carried_places(motion, 1, (4, 5)))
        >>> carry(np.arange(20, dtype=np.float32).reshape(4, 5), places)[0].tolist()
        [4.0, 0.0, 1.0]
    """
    # The second map is for fractions of pixels.
    return np.asarray(cv2.remap(noise, places, np.empty(0, np.uint16), cv2.INTER_NEAREST), np.float32)
