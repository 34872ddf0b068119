"""ConvGRU, in one, two and three dimensions."""

from collections.abc import Sequence
from typing import ClassVar, TypedDict, Unpack, cast

import torch
from torch import Tensor, nn

from stormcell.nn import arguments
from stormcell.nn.activations import Activation
from stormcell.nn.arguments import PerAxis, PerLayer
from stormcell.nn.cells import Cell, Dropout
from stormcell.nn.ops.terms import Form, GRUWeights, Run, State
from stormcell.nn.recurrent import Recurrent


class GRUCell(Cell):
    """What the cells of all GRU kinds have in common."""

    gates: ClassVar = 3
    states: ClassVar = ("h",)

    bias_ih: nn.Parameter | None
    bias_hh: nn.Parameter | None

    def forward(
        self,
        x: Tensor | None,  # (B, in_channels, *space)
        state: Tensor | None = None,
        *,
        _sequence: tuple[Run, Dropout] | None = None,
    ) -> Tensor:
        """Take one step and return the new ``h``, ``(B, hidden_channels, *space)``.

        Args:
            x: The input, ``(B, in_channels, *space)``; None for none, and then a state is needed.
            state: ``h`` before the step, ``(B, hidden_channels, *space)``; None starts from zeros.

        Raises:
            ArgumentError: A tensor has not the expected shape, or is missing, or is one too many.
        """
        if _sequence is not None:  # a stack's, which asks for more than a step, and has a state of its form
            return self.sequence(x, cast("State", state), *_sequence)  # type: ignore[return-value]
        (h,) = self.step(x, None if state is None else (state,))
        return h


class ConvGRUCell(GRUCell):
    """The ConvGRU's parameters, whatever the number of spatial axes."""

    recurrence: ClassVar = "conv_gru"
    tensors: ClassVar = GRUWeights

    norm_ih: nn.Parameter | None
    norm_hh: nn.Parameter | None

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int,
        kernel_size: PerAxis,
        bias: bool = True,
        *,
        reset: str = "after",
        stride: PerAxis = 1,
        padding: PerAxis | str = "same",
        dilation: PerAxis = 1,
        padding_mode: str = "zeros",
        recurrent_kernel_size: PerAxis | None = None,
        recurrent_padding_mode: str = "zeros",
        activation: str | Activation = "tanh",
        recurrent_activation: str | Activation = "sigmoid",
        input_dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        zoneout: float = 0.0,
        norm: str | None = None,
        backend: str = "auto",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(
            in_channels,
            hidden_channels,
            kernel_size,
            bias,
            recurrent_kernel_size=recurrent_kernel_size,
            stride=stride,
            padding=padding,
            dilation=dilation,
            padding_mode=padding_mode,
            recurrent_padding_mode=recurrent_padding_mode,
            activation=activation,
            recurrent_activation=recurrent_activation,
            input_dropout=input_dropout,
            recurrent_dropout=recurrent_dropout,
            zoneout=zoneout,
            norm=norm,
            backend=backend,
        )
        arguments.one_of("reset", reset, ("after", "before"))
        arguments.one_of("norm", norm, ("layer", "group", None))
        self.reset = reset

        c = self.hidden_channels
        self._create(
            device,
            dtype,
            weight_ih=(3 * c, in_channels, *self.kernel_size) if in_channels else None,
            weight_hh=(3 * c, c, *self.recurrent_kernel_size),
            bias_ih=(3 * c,) if bias and in_channels else None,
            bias_hh=(3 * c,) if bias else None,
            norm_ih=(3 * c,) if norm and in_channels else None,
            norm_hh=(3 * c,) if norm else None,
        )

    def form(self) -> Form:
        """Return what this cell has varied in the equations."""
        return super().form()._replace(reset=self.reset)


