"""Scores that look through windows, and at scales: FSS and the spectrum."""

from functools import lru_cache

import cv2
import numpy as np
import scipy.fft
from numpy.typing import NDArray

from stormcell.errors import ArgumentError

Mask = NDArray[np.bool_]

WET = 0.1  # mm/h; the spectrum's rain begins here, as radar's does


def window_pixels(scale_km: float, pixel_km: float) -> int:
    """The odd number of pixels nearest to a scale; halfway between two, the larger.

    Args:
        scale_km: Width of the window in km, > 0.
        pixel_km: Width of a pixel in km, > 0.

    Raises:
        ArgumentError: One of the two is not above 0.

    Example:
        >>> [window_pixels(scale, 1.0) for scale in (2, 8, 16, 32)]
        [3, 9, 17, 33]
        >>> [window_pixels(scale, 2.0) for scale in (2, 8, 16, 32)]
        [1, 5, 9, 17]
    """
    if not (scale_km > 0 and pixel_km > 0):
        raise ArgumentError(
            f"FSS window: expected km above 0, found a scale of {scale_km}, a pixel of {pixel_km}"
        )
    # Every number in [2k, 2k + 2) is nearest to 2k + 1. The tiny term keeps 8 / 0.8 from being 9.99….
    return 2 * int(scale_km / pixel_km / 2 + 1e-9) + 1


def window_counts(events: Mask, window: int) -> NDArray[np.float32]:
    """How many pixels of a square window around each pixel are true; beyond the border nothing is.

    Args:
        events: ``(y, x)``.
        window: Width in pixels, odd.

    Returns:
        ``(y, x)``, whole numbers between 0 and ``window²`` (exact below 2²⁴, a window of 4095 pixels).

    Example:
        >>> window_counts(np.eye(3, dtype=bool), 3).tolist()
        [[2.0, 2.0, 1.0], [2.0, 3.0, 2.0], [1.0, 2.0, 2.0]]
    """
    shape = (window, window)
    counts = cv2.boxFilter(
        events.view(np.uint8), cv2.CV_32F, shape, normalize=False, borderType=cv2.BORDER_CONSTANT
    )
    return counts.astype(np.float32, copy=False)


def window_weights(mask: Mask, window: int) -> NDArray[np.float32]:
    """What makes a fraction of a count: 1 / observed pixels in the window, 0 around an unobserved pixel.

    Example:
        >>> window_weights(np.array([[True, True, False]]), 3).tolist()
        [[0.5, 0.5, 0.0]]
    """
    known = window_counts(mask, window)
    return np.divide(np.float32(1), known, where=mask, out=np.zeros_like(known))


def window_fractions(events: Mask, weights: NDArray[np.float32], window: int) -> NDArray[np.float32]:
    """The share of events among the *observed* pixels of the window around each pixel inside a mask.

    Pixels outside the mask, and beyond the grid's border, are neither event nor non-event: they count
    nowhere, and their own fraction is 0.

    Args:
        events: ``(y, x)``, none outside the mask.
        weights: Of the mask, by :func:`window_weights`.
        window: Width in pixels, odd, the same as of ``weights``.

    Returns:
        ``(y, x)``, 0..1.

    Example:
        >>> known = np.array([[True, True, False]])
        >>> window_fractions(np.array([[True, False, False]]), window_weights(known, 3), 3).tolist()
        [[0.5, 0.5, 0.0]]
    """
    fractions = window_counts(events, window)
    fractions *= weights  # in place: a fresh field for every window would cost as much as the product
    return fractions


def fss_sums(forecast: NDArray[np.float32], observed: NDArray[np.float32]) -> tuple[float, float]:
    """Numerator and denominator of 1 − FSS, to be summed over forecasts before the ratio is taken.

    Where the mask of the fractions is whole and no event comes within a window's width of the border, this
    is the FSS of Roberts and Lean (2008), doi:10.1175/2007MWR2123.1.

    Args:
        forecast: Share of events in the forecast around each pixel, by :func:`window_fractions`.
        observed: The same of the truth, under the same mask.

    Returns:
        Σ(forecast fraction − observed fraction)² and Σ(forecast fraction² + observed fraction²). Fractions
        are float32, so each sum is good to about 1 part in 10⁷; the summing is done in float64.

    Example:
        >>> everywhere = window_weights(np.ones((5, 5), dtype=bool), 1)
        >>> rain, rest = (window_fractions(np.eye(5) == value, everywhere, 1) for value in (1, 0))
        >>> fss_sums(rain, rain)[0], [round(total, 6) for total in fss_sums(rain, rest)]
        (0.0, [25.0, 25.0])
    """
    difference = cv2.norm(forecast, observed, cv2.NORM_L2SQR)
    reference = cv2.norm(forecast, cv2.NORM_L2SQR) + cv2.norm(observed, cv2.NORM_L2SQR)
    return difference, reference


def band_power(rate: NDArray[np.float32], mask: Mask, edges_px: tuple[float, ...]) -> NDArray[np.float64]:
    """Spectral power of a rain field between wavelengths: how much structure it has at which scale.

    The field is 10 log₁₀(R / 0.1 mm/h), 0 where there is less or nothing is known, as is usual for rain
    (doi:10.5194/gmd-12-4185-2019, §3). Only the ratio of two fields under one mask has a meaning: below 1
    the field is smoother than the other.

    Args:
        rate: Rain rate in mm/h, ``(y, x)``.
        mask: Where it is known, ``(y, x)``.
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
    wet = mask & (rate > WET)
    level[wet] = 10 * np.log10(rate[wet] / np.float32(WET))
    if not wet.any():
        return np.zeros(len(edges_px) - 1)
    spectrum = scipy.fft.rfft2(level)
    power = np.square(spectrum.real) + np.square(spectrum.imag)
    # A column of the half spectrum stands for its mirror too, except the first and, if even, the last.
    power[:, 1 : (rate.shape[1] + 1) // 2] *= 2
    band = _bands(*rate.shape, edges_px)
    sums = np.bincount(band.ravel(), weights=power.ravel(), minlength=len(edges_px) + 1)
    return np.asarray(sums[1 : len(edges_px)] / rate.size, dtype=np.float64)


@lru_cache(maxsize=4)
def _bands(height: int, width: int, edges_px: tuple[float, ...]) -> NDArray[np.intp]:
    """The band of each component of a half spectrum; 0 and ``len(edges)`` lie outside."""
    frequency = np.hypot(scipy.fft.fftfreq(height)[:, None], scipy.fft.rfftfreq(width)[None, :])
    wavelength = np.divide(1, frequency, where=frequency > 0, out=np.full(frequency.shape, np.inf))
    return np.asarray(np.digitize(wavelength, edges_px))
