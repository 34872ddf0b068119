"""The nowcaster: an encoder–forecaster whose inputs and outputs are rain rates."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, relu

from stormcell.data.scaling import LogScaling
from stormcell.errors import ArgumentError
from stormcell.models.base import Network
from stormcell.models.calibration import Calibration
from stormcell.models.encoder_forecaster import EncoderForecaster

if TYPE_CHECKING:
    from stormcell.models.model_file import Card

_UNSMOOTHED = 5.0  # initial logit of the unsmoothed frame, which then has 98 % of the weight of four frames


class Nowcaster(Network):
    """A network with its scaling and calibration, which takes and returns rain rates.

    The network's inputs are scaled rain, with unobserved pixels as dry, and a mask of the observed pixels.
    For every lead time and pixel it returns a correction b, and weights for copies of the newest frame that
    are smoothed at several scales, one of them unsmoothed::

        y_k = Σ_s softmax(a_k)_s · smooth_s(x_0) + b_k,        R_k = scaling⁻¹(calibration_k(max(y_k, 0)))

    So the finest detail reaches the output without passing through the network's coarser patches. It fades
    with lead time scale by scale, as predictability does (S-PROG: Seed 2003,
    doi:10.1175/1520-0450(2003)042<0381:ADASSA>2.0.CO;2). A negative y is exactly dry. If no input pixel has
    rain, the whole forecast is dry.

    Args:
        scaling: Conversion between mm/h and the network's values.
        steps: Number of lead times in training; each has a separate calibration.
        scales: Widths in pixels, odd, of the boxes that smooth the newest frame.
        network: Arguments of :class:`~stormcell.models.EncoderForecaster` except its channels.

    Example:
        >>> nowcaster = Nowcaster(LogScaling(), steps=5, hidden_channels=[8], kernel_size=3, patch_size=4)
        >>> rate = torch.rand(2, 3, 17, 30)          # (B, T, H, W) mm/h
        >>> nowcaster(rate, steps=5).shape
        torch.Size([2, 5, 17, 30])
        >>> nowcaster(torch.zeros(1, 3, 16, 16), steps=2).max().item()
        0.0
    """

    def __init__(
        self, scaling: LogScaling, *, steps: int, scales: Sequence[int] = (3, 9, 27), **network: Any
    ) -> None:
        super().__init__()
        self.scaling = scaling
        self.calibration = Calibration(steps)
        self.scales = tuple(scales)
        self.network = EncoderForecaster(in_channels=2, out_channels=len(self.scales) + 2, **network)
        self.reset_head()
        self.lay_out()

    @property
    def arguments(self) -> dict[str, Any]:
        """Arguments that build the same network, in JSON's types, without the scaling."""
        return {name: self.network.arguments.get(name, one) for name, one in super().arguments.items()}

    @classmethod
    def from_card(cls, card: "Card") -> Self:
        """Return the nowcaster that a card describes, with initial weights.

        Raises:
            ArgumentError: An argument is missing, unknown or has a value it cannot have; or the card has no
                scaling, or does not describe the frames.
        """
        for name in ("scaling", "nowcasting"):
            if getattr(card, name) is None:
                raise ArgumentError(f"{name}: expected the {name} of a nowcaster, found None")
        assert card.scaling is not None
        return cls(card.scaling, **card.arguments)

    def reset_head(self) -> None:
        """Initialise the head so that the forecast is the newest frame, nearly unsmoothed."""
        head = self.network.head
        assert head.bias is not None
        nn.init.zeros_(head.weight)
        nn.init.zeros_(head.bias)
        with torch.no_grad():
            head.bias[: self.network.patch_size**2] = _UNSMOOTHED

    def lay_out(self) -> None:
        """Store kernels channels-last: a third faster on a CPU, and the layout that tensor cores use."""
        for weight in self.parameters():
            if weight.dim() == 4:
                weight.data = weight.data.contiguous(memory_format=torch.channels_last)

    def forward(
        self,
        rate: Tensor,  # (B, T, H, W) mm/h, NaN where not observed
        steps: int,
        *,
        keep_dry: bool = True,
    ) -> Tensor:  # (B, steps, H, W) mm/h
        """Forecast the ``steps`` frames that follow ``rate``.

        With ``keep_dry`` the forecast from inputs without rain is dry. For a tile of a larger grid it must be
        False, because the rule applies to the whole grid.
        """
        return self.rate(self.scaled(rate, steps, keep_dry=keep_dry))

    def overlap(self, inputs: int, steps: int) -> int:
        """Return how far in pixels a tile must read beyond its edges to be forecast like the whole grid.

        This holds for tiles that begin at multiples of the patch size. The overlap is the radius of the
        receptive field: between an input frame and an output frame, values pass one input convolution per
        layer, either in the encoder or in the forecaster, and one recurrent convolution per step.
        """
        encoder = self.network.encoder
        layers = sum(max(kernel) // 2 for kernel in encoder.kernel_size)
        time = max(max(kernel) // 2 for kernel in encoder.recurrent_kernel_size)
        patches = layers + (inputs - 1 + steps) * time
        return max(patches * self.network.patch_size, max(self.scales, default=1) // 2)

    def rate(
        self,
        scaled: Tensor,  # (B, steps, H, W) from :meth:`scaled`
    ) -> Tensor:  # (B, steps, H, W) mm/h
        """Convert scaled values to calibrated rain rates."""
        calibrated: Tensor = self.calibration(relu(scaled))
        return self.scaling.inverse(calibrated)

    def scaled(
        self,
        rate: Tensor,  # (B, T, H, W) mm/h, NaN where not observed
        steps: int,
        *,
        keep_dry: bool = True,
    ) -> Tensor:  # (B, steps, H, W) scaled; values below zero are dry
        """Forecast scaled values, negative ones included: the loss is computed from these."""
        observed = rate.isfinite()
        x = self.scaling.forward(rate.where(observed, 0.0))
        mask = observed.to(x.dtype)
        head = self.network(torch.stack([x, mask], dim=2), steps=steps).float()  # (B, steps, S + 2, H, W)
        weights = head[:, :, :-1].softmax(dim=2)
        y: Tensor = (weights * self._smoothed(x[:, -1], mask[:, -1])[:, None]).sum(dim=2) + head[:, :, -1]
        if not keep_dry:
            return y
        raining = (x > 0).flatten(1).any(dim=1)
        forecast: Tensor = y.where(raining[:, None, None, None], 0.0)
        return forecast

    def _smoothed(
        self,
        x: Tensor,  # (B, H, W)
        mask: Tensor,  # (B, H, W)
    ) -> Tensor:  # (B, S + 1, H, W)
        """Return the frame and its means over the observed pixels of boxes."""
        frame = x[:, None]
        both = torch.stack([x, mask], dim=1)
        copies = [frame]
        for scale in self.scales:
            mean = avg_pool2d(both, scale, stride=1, padding=scale // 2)
            copies.append(mean[:, :1] / mean[:, 1:].clamp_min(1e-6))
        return torch.cat(copies, dim=1)
