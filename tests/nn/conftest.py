from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

from stormcell import nn
from stormcell.nn.conv_lstm import LSTM
from stormcell.nn.recurrent import Recurrent

_MODES = {"zeros": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}


def _convolve(
    image: np.ndarray,  # (B, C_in, *space)
    weight: np.ndarray,  # (C_out, C_in, *kernel)
    *,
    stride: int | tuple[int, ...] = 1,
    padding: int | tuple[int, ...] | str = "same",
    dilation: int | tuple[int, ...] = 1,
    padding_mode: str = "zeros",
) -> np.ndarray:
    """The convolution as a sum over its kernel, with TensorFlow's padding; for vectors a matrix product."""
    kernel = weight.shape[2:]
    strides, dilations = (np.broadcast_to(value, len(kernel)).tolist() for value in (stride, dilation))
    spans = [d * (k - 1) + 1 for d, k in zip(dilations, kernel, strict=True)]
    if padding == "same":
        missing = [
            max((-(-n // s) - 1) * s + span - n, 0)
            for n, s, span in zip(image.shape[2:], strides, spans, strict=True)
        ]
        sides = [(total // 2, total - total // 2) for total in missing]
    else:
        each = np.broadcast_to(0 if padding == "valid" else padding, len(kernel)).tolist()
        sides = [(p, p) for p in each]
    padded = np.pad(image, [(0, 0), (0, 0), *sides], _MODES[padding_mode])
    size = [(n - span) // s + 1 for n, span, s in zip(padded.shape[2:], spans, strides, strict=True)]
    result = np.zeros((len(image), len(weight), *size))
    for tap in np.ndindex(*kernel):
        steps = zip(tap, size, strides, dilations, strict=True)
        seen = [slice(k * d, k * d + (n - 1) * s + 1, s) for k, n, s, d in steps]
        result += np.einsum("oc,bc...->bo...", weight[:, :, *tap], padded[:, :, *seen])
    return result


@pytest.fixture(scope="session")
def convolve() -> Callable[..., np.ndarray]:
    """A convolution in plain numpy, for the oracles."""
    return _convolve


class Kind(NamedTuple):
    """A kind of layer, and the size of a small image."""

    name: str
    layer: type[Recurrent]
    size: tuple[int, ...]  # no two sides alike
    options: dict[str, Any]

    @property
    def lstm(self) -> bool:
        return issubclass(self.layer, LSTM)

    def build(
        self, in_channels: int = 2, hidden_channels: int | list[int] | None = None, **options: Any
    ) -> Recurrent:
        """A stack, by default of two layers, in evaluation mode; see :func:`randomised`."""
        hidden_channels = [4, 3] if hidden_channels is None else hidden_channels
        return randomised(self.layer(in_channels, hidden_channels, **self.options | options)).eval()

    def frames(self, *leading: int, channels: int = 2, seed: int = 1) -> Tensor:
        return numbers(*leading, channels, *self.size, seed=seed)

    def start(self, rnn: Recurrent, batch: int = 2, seed: int = 5) -> Any:
        """An initial state, as the layer takes it."""
        states, size = [], self.size
        for cell in rnn.cells[:: rnn.directions]:
            size = cell.state_size(size)
            for _ in range(rnn.directions):
                seed += 1
                states.append(tuple(numbers(batch, c, *size, seed=seed) for c in cell.state_channels))
        return self.nested(states)

    def nested(self, states: Sequence[tuple[Tensor, ...]]) -> Any:
        """The states of the cells as the layer returns them."""
        return tuple(zip(*states, strict=True)) if self.lstm else tuple(h for (h,) in states)

    def per_cell(self, state: Any) -> list[Any]:
        """The state of the layer as its cells take it."""
        return list(zip(*state, strict=True)) if self.lstm else list(state)


def numbers(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def randomised(module: Any) -> Any:
    """Give every parameter random values: peepholes and flows start at zero, which would hide errors."""
    with torch.no_grad():
        for seed, parameter in enumerate(module.parameters()):
            parameter.copy_(0.3 * numbers(*parameter.shape, seed=seed))
    return module


_FLOWS = {"num_flows": 3, "flow_channels": 4, "flow_kernel_size": 3}
_KINDS = [
    Kind("ConvLSTM1d", nn.ConvLSTM1d, (7,), {"kernel_size": 3}),
    Kind("ConvLSTM2d", nn.ConvLSTM2d, (5, 7), {"kernel_size": 3}),
    Kind("ConvLSTM3d", nn.ConvLSTM3d, (6, 5, 7), {"kernel_size": 3}),
    Kind("PeepholeLSTM", nn.PeepholeLSTM, (), {}),
    Kind("ConvGRU1d", nn.ConvGRU1d, (7,), {"kernel_size": 3}),
    Kind("ConvGRU2d", nn.ConvGRU2d, (5, 7), {"kernel_size": 3}),
    Kind("ConvGRU2d-before", nn.ConvGRU2d, (5, 7), {"kernel_size": 3, "reset": "before"}),
    Kind("ConvGRU3d-before", nn.ConvGRU3d, (6, 5, 7), {"kernel_size": 3, "reset": "before"}),
    Kind("TrajGRU2d", nn.TrajGRU2d, (5, 7), {"kernel_size": 3, **_FLOWS}),
]


def _varied(kind: Kind) -> Iterator[dict[str, Any]]:
    """Every option without random results, each once; those unrelated to space only in 0-D and 2-D."""
    flows, axes = kind.layer is nn.TrajGRU2d, len(kind.size)
    yield {}
    if kind.layer is nn.ConvLSTM2d:
        yield {"backend": "reference"}
    if axes in (0, 2):
        yield from [{"bias": False}, {"activation": "hard_sigmoid"}, {"zoneout": 0.3}]
        yield {"recurrent_activation": "hard_sigmoid_keras2"}
        if not flows:
            yield from ({"norm": norm} for norm in ("layer", "group"))
        if kind.lstm:
            yield from [{"peephole": None}, {"cell_clip": 0.3}, {"proj_channels": 2, "proj_clip": 0.1}]
    if axes:
        yield {"kernel_size": 2}
    if axes and not flows:
        yield from [{"stride": 2}, {"padding": "valid"}, {"padding": 2}, {"dilation": 2}]
        yield from ({"padding_mode": mode} for mode in ("reflect", "replicate", "circular"))
        yield from [{"recurrent_kernel_size": 2}, {"recurrent_padding_mode": "circular"}]
    if axes and kind.lstm:
        yield from ({"spatial_size": kind.size, **each} for each in _PIXELWISE)
    if flows:
        yield {"align_corners": False}


_PIXELWISE: list[dict[str, Any]] = [{"peephole": "pixel"}, {"norm": "layer-pixel"}]


@pytest.fixture(params=_KINDS, ids=lambda kind: kind.name)
def kind(request: pytest.FixtureRequest) -> Kind:
    """Every kind of layer."""
    return request.param


@pytest.fixture(
    params=[kind._replace(options=kind.options | options) for kind in _KINDS for options in _varied(kind)],
    ids=[f"{kind.name}-{options}" for kind in _KINDS for options in _varied(kind)],
)
def varied(request: pytest.FixtureRequest) -> Kind:
    """Every kind of layer, with each of its options in turn."""
    return request.param


class Twins(NamedTuple):
    """A layer of ours for images of one pixel, and the equal layer of torch."""

    ours: Recurrent
    theirs: torch.nn.LSTM | torch.nn.GRU
    pixel: tuple[int, ...]  # the size of our images

    def image(self, flat: Tensor) -> Tensor:
        return flat.reshape(*flat.shape, *self.pixel)

    def start(self, states: Tensor) -> tuple[Any, Any]:
        """The same states, (h and c, L, B, C), for our layer and for theirs."""
        ours, theirs = [tuple(self.image(s)) for s in states], tuple(states)
        return (tuple(ours), theirs) if isinstance(self.theirs, torch.nn.LSTM) else (ours[0], theirs[0])

    def plain(self, output: Tensor, last: Any) -> list[Tensor]:
        """The results of a layer: the output and the states, stacked, without spatial axes."""
        states = last if isinstance(self.theirs, torch.nn.LSTM) else [last]
        stacked = [s if isinstance(s, Tensor) else torch.stack(s) for s in states]
        return [t.reshape(t.shape[:3]) for t in (output, *stacked)]


@pytest.fixture(params=["PeepholeLSTM", "ConvLSTM2d", "ConvGRU1d"])
def twins(request: pytest.FixtureRequest) -> Callable[..., Twins]:
    """Makes layers of 4 inputs and 3 hidden channels in float64."""

    def make(num_layers: int, *, bidirectional: bool) -> Twins:
        kind = next(kind for kind in _KINDS if kind.name == request.param)
        sides = {"num_layers": num_layers, "bidirectional": bidirectional}
        options = {"kernel_size": 1} if kind.size else {}
        if kind.lstm:
            options["peephole"] = None
        ours = kind.layer(4, 3, **options, **sides).double()
        theirs = randomised((torch.nn.LSTM if kind.lstm else torch.nn.GRU)(4, 3, **sides)).double()
        with torch.no_grad():
            for k, cell in enumerate(ours.cells):
                layer, back = divmod(k, ours.directions)
                end = f"_l{layer}" + "_reverse" * back
                named = theirs.named_parameters()
                given = {name.removesuffix(end): value for name, value in named if name.endswith(end)}
                if kind.lstm:
                    given["bias"] = given.pop("bias_ih") + given.pop("bias_hh")
                for name, value in given.items():
                    parameter = getattr(cell, name)
                    parameter.copy_(value.reshape(parameter.shape))
        return Twins(ours, theirs, (1,) * len(kind.size))

    return make


@pytest.fixture
def fresh():
    """Empty the caches of the compiler."""
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()
