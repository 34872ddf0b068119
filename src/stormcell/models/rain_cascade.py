"""A local cascade: rain by spatial scale, and how long each scale lasts in a neighbourhood.

S-PROG (Seed 2003, doi:10.1175/1520-0450(2003)042<0381:ADASSA>2.0.CO;2) divides the rain into bands of
wavelengths, and forecasts each band by an autoregressive process whose coefficients are those of the whole
frame. Here they are those of the neighbourhood, drawn a little towards those of the whole frame. So a part of
a frame is forecast like the whole frame, and one regime does not smooth another.

Frames are given in coordinates that move with the rain, because only growth and decay are forecast here.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, conv2d, pad

from stormcell.models.rain_bands import LEVELS, RATIO, STRIDES, bands_of
from stormcell.models.rain_pyramid import DRY, SIDE, RainPyramid, joined, log_rain, upsample

CELL = 2  # side in pixels of the cells whose thresholds are corrected
SHORT_WAVES = STRIDES.count(1)  # number of bands that are known at every pixel
ENERGY_SIDE = 8  # of those in which the energy of a band is known


# Lifetime in minutes of the first band where there is no rain to estimate it from; that of another is longer
# by the ratio of the wavelengths. It weighs as much as rain with this variance of logarithmic rain: little in
# the expectation, more in the error. Frames of some radars are alike by pairs, and the next one differs.
_FIRST_LIFETIME = 6.0
_PRIOR_VARIANCE = 1e-4
_DOUBT_VARIANCE = 5e-3
_HIGHEST_CORRELATION = 0.9995
_WHOLE_SHARE = 0.3  # weight of the whole frame's moments, relative to those of the neighbourhood
# Neighbouring bands overlap, so that their errors are correlated: the mean of 1 / Σ weight² over all waves.
_OVERLAP = 1.7
_WIDE = 256  # pixels on each side of a cell: their mean persists, and belongs to no band
_PAIRS = ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2))  # of frames, the newest is 0


@dataclass(frozen=True)
class RainCascade:
    """The bands of the last frames, the shortest waves first.

    Attributes:
        mean: Mean of the newest frame's logarithmic rain within 256 pixels ``(B, 1, H/8, W/8)``, which
            belongs to no band. Rain is so forecast alike in a part of a frame and in the whole.
        bands: Each band of the newest frame and of that before, ``(B, 2, H/s, W/s)`` with the strides s.
        in_cells: The same of stride 1, means over cells of 2 × 2 pixels ``(B, 2, H/2, W/2)``.
        energy: Squares of the newest frame's bands, means over cells, ``(B, 6, H/8, W/8)``.
        moments: Means of products of the bands of two frames over a neighbourhood of some hundred pixels,
            ``(B, 6 bands, 5 products, H/64, W/64)``, in the order 00, 11, 22, 01, 02, where 0 is the newest
            frame and 2 the oldest.
    """

    mean: Tensor
    bands: tuple[Tensor, ...]
    in_cells: tuple[Tensor, ...]
    energy: Tensor
    moments: Tensor

    @property
    def whole_moments(self) -> Tensor:
        """Moments of the whole frame ``(B, 6, 5, 1, 1)``."""
        return self.moments.mean(dim=(-2, -1), keepdim=True)


@dataclass(frozen=True)
class BandProcess:
    """Coefficients of the forecast of every band in every neighbourhood, for all lead times or for one.

    Attributes:
        newest: Weights of the newest frame's bands, ``(leads, B, 6, h, w)``, or without ``leads``.
        before: Weights of the bands of the frame before, likewise.
        error: Variance of the forecast's error relative to the variance of the band, 0 to 1, likewise.
    """

    newest: Tensor
    before: Tensor
    error: Tensor

    def at(
        self,
        lead: Tensor,  # (B,) number of time steps ahead, from 1
    ) -> "BandProcess":
        """Return the coefficients of one lead time of each example."""
        example = torch.arange(lead.shape[0], device=lead.device)
        return BandProcess(*(every[lead - 1, example] for every in (self.newest, self.before, self.error)))


def decompose(
    rate: Tensor,  # (B, T, H, W) mm/h in moving coordinates, the newest last, NaN where not observed; T ≥ 3
    pyramid: RainPyramid,
) -> RainCascade:
    """Divide the last three frames into bands.

    What was not observed is as the rain around it in the newest frame, and as later in the older ones.
    Moments are taken from pixels that were observed in all three frames.

    Args:
        rate: Frames whose sides are multiples of 64.
        pyramid: The same frames from afar.

    Example:
        >>> from stormcell.models.rain_pyramid import from_afar
        >>> rate = torch.rand(1, 3, 64, 128)
        >>> cascade = decompose(rate, from_afar(rate))
        >>> [tuple(band.shape[-2:]) for band in cascade.bands]
        [(64, 128), (64, 128), (64, 128), (32, 64), (16, 32), (8, 16)]
    """
    recent = rate[:, -3:].flip(1)
    finite = recent.isfinite()
    known = finite.all(dim=1, keepdim=True).to(rate.dtype)
    rates = recent.where(finite, 0.0)
    # In older frames, rates below the least rain are interpolated at the edge of showers.
    older = torch.log10(rates[:, 1:].clamp_min(10**DRY))
    level = _filled(torch.cat([log_rain(rates[:, :1]), older], dim=1), finite, pyramid.around)
    divided = bands_of(level)
    del recent, finite, rates, older, level  # of a continent, each takes hundreds of megabytes
    bands, in_cells, moments, energy = [], [], [], []
    for stride, band in divided:
        if stride == STRIDES[-1]:
            wide = _wide_mean(band)
            band, mean = band - wide, wide[:, :1]
        cells = SIDE // stride
        seen = (avg_pool2d(known, stride) == 1).to(band.dtype) if stride > 1 else known
        # One product at a time: those of a continent's first bands take a hundred megabytes each.
        pooled = [
            avg_pool2d(band[:, one : one + 1] * band[:, other : other + 1] * seen, cells)
            for one, other in _PAIRS
        ]
        moments.append(_blur(_blur(torch.cat(pooled, dim=1))))
        energy.append(avg_pool2d(band[:, :1].square(), ENERGY_SIDE // stride))
        bands.append(band[:, :2].clone())  # without the oldest frame's memory
        if stride == 1:
            in_cells.append(joined(bands[-1]))
    return RainCascade(
        mean, tuple(bands), tuple(in_cells), torch.cat(energy, dim=1), torch.stack(moments, dim=1)
    )


def fit_process(
    moments: Tensor,  # (B, 6, 5, h, w), of a cascade
    step_minutes: Tensor,  # (B,): time between frames
    leads: int,
) -> BandProcess:
    """Fit an autoregressive process of order 2 to every band, and return its forecasts' coefficients.

    With the correlations ρ₁ and ρ₂ of bands one and two frames apart, φ₁ = ρ₁(1 - ρ₂)/(1 - ρ₁²) and
    φ₂ = (ρ₂ - ρ₁²)/(1 - ρ₁²). The forecast is X̂ₖ = φ₁X̂ₖ₋₁ + φ₂X̂ₖ₋₂, which is linear in the last two frames.
    The bands of the frame before are scaled to the standard deviation of those of the newest.

    Args:
        moments: Moments of a :class:`RainCascade`.
        step_minutes: Time between frames.
        leads: Number of lead times.
    """
    first, second = correlations(moments, step_minutes)
    newest, before = _forecast_weights(first, second, leads)
    scale = torch.sqrt((moments[:, :, 0] + _PRIOR_VARIANCE) / (moments[:, :, 1] + _PRIOR_VARIANCE))
    first, second = correlations(moments, step_minutes, _DOUBT_VARIANCE)
    return BandProcess(newest, before * scale, _errors(first, second, leads))


def correlations(
    moments: Tensor,  # (B, 6, 5, h, w), of a cascade
    step_minutes: Tensor,  # (B,)
    prior: float = _PRIOR_VARIANCE,
) -> tuple[Tensor, Tensor]:  # each (B, 6, h, w)
    """Return the correlations of the newest bands with those one and two frames before.

    They are such that the process decays without oscillation, as for S-PROG
    (:func:`stormcell.motion.autoregression.lowest_lag2`), and that no rain is more alike after two steps than
    after one.

    Args:
        moments: Moments of a :class:`RainCascade`.
        step_minutes: Time between frames.
        prior: Variance of logarithmic rain that the typical correlations have the weight of.
    """
    moments = (moments + _WHOLE_SHARE * moments.mean(dim=(-2, -1), keepdim=True)) / (1 + _WHOLE_SHARE)
    bands = torch.arange(LEVELS, device=moments.device, dtype=moments.dtype)
    typical = torch.exp(-step_minutes[:, None] / (_FIRST_LIFETIME * RATIO**bands))[:, :, None, None]
    newest, before, oldest, one_apart, two_apart = moments.unbind(dim=2)
    first, second = (
        (product + prior * expected) / (torch.sqrt(newest * other) + prior)
        for product, other, expected in (
            (one_apart, before, typical),
            (two_apart, oldest, typical.square()),
        )
    )
    first = first.clamp(0.0, _HIGHEST_CORRELATION)
    return first, torch.minimum(torch.maximum(second, _lowest_second(first)), first)


def expectation(cascade: RainCascade, process: BandProcess) -> Tensor:  # (B, 1, H, W)
    """Return the forecast of logarithmic rain, given the coefficients of one lead time."""
    forecast = upsample(expectation_of_long_waves(cascade, process), CELL)
    for level in range(SHORT_WAVES - 1, -1, -1):
        forecast = _with_band(forecast, cascade.bands[level], process, level)
    return forecast


def expectation_in_cells(cascade: RainCascade, process: BandProcess) -> Tensor:  # (B, 1, H/2, W/2)
    """Return the means of :func:`expectation` over cells of 2 × 2 pixels, given coefficients of whole frames.

    The bands are added after the means were taken, which takes two thirds of the time.
    """
    forecast = joined(upsample(expectation_of_long_waves(cascade, process), CELL))
    for level, band in enumerate(cascade.in_cells):
        forecast = _with_band(forecast, band, process, level)
    return forecast


def expectation_of_long_waves(cascade: RainCascade, process: BandProcess) -> Tensor:  # (B, 1, H/2, W/2)
    """Return the part of :func:`expectation` that bands in cells of 2 × 2 pixels and more have."""
    forecast, above = cascade.mean, STRIDES[-1]
    for level in range(LEVELS - 1, SHORT_WAVES - 1, -1):
        forecast = upsample(forecast, above // STRIDES[level])
        forecast = _with_band(forecast, cascade.bands[level], process, level)
        above = STRIDES[level]
    return forecast


def _with_band(forecast: Tensor, band: Tensor, process: BandProcess, level: int) -> Tensor:
    """Add what a band of the last two frames becomes to the sum of those with longer waves."""
    newest, before = (
        _interpolated(weights[:, level : level + 1], band.shape[-1] // weights.shape[-1])
        for weights in (process.newest, process.before)
    )
    return torch.addcmul(torch.addcmul(forecast, newest, band[:, :1]), before, band[:, 1:2])


def deviation(cascade: RainCascade, process: BandProcess) -> Tensor:  # (B, 1, H/8, W/8)
    """Return the standard deviation of the error of :func:`expectation`, in cells of 8 × 8 pixels."""
    error = upsample(process.error, SIDE // ENERGY_SIDE)
    return torch.sqrt(_OVERLAP * (error * cascade.energy).sum(dim=1, keepdim=True))


def _filled(level: Tensor, finite: Tensor, around: Tensor) -> Tensor:
    """Return frames, the newest first, without gaps."""
    frames = [level[:, :1].where(finite[:, :1], upsample(around))]
    for number in range(1, level.shape[1]):
        part = slice(number, number + 1)
        frames.append(level[:, part].where(finite[:, part], frames[-1]))
    return torch.cat(frames, dim=1)


def _forecast_weights(first: Tensor, second: Tensor, leads: int) -> tuple[Tensor, Tensor]:
    """Return the weights of the last two bands at each lead time, ``(leads, …)``."""
    phi_1, phi_2 = _coefficients(first, second)
    one, zero = torch.ones_like(first), torch.zeros_like(first)
    newest, before = [zero, one], [one, zero]  # leads -1 and 0
    for _ in range(leads):
        for values in (newest, before):
            values.append(phi_1 * values[-1] + phi_2 * values[-2])
    return torch.stack(newest[2:]), torch.stack(before[2:])


def _errors(first: Tensor, second: Tensor, leads: int) -> Tensor:
    """Return the variance of the error at each lead time, relative to that of the band, ``(leads, …)``."""
    phi_1, phi_2 = _coefficients(first, second)
    newest, before = _forecast_weights(first, second, leads)
    correlation = [torch.ones_like(first), first]
    for _ in range(leads):
        correlation.append(phi_1 * correlation[-1] + phi_2 * correlation[-2])
    # A band at lead k has the correlations ρₖ and ρₖ₊₁ with the two bands that it is forecast from.
    explained = newest * torch.stack(correlation[1:-1]) + before * torch.stack(correlation[2:])
    return (1 - explained).clamp(0.0, 1.0)


def _coefficients(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    rest = 1 - first.square()
    return first * (1 - second) / rest, (second - first.square()) / rest


def _lowest_second(first: Tensor) -> Tensor:
    """Return the lowest correlation two frames apart of a process that does not oscillate."""
    square = first.square()
    safe = square.clamp_min(1e-2)
    exact = (3 * safe - 2 + 2 * (1 - safe) ** 1.5) / safe
    return torch.where(square < 1e-2, 0.75 * square, exact)


def _wide_mean(band: Tensor) -> Tensor:
    """Return the means of the cells within a square around each cell, as far as the frame reaches."""
    cells = _WIDE // STRIDES[-1]
    side = 2 * cells + 1
    rows = avg_pool2d(band, (side, 1), 1, (cells, 0), count_include_pad=False)
    return avg_pool2d(rows, (1, side), 1, (0, cells), count_include_pad=False)


def _interpolated(x: Tensor, factor: int) -> Tensor:
    """Interpolate to a finer grid; a single cell stays as it is."""
    return x if x.shape[-2:] == (1, 1) else upsample(x, factor)


def _blur(x: Tensor) -> Tensor:
    """Return binomially weighted means of each pixel and its neighbours."""
    binomial = x.new_tensor([1.0, 2.0, 1.0]) / 4
    kernel = (binomial[:, None] * binomial).expand(x.shape[1], 1, 3, 3)
    return conv2d(pad(x, (1, 1, 1, 1), mode="replicate"), kernel, groups=x.shape[1])
