"""What all cells have in common: one layer's parameters, and how they are run over a sequence."""

from collections.abc import Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stormcell.errors import ArgumentError
from stormcell.nn import arguments, ops
from stormcell.nn.activations import Activation
from stormcell.nn.activations import activation as named
from stormcell.nn.arguments import PerAxis
from stormcell.nn.ops.convolution import PADDING_MODES, Convolution
from stormcell.nn.ops.terms import Form, GRUWeights, LSTMWeights, Run, State, TrajGRUWeights
from stormcell.nn.shapes import check_input, check_like, check_state, shape

Weights = LSTMWeights | GRUWeights | TrajGRUWeights
Dropout = tuple[Tensor | None, Tensor | None]  # what multiplies the input and the hidden state

# What an argument is where nothing need be said of it.
_PLAIN = {
    "padding": "same",
    "padding_mode": "zeros",
    "recurrent_padding_mode": "zeros",
    "spatial_size": None,
    "activation": "tanh",
    "recurrent_activation": "sigmoid",
    "input_dropout": 0.0,
    "recurrent_dropout": 0.0,
    "norm": None,
    "cell_clip": None,
    "proj_clip": None,
    "reset": "after",
    "align_corners": True,
}


class Cell(nn.Module):
    """A cell, whatever its equations and the number of spatial axes."""

    space: ClassVar[tuple[str, ...]]  # the names of the spatial axes
    gates: ClassVar[int]
    recurrence: ClassVar[str]  # what the equations are called among the ops
    states: ClassVar[tuple[str, ...]]  # the names of the state's tensors
    tensors: ClassVar[type[Weights]]  # the names of the parameters

    weight_ih: nn.Parameter | None
    weight_hh: nn.Parameter

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int,
        kernel_size: PerAxis,
        bias: bool,
        *,
        recurrent_kernel_size: PerAxis | None,
        activation: str | Activation,
        recurrent_activation: str | Activation,
        zoneout: float | Sequence[float],
        backend: str,
        stride: PerAxis = 1,
        padding: PerAxis | str = "same",
        dilation: PerAxis = 1,
        padding_mode: str = "zeros",
        recurrent_padding_mode: str = "zeros",
        input_dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        norm: str | None = None,
    ) -> None:
        super().__init__()
        axes = len(self.space)
        self.in_channels = arguments.count("in_channels", in_channels, least=0)
        self.hidden_channels = arguments.count("hidden_channels", hidden_channels)
        arguments.one_of("bias", bias, (True, False))
        self.kernel_size = arguments.per_axis("kernel_size", kernel_size, axes)
        self.recurrent_kernel_size = (
            self.kernel_size
            if recurrent_kernel_size is None
            else arguments.per_axis("recurrent_kernel_size", recurrent_kernel_size, axes)
        )
        self.stride = arguments.per_axis("stride", stride, axes)
        self.dilation = arguments.per_axis("dilation", dilation, axes)
        self.padding: str | tuple[int, ...]
        if isinstance(padding, str):
            arguments.one_of("padding", padding, ("same", "valid"))
            self.padding = padding
        else:
            self.padding = arguments.per_axis("padding", padding, axes, least=0)
        arguments.one_of("padding_mode", padding_mode, PADDING_MODES)
        arguments.one_of("recurrent_padding_mode", recurrent_padding_mode, PADDING_MODES)
        self.padding_mode = padding_mode
        self.recurrent_padding_mode = recurrent_padding_mode
        named("activation", activation)
        named("recurrent_activation", recurrent_activation)
        self.activation = activation
        self.recurrent_activation = recurrent_activation
        self.input_dropout = arguments.probability("input_dropout", input_dropout)
        self.recurrent_dropout = arguments.probability("recurrent_dropout", recurrent_dropout)
        self.zoneout = arguments.probabilities("zoneout", zoneout, self.states)
        self.norm = norm
        self.spatial_size: tuple[int, ...] | None = None  # of the images, where it is fixed
        ops.choose(self.recurrence, backend)
        self.backend = backend

    @property
    def state_channels(self) -> tuple[int, ...]:
        """The channels of each of the state's tensors."""
        return (self.hidden_channels,) * len(self.states)

    def state_size(self, size: Sequence[int]) -> tuple[int, ...]:
        """Return the size of the state's images, for input images of this size."""
        return self.convolution.size(size, self.kernel_size) if self.in_channels else tuple(size)

    @property
    def convolution(self) -> Convolution:
        """How the input is convolved."""
        return Convolution(self.stride, self.padding, self.dilation, self.padding_mode)

    @property
    def recurrent_convolution(self) -> Convolution:
        """How the hidden state is convolved."""
        return Convolution(padding_mode=self.recurrent_padding_mode)

    def form(self) -> Form:
        """Return what this cell has varied in the equations."""
        return Form(
            activation=named("activation", self.activation),
            recurrent_activation=named("recurrent_activation", self.recurrent_activation),
            convolution=self.convolution,
            recurrent_convolution=self.recurrent_convolution,
            norm=self.norm,
            zoneout=self.zoneout if any(self.zoneout) else (),
        )

    def weights(self) -> Weights:
        """Return the tensors of the equations."""
        return self.tensors(*(getattr(self, name) for name in self.tensors._fields))

    def _create(
        self,
        device: torch.device | str | None,
        dtype: torch.dtype | None,
        **shapes: tuple[int, ...] | None,  # of the tensors of the equations; None where there is none
    ) -> None:
        """Make the parameters."""
        for name, sizes in shapes.items():
            tensor = None if sizes is None else nn.Parameter(torch.empty(sizes, device=device, dtype=dtype))
            self.register_parameter(name, tensor)
        self.reset_parameters()

    def run(self, x: Tensor | None, state: State, run: Run, dropout: Dropout) -> tuple[Tensor, State]:
        """Call :meth:`sequence` as modules are called, so that hooks on the cell see it."""
        found: tuple[Tensor, State] = self(x, state, _sequence=(run, dropout))
        return found

    def sequence(self, x: Tensor | None, state: State, run: Run, dropout: Dropout) -> tuple[Tensor, State]:
        """Take a step for each frame of ``x``, ``(T, B, in_channels, *space)``.

        Args:
            x: The input, checked by the caller; None for none.
            state: What :meth:`start` returned, or the last call.
            run: How many steps, and which of them are there.
            dropout: What :meth:`draw` returned.

        Returns:
            The hidden state after each step, ``(T, B, …)``, and the last state.
        """
        run = run._replace(input_dropout=dropout[0], recurrent_dropout=dropout[1], training=self.training)
        return ops.choose(self.recurrence, self.backend)(x, state, self.weights(), self.form(), run)

    def start(self, x: Tensor | None, state: State | None, name: str = "state") -> State:
        """Return the state to start from, checked; zeros where none is given.

        Raises:
            ArgumentError: The state, called ``name`` in the message, has not the expected shape.
        """
        batch: int | str = "B"
        size: Sequence[int | str] = self.space  # only the state tells how large the images are
        if self.spatial_size is not None:
            if x is not None and x.shape[3:] != self.spatial_size:
                raise ArgumentError(f"x: expected images of {self.spatial_size} pixels, found {shape(x[0])}")
            size = self.state_size(self.spatial_size)
        if x is not None:
            batch, inner = x.shape[1], self.state_size(x.shape[3:])
            if any(n < 1 for n in inner):
                raise ArgumentError(
                    f"x: expected images that kernel_size={self.kernel_size} fits into, found {shape(x[0])}"
                )
            self._check_padding(x.shape[3:], inner)
            if state is None:
                return tuple(self.weight_hh.new_zeros(batch, c, *inner) for c in self.state_channels)
            size = inner
        channels = zip(self.states, self.state_channels, strict=True)
        h, *others = check_state(name, state, {which: (batch, c, *size) for which, c in channels})
        # Autocast, or another layer, may have made it of another precision.
        return h.to(self.weight_hh.dtype), *others

    def _check_padding(self, image: Sequence[int], state: Sequence[int]) -> None:
        """Check that what is padded with its own pixels has enough of them.

        Raises:
            ArgumentError: It has not.
        """
        for name, convolution, size, kernel in (
            ("padding_mode", self.convolution, image, self.kernel_size),
            ("recurrent_padding_mode", self.recurrent_convolution, state, self.recurrent_kernel_size),
        ):
            if not convolution.fits(size, kernel):
                raise ArgumentError(
                    f"x: expected images large enough for {name}={convolution.padding_mode!r} and a kernel "
                    f"of {kernel}, found {tuple(size)}"
                )

    def draw(self, x: Tensor | None, state: State) -> Dropout:
        """Return what dropout multiplies the input and the hidden state by, at all steps: a mask per gate."""

        def mask(seen: Tensor, rate: float) -> Tensor | None:
            if not (rate and self.training):
                return None
            return F.dropout(seen.new_ones(self.gates, *seen.shape), rate)

        return None if x is None else mask(x[0], self.input_dropout), mask(state[0], self.recurrent_dropout)

    def step(self, x: Tensor | None, state: State | None) -> State:
        """Take one step, ``x`` being ``(B, in_channels, *space)``."""
        if x is not None or (self.in_channels and state is None):
            check_input(x, self.in_channels, ("B", "C", *self.space))
        if x is not None:
            check_like(x, self.weight_hh)
        frames = None if x is None else x.unsqueeze(0)
        start = self.start(frames, state)
        return self.sequence(frames, start, Run(steps=1), self.draw(frames, start))[1]

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Start as Keras does: see the class for what that is."""
        for name, parameter in self.named_parameters(recurse=False):  # an activation may have its own
            if name == "weight_hh":
                # Half precision has no QR decomposition: draw in float32 at least.
                dtype = torch.promote_types(parameter.dtype, torch.float32)
                drawn = torch.empty(parameter.shape, dtype=dtype, device=parameter.device)
                parameter.copy_(nn.init.orthogonal_(drawn))
            elif "weight" in name:
                nn.init.xavier_uniform_(parameter)
            elif name.startswith("norm"):
                nn.init.ones_(parameter)
            else:
                nn.init.zeros_(parameter)

    def extra_repr(self) -> str:
        """Say what distinguishes this cell from another."""
        said: dict[str, object] = {
            "kernel_size": self.kernel_size,
            "recurrent_kernel_size": self.recurrent_kernel_size,
        }
        for name, plain in _PLAIN.items():
            if getattr(self, name, plain) != plain:
                said[name] = getattr(self, name)
        said |= {name: value for name in ("stride", "dilation") if set(value := getattr(self, name)) - {1}}
        if any(self.zoneout):
            said["zoneout"] = self.zoneout
        told = [f"{name}={value!r}" for name, value in said.items()]
        told += [f"{name}={tuple(parameter.shape)}" for name, parameter in self.named_parameters()]
        return ", ".join([f"{self.in_channels}, {self.hidden_channels}", *told])
