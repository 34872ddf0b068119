"""The spectral power of rain fields by band of wavelengths: their structure at each scale."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from stormcell.motion.decibels import LEAST_RAIN


def wave_frequencies(period: tuple[int, int]) -> NDArray[np.float64]:
    """Return the frequency of every wave of a field, cycles per pixel ``(y, x // 2 + 1)``."""
    frequencies: NDArray[np.float64] = np.hypot(fft.fftfreq(period[0])[:, None], fft.rfftfreq(period[1]))
    return frequencies


def band_power(
    rate: NDArray[np.float32], mask: NDArray[np.bool_], edges_px: tuple[float, ...]
) -> NDArray[np.float64]:
    """Return the spectral power of a rain field between wavelengths: its structure at each scale.

    The spectrum is of 10 log₁₀(R / 0.1 mm/h), or 0 for less rain and unobserved pixels, as in
    doi:10.5194/gmd-12-4185-2019, §3. Compare only fields with the same mask: less power is a smoother field.

    Args:
        rate: Rain rate in mm/h, ``(y, x)``.
        mask: Observed pixels, ``(y, x)``.
        edges_px: Wavelengths in pixels, ascending; band ``k`` is ``edges[k] <= wavelength < edges[k + 1]``.

    Returns:
        ``(len(edges_px) - 1,)``, in (10 log₁₀)² summed over the grid.

    Example:
        >>> stripes = np.tile(np.float32([0, 10]), (8, 4))
        >>> band_power(stripes, stripes >= 0, (2, 4, 8)).round(2).tolist()
        [6400.0, 0.0]
    """
    if len(edges_px) < 2:
        return np.zeros(0)
    level = np.zeros(rate.shape, np.float32)
    wet = mask & (rate > LEAST_RAIN)
    level[wet] = 10 * np.log10(rate[wet] / np.float32(LEAST_RAIN))
    if not wet.any():
        return np.zeros(len(edges_px) - 1)
    spectrum = fft.rfft2(level)
    power = np.square(spectrum.real) + np.square(spectrum.imag)
    # A column of the half spectrum counts for its mirror image too, except the first and, if even, the last.
    power[:, 1 : (rate.shape[1] + 1) // 2] *= 2
    band = _bands(*rate.shape, edges_px)
    sums = np.bincount(band.ravel(), weights=power.ravel(), minlength=len(edges_px) + 1)
    return np.asarray(sums[1 : len(edges_px)] / rate.size, dtype=np.float64)


@lru_cache(maxsize=4)
def _bands(height: int, width: int, edges_px: tuple[float, ...]) -> NDArray[np.intp]:
    """Return the band of each component of a half spectrum; 0 and ``len(edges)`` are outside all bands."""
    frequency = wave_frequencies((height, width))
    wavelength = np.divide(1, frequency, where=frequency > 0, out=np.full(frequency.shape, np.inf))
    return np.asarray(np.digitize(wavelength, edges_px))
