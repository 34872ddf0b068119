"""Logarithmic rain, and how it looks from afar: low-pass filtered in a pyramid.

Every level has half the resolution of the one before (Burt & Adelson 1983, doi:10.1109/TCOM.1983.1095851).
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import interpolate, pad

LEVELS = 6
SIDE = 2**LEVELS  # both sides of a frame must be multiples of it

LEAST_RAIN = 0.1  # mm/h: less is dry, because radars differ in the lightest rain that they detect
DRY = -1.5  # logarithmic rain where it is dry; that of the least rain is -1

Area = tuple[slice, slice]  # rows and columns

_LOW_LEVELS, _TREND_LEVELS = (2, 3, 4, 5), (3, 5)
SURROUNDINGS = 2 + len(_LOW_LEVELS) + len(_TREND_LEVELS)  # number of fields of the function of that name

_LEAST_SHARE = 1e-3  # of a low-pass filter's weights that must be observed


@dataclass(frozen=True)
class RainPyramid:
    """The newest frame and that before from afar.

    Attributes:
        seen: Whether the frame before the newest was observed, ``(B, 1, H/2, W/2)``.
        lows: Low-pass filtered logarithmic rain of the levels 1 to 6, the newest frame first,
            ``(B, 2, H/2^l, W/2^l)``.
        around: The newest frame at level 1, with the rain of the surroundings where nothing was observed,
            ``(B, 1, H/2, W/2)``. It is dry where nothing was observed far and wide.
    """

    seen: Tensor
    lows: tuple[Tensor, ...]
    around: Tensor


def log_rain(
    rate: Tensor,  # mm/h, no NaN
) -> Tensor:
    """Return the common logarithm of rain rates; dry pixels have the value :data:`DRY`.

    Example:
        >>> log_rain(torch.tensor([0.0, 0.1, 10.0]))
        tensor([-1.5000, -1.0000,  1.0000])
    """
    wet = rate >= LEAST_RAIN
    return torch.where(wet, torch.log10(rate.clamp_min(LEAST_RAIN)), DRY)


def upsample(x: Tensor, factor: int = 2) -> Tensor:
    """Interpolate to a finer grid, bilinearly."""
    if factor == 1:
        return x
    return interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)


def joined(x: Tensor) -> Tensor:  # (..., H/2, W/2)
    """Return the means over cells of 2 × 2 pixels.

    It is five times faster than PyTorch's pooling.

    Example:
        >>> joined(torch.tensor([[1.0, 2.0, 3.0, 5.0], [3.0, 4.0, 7.0, 9.0]]))
        tensor([[2.5000, 6.0000]])
    """
    rows = x[..., ::2, :] + x[..., 1::2, :]
    return (rows[..., ::2] + rows[..., 1::2]) / 4


def part_of(x: Tensor, area: Area) -> Tensor:
    """Return some rows and columns of fields ``(B, C, H, W)``."""
    return x[..., area[0], area[1]]


def upsample_part(x: Tensor, factor: int, area: Area) -> Tensor:
    """Interpolate to a part of a finer grid, bilinearly, as :func:`upsample` does to the whole.

    Args:
        x: ``(B, C, H, W)``.
        factor: Number of finer pixels along each side of a pixel.
        area: Rows and columns of the finer grid.

    Example:
        >>> x, area = torch.rand(1, 1, 6, 5), (slice(7, 9), slice(0, 4))
        >>> torch.allclose(upsample_part(x, 4, area), part_of(upsample(x, 4), area))
        True
    """
    coarse, fine = [], []
    for part, length in zip(area, x.shape[-2:], strict=True):
        first = max(part.start // factor - 1, 0)
        coarse.append(slice(first, min(-(-part.stop // factor) + 1, length)))
        fine.append(slice(part.start - first * factor, part.stop - first * factor))
    return upsample(x[..., coarse[0], coarse[1]], factor)[..., fine[0], fine[1]]


def from_afar(
    rate: Tensor,  # (B, T, H, W) mm/h in moving coordinates, the newest last, NaN where not observed; T ≥ 2
) -> RainPyramid:
    """Filter the last two frames.

    Example:
        >>> pyramid = from_afar(torch.rand(1, 3, 64, 128))
        >>> [tuple(low.shape[-2:]) for low in pyramid.lows]
        [(32, 64), (16, 32), (8, 16), (4, 8), (2, 4), (1, 2)]
    """
    recent = rate[:, -2:].flip(1)
    finite = recent.isfinite()
    weight = finite.to(rate.dtype)
    total = torch.where(finite, log_rain(recent.where(finite, 0.0)) - DRY, 0.0)
    seen = _halve(weight[:, 1:2]) > 0
    lows, known = [], []
    for _ in range(LEVELS):
        total, weight = _halve(total), _halve(weight)
        known.append(weight > _LEAST_SHARE)
        lows.append(torch.where(known[-1], total / weight.clamp_min(_LEAST_SHARE), 0.0) + DRY)
    around = lows[-1][:, :1]
    for low, seen_there in zip(lows[-2::-1], known[-2::-1], strict=True):
        around = torch.where(seen_there[:, :1], low[:, :1], upsample(around))
    return RainPyramid(seen, tuple(lows), around)


def surroundings(pyramid: RainPyramid) -> Tensor:  # (B, SURROUNDINGS, H/2, W/2)
    """Return the last rain in cells of 2 × 2 pixels and around them, and its trend.

    Example:
        >>> surroundings(from_afar(torch.rand(1, 3, 64, 128))).shape
        torch.Size([1, 8, 32, 64])
    """
    lows = pyramid.lows
    newest, before = (lows[0][:, frame : frame + 1] for frame in (0, 1))
    before = torch.where(pyramid.seen, before, newest)
    around = [upsample(lows[level - 1][:, :1], 2 ** (level - 1)) for level in _LOW_LEVELS]
    trends = [
        upsample(lows[level - 1][:, :1] - lows[level - 1][:, 1:2], 2 ** (level - 1)) * 3
        for level in _TREND_LEVELS
    ]
    return torch.cat([newest, before, *around, *trends], dim=1)


def _halve(x: Tensor) -> Tensor:
    """Return sums with the binomial weights 1, 3, 3, 1 at half the resolution; outside the grid is zero.

    Slices take less memory than a convolution, which is given blocks of sixteen channels on a processor.
    """
    return _halve_last(_halve_last(x).transpose(-1, -2)).transpose(-1, -2)


def _halve_last(x: Tensor) -> Tensor:
    even, odd = x[..., ::2], x[..., 1::2]
    before, after = pad(odd[..., :-1], (1, 0)), pad(even[..., 1:], (0, 1))
    return (3 * (even + odd) + before + after) / 8


def padding(length: int) -> int:
    """Return how many pixels are missing to the next multiple of :data:`SIDE`.

    Example:
        >>> padding(760)
        8
    """
    beyond: int = length % SIDE
    return SIDE - beyond if beyond else 0
