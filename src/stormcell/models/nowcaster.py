"""An encoder–forecaster that takes and gives rain rates."""

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

_UNSMOOTHED = 5.0  # logit of the unsmoothed frame before training: 98 % of the weight of four


class Nowcaster(Network):
    """Rain rates in, rain rates out: scaling, missing pixels and dry weather around a network.

    The network sees scaled rain, unobserved pixels as dry, and a second channel that says which were
    observed. For every lead time and pixel it gives weights over the newest frame smoothed at several
    scales, the unsmoothed one among them, and a correction to add::

        y_k = Σ_s softmax(a_k)_s · smooth_s(x_0) + b_k,        R_k = scaling⁻¹(calibration_k(max(y_k, 0)))

    The finest detail thus reaches the output without passing the network's coarser patches, and fades
    scale by scale with lead time, as predictability does (S-PROG: Seed 2003,
    doi:10.1175/1520-0450(2003)042<0381:ADASSA>2.0.CO;2). Where y is below zero it is exactly dry, and if
    no input pixel has rain, so is all of the forecast.

    Args:
        scaling: From mm/h to the network's numbers and back.
        steps: Lead times it is trained on, each with a calibration of its own.
        scales: Widths in pixels, odd, of the boxes that smooth the newest frame.
        network: Arguments of :class:`~stormcell.models.EncoderForecaster` but for its channels.

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
        """Arguments that build the same network, in JSON's types, but for the scaling."""
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
        """Start from the newest frame repeated, nearly unsmoothed: from there on, training can only gain."""
        head = self.network.head
        assert head.bias is not None
        nn.init.zeros_(head.weight)
        nn.init.zeros_(head.bias)
        with torch.no_grad():
            head.bias[: self.network.patch_size**2] = _UNSMOOTHED

    def lay_out(self) -> None:
        """Keep the kernels channels last: a third faster on a CPU, and what tensor cores want."""
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
        """Forecast ``steps`` frames that follow the last of ``rate``.

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
        scaled: Tensor,  # (B, steps, H, W) as :meth:`scaled` gives it
    ) -> Tensor:  # (B, steps, H, W) mm/h
        """Turn the network's values into rain rates, as frequent as rain is."""
        calibrated: Tensor = self.calibration(relu(scaled))
        return self.scaling.inverse(calibrated)

    def scaled(
        self,
        rate: Tensor,  # (B, T, H, W) mm/h, NaN where not observed
        steps: int,
        *,
        keep_dry: bool = True,
    ) -> Tensor:  # (B, steps, H, W) scaled; what is below zero is dry
        """Forecast in scaled values, before the dry is cut off: what the loss wants to see."""
        observed = rate.isfinite()
        x = self.scaling.forward(rate.where(observed, 0.0))
        seen = observed.to(x.dtype)
        head = self.network(torch.stack([x, seen], dim=2), steps=steps).float()  # (B, steps, S + 2, H, W)
        weights = head[:, :, :-1].softmax(dim=2)
        y: Tensor = (weights * self._smoothed(x[:, -1], seen[:, -1])[:, None]).sum(dim=2) + head[:, :, -1]
        if not keep_dry:
            return y
        raining = (x > 0).flatten(1).any(dim=1)
        cut: Tensor = y.where(raining[:, None, None, None], 0.0)
        return cut

    def _smoothed(
        self,
        x: Tensor,  # (B, H, W)
        seen: Tensor,  # (B, H, W)
    ) -> Tensor:  # (B, S + 1, H, W)
        """The frame itself and its means over boxes of observed pixels."""
        frame = x[:, None]
        both = torch.stack([x, seen], dim=1)
        copies = [frame]
        for scale in self.scales:
            mean = avg_pool2d(both, scale, stride=1, padding=scale // 2)
            copies.append(mean[:, :1] / mean[:, 1:].clamp_min(1e-6))
        return torch.cat(copies, dim=1)
