"""The cascade of S-PROG and STEPS: a field divided into bands of wavelengths, each with a memory of its own.

Large areas of rain live for hours, and small ones for minutes. A cascade divides the last frames, in
coordinates that move with the rain, into bands (Seed 2003,
doi:10.1175/1520-0450(2003)042<0381:ADASSA>2.0.CO;2). The correlations between the frames say how long each
band lasts, and an autoregression forecasts it (Pulkkinen et al. 2019, doi:10.5194/gmd-12-4185-2019).

Everything linear happens in the spectrum: the frames are transformed once, the correlations are sums over
waves, and a forecast takes one inverse transform, however many bands there are.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from stormcell.errors import ArgumentError
from stormcell.motion.autoregression import Autoregression
from stormcell.motion.band_filters import LEVELS, band_weights, central_wavelengths

Field = NDArray[np.float32]
Waves = NDArray[np.complex64]
Values = NDArray[np.float64]

FRAMES = 3  # from which two correlations are estimated
THREADS = 2  # of a transform
SMALLEST = 1e-5  # a band with a smaller standard deviation, in dB, does not vary: it is rounding
BLOCK = 2**14  # waves that are summed in float32 before they are added to sums in float64


@dataclass(frozen=True)
class Cascade:
    """The last three frames, oldest first, as spectra, with the statistics of their bands.

    The unit is that of the frames, usually decibels of the rain rate.

    Attributes:
        shape: Rows and columns.
        spectra: Waves of each frame ``(3, y, x // 2 + 1)``, as of :func:`scipy.fft.rfft2`.
        weights: Weights of the bands ``(levels, y, x // 2 + 1)``.
        means: Mean of each frame ``(3,)``; it belongs to the first band.
        deviations: Standard deviation of each band of each frame ``(3, levels)``.
        correlations: Correlation of each band of the newest frame with that one and two steps before
            ``(2, levels)``; NaN if one of them does not vary.
        covariances: Covariances of the bands of the newest frame ``(levels, levels)``. Neighbouring bands
            overlap, so they are correlated.
    """

    shape: tuple[int, int]
    spectra: Waves
    weights: Field
    means: Values
    deviations: Values
    correlations: Values
    covariances: Values

    @property
    def levels(self) -> int:
        """Number of bands."""
        return len(self.weights)

    @property
    def wavelengths(self) -> Values:
        """Wavelength at the centre of each band in pixels ``(levels,)``, decreasing."""
        return central_wavelengths(self.shape, self.levels)

    @property
    def scale_of_before(self) -> Values:
        """Ratio of the bands' standard deviations, newest frame to the frame before ``(levels,)``.

        It is 0 for a band that does not vary in the frame before.
        """
        before = self.deviations[-2]
        none = np.zeros_like(before)
        scale: Values = np.divide(self.deviations[-1], before, out=none, where=before > SMALLEST)
        return scale

    @property
    def process(self) -> Autoregression:
        """The process that each band follows; its coefficients have the shape ``(levels,)``."""
        return Autoregression.from_correlations(*self.correlations)

    def band(self, level: int, frame: int = -1) -> Field:
        """Return a band of a frame.

        Args:
            level: Number of the band, 0 for the longest waves.
            frame: Number of the frame: −1 for the newest, −2 and −3 for those before.

        Returns:
            ``(y, x)``. The sum of all bands of a frame is the frame. Only the first band has a mean
            other than 0.
        """
        return self._field(self.spectra[frame] * self.weights[level])

    def anomaly(self, level: int, frame: int = -1) -> Field:
        """Return a band of a frame, as :meth:`band`, without its mean."""
        field = self.band(level, frame)
        if level == 0:
            field -= np.float32(self.means[frame])
        return field

    def forecast(self, steps: int) -> Iterator[Field]:
        """Yield the forecast of each lead time in moving coordinates: the sum of the forecasts of all bands.

        It has not been matched to any distribution of rates: it becomes smoother and approaches the mean.

        Args:
            steps: Number of lead times, ≥ 0.

        Yields:
            ``(y, x)``, in the unit of the frames.
        """
        for newest, before in self.lead_weights(steps):
            of_newest, of_before = self._sums(np.stack([newest, before]))
            spectrum = self.spectra[-1] * of_newest
            spectrum += self.spectra[-2] * of_before
            spectrum[0, 0] = self.means[-1] * self.shape[0] * self.shape[1]
            yield self._field(spectrum)

    def forecast_band(self, level: int, steps: int) -> Iterator[Field]:
        """Yield the forecast of one band for each lead time, in moving coordinates.

        Args:
            level: Number of the band.
            steps: Number of lead times, ≥ 0.

        Yields:
            ``(y, x)``, in the unit of the frames. The sum over all bands is :meth:`forecast`.
        """
        mean = self.means[-1] if level == 0 else 0.0
        newest, before = self.anomaly(level), self.anomaly(level, -2)
        for of_newest, of_before in self.lead_weights(steps):
            forecast = np.float32(of_newest[level]) * newest
            forecast += np.float32(of_before[level]) * before
            forecast += np.float32(mean)
            yield forecast

    def lead_weights(self, steps: int) -> Iterator[tuple[Values, Values]]:
        """Yield the weights of the bands of the last two frames in the forecast of each lead time.

        The frame before is scaled to the newest frame's standard deviation, band by band.

        Yields:
            Two arrays ``(levels,)``: of the newest frame, and of the frame before.
        """
        for of_newest, of_before in self.process.forecast_weights(steps):
            yield of_newest, of_before * self.scale_of_before

    def band_errors(self, steps: int) -> Values:
        """Return the standard deviation of each band's forecast error, ``(steps, levels)``.

        The unit is that of the frames. It grows to the standard deviation of the band.
        """
        return np.stack([error * self.deviations[-1] for error in self.process.errors(steps)])

    def errors(self, steps: int) -> Values:
        """Return the standard deviation of the forecast's error, ``(steps,)``, in the unit of the frames.

        Bands overlap, so their errors are correlated: an error is a field with the waves of the newest
        frame, whose bands are weakened by the autoregression.
        """
        return np.array([np.sqrt(error @ self.covariances @ error) for error in self.process.errors(steps)])

    def _sums(self, factors: Values) -> Field:
        """Return the weights of all waves if the bands are multiplied by factors ``(n, levels)``."""
        # Not a product of matrices: after one, the threads of BLAS wait busily and take time from others.
        flat = self.weights.reshape(self.levels, -1)
        sums: Field = np.einsum("nl,lw->nw", factors.astype(np.float32), flat)
        return sums.reshape(-1, *self.weights.shape[1:])

    def _field(self, spectrum: Waves) -> Field:
        field: Field = fft.irfft2(spectrum, s=self.shape, overwrite_x=True, workers=THREADS)
        return field


def decompose(frames: Field, levels: int = LEVELS) -> Cascade:
    """Divide the last three frames into bands.

    Args:
        frames: Values ``(3, y, x)`` in moving coordinates, oldest first, all finite.
        levels: Number of bands, ≥ 1.

    Raises:
        ArgumentError: The number of frames or of bands is wrong, or a value is not finite.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> frames = rng.normal(size=(3, 32, 48)).astype(np.float32)
        >>> cascade = decompose(frames)
        >>> whole = sum(cascade.band(level) for level in range(6))
        >>> bool(np.allclose(whole, frames[-1], atol=1e-5))
        True
        >>> [forecast.shape for forecast in cascade.forecast(2)]
        [(32, 48), (32, 48)]
    """
    if frames.ndim != 3 or len(frames) != FRAMES:
        raise ArgumentError(f"frames: expected shape ({FRAMES}, y, x), found {frames.shape}")
    means = frames.mean(axis=(1, 2), dtype=np.float64)
    if not np.isfinite(means).all():
        raise ArgumentError("frames: expected finite numbers, found NaN or infinity")
    shape = (frames.shape[1], frames.shape[2])
    weights = band_weights(shape, levels)
    spectra = np.stack([fft.rfft2(frame.astype(np.float32, copy=False), workers=THREADS) for frame in frames])
    return Cascade(shape, spectra, weights, means, *_statistics(shape, weights, spectra))


def _statistics(shape: tuple[int, int], weights: Field, spectra: Waves) -> tuple[Values, Values, Values]:
    """Return deviations, correlations and covariances of the bands, by Parseval's theorem."""
    levels, height, half = weights.shape
    # A real field has every wave twice, except those whose column is its own mirror image.
    count = np.full(half, 2, np.float32)
    count[0] = 1
    if shape[1] % 2 == 0:
        count[-1] = 1
    products, covariances = np.zeros((5, levels)), np.zeros((levels, levels))
    rows = max(1, BLOCK // half)
    for first in range(0, height, rows):
        block = np.s_[first : first + rows]
        weight = weights[:, block].reshape(levels, -1)
        oldest, before, newest = spectra[:, block]
        power = [(_real_product(newest, frame) * count).ravel() for frame in (newest, before, oldest)]
        power += [(_real_product(frame, frame) * count).ravel() for frame in (before, oldest)]
        if first == 0:
            for values in power:
                values[0] = 0  # the mean
        products += np.stack(power) @ np.square(weight).T
        covariances += (weight * power[0]) @ weight.T
    products /= (shape[0] * shape[1]) ** 2
    covariances /= (shape[0] * shape[1]) ** 2
    own, *lagged = products[:3]
    deviations = np.sqrt(np.stack([products[4], products[3], own]))
    with np.errstate(divide="ignore", invalid="ignore"):
        correlations = np.stack(lagged) / (deviations[-1] * deviations[1::-1])
    vary = deviations > SMALLEST
    correlations[~(vary[-1] & vary[1::-1])] = np.nan
    return deviations, np.clip(correlations, -1, 1), covariances


def _real_product(one: Waves, other: Waves) -> Field:
    """Return the real part of one times the complex conjugate of the other."""
    product: Field = one.real * other.real + one.imag * other.imag
    return product
