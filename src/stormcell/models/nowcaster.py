"""The nowcaster: a predictive distribution of the rain rate at every pixel and lead time."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import pad, relu

from stormcell.errors import ArgumentError
from stormcell.models.base import Network
from stormcell.models.exceedance import THRESHOLDS, exceedance_logits, log_thresholds
from stormcell.models.patch_encoder import PATCH, Around, Encoder
from stormcell.models.rain_bands import LEVELS
from stormcell.models.rain_cascade import (
    CELL,
    ENERGY_SIDE,
    BandProcess,
    RainCascade,
    correlations,
    decompose,
    deviation,
    expectation,
    expectation_in_cells,
    fit_process,
)
from stormcell.models.rain_pyramid import (
    DRY,
    SIDE,
    SURROUNDINGS,
    Area,
    RainPyramid,
    from_afar,
    joined,
    padding,
    part_of,
    surroundings,
    upsample,
    upsample_part,
)

LEAST_INPUTS = 3  # frames that the cascade needs
SHORTEST_STEP, LONGEST_STEP = 2.0, 15.0  # minutes between frames
SMALLEST_PIXEL, LARGEST_PIXEL = 0.5, 2.0  # km

_LEAST_DEVIATION = 0.05  # of logarithmic rain: no forecast is more certain than a radar's own errors
_CLEAR_VARIANCE = 1e-3  # of a band whose correlations say more than those of typical rain
# Two expectations, deviation, the last rain in and around a cell, lead, step and pixel.
_FEATURES = 3 + SURROUNDINGS + 3
_CONDITIONS = 4 * LEVELS + 2  # correlations, variance and its trend by level; step and pixel


@dataclass(frozen=True)
class Scene:
    """All that the forecasts of the lead times of one issue time share.

    Attributes:
        pyramid: The last frames from afar.
        cascade: The bands of the last frames.
        process: The coefficients of their forecast, by neighbourhood.
        whole: The coefficients of their forecast, one for the whole frame.
        surroundings: The last rain in and around cells of 2 × 2 pixels ``(B, C, H/2, W/2)``.
        state: The encoder's state ``(B, C, H/8, W/8)``; None without an encoder.
        step_minutes: Time between frames ``(B,)``.
        pixel_km: Width of a pixel ``(B,)``.
        size: Rows and columns of the frames, without padding.
    """

    pyramid: RainPyramid
    cascade: RainCascade
    process: BandProcess
    whole: BandProcess
    surroundings: Tensor
    state: Tensor | None
    step_minutes: Tensor
    pixel_km: Tensor
    size: tuple[int, int]


@dataclass(frozen=True)
class FirstGuess:
    """The distribution of a lead time before the thresholds are corrected.

    Attributes:
        mean: The cascade's forecast of logarithmic rain ``(B, 1, H, W)``.
        whole_mean: The same by the coefficients of the whole frame, in cells ``(B, 1, H/2, W/2)``.
        spread: Standard deviation of its error ``(B, 1, H/8, W/8)``.
        minutes: Lead time ``(B,)``.
        around: What the encoder's state says ``(B, C, H/8, W/8)``; None without an encoder.
    """

    mean: Tensor
    whole_mean: Tensor
    spread: Tensor
    minutes: Tensor
    around: Tensor | None


class Nowcaster(Network):
    """A network that forecasts probabilities of exceeding rain rates, in coordinates that move with the rain.

    A local cascade (:mod:`~stormcell.models.rain_cascade`) forecasts every scale of the rain by an
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
        # Not by assigning None, which would be taken for the argument "encoder" when the network is saved.
        self.register_module("encoder", None)
        self.register_module("around", None)
        if encoder != "none":
            self.encoder = Encoder(inputs, _CONDITIONS, channels, recurrent=encoder == "convlstm")
            self.around = Around(channels, detail_channels)
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
        leads = torch.arange(1, steps + 1, device=rate.device)[:, None].expand(-1, rate.shape[0])
        return torch.stack([self.logits(scene, lead) for lead in leads], dim=1)

    def read(self, rate: Tensor, step_minutes: Tensor, pixel_km: Tensor, steps: int) -> Scene:
        """Read the frames: all that does not depend on the lead time. The arguments are those of a call."""
        size = (rate.shape[-2], rate.shape[-1])
        rate = pad(rate, (0, padding(size[1]), 0, padding(size[0])), value=math.nan)
        with torch.autocast(rate.device.type, enabled=False):
            pyramid = from_afar(rate)
            cascade = decompose(rate, pyramid)
            process = fit_process(cascade.moments, step_minutes, steps)
            whole = fit_process(cascade.whole_moments, step_minutes, steps)
            conditions = _conditions(cascade, step_minutes, pixel_km)
            around = surroundings(pyramid)
        state = None if self.encoder is None else self.encoder(rate, conditions)
        return Scene(pyramid, cascade, process, whole, around, state, step_minutes, pixel_km, size)

    def logits(
        self,
        scene: Scene,
        lead: Tensor,  # (B,) number of time steps ahead, from 1 to the scene's
    ) -> Tensor:  # (B, K, H, W)
        """Return the logits of exceedance at one lead time of each example."""
        rows, cols = scene.size
        return self.logits_in(scene, self.first_guess(scene, lead), (slice(0, rows), slice(0, cols)))

    def first_guess(
        self,
        scene: Scene,
        lead: Tensor,
        expected: Callable[[RainCascade, BandProcess], Tensor] = expectation,
    ) -> FirstGuess:
        """Return the first guess of one lead time of each example, as in :meth:`logits`.

        ``expected`` computes what :func:`~stormcell.models.rain_cascade.expectation` does.
        """
        with torch.autocast(lead.device.type, enabled=False):
            process = scene.process.at(lead)
            mean = expected(scene.cascade, process)
            whole_mean = expectation_in_cells(scene.cascade, scene.whole.at(lead))
            spread = deviation(scene.cascade, process)
            spread = torch.sqrt(spread.square() + _LEAST_DEVIATION**2)
            minutes = lead * scene.step_minutes
        around = None
        if self.around is not None and scene.state is not None:
            numbers = torch.stack([_lead_number(minutes), _pixel_number(scene.pixel_km)], dim=1)
            around = self.around(scene.state, numbers)
        return FirstGuess(mean, whole_mean, spread, minutes, around)

    def logits_in(self, scene: Scene, guess: FirstGuess, area: Area) -> Tensor:  # (B, K, rows, cols)
        """Return the logits of exceedance in an area of the frames, whose first row and column are even."""
        cells = _cells(area, (guess.mean.shape[-2], guess.mean.shape[-1]))
        rows, cols = (
            slice(pixels.start - cell.start * CELL, pixels.stop - cell.start * CELL)
            for pixels, cell in zip(area, cells, strict=True)
        )
        at = upsample(self.cell_thresholds(scene, guess, cells), CELL)[..., rows, cols]
        mean, spread = part_of(guess.mean, area), upsample_part(guess.spread, ENERGY_SIDE, area)
        if not self.cascade:
            mean, spread = torch.full_like(mean, DRY), torch.ones_like(mean)
        return exceedance_logits(mean, spread, at)

    def cell_thresholds(self, scene: Scene, guess: FirstGuess, cells: Area) -> Tensor:  # (B, K, rows, cols)
        """Return the logarithms of the corrected thresholds in an area of cells of 2 × 2 pixels."""
        with torch.autocast(guess.mean.device.type, enabled=False):
            features = cell_features(scene, guess, cells)
        hidden = self.pixel(features)
        if guess.around is not None:
            hidden = hidden + upsample_part(guess.around, PATCH // CELL, cells)
        correction = self.correction(relu(self.join(relu(hidden)))).to(guess.mean.dtype)
        return log_thresholds(correction, self.thresholds)


def _cells(area: Area, size: tuple[int, int]) -> Area:
    """Return the cells of 2 × 2 pixels that an area depends on: its own, and one more on each side."""
    rows, cols = (
        slice(max(part.start // CELL - 1, 0), min(-(-part.stop // CELL) + 1, length // CELL))
        for part, length in zip(area, size, strict=True)
    )
    return rows, cols


def cell_features(scene: Scene, guess: FirstGuess, cells: Area) -> Tensor:
    """Return what is known at and around cells of 2 × 2 pixels, ``(B, features, rows, cols)``."""
    rows, cols = (slice(cell.start * CELL, cell.stop * CELL) for cell in cells)
    mean = joined(guess.mean[..., rows, cols])
    whole = 3 * (part_of(guess.whole_mean, cells) - mean)
    numbers = (_lead_number(guess.minutes), _step_number(scene.step_minutes), _pixel_number(scene.pixel_km))
    constants = [number[:, None, None, None].expand_as(mean) for number in numbers]
    spread = 2 * upsample_part(guess.spread, ENERGY_SIDE // CELL, cells)
    return torch.cat([mean, whole, spread, part_of(scene.surroundings, cells), *constants], dim=1)


def _conditions(cascade: RainCascade, step_minutes: Tensor, pixel_km: Tensor) -> Tensor:
    """Return what the cascade says about predictability, ``(B, conditions, H/8, W/8)``."""
    first, second = correlations(cascade.moments, step_minutes, _CLEAR_VARIANCE)
    newest, before = cascade.moments[:, :, 0] + 1e-4, cascade.moments[:, :, 1] + 1e-4
    fields = torch.cat([first, second, torch.log10(newest) / 2 + 1, torch.log(newest / before)], dim=1)
    fields = upsample(fields, SIDE // ENERGY_SIDE)
    numbers = (_step_number(step_minutes), _pixel_number(pixel_km))
    constants = [number[:, None, None, None].expand_as(fields[:, :1]) for number in numbers]
    return torch.cat([fields, *constants], dim=1)


def _lead_number(minutes: Tensor) -> Tensor:
    return torch.log(minutes / 20)


def _step_number(minutes: Tensor) -> Tensor:
    return torch.log(minutes / 5)


def _pixel_number(pixel_km: Tensor) -> Tensor:
    return torch.log(pixel_km) * 3
