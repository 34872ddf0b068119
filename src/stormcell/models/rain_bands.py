"""Bands of wavelengths of fields, in PyTorch.

The bands are those of :mod:`stormcell.motion.band_filters`, Gaussians of the logarithm of the wavenumber, but
at fixed wavelengths in pixels, so that they are the same in a crop and in a whole frame. Bands of long waves
are computed at a coarser resolution, which loses nothing. The operations run on a GPU, have gradients, and
can be exported.
"""

import math
from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import pad

STRIDES = (1, 1, 1, 2, 4, 8)  # side in pixels of the cells of each band, the shortest waves first
LEVELS = len(STRIDES)
RATIO = 2.24  # of the wavelengths of two neighbouring bands

_SHORTEST = 2.8  # pixels: wavelength at the centre of the first band
_WIDTH = 0.5  # standard deviation of a Gaussian, relative to the distance between two of them
_MARGIN = 32  # pixels mirrored around a field, because the transform repeats it periodically


def bands_of(x: Tensor) -> Iterator[tuple[int, Tensor]]:
    """Yield the stride of each band, and the band of every field.

    Args:
        x: ``(…, H, W)``, its sides multiples of 8 and at least 33.

    Yields:
        The stride s, and ``(…, H/s, W/s)``: the shortest waves first. The sum of all bands, interpolated to
        the pixels, is the field; its mean is in the last band.

    Example:
        >>> [(stride, tuple(band.shape)) for stride, band in bands_of(torch.rand(1, 1, 64, 128))][2:4]
        [(1, (1, 1, 64, 128)), (2, (1, 1, 32, 64))]
    """
    height, width = (length + 2 * _MARGIN for length in x.shape[-2:])
    # Real and imaginary parts apart, because complex numbers cannot be exported to ONNX.
    mirrored = pad(x, (_MARGIN,) * 4, mode="reflect")
    spectrum = torch.view_as_real(_reproducible(partial(torch.fft.rfft2, mirrored)))
    like = x.new_empty(0)
    del x, mirrored  # of a continent, each takes hundreds of megabytes
    for stride in sorted(set(STRIDES)):
        rows, cols = height // stride, width // stride
        # Of a band of long waves, only these are other than zero.
        halves = spectrum[..., : rows // 2, :, :], spectrum[..., height - rows // 2 :, :, :]
        waves = (torch.cat(halves, dim=-3) if stride > 1 else spectrum)[..., : cols // 2 + 1, :]
        along_rows = (_wavenumbers(rows).to(like) / stride)[:, None]
        along_cols = (_wavenumbers(cols)[: cols // 2 + 1].abs().to(like) / stride)[None]
        if stride > 1:
            waves = _shifted(waves, math.pi * (stride - 1) * (along_rows + along_cols)) / stride**2
        wanted = [level for level in range(LEVELS) if STRIDES[level] == stride]
        edge = _MARGIN // stride
        for weights in _weights(torch.sqrt(along_rows.square() + along_cols.square()), wanted):
            part = torch.view_as_complex(waves * weights[..., None])
            band = _reproducible(partial(torch.fft.irfft2, part, s=(rows, cols)))
            yield stride, band[..., edge : rows - edge, edge : cols - edge]


def _wavenumbers(length: int) -> Tensor:
    """Return the waves per cell in the order of a transform; torch.fft.fftfreq cannot be exported to ONNX."""
    numbers = torch.arange(length)
    return torch.where(numbers < -(-length // 2), numbers, numbers - length) / length


def _reproducible(transform: Callable[[], Tensor]) -> Tensor:
    """Transform with one thread: with several, the last bits differ from run to run."""
    threads = torch.get_num_threads()
    if threads == 1 or torch.compiler.is_compiling():
        return transform()
    torch.set_num_threads(1)
    try:
        return transform()
    finally:
        torch.set_num_threads(threads)


def _shifted(waves: Tensor, angle: Tensor) -> Tensor:
    """Multiply waves by exp(i angle), so that the value of a cell is that at its centre."""
    cos, sin = angle.cos(), angle.sin()
    real, imaginary = waves[..., 0], waves[..., 1]
    return torch.stack([real * cos - imaginary * sin, real * sin + imaginary * cos], dim=-1)


def _weights(wavenumber: Tensor, levels: list[int]) -> Tensor:  # (levels, rows, cols)
    """Return the weights of some bands, given waves per pixel; the weights of all bands have the sum 1."""
    centres = [-math.log(_SHORTEST * RATIO**level) for level in range(LEVELS)]
    log = torch.log(wavenumber.clamp_min(1e-12))  # of the mean, too: it belongs to the last band alone
    sharpness = 0.5 / (_WIDTH * math.log(RATIO)) ** 2
    exponents = torch.stack([-sharpness * (log - centre).square() for centre in centres])
    return torch.softmax(exponents, dim=0)[levels]
