"""The nowcaster: a predictive distribution of the rain rate at every pixel and lead time."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, pad, relu

from stormcell.errors import ArgumentError
from stormcell.models.base import Network
from stormcell.models.exceedance import THRESHOLDS, exceedance_logits, log_thresholds
from stormcell.models.patch_encoder import PATCH, Around, Encoder
from stormcell.models.rain_pyramid import (
    DRY,
    ENERGY_SIDE,
    LEVELS,
    SIDE,
    PyramidProcess,
    RainPyramid,
    correlations,
    decompose,
    deviation,
    expectation,
    fit_process,
    padding,
    upsample,
)

LEAST_INPUTS = 3  # frames that the cascade needs
SHORTEST_STEP, LONGEST_STEP = 2.0, 15.0  # minutes between frames
SMALLEST_PIXEL, LARGEST_PIXEL = 0.5, 2.0  # km

_DETAIL = 2  # side in pixels of the pixels whose thresholds are corrected
_MARGIN = 2 * SIDE  # rows beyond a part of a scene that its logits depend on
_LEAST_DEVIATION = 0.05  # of logarithmic rain: no forecast is more certain than a radar's own errors
_TREND_LEVELS = (3, 5)
_LOW_LEVELS = (2, 3, 4, 5)
# Expectation, deviation, two frames, their low-pass filtered rain and its trend, lead time, step and pixel.
_FEATURES = 4 + len(_LOW_LEVELS) + len(_TREND_LEVELS) + 3
_CONDITIONS = 4 * LEVELS + 2  # correlations, variance and its trend by level; step and pixel


@dataclass(frozen=True)
class Scene:
    """All that the forecasts of the lead times of one issue time share.

    Attributes:
        cascade: The bands of the last frames.
        process: The coefficients of their forecast.
        state: The encoder's state ``(B, C, H/8, W/8)``; None without an encoder.
        step_minutes: Time between frames ``(B,)``.
        pixel_km: Width of a pixel ``(B,)``.
        size: Rows and columns of the frames, without padding.
        above: Rows of padding above the frames; see :meth:`part`.
    """

    cascade: RainPyramid
    process: PyramidProcess
    state: Tensor | None
    step_minutes: Tensor
    pixel_km: Tensor
    size: tuple[int, int]
    above: int = 0

    def part(self, rows: slice) -> "Scene":
        """Return the part of the scene that the logits of some rows depend on.

        Args:
            rows: Rows of the frames; the first is a multiple of 64.
        """
        first = max(rows.start - _MARGIN, 0)
        last = rows.stop + padding(rows.stop) + _MARGIN

        def cut(field: Tensor, side: int) -> Tensor:
            return field[..., first // side : last // side, :]

        cascade, process = self.cascade, self.process
        return Scene(
            RainPyramid(
                cut(cascade.seen, _DETAIL),
                tuple(cut(low, 2**level) for level, low in enumerate(cascade.lows, 1)),
                tuple(cut(band, 2**level) for level, band in enumerate(cascade.bands)),
                cut(cascade.energy, ENERGY_SIDE),
                cut(cascade.moments, SIDE),
            ),
            PyramidProcess(*(cut(each, SIDE) for each in (process.newest, process.before, process.error))),
            None if self.state is None else cut(self.state, PATCH),
            self.step_minutes,
            self.pixel_km,
            (rows.stop - rows.start, self.size[1]),
            rows.start - first,
        )


class Nowcaster(Network):
    """A network that forecasts probabilities of exceeding rain rates, in coordinates that move with the rain.

    A local cascade (:mod:`~stormcell.models.rain_pyramid`) forecasts every scale of the rain by an
    autoregressive process, as S-PROG does. Its expectation and the deviation of its error give a first
    distribution of the rain rate at every pixel. It is corrected by shifting and stretching the scale of the
    thresholds, in cells of 2 × 2 pixels. The layers that find the correction see the cascade's forecast, the
    last rain at and around a cell, and the state of an encoder there. In the encoder, a ConvLSTM reads the
    last frames in patches, and a small U-Net looks around. The last layer begins at zero, so that the
    forecast begins as that of the cascade.

    The lead time and the time step in minutes, and the width of a pixel in km, are inputs. So one network
    serves several of them.

    Args:
        inputs: Number of frames that the encoder reads, ≥ 3. Where fewer are given, the older ones count as
            not observed.
        thresholds: Rain rates in mm/h, ascending.
        channels: Channels of the encoder.
        detail_channels: Channels of the layers that correct cells.
        encoder: ``"convlstm"``, or ``"convolution"`` for one convolution over the frames together, or
            ``"none"``.
        cascade: Whether the first distribution is that of the cascade, or else one that knows nothing.

    Raises:
        ArgumentError: ``inputs`` is less than 3, ``thresholds`` are not ascending, or ``encoder`` is unknown.

    Example:
        >>> nowcaster = Nowcaster(channels=8)
        >>> rate = torch.rand(2, 6, 70, 100)          # (B, T, H, W) mm/h
        >>> step, pixel = torch.tensor([5.0, 2.0]), torch.tensor([1.0, 0.5])
        >>> nowcaster(rate, step, pixel, steps=3).shape
        torch.Size([2, 3, 14, 70, 100])
    """

    def __init__(
        self,
        *,
        inputs: int = 4,
        thresholds: Sequence[float] = THRESHOLDS,
        channels: int = 48,
        detail_channels: int = 32,
        encoder: str = "convlstm",
        cascade: bool = True,
    ) -> None:
        super().__init__()
        if inputs < LEAST_INPUTS:
            raise ArgumentError(f"inputs: expected {LEAST_INPUTS} or more, found {inputs}")
        self.thresholds = tuple(float(threshold) for threshold in thresholds)
        if any(not low < high for low, high in zip(self.thresholds, self.thresholds[1:], strict=False)):
            raise ArgumentError(f"thresholds: expected ascending rates, found {self.thresholds}")
        if encoder not in ("convlstm", "convolution", "none"):
            raise ArgumentError(f'encoder: expected "convlstm", "convolution" or "none", found "{encoder}"')
        self.cascade = cascade
        self.encoder = (
            None
            if encoder == "none"
            else Encoder(inputs, _CONDITIONS, channels, recurrent=encoder == "convlstm")
        )
        self.around = None if encoder == "none" else Around(channels, detail_channels)
        self.pixel = nn.Conv2d(_FEATURES, detail_channels, 1)
        self.join = nn.Conv2d(detail_channels, detail_channels, 1)
        self.correction = nn.Conv2d(detail_channels, len(self.thresholds), 1)
        self.start_at_cascade()
        self.lay_out()

    def start_at_cascade(self) -> None:
        """Set the last layer to zero."""
        assert self.correction.bias is not None
        nn.init.zeros_(self.correction.weight)
        nn.init.zeros_(self.correction.bias)

    def lay_out(self) -> None:
        """Store kernels channels-last, which is faster on a CPU and the layout that tensor cores use."""
        for weight in self.parameters():
            if weight.dim() == 4:
                weight.data = weight.data.contiguous(memory_format=torch.channels_last)

    def forward(
        self,
        rate: Tensor,  # (B, T, H, W) mm/h in moving coordinates, NaN where not observed; T ≥ 3
        step_minutes: Tensor,  # (B,)
        pixel_km: Tensor,  # (B,)
        steps: int,
    ) -> Tensor:  # (B, steps, K, H, W)
        """Return the logits of exceedance for the ``steps`` frames that follow ``rate``."""
        scene = self.read(rate, step_minutes, pixel_km, steps)
        leads = torch.arange(1, steps + 1, device=rate.device)[:, None].expand(-1, len(rate))
        return torch.stack([self.logits(scene, lead) for lead in leads], dim=1)

    def read(self, rate: Tensor, step_minutes: Tensor, pixel_km: Tensor, steps: int) -> Scene:
        """Read the frames: all that does not depend on the lead time. The arguments are those of a call."""
        size = (rate.shape[-2], rate.shape[-1])
        rate = pad(rate, (0, padding(size[1]), 0, padding(size[0])), value=math.nan)
        with torch.autocast(rate.device.type, enabled=False):
            cascade = decompose(rate)
            process = fit_process(cascade.moments, step_minutes, steps)
            conditions = _conditions(cascade, step_minutes, pixel_km)
        state = None if self.encoder is None else self.encoder(rate, conditions)
        return Scene(cascade, process, state, step_minutes, pixel_km, size)

    def logits(
        self,
        scene: Scene,
        lead: Tensor,  # (B,) number of time steps ahead, from 1 to the scene's
    ) -> Tensor:  # (B, K, H, W)
        """Return the logits of exceedance at one lead time of each example."""
        with torch.autocast(lead.device.type, enabled=False):
            process = scene.process.at(lead)
            mean = expectation(scene.cascade, process)
            spread = deviation(scene.cascade, process)
            spread = torch.sqrt(spread.square() + _LEAST_DEVIATION**2)
            minutes = lead * scene.step_minutes
            features = _features(scene, mean, spread, minutes)
        hidden = self.pixel(features)
        if self.around is not None and scene.state is not None:
            numbers = torch.stack([_lead_number(minutes), _pixel_number(scene.pixel_km)], dim=1)
            around = self.around(scene.state, numbers)
            hidden = hidden + upsample(around, PATCH // _DETAIL)
        correction = self.correction(relu(self.join(relu(hidden)))).to(mean.dtype)
        inside = slice(scene.above, scene.above + scene.size[0]), slice(scene.size[1])
        at = upsample(log_thresholds(correction, self.thresholds), _DETAIL)[..., *inside]
        mean, spread = mean[..., *inside], upsample(spread, ENERGY_SIDE)[..., *inside]
        if not self.cascade:
            mean, spread = torch.full_like(mean, DRY), torch.ones_like(mean)
        return exceedance_logits(mean, spread, at)


def _features(scene: Scene, mean: Tensor, spread: Tensor, minutes: Tensor) -> Tensor:
    """Return what is known at and around pixels of twice the size, ``(B, features, H/2, W/2)``."""
    lows = scene.cascade.lows
    newest, before = lows[0][:, :1], lows[0][:, 1:2]
    before = torch.where(scene.cascade.seen, before, newest)
    around = [upsample(lows[level - 1][:, :1], 2**level // _DETAIL) for level in _LOW_LEVELS]
    trends = [
        upsample(lows[level - 1][:, :1] - lows[level - 1][:, 1:2], 2**level // _DETAIL) * 3
        for level in _TREND_LEVELS
    ]
    mean = avg_pool2d(mean, _DETAIL)
    numbers = (_lead_number(minutes), _step_number(scene.step_minutes), _pixel_number(scene.pixel_km))
    constants = [number[:, None, None, None].expand_as(mean) for number in numbers]
    spread = 2 * upsample(spread, ENERGY_SIDE // _DETAIL)
    return torch.cat([mean, spread, newest, before, *around, *trends, *constants], dim=1)


def _conditions(cascade: RainPyramid, step_minutes: Tensor, pixel_km: Tensor) -> Tensor:
    """Return what the cascade says about predictability, ``(B, conditions, H/8, W/8)``."""
    first, second = correlations(cascade.moments, step_minutes)
    newest, before = cascade.moments[:, :, 0] + 1e-4, cascade.moments[:, :, 1] + 1e-4
    fields = torch.cat([first, second, torch.log10(newest) / 2 + 1, torch.log(newest / before)], dim=1)
    fields = upsample(fields, cascade.energy.shape[-1] // fields.shape[-1])
    numbers = (_step_number(step_minutes), _pixel_number(pixel_km))
    constants = [number[:, None, None, None].expand_as(fields[:, :1]) for number in numbers]
    return torch.cat([fields, *constants], dim=1)


def _lead_number(minutes: Tensor) -> Tensor:
    return torch.log(minutes / 20)


def _step_number(minutes: Tensor) -> Tensor:
    return torch.log(minutes / 5)


def _pixel_number(pixel_km: Tensor) -> Tensor:
    return torch.log(pixel_km) * 3
