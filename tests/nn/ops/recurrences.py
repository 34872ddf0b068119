"""The recurrences of the conformance suite: their sizes, arguments, back ends, and usual loops."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from stormcell import nn
from stormcell.nn.activations import leaky_relu
from stormcell.nn.ops.driver import Op
from stormcell.nn.ops.gru import fused as gru
from stormcell.nn.ops.lstm import fused as lstm
from stormcell.nn.ops.traj_gru import fused as traj_gru
from stormcell.nn.ops.types import CallSpec, GRUWeights, LSTMWeights, TrajGRUWeights, Variant


def numbers(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class Size(NamedTuple):
    """The sizes of a call."""

    steps: int = 3
    batch: int = 2
    inputs: int = 2
    channels: int = 3
    space: tuple[int, ...] = (5, 4)
    kernel: tuple[int, ...] = (3, 3)  # of the input convolution
    recurrent_kernel: tuple[int, ...] | None = None  # of the other one; None is the same
    flows: int = 3
    flow_channels: int = 4
    flow_kernel: tuple[int, ...] = (3, 3)


_SMALL_SIZE = Size()


def lstm_shapes(s: Size) -> dict[str, tuple[int, ...] | None]:
    c = 4 * s.channels
    return {
        "weight_ih": (c, s.inputs, *s.kernel) if s.inputs else None,
        "weight_hh": (c, s.channels, *(s.kernel if s.recurrent_kernel is None else s.recurrent_kernel)),
        "bias": (c,),
        "peephole": (3, s.channels),
    }


def gru_shapes(s: Size) -> dict[str, tuple[int, ...] | None]:
    c = 3 * s.channels
    return {
        "weight_ih": (c, s.inputs, *s.kernel) if s.inputs else None,
        "weight_hh": (c, s.channels, *(s.kernel if s.recurrent_kernel is None else s.recurrent_kernel)),
        "bias_ih": (c,) if s.inputs else None,
        "bias_hh": (c,),
    }


def traj_gru_shapes(s: Size) -> dict[str, tuple[int, ...] | None]:
    f, k = s.flow_channels, s.flow_kernel
    return gru_shapes(s) | {
        "weight_hh": (3 * s.channels, s.flows * s.channels, 1, 1),
        "flow_weight_ih": (f, s.inputs, *k) if s.inputs else None,
        "flow_bias_ih": (f,) if s.inputs else None,
        "flow_weight_hh": (f, s.channels, *k),
        "flow_bias_hh": (f,),
        "flow_weight": (2 * s.flows, f, *k),
        "flow_bias": (2 * s.flows,),
    }


def lstm_loop(x: Tensor, state: Any, w: LSTMWeights, *_: Any) -> Any:
    """The loop of most implementations: one convolution over [x, h], with autocast's choice of dtypes."""
    (h, c), weight = state, torch.cat([w.weight_ih, w.weight_hh], dim=1)
    w_ci, w_cf, w_co = w.peephole[..., None, None]
    outputs = []
    for x_t in x:
        z = functional.conv2d(torch.cat([x_t, h], dim=1), weight, w.bias, padding="same")
        i, f, g, o = z.chunk(4, dim=1)
        i, f = torch.sigmoid(i + w_ci * c), torch.sigmoid(f + w_cf * c)
        c = f * c + i * torch.tanh(g)
        h = torch.sigmoid(o + w_co * c) * torch.tanh(c)
        outputs.append(h)
    return torch.stack(outputs), (h, c)


def gru_loop(x: Tensor, state: Any, w: GRUWeights, variant: Variant, _: Any) -> Any:
    """The loop of most implementations, with autocast's choice of dtypes."""
    (h,), c, convolve = state, state[0].shape[1], partial(functional.conv2d, padding="same")
    outputs = []
    for x_t in x:
        x_r, x_z, x_n = convolve(x_t, w.weight_ih, w.bias_ih).chunk(3, dim=1)
        if variant.reset == "after":
            h_r, h_z, h_n = convolve(h, w.weight_hh, w.bias_hh).chunk(3, dim=1)
        else:
            h_r, h_z = convolve(h, w.weight_hh[: 2 * c], w.bias_hh[: 2 * c]).chunk(2, dim=1)
        r, z = torch.sigmoid(x_r + h_r), torch.sigmoid(x_z + h_z)
        if variant.reset == "after":
            n = torch.tanh(x_n + r * h_n)
        else:
            n = torch.tanh(x_n + convolve(r * h, w.weight_hh[2 * c :], w.bias_hh[2 * c :]))
        h = (1 - z) * n + z * h
        outputs.append(h)
    return torch.stack(outputs), (h,)


