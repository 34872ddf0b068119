"""Filters that divide a field into bands of wavelengths: Gaussians of the logarithm of the wavenumber.

The filters are those of Pulkkinen et al. (2019), doi:10.5194/gmd-12-4185-2019, which follow Seed (2003),
doi:10.1175/1520-0450(2003)042<0381:ADASSA>2.0.CO;2. For every wave, the weights of all bands have the sum 1,
so that the sum of the bands is the field.
"""

import numpy as np
from numpy.typing import NDArray

from stormcell.errors import ArgumentError

Field = NDArray[np.float32]

LEVELS = 6  # number of bands
WIDTH = 0.5  # standard deviation of a Gaussian, relative to the distance between two of them


def band_weights(shape: tuple[int, int], levels: int = LEVELS) -> Field:
    """Return the weights of the bands for the half of the waves that a real field needs.

    A wavenumber is the number of waves on the grid, along rows and along columns, as in pysteps. On a grid
    that is not square, a band has longer waves along the longer side.

    Args:
        shape: Rows and columns of the field.
        levels: Number of bands, ≥ 1, from the longest to the shortest waves.

    Returns:
        ``(levels, y, x // 2 + 1)``, 0 to 1, in the order of :func:`scipy.fft.rfft2`. The mean of the field
        belongs to the first band.

    Raises:
        ArgumentError: ``levels`` or a side is less than 1.

    Example:
        >>> weights = band_weights((32, 48))
        >>> weights.shape, bool(np.allclose(weights.sum(axis=0), 1, atol=1e-6))
        ((6, 32, 25), True)
    """
    height, width = shape
    if min(height, width, levels) < 1:
        raise ArgumentError(f"bands: expected 1 or more rows, columns and bands, found {shape}, {levels}")
    rows = np.fft.fftfreq(height, 1 / height).astype(np.float32)
    cols = np.arange(width // 2 + 1, dtype=np.float32)
    wavenumber = np.hypot(rows[:, None], cols)
    wavenumber[0, 0] = 1
    log = np.log(wavenumber, out=wavenumber)
    log /= np.float32(_log_ratio(shape, levels))
    weights = np.empty((levels, *log.shape), np.float32)
    for weight, centre in zip(weights, _centres(shape, levels), strict=True):
        np.subtract(log, np.float32(centre), out=weight)
        np.square(weight, out=weight)
        weight *= np.float32(-0.5 / WIDTH**2)
        np.exp(weight, out=weight)
    weights /= weights.sum(axis=0)
    weights[:, 0, 0] = 0
    weights[0, 0, 0] = 1
    return weights


def central_wavelengths(shape: tuple[int, int], levels: int = LEVELS) -> NDArray[np.float64]:
    """Return the wavelength at the centre of every band, along the longer side.

    Returns:
        Pixels ``(levels,)``, decreasing.

    Raises:
        ArgumentError: As :func:`band_weights`.

    Example:
        >>> central_wavelengths((512, 512)).round().tolist()
        [291.0, 115.0, 46.0, 18.0, 7.0, 3.0]
    """
    if min(*shape, levels) < 1:
        raise ArgumentError(f"bands: expected 1 or more rows, columns and bands, found {shape}, {levels}")
    return np.asarray(max(shape) / np.exp(_log_ratio(shape, levels) * _centres(shape, levels)))


def _log_ratio(shape: tuple[int, int], levels: int) -> float:
    """Return the logarithm of the ratio of the wavenumbers of neighbouring bands."""
    return float(np.log(max(2.0, 0.5 * max(shape))) / levels)


def _centres(shape: tuple[int, int], levels: int) -> NDArray[np.float64]:
    """Return the logarithms of the central wavenumbers, in units of the logarithm of the ratio.

    A centre is the mean of the wavenumbers ``ratio ** k`` and ``ratio ** (k + 1)`` that limit a band.
    """
    log = _log_ratio(shape, levels)
    first = float(np.log((1 + np.exp(log)) / 2) / log)
    return first + np.arange(levels, dtype=np.float64)
