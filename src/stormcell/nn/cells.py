"""The base class of all cells: parameters of a layer, its initial state, and its run over a sequence."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stormcell.errors import ArgumentError
from stormcell.nn import arguments
from stormcell.nn.activations import Activation
from stormcell.nn.activations import activation as by_name
from stormcell.nn.arguments import PerAxis
from stormcell.nn.ops import backends, driver
from stormcell.nn.ops.convolution import Convolution
from stormcell.nn.ops.types import CallSpec, State, Variant, Weights
from stormcell.nn.options import full_signature, options_of, read_options
from stormcell.nn.shapes import check_input, check_like, check_state, shape
from stormcell.nn.tracing import Layer

Dropout = tuple[Tensor | None, Tensor | None]  # the dropout masks of the input and of the hidden state

_NOT_ATTRIBUTES = {"peephole", "device", "dtype"}  # visible in the parameters
_NOT_SHOWN = {"backend", "forget_bias", "proj_channels"} | _NOT_ATTRIBUTES


class Cell(Layer):
    """The base class of all cells, whatever their equations and number of spatial axes."""

    space: ClassVar[tuple[str, ...]]  # the names of the spatial axes
    gates: ClassVar[int]
    recurrence: ClassVar[str]  # the name of the equations in ops.backends
    states: ClassVar[tuple[str, ...]]  # the names of the state tensors
    tensors: ClassVar[type[Weights]]  # the NamedTuple of the parameters
    options: ClassVar[type]  # the TypedDict of the options

    weight_ih: nn.Parameter | None
    weight_hh: nn.Parameter

    # Options of all kinds of cells, as stored. The values are for cells which lack the option.
    stride: tuple[int, ...]
    padding: tuple[int, ...] | str = "same"
    dilation: tuple[int, ...]
    padding_mode: str = "zeros"
    recurrent_padding_mode: str = "zeros"
    recurrent_kernel_size: tuple[int, ...]
    spatial_size: tuple[int, ...] | None = None
    activation: str | Activation
    recurrent_activation: str | Activation
    input_dropout: float = 0.0
    recurrent_dropout: float = 0.0
    zoneout: tuple[float, ...]
    norm: str | None = None
    backend: str

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if hasattr(cls, "options"):
            cls.__signature__ = full_signature(cls, cls.options)  # type: ignore[attr-defined]

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int,
        kernel_size: PerAxis,
        bias: bool,
        given: Mapping[str, Any],  # some of the options
    ) -> None:
        super().__init__()
        axes = len(self.space)
        self.in_channels = arguments.count("in_channels", in_channels, least=0)
        self.hidden_channels = arguments.count("hidden_channels", hidden_channels)
        arguments.one_of("bias", bias, (True, False))
        self.kernel_size = arguments.per_axis("kernel_size", kernel_size, axes)
        self.stride = self.dilation = (1,) * axes
        options = read_options(type(self), self.options, given, axes)
        for name, value in options.items():
            if name not in _NOT_ATTRIBUTES:
                setattr(self, name, value)
        if options.get("recurrent_kernel_size") is None:
            self.recurrent_kernel_size = self.kernel_size
        for name, sizes in self._parameter_shapes(bias, options).items():
            factory = {"device": options["device"], "dtype": options["dtype"]}
            parameter = None if sizes is None else nn.Parameter(torch.empty(sizes, **factory))
            self.register_parameter(name, parameter)
        self.reset_parameters()

    def _parameter_shapes(self, bias: bool, options: Mapping[str, Any]) -> dict[str, tuple[int, ...] | None]:
        """Return the shape of each parameter, None for an absent one; check how options go together."""
        raise NotImplementedError

    @property
    def state_channels(self) -> tuple[int, ...]:
        """The number of channels of each state tensor."""
        return (self.hidden_channels,) * len(self.states)

    def state_size(self, size: Sequence[int]) -> tuple[int, ...]:
        """Return the spatial size of the state, given that of the input."""
        return self.convolution.size(size, self.kernel_size) if self.in_channels else tuple(size)

    @property
    def convolution(self) -> Convolution:
        """The convolution of the input."""
        return Convolution(self.stride, self.padding, self.dilation, self.padding_mode)

    @property
    def recurrent_convolution(self) -> Convolution:
        """The convolution of the hidden state."""
        return Convolution(padding_mode=self.recurrent_padding_mode)

    def variant(self) -> Variant:
        """Return the options which vary the equations."""
        return Variant(
            activation=by_name("activation", self.activation),
            recurrent_activation=by_name("recurrent_activation", self.recurrent_activation),
            convolution=self.convolution,
            recurrent_convolution=self.recurrent_convolution,
            norm=self.norm,
            zoneout=self.zoneout if any(self.zoneout) else (),
        )

    def weights(self) -> Weights:
        """Return the tensors of the equations."""
        return self.tensors(*(getattr(self, name) for name in self.tensors._fields))

    def run(self, x: Tensor | None, state: State, spec: CallSpec, dropout: Dropout) -> tuple[Tensor, State]:
        """Call :meth:`sequence` through the module, so that hooks on the cell are called."""
        result: tuple[Tensor, State] = self(x, state, _sequence=(spec, dropout))
        return result

    def sequence(
        self, x: Tensor | None, state: State, spec: CallSpec, dropout: Dropout
    ) -> tuple[Tensor, State]:
        """Take a step for each frame of ``x``, ``(T, B, in_channels, *space)``.

        Args:
            x: The input, checked by the caller; None for no input.
            state: The result of :meth:`start`, or the last state of the previous call.
            spec: The number of steps, and the mask.
            dropout: The result of :meth:`draw_dropout`.

        Returns:
            The hidden state after each step, ``(T, B, …)``, and the last state.
        """
        output, state = backends.run(*self._call(x, state, spec, dropout))
        return output.to(self._output_dtype()), state

    def _output_dtype(self) -> torch.dtype:
        """Return the dtype of the output: that of the parameters or of autocast, whatever the equations."""
        dtype = self.weight_hh.dtype
        autocast = driver.autocast_dtype(self.weight_hh.device)
        return dtype if autocast is None or dtype == torch.float64 else autocast  # which leaves float64 alone

    def explain(
        self, x: Tensor | None, state: State, spec: CallSpec, dropout: Dropout
    ) -> backends.Explanation:
        """Return how :meth:`sequence` computes such a call."""
        return backends.explain(*self._call(x, state, spec, dropout))

    def _call(
        self, x: Tensor | None, state: State, spec: CallSpec, dropout: Dropout
    ) -> tuple[str, str, Tensor | None, State, Weights, Variant, CallSpec]:
        spec = spec._replace(input_dropout=dropout[0], recurrent_dropout=dropout[1], training=self.training)
        return self.recurrence, self.backend, x, state, self.weights(), self.variant(), spec

    def start(self, x: Tensor | None, state: State | None, name: str = "state") -> State:
        """Return the initial state, checked; zeros if none is given.

        Raises:
            ArgumentError: The state, called ``name`` in the message, has another shape than expected.
        """
        batch: int | str = "B"
        size: Sequence[int | str] = self.space  # without an input, only the state has a size
        if self.spatial_size is not None:
            if x is not None and x.shape[3:] != self.spatial_size:
                raise ArgumentError(f"x: expected images of {self.spatial_size} pixels, found {shape(x[0])}")
            size = self.state_size(self.spatial_size)
        if x is not None:
            batch, inner = x.shape[1], self.state_size(x.shape[3:])
            if any(n < 1 for n in inner):
                raise ArgumentError(
                    f"x: expected images large enough for kernel_size={self.kernel_size}, found {shape(x[0])}"
                )
            self._check_padding(x.shape[3:], inner)
            if state is None:
                return tuple(self.weight_hh.new_zeros(batch, c, *inner) for c in self.state_channels)
            size = inner
        channels = zip(self.states, self.state_channels, strict=True)
        h, *others = check_state(name, state, {which: (batch, c, *size) for which, c in channels})
        # Autocast, or another layer, may have returned another dtype.
        return h.to(self.weight_hh.dtype), *others

    def _check_padding(self, image: Sequence[int], state: Sequence[int]) -> None:
        """Check that images are large enough to be padded with their own pixels.

        Raises:
            ArgumentError: They are not.
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

    def draw_dropout(self, x: Tensor | None, state: State) -> Dropout:
        """Draw the dropout masks of input and hidden state: one per gate, the same at all steps."""

        def mask(image: Tensor, rate: float) -> Tensor | None:
            if not (rate and self.training):
                return None
            return F.dropout(image.new_ones(self.gates, *image.shape), rate)

        return None if x is None else mask(x[0], self.input_dropout), mask(state[0], self.recurrent_dropout)

    def step(self, x: Tensor | None, state: State | None) -> State:
        """Take one step with ``x``, ``(B, in_channels, *space)``, and return the new state."""
        if x is not None or (self.in_channels and state is None):
            check_input(x, self.in_channels, ("B", "C", *self.space))
        if x is not None:
            check_like(x, self.weight_hh)
        frames = None if x is None else x.unsqueeze(0)
        start = self.start(frames, state)
        return self.sequence(frames, start, CallSpec(steps=1), self.draw_dropout(frames, start))[1]

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Initialise the parameters as Keras does; the class documents how."""
        for name, parameter in self.named_parameters(recurse=False):  # an activation may have its own
            if name == "weight_hh":
                # There is no QR decomposition in half precision: draw in float32 at least.
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
        """Return the sizes, the options which differ from their defaults, and the parameters' shapes."""
        shown = {"kernel_size": self.kernel_size, "recurrent_kernel_size": self.recurrent_kernel_size}
        for name, (_, option) in options_of(self.options).items():
            if name in shown or name in _NOT_SHOWN:
                continue
            if getattr(self, name) != option.check(name, option.default, len(self.space)):
                shown[name] = getattr(self, name)
        words = [f"{name}={value!r}" for name, value in shown.items()]
        words += [f"{name}={tuple(parameter.shape)}" for name, parameter in self.named_parameters()]
        return ", ".join([f"{self.in_channels}, {self.hidden_channels}", *words])