def traj_gru_loop(x: Tensor, state: Any, w: TrajGRUWeights, variant: Variant, _: Any) -> Any:
    """The loop of most implementations, with autocast's choice of dtypes."""
    (h,), convolve = state, partial(functional.conv2d, padding="same")
    height, width = h.shape[2:]
    axes = torch.arange(height, dtype=h.dtype), torch.arange(width, dtype=h.dtype)
    row, column = torch.meshgrid(*axes, indexing="ij")
    outputs = []
    for x_t in x:
        hidden = convolve(x_t, w.flow_weight_ih, w.flow_bias_ih)
        hidden = hidden + convolve(h, w.flow_weight_hh, w.flow_bias_hh)
        flow = convolve(functional.leaky_relu(hidden, 0.2), w.flow_weight, w.flow_bias)
        warped = []
        for pair in flow.split(2, dim=1):
            place_x = 2 * (column - pair[:, 0]) / max(width - 1, 1) - 1
            place_y = 2 * (row - pair[:, 1]) / max(height - 1, 1) - 1
            grid = torch.stack([place_x, place_y], dim=-1)
            warped.append(functional.grid_sample(h, grid, align_corners=variant.align_corners))
        x_r, x_z, x_n = convolve(x_t, w.weight_ih, w.bias_ih).chunk(3, dim=1)
        h_r, h_z, h_n = convolve(torch.cat(warped, dim=1), w.weight_hh, w.bias_hh).chunk(3, dim=1)
        r, z = torch.sigmoid(x_r + h_r), torch.sigmoid(x_z + h_z)
        h = (1 - z) * functional.leaky_relu(x_n + r * h_n, 0.2) + z * h
        outputs.append(h)
    return torch.stack(outputs), (h,)


class Recurrence(NamedTuple):
    """A recurrence with its two back ends, and how to call them."""

    name: str
    fused: Op
    reference: Op
    loop: Op  # as written by others
    weights: Any
    states: tuple[str, ...]
    shapes: Callable[[Size], dict[str, tuple[int, ...] | None]]
    variant: Variant
    layer: Any
    options: dict[str, Any]

    @property
    def names(self) -> tuple[str, ...]:
        return "x", *self.states, *self.shapes(Size())

    @property
    def results(self) -> tuple[str, ...]:
        return "output", *(f"{state}_n" for state in self.states)

    def arguments(
        self,
        size: Size = _SMALL_SIZE,
        *,
        without: tuple[str, ...] = (),
        draw: int = 0,
        dtype: torch.dtype = torch.float64,
    ) -> dict[str, Tensor | None]:
        """Random arguments by name; those which begin with one of ``without`` are None."""
        shapes: dict[str, Any] = {
            "x": (size.steps, size.batch, size.inputs, *size.space) if size.inputs else None
        }
        shapes |= dict.fromkeys(self.states, (size.batch, size.channels, *size.space)) | self.shapes(size)
        given: dict[str, Tensor | None] = {}
        for seed, (name, shape) in enumerate(shapes.items(), 1 + 100 * draw):
            given[name] = None
            if shape is not None and not any(part in name for part in without):
                given[name] = numbers(*shape, seed=seed).to(dtype)
                # Sums over a kernel of order one do not saturate gates, which would hide errors.
                if "weight" in name:
                    given[name] /= math.prod(shape[1:]) ** 0.5
                given[name].requires_grad_()
        return given

    def run(self, op: Op, given: dict[str, Tensor | None], steps: int | None = None) -> tuple[Tensor, ...]:
        """Return the output and the last states."""
        x, *rest = given.values()
        state, weights = tuple(rest[: len(self.states)]), self.weights(*rest[len(self.states) :])
        output, state = op(x, state, weights, self.variant, CallSpec(steps or len(x)))
        return output, *state

    def results_and_gradients(
        self, op: Op, given: dict[str, Tensor | None], steps: int | None = None
    ) -> dict[str, Tensor]:
        """Return results, and gradients of a random sum of them, by name."""
        found = dict(zip(self.results, self.run(op, given, steps), strict=True))
        upstream = [numbers(*result.shape, seed=8 + n) for n, result in enumerate(found.values())]
        loss = sum((a.double() * b.to(a.device)).sum() for a, b in zip(found.values(), upstream, strict=True))
        needed = {name: a for name, a in given.items() if a is not None and a.requires_grad}
        gradients = torch.autograd.grad(loss, list(needed.values()))
        return found | {f"gradient of {n}": g for n, g in zip(needed, gradients, strict=True)}

    def build(self, **options: Any) -> Any:
        """A layer with random weights: flows and peepholes start at zero, which would hide errors."""
        torch.manual_seed(1)
        rnn = self.layer(**self.options | options)
        with torch.no_grad():
            for parameter in rnn.parameters():
                parameter.copy_(0.5 * torch.randn(parameter.shape))
        return rnn


SMALL = {"in_channels": 2, "hidden_channels": 3, "kernel_size": 3}
FLOWS = {"num_flows": 2, "flow_channels": 4}
# fmt: off
RECURRENCES = {
    "conv_lstm": Recurrence(
        "conv_lstm", lstm.LSTM.fused, lstm.LSTM.reference, lstm_loop, LSTMWeights, ("h", "c"), lstm_shapes,
        Variant(), nn.ConvLSTM2d, SMALL,
    ),
    "conv_gru after": Recurrence(
        "conv_gru", gru.GRU.fused, gru.GRU.reference, gru_loop, GRUWeights, ("h",), gru_shapes,
        Variant(reset="after"), nn.ConvGRU2d, SMALL | {"reset": "after"},
    ),
    "conv_gru before": Recurrence(
        "conv_gru", gru.GRU.fused, gru.GRU.reference, gru_loop, GRUWeights, ("h",), gru_shapes,
        Variant(reset="before"), nn.ConvGRU2d, SMALL | {"reset": "before"},
    ),
    "traj_gru": Recurrence(
        "traj_gru", traj_gru.TRAJ_GRU.fused, traj_gru.TRAJ_GRU.reference, traj_gru_loop, TrajGRUWeights,
        ("h",), traj_gru_shapes, Variant(leaky_relu), nn.TrajGRU2d, SMALL | FLOWS,
    ),
}
# fmt: on
