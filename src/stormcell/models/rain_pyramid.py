"""A local cascade: rain by spatial scale, and how long each scale lasts in a neighbourhood.

S-PROG (Seed 2003, doi:10.1175/1520-0450(2003)042<0381:ADASSA>2.0.CO;2) forecasts every scale of the rain by
an autoregressive process, whose coefficients are those of the whole frame. Here the scales are the bands of
a Laplacian pyramid (Burt & Adelson 1983, doi:10.1109/TCOM.1983.1095851), and the coefficients are those of
the neighbourhood. So a part of a frame is forecast like the whole frame, and one regime does not smooth
another. All operations are PyTorch's: they run on a GPU, have gradients, and can be exported.

Frames are given in coordinates that move with the rain, because only growth and decay are forecast here.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, conv2d, interpolate, pad

LEVELS = 6
SIDE = 2**LEVELS  # both sides of a frame must be multiples of it
ENERGY_SIDE = 8  # side in pixels of the cells in which the energy of a band is known

LEAST_RAIN = 0.1  # mm/h: less is dry, because radars differ in the lightest rain that they detect
DRY = -1.5  # logarithmic rain where it is dry; that of the least rain is -1

Area = tuple[slice, slice]  # rows and columns

# Lifetime in minutes of the finest band where there is no rain to estimate it from; each next lasts twice as
# long. It weighs as much as rain with the variance _PRIOR_VARIANCE of logarithmic rain.
_FINEST_LIFETIME = 6.0
_PRIOR_VARIANCE = 2e-3
_HIGHEST_CORRELATION = 0.995
_PAIRS = ((0, 0), (1, 1), (2, 2), (0, 1), (1, 2), (0, 2))  # of frames, the newest is 0
_LEAST_SHARE = 1e-3  # of a low-pass filter's weights that must be observed


@dataclass(frozen=True)
class RainPyramid:
    """The bands of the last three frames, level 0 the finest; each next level has half the resolution.

    Attributes:
        seen: Whether the frame before the newest was observed, ``(B, 1, H/2, W/2)``.
        lows: Low-pass filtered logarithmic rain of the levels 1 to 6, newest frame first,
            ``(B, 3, H/2^l, W/2^l)``.
        bands: Bands of the levels 0 to 5 of the newest frame and that before, ``(B, 2, H/2^l, W/2^l)``.
        energy: Squares of the newest frame's bands by level, means over cells, ``(B, 6, H/8, W/8)``.
        moments: Means of products of the bands of two frames over a neighbourhood of some hundred pixels,
            ``(B, 6 levels, 6 products, H/64, W/64)``, in the order 00, 11, 22, 01, 12, 02.
    """

    seen: Tensor
    lows: tuple[Tensor, ...]
    bands: tuple[Tensor, ...]
    energy: Tensor
    moments: Tensor


@dataclass(frozen=True)
class PyramidProcess:
    """Coefficients of the forecast of every band in every neighbourhood, for all lead times or for one.

    Attributes:
        newest: Weights of the newest frame's bands, ``(leads, B, 6, H/64, W/64)``, or without ``leads``.
        before: Weights of the bands of the frame before, likewise.
        error: Variance of the forecast's error relative to the variance of the band, 0 to 1, likewise.
    """

    newest: Tensor
    before: Tensor
    error: Tensor

    def at(
        self,
        lead: Tensor,  # (B,) number of time steps ahead, from 1
    ) -> "PyramidProcess":
        """Return the coefficients of one lead time of each example."""
        example = torch.arange(len(lead), device=lead.device)
        return PyramidProcess(*(every[lead - 1, example] for every in (self.newest, self.before, self.error)))


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


def decompose(
    rate: Tensor,  # (B, T, H, W) mm/h in moving coordinates, the newest last, NaN where not observed; T ≥ 3
) -> RainPyramid:
    """Split the last three frames into bands.

    Example:
        >>> rate = torch.rand(1, 3, 64, 128)
        >>> cascade = decompose(rate)
        >>> [tuple(band.shape[-2:]) for band in cascade.bands]
        [(64, 128), (32, 64), (16, 32), (8, 16), (4, 8), (2, 4)]
        >>> whole = cascade.lows[-1][:, :2]
        >>> for band in cascade.bands[::-1]:
        ...     whole = upsample(whole) + band
        >>> torch.allclose(whole[:, 0], log_rain(rate[:, -1]), atol=1e-6)
        True
    """
    recent = rate[:, -3:].flip(1)
    finite = recent.isfinite()
    observed = finite.to(rate.dtype)
    # Above dry, so that where nothing is observed far and wide it is dry.
    level = torch.where(finite, log_rain(recent.where(finite, 0.0)) - DRY, 0.0)
    seen = _halve(observed[:, 1:2]) > 0
    total, weight = level, observed
    del recent, finite, observed  # of a continent, each takes hundreds of megabytes
    lows, bands, moments, energy = [], [], [], []
    for number in range(LEVELS):
        total, coarser_weight = _halve(total), _halve(weight)
        coarser = torch.where(
            coarser_weight > _LEAST_SHARE, total / coarser_weight.clamp_min(_LEAST_SHARE), 0.0
        )
        known = weight > 0.5
        band = (level - upsample(coarser)).mul_(known)
        everywhere = known.all(dim=1, keepdim=True)
        # One product at a time: those of a continent's finest band take a hundred megabytes each.
        pooled = [
            avg_pool2d(
                band[:, one : one + 1] * band[:, other : other + 1] * everywhere, 2 ** (LEVELS - number)
            )
            for one, other in _PAIRS
        ]
        moments.append(_blur(_blur(torch.cat(pooled, dim=1))))
        energy.append(_at_energy_side(band[:, :1].square(), 2**number))
        bands.append(band[:, :2].clone())  # without the oldest frame's memory
        lows.append(coarser + DRY)
        level, weight = coarser, coarser_weight
    return RainPyramid(seen, tuple(lows), tuple(bands), torch.cat(energy, dim=1), torch.stack(moments, dim=1))


def fit_process(
    moments: Tensor,  # (B, 6, 6, h, w), of a cascade
    step_minutes: Tensor,  # (B,): time between frames
    leads: int,
) -> PyramidProcess:
    """Fit an autoregressive process of order 2 to every band, and return its forecasts' coefficients.

    With the correlations ρ₁ and ρ₂ of bands one and two frames apart, φ₁ = ρ₁(1 - ρ₂)/(1 - ρ₁²) and
    φ₂ = (ρ₂ - ρ₁²)/(1 - ρ₁²). The forecast is X̂ₖ = φ₁X̂ₖ₋₁ + φ₂X̂ₖ₋₂, which is linear in the last two frames.
    Correlations are drawn towards those of typical rain where the rain varies little.

    Args:
        moments: Products of a :class:`RainPyramid`.
        step_minutes: Time between frames.
        leads: Number of lead times.
    """
    first, second = correlations(moments, step_minutes)
    rest = 1 - first.square()
    phi_1, phi_2 = first * (1 - second) / rest, (second - first.square()) / rest
    one, zero = torch.ones_like(first), torch.zeros_like(first)
    newest, before, correlation = [zero, one], [one, zero], [first, one]  # leads -1 and 0
    for _ in range(leads + 1):
        for values in (newest, before, correlation):
            values.append(phi_1 * values[-1] + phi_2 * values[-2])
    # A band at lead k has the correlations ρₖ and ρₖ₊₁ with the two frames that it is forecast from.
    error = [
        (1 - newest[k] * correlation[k] - before[k] * correlation[k + 1]).clamp(0.0, 1.0)
        for k in range(2, leads + 2)
    ]
    return PyramidProcess(torch.stack(newest[2:-1]), torch.stack(before[2:-1]), torch.stack(error))


def correlations(
    moments: Tensor,  # (B, 6, 6, h, w), of a cascade
    step_minutes: Tensor,  # (B,)
) -> tuple[Tensor, Tensor]:  # each (B, 6, h, w)
    """Return the correlations of bands one and two frames apart, as a stationary process can have them."""
    lifetime = _FINEST_LIFETIME * 2.0 ** torch.arange(LEVELS, device=moments.device, dtype=moments.dtype)
    typical = torch.exp(-step_minutes[:, None] / lifetime)[:, :, None, None]
    newest, before, oldest, first_pair, second_pair, outer_pair = moments.unbind(dim=2)
    variance = torch.sqrt((newest + before) * (before + oldest)) / 2
    first = ((first_pair + second_pair) / 2 + _PRIOR_VARIANCE * typical) / (variance + _PRIOR_VARIANCE)
    second = (outer_pair + _PRIOR_VARIANCE * typical.square()) / (
        torch.sqrt(newest * oldest) + _PRIOR_VARIANCE
    )
    first = first.clamp(0.0, _HIGHEST_CORRELATION)
    # Stationary: ρ₂ > 2ρ₁² - 1. And no process of rain is more alike after two steps than after one.
    second = torch.minimum(torch.maximum(second, 2 * first.square() - 1 + 1e-3), first)
    return first, second


def expectation(cascade: RainPyramid, process: PyramidProcess) -> Tensor:  # (B, 1, H, W)
    """Return the forecast of logarithmic rain, given the coefficients of one lead time."""
    forecast = cascade.lows[-1][:, :1]  # the largest scales stay as they are
    for level in range(LEVELS - 1, -1, -1):
        factor = 2 ** (LEVELS - level)
        newest = upsample(process.newest[:, level : level + 1], factor)
        before = upsample(process.before[:, level : level + 1], factor)
        band = cascade.bands[level]
        forecast = upsample(forecast) + newest * band[:, :1] + before * band[:, 1:2]
    return forecast


def deviation(cascade: RainPyramid, process: PyramidProcess) -> Tensor:  # (B, 1, H/8, W/8)
    """Return the standard deviation of the error of :func:`expectation`, in cells of 8 × 8 pixels."""
    error = upsample(process.error, SIDE // ENERGY_SIDE)
    return torch.sqrt((error * cascade.energy).sum(dim=1, keepdim=True))


def _halve(x: Tensor) -> Tensor:
    """Return sums with the binomial weights 1, 3, 3, 1 at half the resolution; outside the grid is zero.

    Slices take less memory than a convolution, which is given blocks of sixteen channels on a processor.
    """
    return _halve_last(_halve_last(x).transpose(-1, -2)).transpose(-1, -2)


def _halve_last(x: Tensor) -> Tensor:
    even, odd = x[..., ::2], x[..., 1::2]
    before, after = pad(odd[..., :-1], (1, 0)), pad(even[..., 1:], (0, 1))
    return (3 * (even + odd) + before + after) / 8


def _blur(x: Tensor) -> Tensor:
    """Return binomially weighted means of each pixel and its neighbours."""
    binomial = x.new_tensor([1.0, 2.0, 1.0]) / 4
    kernel = (binomial[:, None] * binomial).expand(x.shape[1], 1, 3, 3)
    return conv2d(pad(x, (1, 1, 1, 1), mode="replicate"), kernel, groups=x.shape[1])


def _at_energy_side(x: Tensor, side: int) -> Tensor:
    """Bring pixels with a side to the cells of the energy."""
    if side < ENERGY_SIDE:
        return avg_pool2d(x, ENERGY_SIDE // side)
    return upsample(x, side // ENERGY_SIDE)


def padding(length: int) -> int:
    """Return how many pixels are missing to the next multiple of :data:`SIDE`.

    Example:
        >>> padding(760)
        8
    """
    beyond: int = length % SIDE
    return SIDE - beyond if beyond else 0
