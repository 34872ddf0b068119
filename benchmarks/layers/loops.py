"""The usual loops: concatenate input and state, convolve, split into gates, stack the outputs.

Sequences are ``(T, B, C, *space)``. Peepholes, which most copies leave out, are there if asked for.
"""

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.layers.cases import FLOW_CHANNELS, FLOW_KERNEL, FLOWS, Case

State = tuple[Tensor, ...]
Place = tuple[Tensor, slice | None]  # a parameter, and some of its input channels or None for all
_CONVOLUTION: tuple[type[nn.Module], ...] = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


def _convolution(axes: int, inputs: int, outputs: int, kernel: int) -> Any:
    kind: Callable[..., nn.Module] = _CONVOLUTION[axes - 1]
    return kind(inputs, outputs, kernel, padding=kernel // 2)


class LSTMCell(nn.Module):
    """A step of a ConvLSTM: one convolution of input and state, concatenated."""

    states = 2

    def __init__(self, case: Case, inputs: int, channels: int) -> None:
        super().__init__()
        self.channels = channels
        axes = len(case.size)
        self.conv = _convolution(axes, inputs + channels, 4 * channels, case.kernel_size)
        self.peephole = nn.Parameter(torch.zeros(3, channels, *(1,) * axes)) if case.peephole else None

    def forward(self, x: Tensor, h: Tensor, c: Tensor) -> State:
        """Return the new h and c."""
        z = self.conv(torch.cat([x, h], dim=1))
        i, f, g, o = torch.split(z, self.channels, dim=1)
        if self.peephole is not None:
            i = i + self.peephole[0] * c
            f = f + self.peephole[1] * c
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        if self.peephole is not None:
            o = o + self.peephole[2] * c
        h = torch.sigmoid(o) * torch.tanh(c)
        return h, c

    def tensors(self) -> dict[str, Place]:
        """Return our weights by name, as parts of its own."""
        weight = self.conv.weight
        inputs = weight.shape[1] - self.channels
        where: dict[str, Place] = {
            "weight_ih": (weight, slice(0, inputs)),
            "weight_hh": (weight, slice(inputs, None)),
            "bias": (self.conv.bias, None),
        }
        return where | ({} if self.peephole is None else {"peephole": (self.peephole, None)})


class GRUCell(nn.Module):
    """A step of a ConvGRU, reset gate after the convolution; input and state are convolved separately."""

    states = 1

    def __init__(self, case: Case, inputs: int, channels: int) -> None:
        super().__init__()
        axes = len(case.size)
        self.of_x = _convolution(axes, inputs, 3 * channels, case.kernel_size)
        self.of_h = _convolution(axes, channels, 3 * channels, case.kernel_size)

    def forward(self, x: Tensor, h: Tensor) -> State:
        """Return the new h."""
        return (_gru(self.of_x(x), self.of_h(h), h, torch.tanh),)

    def tensors(self) -> dict[str, Place]:
        """See :meth:`LSTMCell.tensors`."""
        return _whole({"ih": self.of_x, "hh": self.of_h})


class TrajGRUCell(nn.Module):
    """A step of a TrajGRU, flow by flow."""

    states = 1

    def __init__(self, case: Case, inputs: int, channels: int) -> None:
        super().__init__()
        self.of_x = _convolution(2, inputs, 3 * channels, case.kernel_size)
        self.flow_of_x = _convolution(2, inputs, FLOW_CHANNELS, FLOW_KERNEL)
        self.flow_of_h = _convolution(2, channels, FLOW_CHANNELS, FLOW_KERNEL)
        self.flows = _convolution(2, FLOW_CHANNELS, 2 * FLOWS, FLOW_KERNEL)
        self.of_moved = _convolution(2, FLOWS * channels, 3 * channels, 1)

    def forward(self, x: Tensor, h: Tensor) -> State:
        """Return the new h."""
        flows = self.flows(F.leaky_relu(self.flow_of_x(x) + self.flow_of_h(h), 0.2)).float()
        moved = torch.cat([_moved(h, flow) for flow in torch.split(flows, 2, dim=1)], dim=1)
        return (_gru(self.of_x(x), self.of_moved(moved), h, lambda n: F.leaky_relu(n, 0.2)),)

    def tensors(self) -> dict[str, Place]:
        """See :meth:`LSTMCell.tensors`."""
        gates = _whole({"ih": self.of_x, "hh": self.of_moved})
        flows = _whole({"ih": self.flow_of_x, "hh": self.flow_of_h})
        last: dict[str, Place] = {
            "flow_weight": (self.flows.weight, None),
            "flow_bias": (self.flows.bias, None),
        }
        return gates | {f"flow_{name}": where for name, where in flows.items()} | last


def _whole(convolutions: dict[str, Any]) -> dict[str, Place]:
    return {
        f"{what}_{name}": (getattr(convolution, what), None)
        for name, convolution in convolutions.items()
        for what in ("weight", "bias")
    }


def _gru(of_x: Tensor, of_h: Tensor, h: Tensor, activation: Callable[[Tensor], Tensor]) -> Tensor:
    x_r, x_z, x_n = torch.chunk(of_x, 3, dim=1)
    h_r, h_z, h_n = torch.chunk(of_h, 3, dim=1)
    r, z = torch.sigmoid(x_r + h_r), torch.sigmoid(x_z + h_z)
    n = activation(x_n + r * h_n)
    return (1 - z) * n + z * h


def _moved(h: Tensor, flow: Tensor) -> Tensor:
    """Sample the image at the origin of each pixel's flow (dx, dy), in pixels."""
    height, width = h.shape[2:]
    rows = torch.arange(height, device=h.device, dtype=flow.dtype).reshape(-1, 1)
    columns = torch.arange(width, device=h.device, dtype=flow.dtype)
    across = 2 * (columns - flow[:, 0]) / (width - 1) - 1
    down = 2 * (rows - flow[:, 1]) / (height - 1) - 1
    return F.grid_sample(h, torch.stack([across, down], dim=-1).to(h.dtype), align_corners=True)


Cell = LSTMCell | GRUCell | TrajGRUCell

_CELLS: dict[str, type[LSTMCell] | type[GRUCell] | type[TrajGRUCell]] = {
    "conv_lstm": LSTMCell,
    "conv_gru": GRUCell,
    "traj_gru": TrajGRUCell,
}


class Loop(nn.Module):
    """A stack of layers, each with a loop over time."""

    def __init__(self, case: Case) -> None:
        super().__init__()
        self.channels = case.hidden_channels
        self.cells = nn.ModuleList(_CELLS[case.kind](case, *layer) for layer in case.layers)

    def steps(self) -> list[Cell]:
        """Return the cells with their type, which a ModuleList does not have."""
        return cast("list[Cell]", list(self.cells))

    def forward(self, x: Tensor, states: Sequence[State] | None = None) -> tuple[Tensor, list[State]]:
        """Return h of the last layer at every step, and the last state of each layer."""
        last: list[State] = []
        for number, cell in enumerate(self.steps()):
            if states is None:
                zeros = x.new_zeros(x.shape[1], self.channels[number], *x.shape[3:])
                state: State = (zeros,) * cell.states
            else:
                state = states[number]
            outputs = []
            for t in range(x.shape[0]):
                state = cell(x[t], *state)
                outputs.append(state[0])
            x = torch.stack(outputs)
            last.append(state)
        return x, last
