"""The encoder of the nowcaster: a ConvLSTM over the last frames in patches, and a small U-Net."""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import pad, relu

from stormcell.models.rain_pyramid import log_rain, upsample
from stormcell.nn import ConvLSTM2d

PATCH = 8  # side in pixels of the encoder's pixels


class Encoder(nn.Module):
    """Reads the last frames in patches of 8 × 8 pixels, and then looks around.

    Args:
        inputs: Number of frames.
        conditions: Number of fields that are joined after the frames.
        channels: Channels of all layers.
        recurrent: Whether a ConvLSTM reads the frames one after the other, or one convolution all at once.
    """

    def __init__(self, inputs: int, conditions: int, channels: int, *, recurrent: bool) -> None:
        super().__init__()
        self.patches = nn.Sequential(
            nn.Conv2d(3, 16, 4, stride=4),
            nn.ReLU(),
            nn.Conv2d(16, channels, 3, stride=2, padding=1),
            nn.ReLU(),
        )
        self.frames: nn.Module = (
            ConvLSTM2d(channels, [channels], 3, batch_first=True)
            if recurrent
            else nn.Conv2d(inputs * channels, channels, 3, padding=1)
        )
        self.inputs, self.recurrent = inputs, recurrent
        self.join = nn.Conv2d(channels + conditions, channels, 1)
        self.fine, self.middle, self.coarse = (
            Residual(channels, channels),
            Residual(channels, channels, stride=2),
            Residual(channels, channels, stride=2),
        )
        self.to_middle, self.to_fine = Residual(2 * channels, channels), Residual(2 * channels, channels)

    def forward(
        self,
        rate: Tensor,  # (B, T, H, W) mm/h, NaN where not observed
        conditions: Tensor,  # (B, conditions, H/8, W/8)
    ) -> Tensor:  # (B, channels, H/8, W/8)
        """Return the state that all lead times start from."""
        state = relu(self.join(torch.cat([self._memory(self._frames(rate)), conditions], dim=1)))
        fine = self.fine(state)
        middle = self.middle(fine)
        middle = self.to_middle(torch.cat([middle, upsample(self.coarse(middle))], dim=1))
        joined: Tensor = self.to_fine(torch.cat([fine, upsample(middle)], dim=1))
        return joined

    def _frames(self, rate: Tensor) -> Tensor:  # (B, inputs, channels, H/8, W/8)
        missing = self.inputs - rate.shape[1]
        rate = pad(rate, (0, 0, 0, 0, missing, 0), value=math.nan)  # a negative number drops the oldest
        return torch.stack([self._patches_of(frame) for frame in rate.unbind(1)], dim=1)

    def _patches_of(self, frame: Tensor) -> Tensor:  # (B, H, W) -> (B, channels, H/8, W/8)
        """Return one frame in patches; the layers of all frames of a continent would be too large."""
        observed = frame.isfinite()
        known = frame.where(observed, 0.0)
        layers = [log_rain(known), observed.to(frame.dtype), (known >= 1).to(frame.dtype)]
        patches: Tensor = self.patches(torch.stack(layers, dim=1))
        return patches

    def _memory(self, frames: Tensor) -> Tensor:  # (B, channels, H/8, W/8)
        if self.recurrent:
            memory: Tensor = self.frames(frames)[0][:, -1]
            return memory
        mixed: Tensor = self.frames(frames.flatten(1, 2))
        return relu(mixed)


class Around(nn.Module):
    """Turns the encoder's state into what it says about the pixels at a lead time.

    Args:
        channels: Channels of the state.
        detail_channels: Channels at full resolution.
    """

    def __init__(self, channels: int, detail_channels: int) -> None:
        super().__init__()
        self.conditioning = nn.Sequential(nn.Linear(2, 32), nn.ReLU(), nn.Linear(32, 2 * channels))
        self.decode, self.project = nn.Conv2d(channels, channels, 1), nn.Conv2d(channels, detail_channels, 1)

    def forward(
        self,
        state: Tensor,  # (B, channels, H/8, W/8)
        numbers: Tensor,  # (B, 2): lead time and width of a pixel, as logarithms
    ) -> Tensor:  # (B, detail_channels, H/8, W/8)
        """Return the state at a lead time (FiLM: Perez et al. 2018, arXiv:1709.07871)."""
        scale, shift = self.conditioning(numbers)[:, :, None, None].chunk(2, dim=1)
        projected: Tensor = self.project(relu(self.decode(state) * (1 + scale) + shift))
        return projected


class Residual(nn.Module):
    """Two convolutions beside a shortcut."""

    def __init__(self, in_channels: int, channels: int, stride: int = 1) -> None:
        super().__init__()
        self.first = nn.Conv2d(in_channels, channels, 3, stride, 1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        self.shortcut = nn.Conv2d(in_channels, channels, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, in_channels, H, W)`` to ``(B, channels, H/stride, W/stride)``."""
        return relu(self.shortcut(x) + self.second(relu(self.first(x))))
