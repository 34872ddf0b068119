"""ConvGRU, in one, two and three dimensions."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Unpack, cast

from torch import Tensor, nn

from stormcell.nn.arguments import PerAxis, PerLayer
from stormcell.nn.cells import Cell, Dropout
from stormcell.nn.ops.types import CallSpec, GRUWeights, State, Variant
from stormcell.nn.options import ConvGRUOptions
from stormcell.nn.recurrent import Recurrent


class GRUCell(Cell):
    """The base class of the cells of ConvGRU and TrajGRU."""

    gates: ClassVar = 3
    states: ClassVar = ("h",)

    bias_ih: nn.Parameter | None
    bias_hh: nn.Parameter | None

    def forward(
        self,
        x: Tensor | None,  # (B, in_channels, *space)
        state: Tensor | None = None,
        *,
        _sequence: tuple[CallSpec, Dropout] | None = None,
    ) -> Tensor:
        """Take one step and return the new ``h``, ``(B, hidden_channels, *space)``.

        Args:
            x: The input, ``(B, in_channels, *space)``. None for no input; a state is then required.
            state: ``h`` before the step, ``(B, hidden_channels, *space)``. None starts from zeros.

        Raises:
            ArgumentError: A tensor is missing, is not expected, or has another shape than expected.
        """
        if _sequence is not None:  # called by Cell.run, with a whole sequence and a state in a tuple
            return self.sequence(x, cast("State", state), *_sequence)  # type: ignore[return-value]
        (h,) = self.step(x, None if state is None else (state,))
        return h


class ConvGRUCell(GRUCell):
    """The ConvGRU cell, whatever its number of spatial axes."""

    recurrence: ClassVar = "conv_gru"
    tensors: ClassVar = GRUWeights
    options: ClassVar = ConvGRUOptions

    norm_ih: nn.Parameter | None
    norm_hh: nn.Parameter | None

    reset: str

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int,
        kernel_size: PerAxis,
        bias: bool = True,
        **options: Unpack[ConvGRUOptions],
    ) -> None:
        super().__init__(in_channels, hidden_channels, kernel_size, bias, options)

    def _parameter_shapes(
        self,
        bias: bool,
        options: Mapping[str, Any],  # noqa: ARG002
    ) -> dict[str, tuple[int, ...] | None]:
        c, has_input = self.hidden_channels, self.in_channels > 0
        return {
            "weight_ih": (3 * c, self.in_channels, *self.kernel_size) if has_input else None,
            "weight_hh": (3 * c, c, *self.recurrent_kernel_size),
            "bias_ih": (3 * c,) if bias and has_input else None,
            "bias_hh": (3 * c,) if bias else None,
            "norm_ih": (3 * c,) if self.norm and has_input else None,
            "norm_hh": (3 * c,) if self.norm else None,
        }

    def variant(self) -> Variant:
        """Return the options which vary the equations."""
        return super().variant()._replace(reset=self.reset)


class GRU(Recurrent):
    """A stack of ConvGRU or TrajGRU layers."""

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
            x: The input, ``(T, B, in_channels, *space)``, or ``(B, T, …)`` if ``batch_first``. None for no
                input: the input convolution and its bias are then left out, and ``steps`` and a state are
                required.
            state: ``h_0``, a tuple with a tensor ``(B, hidden_channels, *space)`` per layer and direction in
                the order of :class:`torch.nn.GRU`. None starts from zeros.
            steps: As in :class:`ConvLSTM2d`.
            lengths: As in :class:`ConvLSTM2d`.
            mask: As in :class:`ConvLSTM2d`.
            return_sequence: As in :class:`ConvLSTM2d`.

        Returns:
            ``output, h_n``: the hidden states of the top layer, with the axes of ``x``, and the last states,
            structured as ``state``. Pass them as ``state`` to continue the sequence.

        Raises:
            ArgumentError: A tensor is missing, is not expected, or has another shape than expected.
        """
        output, states = self._run(self._read(x, state, steps, lengths, mask), return_sequence)
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
        """Run the stack as :meth:`forward` does, and return the hidden states of all layers, lowest first.

        Returns:
            ``outputs, h_n``: ``outputs[-1]`` is the output of :meth:`forward`. The outputs are those before
            dropout.
        """
        outputs, states = self._run_all(self._read(x, state, steps, lengths, mask))
        return outputs, tuple(h for (h,) in states)

    def _state_per_cell(self, state: Sequence[Tensor] | None) -> list[State] | None:
        """Convert ``h_0`` to ``(h,)`` per layer and direction."""
        if state is None:
            return None
        if not isinstance(state, tuple | list) or len(state) != len(self.cells):
            self._reject_state("h_0, a tuple", state)
        return [(h,) for h in state]


class _ConvGRU(GRU):
    """A stack of ConvGRU layers over one, two or three spatial axes."""

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
        **options: Unpack[ConvGRUOptions],
    ) -> None:
        given = {"kernel_size": kernel_size, "bias": bias, **options}
        super().__init__(in_channels, hidden_channels, num_layers, batch_first, dropout, bidirectional, given)