class GRU(Recurrent):
    """A stack of layers of any GRU kind."""

    def forward(
        self,
        x: Tensor | None,
        state: Sequence[Tensor] | None = None,
        *,
        steps: int | None = None,
        lengths: Tensor | Sequence[int] | None = None,
        mask: Tensor | None = None,
        return_sequence: bool = True,
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Run the stack over a sequence.

        Args:
            x: The input, ``(T, B, in_channels, *space)``, or ``(B, T, …)`` if ``batch_first``. None for
                none, with ``steps`` and a state: the convolution over it then drops out, and its bias.
            state: ``h_0``, a tuple with a tensor ``(B, hidden_channels, *space)`` per layer and direction,
                ordered as :class:`torch.nn.GRU` orders them; None starts from zeros.
            steps: As in :class:`ConvLSTM2d`.
            lengths: As in :class:`ConvLSTM2d`.
            mask: As in :class:`ConvLSTM2d`.
            return_sequence: As in :class:`ConvLSTM2d`.

        Returns:
            ``output, h_n``: the top layer's hidden states, laid out as ``x`` is, and those after the last
            step, as ``state`` is. Giving them back goes on where this call stopped.

        Raises:
            ArgumentError: A tensor has not the expected shape, or is missing, or is one too many.
        """
        output, states = self._run(x, self._singles(state), steps, lengths, mask, return_sequence)
        return output, tuple(h for (h,) in states)

    def all_layers(
        self,
        x: Tensor | None,
        state: Sequence[Tensor] | None = None,
        *,
        steps: int | None = None,
        lengths: Tensor | Sequence[int] | None = None,
        mask: Tensor | None = None,
    ) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """Run the stack as :meth:`forward` does, and return the hidden states of every layer, lowest first.

        Returns:
            ``outputs, h_n``: ``outputs[-1]`` is what :meth:`forward` returns. Dropout acts on what the
            next layer sees, not on these.
        """
        outputs, states = self._run_all(x, self._singles(state), steps, lengths, mask)
        return outputs, tuple(h for (h,) in states)

    def _singles(self, state: Sequence[Tensor] | None) -> list[State] | None:
        """Turn ``h_0`` into an ``(h,)`` per layer and direction."""
        if state is None:
            return None
        if not isinstance(state, tuple | list) or len(state) != len(self.cells):
            self._refuse_state("h_0, a tuple", state)
        return [(h,) for h in state]


class GRUOptions(TypedDict, total=False):
    """The arguments that a layer of any GRU kind hands on to its cells."""

    activation: PerLayer[str | Activation]
    recurrent_activation: PerLayer[str | Activation]
    zoneout: PerLayer[float]
    backend: str
    device: torch.device | str | None
    dtype: torch.dtype | None


class _ConvOptions(GRUOptions, total=False):
    """The arguments that a ConvGRU hands on to its cells."""

    reset: PerLayer[str]
    stride: PerLayer[PerAxis]
    padding: PerLayer[PerAxis | str]
    dilation: PerLayer[PerAxis]
    padding_mode: PerLayer[str]
    recurrent_kernel_size: PerLayer[PerAxis | None]
    recurrent_padding_mode: PerLayer[str]
    input_dropout: PerLayer[float]
    recurrent_dropout: PerLayer[float]
    norm: PerLayer[str | None]


class _ConvGRU(GRU):
    """A stack of ConvGRU layers over one, two or three spatial axes."""

    options: ClassVar = _ConvOptions

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int | Sequence[int],
        kernel_size: PerLayer[PerAxis],
        num_layers: int | None = None,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        **options: Unpack[_ConvOptions],
    ) -> None:
        given = {"kernel_size": kernel_size, "bias": bias, **options}
        super().__init__(in_channels, hidden_channels, num_layers, batch_first, dropout, bidirectional, given)


class ConvGRUCell2d(ConvGRUCell):
    """One step of a ConvGRU over images: what :class:`torch.nn.GRUCell` is to vectors.

    With ``*`` the convolution and ``∘`` the elementwise product::

        r = σ(W_xr * X_t + b_xr + W_hr * H_{t-1} + b_hr)
        z = σ(W_xz * X_t + b_xz + W_hz * H_{t-1} + b_hz)
        n = tanh(W_xn * X_t + b_xn + r ∘ (W_hn * H_{t-1} + b_hn))        reset="after"
        n = tanh(W_xn * X_t + b_xn + W_hn * (r ∘ H_{t-1}) + b_hn)        reset="before"
        H_t = (1 - z) ∘ n + z ∘ H_{t-1}

    ``"after"`` is :class:`torch.nn.GRU`, cuDNN's and TrajGRU's form, with one convolution over ``h``;
    ``"before"`` is that of Cho et al. (2014), arXiv:1406.1078, and, with convolutions, Ballas et al.
    (2016), arXiv:1511.06432, with two in sequence.

    The parameters have :class:`torch.nn.GRU`'s names and order r, z, n: ``weight_ih``
    ``(3C, C_in, kH, kW)``, ``weight_hh`` ``(3C, C, kH, kW)``, ``bias_ih`` and ``bias_hh`` ``(3C,)``. Input
    weights start Glorot-uniform, recurrent weights orthogonal, biases zero.

    Under autocast the convolutions have the lower precision, ``h`` and the gates float32.

    Args:
        in_channels: Channels of the input; 0 for a cell that has none.
        hidden_channels: Channels of ``h``.
        kernel_size: Of the convolution over the input: an int, or a tuple ``(kH, kW)``.
        bias: Whether the gates have them.
        reset: Whether the reset gate acts ``"before"`` the convolution over ``h``, or ``"after"``.
        stride, padding, dilation, padding_mode, recurrent_kernel_size, recurrent_padding_mode, activation,
            recurrent_activation, input_dropout, recurrent_dropout, zoneout: As in :class:`ConvLSTMCell2d`.
        norm: ``"layer"`` or ``"group"``, as there. With ``reset="before"`` ``W_hn * (r ∘ H)``, which comes
            after the others, is normalised for itself.
        backend: How to compute it: ``"reference"`` as the equations are written; ``"fused"`` with less
            traffic through memory, which knows a CPU and float32, also under autocast to bfloat16, and
            float64, and of the arguments here only sizes, ``bias`` and ``reset``, and refuses anything
            else; ``"auto"`` the fused way where it can.
        device: Where the parameters are.
        dtype: What they are.

    Raises:
        ArgumentError: An argument has a value it cannot have.
        NotOfferedError: A call asks of ``backend="fused"`` what that does not know.

    Examples:
        >>> import torch
        >>> cell = ConvGRUCell2d(in_channels=3, hidden_channels=8, kernel_size=3)
        >>> h = cell(torch.rand(2, 3, 16, 24))  # (B, C, H, W)
        >>> h = cell(torch.rand(2, 3, 16, 24), h)
        >>> h.shape
        torch.Size([2, 8, 16, 24])
    """

    space = ("H", "W")


class ConvGRUCell1d(ConvGRUCell):
    """One step of a ConvGRU over lines, ``(B, C, W)``; all else is as in :class:`ConvGRUCell2d`.

    Examples:
        >>> import torch
        >>> ConvGRUCell1d(in_channels=3, hidden_channels=8, kernel_size=5)(torch.rand(2, 3, 24)).shape
        torch.Size([2, 8, 24])
    """

    space = ("W",)


class ConvGRUCell3d(ConvGRUCell):
    """One step of a ConvGRU over volumes, ``(B, C, D, H, W)``; all else is as in :class:`ConvGRUCell2d`.

    Examples:
        >>> import torch
        >>> ConvGRUCell3d(in_channels=3, hidden_channels=8, kernel_size=3)(torch.rand(2, 3, 4, 16, 24)).shape
        torch.Size([2, 8, 4, 16, 24])
    """

    space = ("D", "H", "W")


class ConvGRU2d(_ConvGRU):
    """A ConvGRU over sequences of images, in one or several layers: :class:`torch.nn.GRU` with space.

    :class:`ConvGRUCell2d` states the equations, what may be varied in them, and how the parameters start.
    Images may be of any size, another one every call. A tuple means per axis and a list per layer.

    Args:
        in_channels: Channels of the input; 0 for a stack that has none and runs on from its state.
        hidden_channels: Channels of ``h``: an int, or one per layer.
        kernel_size: Of the convolution over the input.
        num_layers: How many layers; None takes as many as the other arguments list, or one.
        bias: Whether the gates have them.
        batch_first: Whether sequences are ``(B, T, C, H, W)`` instead of ``(T, B, C, H, W)``.
        dropout: Probability of zeroing an element of a layer's output on its way to the next layer.
        bidirectional: As in :class:`ConvLSTM2d`.
        **options: What else :class:`ConvGRUCell2d` takes.

    Raises:
        ArgumentError: An argument has a value it cannot have.

    Examples:
        >>> import torch
        >>> rnn = ConvGRU2d(in_channels=3, hidden_channels=[8, 4], kernel_size=3)
        >>> output, h_n = rnn(torch.rand(10, 2, 3, 16, 24))  # (T, B, C, H, W)
        >>> output.shape, [h.shape[1] for h in h_n]
        (torch.Size([10, 2, 4, 16, 24]), [8, 4])
    """

    cell = ConvGRUCell2d


class ConvGRU1d(_ConvGRU):
    """A ConvGRU over sequences of lines, ``(T, B, C, W)``; all else is as in :class:`ConvGRU2d`.

    Examples:
        >>> import torch
        >>> output, _ = ConvGRU1d(in_channels=3, hidden_channels=8, kernel_size=5)(torch.rand(10, 2, 3, 24))
        >>> output.shape
        torch.Size([10, 2, 8, 24])
    """

    cell = ConvGRUCell1d


class ConvGRU3d(_ConvGRU):
    """A ConvGRU over sequences of volumes, ``(T, B, C, D, H, W)``; all else is as in :class:`ConvGRU2d`.

    Examples:
        >>> import torch
        >>> rnn = ConvGRU3d(in_channels=3, hidden_channels=8, kernel_size=3)
        >>> output, _ = rnn(torch.rand(5, 2, 3, 4, 16, 24))
        >>> output.shape
        torch.Size([5, 2, 8, 4, 16, 24])
    """

    cell = ConvGRUCell3d
