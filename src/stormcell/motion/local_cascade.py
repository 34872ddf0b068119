"""The memory of the bands of a cascade by place: showers here, and steady rain there.

S-PROG has one correlation for each band and the whole grid. Here it is one for each band and place, from
means of the bands' products with Gaussian weights around the place. Where a band hardly varies, it is that of
the whole grid. The means vary slowly, so they are computed on a coarse grid and interpolated between its
points. ANVIL localises its coefficients too (Pulkkinen et al. 2020, doi:10.1109/TGRS.2020.2984594).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from stormcell.errors import ArgumentError
from stormcell.motion.autoregression import Autoregression, Values
from stormcell.motion.cascade import Cascade, Field

DEVIATION = 64.0  # pixels: standard deviation of the Gaussian weights
FINENESS = 4.0  # points of the coarse grid in one standard deviation
GLOBAL_SHARE = 0.1  # weight of the moments of the whole grid, relative to that of a place observed all around


@dataclass(frozen=True)
class LocalMemory:
    """Correlations of the bands by place.

    Attributes:
        cascade: The cascade whose bands they are.
        correlations: Correlation of each band of the newest frame with that one and two steps before, on a
            coarse grid that covers the frames ``(2, levels, h, w)``; NaN if a frame does not vary.
        deviations: Standard deviation of each band of the newest frame ``(levels, h, w)``, in the unit of the
            frames.
    """

    cascade: Cascade
    correlations: Values
    deviations: Values

    @property
    def process(self) -> Autoregression:
        """The process that each band follows; its coefficients have the shape ``(levels, h, w)``."""
        return Autoregression.from_correlations(*self.correlations)

    def at_pixels(self, values: NDArray[np.floating]) -> Field:
        """Interpolate values of the coarse grid ``(h, w)`` at the pixels of the frames ``(y, x)``."""
        height, width = self.cascade.shape
        pixels = cv2.resize(values.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
        return np.asarray(pixels, np.float32)

    def forecast(self, steps: int) -> Iterator[Field]:
        """Yield the forecast of each lead time in moving coordinates, before any matching.

        Two fields for each band are in memory.

        Args:
            steps: Number of lead times, ≥ 0.

        Yields:
            ``(y, x)``, in the unit of the frames.
        """
        cascade = self.cascade
        newest, before = (
            [cascade.anomaly(level, frame) for level in range(cascade.levels)] for frame in (-1, -2)
        )
        for of_newest, of_before in self.process.forecast_weights(steps):
            field = np.full(cascade.shape, cascade.means[-1], np.float32)
            for level, scale in enumerate(cascade.scale_of_before):
                field += self.at_pixels(of_newest[level]) * newest[level]
                field += self.at_pixels(of_before[level] * scale) * before[level]
            yield field

    def band_errors(self, steps: int) -> Iterator[Values]:
        """Yield the standard deviation of each band's forecast error ``(levels, h, w)`` at each lead time."""
        for error in self.process.errors(steps):
            yield error * self.deviations

    def errors(self, steps: int) -> Iterator[Field]:
        """Yield the standard deviation of the forecast's error ``(y, x)`` at each lead time.

        The errors of two bands are correlated as the bands are on the whole grid.
        """
        deviations = np.sqrt(np.diag(self.cascade.covariances))
        scale = np.divide(1, deviations, out=np.zeros_like(deviations), where=deviations > 0)
        correlations = self.cascade.covariances * scale[:, None] * scale
        for errors in self.band_errors(steps):
            variance = np.einsum("iyx,ij,jyx->yx", errors, correlations, errors)
            yield self.at_pixels(np.sqrt(np.maximum(variance, 0)))


def local_memory(
    cascade: Cascade, observed: NDArray[np.bool_] | None = None, deviation: float = DEVIATION
) -> LocalMemory:
    """Estimate the correlations of the bands around every place.

    Args:
        cascade: The last three frames in moving coordinates.
        observed: Pixels ``(y, x)`` to estimate from, such as those observed in all frames; None for all.
        deviation: Standard deviation of the Gaussian weights in pixels, > 0. It is a quarter of the
            wavelength for a band with waves longer than four of them.

    Raises:
        ArgumentError: ``deviation`` is not positive, or ``observed`` has another shape.

    Example:
        >>> from stormcell.motion.cascade import decompose
        >>> frames = np.random.default_rng(0).normal(size=(3, 96, 128)).astype(np.float32)
        >>> memory = local_memory(decompose(frames), deviation=16)
        >>> memory.correlations.shape, [forecast.shape for forecast in memory.forecast(2)]
        ((2, 6, 24, 32), [(96, 128), (96, 128)])
    """
    if not deviation > 0:
        raise ArgumentError(f"deviation: expected more than 0 pixels, found {deviation}")
    if observed is not None and observed.shape != cascade.shape:
        raise ArgumentError(f"observed: expected shape {cascade.shape}, found {observed.shape}")
    height, width = (max(1, round(side * FINENESS / deviation)) for side in cascade.shape)
    coarse = (min(height, cascade.shape[0]), min(width, cascade.shape[1]))
    weight = np.ones(cascade.shape, np.float32) if observed is None else observed.astype(np.float32)
    correlations = np.empty((2, cascade.levels, *coarse))
    deviations = np.empty((cascade.levels, *coarse))
    for level, wavelength in enumerate(cascade.wavelengths):
        mean = _LocalMean(weight, coarse, max(deviation, wavelength / 4))
        newest, before, oldest = (cascade.anomaly(level, frame) for frame in (-1, -2, -3))
        own = cascade.deviations[::-1, level]  # newest first
        lags = cascade.correlations[:, level] * own[0] * own[1:]
        variance = mean(newest * newest, own[0] ** 2)
        for lag, frame in enumerate((before, oldest)):
            product = mean(newest * frame, lags[lag])
            of_frame = mean(frame * frame, own[lag + 1] ** 2)
            with np.errstate(divide="ignore", invalid="ignore"):
                correlations[lag, level] = np.clip(product / np.sqrt(variance * of_frame), -1, 1)
        deviations[level] = np.sqrt(variance)
    return LocalMemory(cascade, correlations, deviations)


class _LocalMean:
    """Means with Gaussian weights, on a coarse grid.

    Args:
        weight: Weight of every pixel ``(y, x)``, 0 to 1.
        coarse: Rows and columns of the coarse grid.
        deviation: Standard deviation of the Gaussian weights in pixels.
    """

    def __init__(self, weight: Field, coarse: tuple[int, int], deviation: float) -> None:
        self._weight, self._coarse = weight, coarse
        rows, columns = (few / many for few, many in zip(coarse, weight.shape, strict=True))
        self._deviations = (deviation * columns, deviation * rows)  # x first, as OpenCV has it
        self._total = self._blurred(weight) + GLOBAL_SHARE

    def __call__(self, values: Field, whole: float) -> Values:
        """Return the means ``(h, w)`` of values ``(y, x)``, and of their mean over the whole grid."""
        return (self._blurred(values * self._weight) + GLOBAL_SHARE * whole) / self._total

    def _blurred(self, values: Field) -> Values:
        rows, columns = self._coarse
        few = cv2.resize(values, (columns, rows), interpolation=cv2.INTER_AREA)
        across, down = self._deviations
        blurred = cv2.GaussianBlur(few, (0, 0), across, sigmaY=down, borderType=cv2.BORDER_CONSTANT)
        return np.asarray(blurred, np.float64)