class ConvGRUCell2d(ConvGRUCell):
    """One step of a ConvGRU over images, as :class:`torch.nn.GRUCell` is one step of a GRU over vectors.

    With ``*`` the convolution and ``∘`` the elementwise product::

        r = σ(W_xr * X_t + b_xr + W_hr * H_{t-1} + b_hr)
        z = σ(W_xz * X_t + b_xz + W_hz * H_{t-1} + b_hz)
        n = tanh(W_xn * X_t + b_xn + r ∘ (W_hn * H_{t-1} + b_hn))        reset="after"
        n = tanh(W_xn * X_t + b_xn + W_hn * (r ∘ H_{t-1}) + b_hn)        reset="before"
        H_t = (1 - z) ∘ n + z ∘ H_{t-1}

    ``"after"`` is the form of :class:`torch.nn.GRU`, cuDNN and TrajGRU, with one convolution of ``h``.
    ``"before"`` is that of Cho et al. (2014), arXiv:1406.1078, and, with convolutions, of Ballas et al.
    (2016), arXiv:1511.06432; it needs two convolutions in sequence.

    The parameters have the names and the order r, z, n of :class:`torch.nn.GRU`: ``weight_ih``
    ``(3C, C_in, kH, kW)``, ``weight_hh`` ``(3C, C, kH, kW)``, ``bias_ih`` and ``bias_hh`` ``(3C,)``. Input
    weights are initialised Glorot-uniform, recurrent weights orthogonal, biases zero.

    Under autocast convolutions and a layer's output have the lower precision; ``h`` and gates are float32.

    Args:
        in_channels: Number of channels of the input, at least 0. With 0 the cell has no input.
        hidden_channels: Number of channels of ``h``, at least 1.
        kernel_size: Kernel size of the input convolution: an int, or a tuple ``(kH, kW)``.
        bias: Whether the gates have biases.
        reset: Whether the reset gate is applied ``"before"`` or ``"after"`` the convolution of ``h``.
        stride, padding, dilation, padding_mode, recurrent_kernel_size, recurrent_padding_mode, activation,
            recurrent_activation, input_dropout, recurrent_dropout, zoneout: As in :class:`ConvLSTMCell2d`.
        norm: ``"layer"`` or ``"group"``, as in :class:`ConvLSTMCell2d`. With ``reset="before"`` the term
            ``W_hn * (r ∘ H)`` is normalised on its own.
        backend: ``"reference"`` computes the equations as written. ``"fused"`` is faster and raises an error
            for calls which it does not support: it supports the CPU, float32, also under autocast to
            bfloat16, and float64, and of the options above the sizes, ``bias`` and ``reset``. ``"auto"`` is
            ``"fused"`` for supported calls and ``"reference"`` otherwise.
        device: Device of the parameters.
        dtype: Dtype of the parameters.

    Raises:
        ArgumentError: An argument has a value which is not allowed.
        NotOfferedError: In a call, if ``backend="fused"`` does not support it.

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
    """One step of a ConvGRU over lines, ``(B, C, W)``. All else is as in :class:`ConvGRUCell2d`.

    Examples:
        >>> import torch
        >>> ConvGRUCell1d(in_channels=3, hidden_channels=8, kernel_size=5)(torch.rand(2, 3, 24)).shape
        torch.Size([2, 8, 24])
    """

    space = ("W",)


class ConvGRUCell3d(ConvGRUCell):
    """One step of a ConvGRU over volumes, ``(B, C, D, H, W)``. All else is as in :class:`ConvGRUCell2d`.

    Examples:
        >>> import torch
        >>> ConvGRUCell3d(in_channels=3, hidden_channels=8, kernel_size=3)(torch.rand(2, 3, 4, 16, 24)).shape
        torch.Size([2, 8, 4, 16, 24])
    """

    space = ("D", "H", "W")


class ConvGRU2d(_ConvGRU):
    """A ConvGRU over sequences of images, in one or several layers: :class:`torch.nn.GRU` with space.

    :class:`ConvGRUCell2d` documents the equations, their options, and the initial parameters. Images may have
    any size, and another one in every call. A tuple gives one value per axis, and a list one per layer.

    Args:
        in_channels: Number of channels of the input, at least 0. With 0 the stack has no input and continues
            from its state.
        hidden_channels: Number of channels of ``h``: an int, or one per layer.
        kernel_size: Kernel size of the input convolution.
        num_layers, bias, batch_first, dropout, bidirectional: As in :class:`ConvLSTM2d`.
        **options: All other arguments of :class:`ConvGRUCell2d`.

    Raises:
        ArgumentError: An argument has a value which is not allowed.

    Examples:
        >>> import torch
        >>> rnn = ConvGRU2d(in_channels=3, hidden_channels=[8, 4], kernel_size=3)
        >>> output, h_n = rnn(torch.rand(10, 2, 3, 16, 24))  # (T, B, C, H, W)
        >>> output.shape, [h.shape[1] for h in h_n]
        (torch.Size([10, 2, 4, 16, 24]), [8, 4])
    """

    cell = ConvGRUCell2d


class ConvGRU1d(_ConvGRU):
    """A ConvGRU over sequences of lines, ``(T, B, C, W)``. All else is as in :class:`ConvGRU2d`.

    Examples:
        >>> import torch
        >>> output, _ = ConvGRU1d(in_channels=3, hidden_channels=8, kernel_size=5)(torch.rand(10, 2, 3, 24))
        >>> output.shape
        torch.Size([10, 2, 8, 24])
    """

    cell = ConvGRUCell1d


class ConvGRU3d(_ConvGRU):
    """A ConvGRU over sequences of volumes, ``(T, B, C, D, H, W)``. All else is as in :class:`ConvGRU2d`.

    Examples:
        >>> import torch
        >>> rnn = ConvGRU3d(in_channels=3, hidden_channels=8, kernel_size=3)
        >>> output, _ = rnn(torch.rand(5, 2, 3, 4, 16, 24))
        >>> output.shape
        torch.Size([5, 2, 8, 4, 16, 24])
    """

    cell = ConvGRUCell3d
