"""Statistics by scale: window fractions for the fractions skill score."""

import cv2
import numpy as np
from numpy.typing import NDArray

from stormcell.errors import ArgumentError

Mask = NDArray[np.bool_]


def window_pixels(scale_km: float, pixel_km: float) -> int:
    """Return the odd number of pixels nearest to a scale; halfway between two, the larger.

    Args:
        scale_km: Width of the window in km, > 0.
        pixel_km: Width of a pixel in km, > 0.

    Raises:
        ArgumentError: A width is not above 0.

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
    """Count the events in a square window around each pixel; there are no events outside the grid.

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
    """Return 1 / observed pixels in the window around each pixel; 0 for an unobserved pixel.

    Example:
        >>> window_weights(np.array([[True, True, False]]), 3).tolist()
        [[0.5, 0.5, 0.0]]
    """
    known = window_counts(mask, window)
    return np.divide(np.float32(1), known, where=mask, out=np.zeros_like(known))


def window_fractions(events: Mask, weights: NDArray[np.float32], window: int) -> NDArray[np.float32]:
    """Return the share of events among the *observed* pixels of the window around each pixel.

    Pixels outside the mask or the grid are not counted; a pixel outside the mask has the fraction 0.

    Args:
        events: ``(y, x)``, none outside the mask.
        weights: Weights of the mask, from :func:`window_weights`.
        window: Width in pixels, odd, the same as for ``weights``.

    Returns:
        ``(y, x)``, 0..1.

    Example:
        >>> known = np.array([[True, True, False]])
        >>> window_fractions(np.array([[True, False, False]]), window_weights(known, 3), 3).tolist()
        [[0.5, 0.5, 0.0]]
    """
    fractions = window_counts(events, window)
    fractions *= weights  # in place, because allocating another field takes as long as the product
    return fractions


def window_means(
    values: NDArray[np.float32], weights: NDArray[np.float32], window: int
) -> NDArray[np.float32]:
    """Return the mean of a field over the *observed* pixels of the window around each pixel.

    Args:
        values: ``(y, x)``, 0 outside the mask.
        weights: Weights of the mask, from :func:`window_weights`.
        window: Width in pixels, odd, the same as for ``weights``.

    Returns:
        ``(y, x)``; of events as 0 and 1, what :func:`window_fractions` returns, up to rounding.

    Example:
        >>> known = np.array([[True, True, False]])
        >>> window_means(np.float32([[0.5, 0, 0]]), window_weights(known, 3), 3).tolist()
        [[0.25, 0.25, 0.0]]
    """
    means = cv2.boxFilter(
        values, cv2.CV_32F, (window, window), normalize=False, borderType=cv2.BORDER_CONSTANT
    ).astype(np.float32, copy=False)
    means *= weights
    return means


def fss_sums(forecast: NDArray[np.float32], observed: NDArray[np.float32]) -> tuple[float, float]:
    """Return numerator and denominator of 1 − FSS, which are added over forecasts before they are divided.

    If every pixel is observed, and no event is within a window's width of the border, this is the FSS of
    Roberts and Lean (2008), doi:10.1175/2007MWR2123.1.

    Args:
        forecast: Fractions of forecast events around each pixel, from :func:`window_fractions`.
        observed: Fractions of observed events, under the same mask.

    Returns:
        Σ(forecast fraction − observed fraction)² and Σ(forecast fraction² + observed fraction²). Fractions
        are float32, so the relative error of a sum is about 10⁻⁷; they are added in float64.

    Example:
        >>> everywhere = window_weights(np.ones((5, 5), dtype=bool), 1)
        >>> rain, rest = (window_fractions(np.eye(5) == value, everywhere, 1) for value in (1, 0))
        >>> fss_sums(rain, rain)[0], [round(total, 6) for total in fss_sums(rain, rest)]
        (0.0, [25.0, 25.0])
    """
    difference = cv2.norm(forecast, observed, cv2.NORM_L2SQR)
    reference = cv2.norm(forecast, cv2.NORM_L2SQR) + cv2.norm(observed, cv2.NORM_L2SQR)
    return difference, reference
