"""The spectrum of the Gaussian field behind the rain of a frame.

Rain is dry below a threshold, and its rates are far from normally distributed: the spectrum of the rates has
more short waves than the Gaussian field that would give the same rain. So a frame is seen as ``max(X, q)`` of
a Gaussian field ``X``, where ``q`` is the quantile that the dry share of the frame gives, and wet pixels have
the normal score of their rank. The covariance of ``max(X, q)`` over a distance is a known
function of the correlation ρ of ``X`` (Price's theorem; a series of Hermite polynomials):

    Cov(max(X, q), max(X', q)) = Σ_n  a_n² ρ^n,   a_1 = P(X > q),   a_n = φ(q) He_{n-2}(q) / √n!

It is measured, inverted distance by distance, and transformed to the power of waves, which is averaged over
all directions.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft, special
from scipy.interpolate import CubicSpline

from stormcell.errors import ArgumentError
from stormcell.forecast.contract import Field
from stormcell.motion.band_power import wave_frequencies

Values = NDArray[np.float64]

LEAST_RAIN = 0.1  # mm/h: below is dry
LEAST_WET = 2000  # pixels: with fewer, the spectrum is the typical one
MOST_WET = 0.98  # share of the observed pixels, likewise
LARGEST_SIDE = 1024  # pixels: a larger frame is measured in pieces, which bounds memory
LONGEST = 384  # pixels: largest distance
NEAR = 8.0  # pixels: beyond, all directions are averaged before the covariance is inverted
LOWEST = -0.2  # smallest correlation of rain; the covariance of a small wet area hardly tells it from 0
LEAST_PAIRS = 100  # of pixels, for a covariance
TERMS = 400  # of the series
BANDS = 24  # of frequencies
FLOOR = 1e-7  # smallest power, relative to the largest
LEVELS = 512  # of the table of rates' ranks

# The typical power spectrum is flat above a wavelength of 2π · 30 km, and falls with
# the wavelength to the power 3.3 below, as that of generated rain.
TYPICAL_LENGTH, TYPICAL_SLOPE = 30.0, 3.3


@dataclass(frozen=True)
class RainSpectrum:
    """The power of the waves of the Gaussian field behind rain, by frequency, the same in all directions.

    Attributes:
        frequencies: Cycles per pixel ``(n,)``, > 0, ascending.
        powers: Power of a wave ``(n,)``, > 0, of any unit. Between two frequencies its logarithm is
            interpolated over the logarithm of the frequency; beyond the ends it is constant.
    """

    frequencies: Values
    powers: Values

    def power(self, period: tuple[int, int]) -> Field:
        """Return the expected power of every wave of a field.

        Args:
            period: Rows and columns after which the field repeats.

        Returns:
            ``(y, x // 2 + 1)``, > 0, in the order of :func:`scipy.fft.rfft2`.

        Example:
            >>> spectrum = RainSpectrum(np.array([0.01, 0.5]), np.array([1.0, 1e-4]))
            >>> power = spectrum.power((8, 8))
            >>> power.shape, round(float(power[0, 4]), 6)
            ((8, 5), 0.0001)
        """
        frequency = np.maximum(wave_frequencies(period), 1e-9)
        logs = np.interp(np.log(frequency), np.log(self.frequencies), np.log(self.powers))
        return np.asarray(np.exp(logs), np.float32)


def rain_spectrum(rates: Field, pixel_km: float = 1.0) -> RainSpectrum:
    """Measure the spectrum of the Gaussian field behind the rain of a frame.

    Args:
        rates: Rain rates in mm/h ``(y, x)``, NaN where not observed.
        pixel_km: Size of a pixel, for the typical spectrum of a frame with little rain.

    Raises:
        ArgumentError: ``rates`` has another shape, or the size of a pixel is not positive.

    Example:
        >>> from stormcell.data.synthetic import generate
        >>> spectrum = rain_spectrum(generate(seed=1, steps=1).rainfall_rate.values[0])
        >>> bool(spectrum.powers[0] > 1000 * spectrum.powers[-1])
        True
    """
    if rates.ndim != 2 or not pixel_km > 0:
        raise ArgumentError(
            f"rates: expected (y, x) and a size of pixels > 0, found {rates.shape}, {pixel_km}"
        )
    observed = np.isfinite(rates)
    wet = rates >= LEAST_RAIN  # False where not observed
    count, total = int(wet.sum()), int(observed.sum())
    if count < LEAST_WET or count > MOST_WET * total:
        return _typical(pixel_km)
    scores, threshold = _normal_scores(rates, wet, count / total)
    return _spectrum(_unclipped(_covariances(scores, observed), threshold))


def _normal_scores(rates: Field, wet: NDArray[np.bool_], share: float) -> tuple[Field, float]:
    """Return the normal scores of the rates ``(y, x)``, and that of the dry ones."""
    threshold = float(special.ndtri(1 - share))
    levels = (np.arange(LEVELS) + 0.5) / LEVELS
    quantiles = np.quantile(rates[wet], levels)
    quantiles, first = np.unique(quantiles, return_index=True)
    known = special.ndtri(1 - share * (1 - levels[first]))
    scores = np.full(rates.shape, threshold, np.float32)
    scores[wet] = np.interp(rates[wet], quantiles, known)
    return scores, threshold


def _covariances(scores: Field, observed: NDArray[np.bool_]) -> Values:
    """Return the covariance of pairs of observed pixels by the difference of their places.

    Returns:
        ``(size, size)``, in the order of :func:`scipy.fft.fftfreq`; NaN where there are too few pairs, or
        the distance is too large.
    """
    mean = float(scores[observed].mean(dtype=np.float64))
    values = np.where(observed, scores - np.float32(mean), np.float32(0))
    height, width = values.shape
    side = min(max(height, width), LARGEST_SIDE)
    reach = min(LONGEST, side - 1)
    size = int(fft.next_fast_len(side + reach + 1, real=True))
    products, pairs = np.zeros((2, size, size // 2 + 1))
    for y in range(0, height, side):
        for x in range(0, width, side):
            piece = np.s_[y : y + side, x : x + side]
            if observed[piece].any():
                for total, field in ((products, values[piece]), (pairs, observed[piece].astype(np.float32))):
                    waves = fft.rfft2(field, s=(size, size))
                    total += waves.real**2 + waves.imag**2
    sums, counts = (fft.irfft2(total, s=(size, size)) for total in (products, pairs))
    lags = fft.fftfreq(size, 1 / size)
    known = (counts > LEAST_PAIRS) & (np.hypot(lags[:, None], lags) < reach)
    covariances = np.divide(sums, counts, out=np.full(sums.shape, np.nan), where=known)
    return _averaged(covariances, np.hypot(lags[:, None], lags))


def _averaged(covariances: Values, distance: Values) -> Values:
    """Replace the covariances of distant pixels by the mean over all directions, which has less error."""
    known = ~np.isnan(covariances)
    number = np.rint(distance[known]).astype(np.intp)
    count = np.bincount(number)
    places, means = (
        np.bincount(number, values[known])[count > 0] / count[count > 0] for values in (distance, covariances)
    )
    far = known & (distance > NEAR)
    if far.any():
        covariances[far] = CubicSpline(places, means)(distance[far])
    return covariances


def _unclipped(covariances: Values, threshold: float) -> Values:
    """Return the correlations of the Gaussian field, given the covariances of the field clipped below."""
    squares = np.empty(TERMS)
    squares[0] = special.ndtr(-threshold) ** 2
    density = np.exp(-(threshold**2) / 2) / np.sqrt(2 * np.pi)
    # Hermite polynomials divided by √n!, so that they stay small: h_n = He_n / √n!.
    before, now = 0.0, 1.0
    for n in range(2, TERMS + 1):
        squares[n - 1] = (density * now) ** 2 / (n * (n - 1))
        order = n - 2
        before, now = now, (threshold * now - np.sqrt(order) * before) / np.sqrt(order + 1)
    rho = np.linspace(LOWEST, 1, 2001)
    table = rho * np.polynomial.polynomial.polyval(rho, squares)
    found: Values = np.interp(covariances * (table[-1] / covariances[0, 0]), table, rho)
    return found


def _spectrum(correlations: Values) -> RainSpectrum:
    """Transform correlations by difference of place, NaN where not known, to a spectrum by frequency."""
    size = len(correlations)
    lags = fft.fftfreq(size, 1 / size)
    distance = np.hypot(lags[:, None], lags)
    known = ~np.isnan(correlations)
    # The window of Parzen (1961) has a spectrum ≥ 0 that falls steeply, so the strong long waves do not
    # leak into the weak short ones.
    part = np.minimum(distance / distance[known].max(), 1)
    window = np.where(part < 0.5, 1 - 6 * part**2 * (1 - part), 2 * (1 - part) ** 3)
    waves = fft.rfft2(np.where(known, correlations, 0) * window).real
    frequency = wave_frequencies((size, size))
    edges = np.geomspace(1 / size, np.sqrt(0.5), BANDS + 1)
    band = np.digitize(frequency, edges[1:-1]).ravel()
    count = np.bincount(band, minlength=BANDS)
    some = count > 0
    mean, place = (
        np.bincount(band, values.ravel(), BANDS)[some] / count[some] for values in (waves, frequency)
    )
    # The spectrum of rain falls. The power of the longest waves is underestimated, because the mean of the
    # frame is not that of the climate; it is at least that of shorter ones.
    powers = np.maximum.accumulate(np.maximum(mean, mean.max() * FLOOR)[::-1])[::-1]
    return RainSpectrum(place, powers)


def _typical(pixel_km: float) -> RainSpectrum:
    frequencies = np.geomspace(1e-4, np.sqrt(0.5), 200)
    wavenumber = 2 * np.pi / pixel_km * frequencies
    return RainSpectrum(frequencies, (1 + (TYPICAL_LENGTH * wavenumber) ** 2) ** (-TYPICAL_SLOPE / 2))
