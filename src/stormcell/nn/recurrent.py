"""Layers of cells, run over sequences of frames."""

import warnings
from collections.abc import Iterator, Sequence
from typing import ClassVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stormcell.errors import ArgumentError
from stormcell.nn import arguments
from stormcell.nn.arguments import PerAxis, PerLayer
from stormcell.nn.cells import ConvLSTMCell, ConvLSTMCell2d
from stormcell.nn.shapes import check_input, shape

States = tuple[tuple[Tensor, ...], tuple[Tensor, ...]]  # (h, c), each a tensor per layer


class _ConvLSTM(nn.Module):
    """A stack of ConvLSTM layers, whatever the number of spatial axes."""

    cell: ClassVar[type[ConvLSTMCell]]

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int | Sequence[int],
        kernel_size: PerLayer,
        num_layers: int | None = None,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        *,
        stride: PerAxis = 1,
        padding: PerAxis | str = "same",
        dilation: PerAxis = 1,
        padding_mode: str = "zeros",
        peephole: str | None = "channel",
        recurrent_kernel_size: PerLayer | None = None,
        activation: str = "tanh",
        recurrent_activation: str = "sigmoid",
        recurrent_dropout: float = 0.0,
        zoneout: float = 0.0,
        norm: str | None = None,
        cell_clip: float | None = None,
        proj_channels: int | None = None,
        forget_bias: float = 1.0,
        backend: str = "auto",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        arguments.only("bidirectional", bidirectional, False)
        arguments.one_of("batch_first", batch_first, (True, False))
        if not isinstance(dropout, int | float) or not 0 <= dropout <= 1:
            raise ArgumentError(f"dropout: expected a probability, found {dropout!r}")
        space = self.cell.space
        layers = arguments.layers(
            hidden_channels, kernel_size, recurrent_kernel_size, num_layers, axes=len(space)
        )
        if dropout and len(layers) == 1:
            warnings.warn(f"dropout={dropout} acts between layers, and there is only one", stacklevel=2)

        self.in_channels = in_channels
        self.hidden_channels = [layer.hidden_channels for layer in layers]
        self.kernel_size = [layer.kernel_size for layer in layers]
        self.recurrent_kernel_size = [layer.recurrent_kernel_size for layer in layers]
        self.num_layers = len(layers)
        self.batch_first = batch_first
        self.dropout = dropout
        self.cells = nn.ModuleList()
        for layer in layers:
            self.cells.append(
                self.cell(
                    in_channels,
                    layer.hidden_channels,
                    layer.kernel_size,
                    bias,
                    stride=stride,
                    padding=padding,
                    dilation=dilation,
                    padding_mode=padding_mode,
                    peephole=peephole,
                    recurrent_kernel_size=layer.recurrent_kernel_size,
                    activation=activation,
                    recurrent_activation=recurrent_activation,
                    recurrent_dropout=recurrent_dropout,
                    zoneout=zoneout,
                    norm=norm,
                    cell_clip=cell_clip,
                    proj_channels=proj_channels,
                    forget_bias=forget_bias,
                    backend=backend,
                    device=device,
                    dtype=dtype,
                )
            )
            in_channels = layer.hidden_channels

    def reset_parameters(self) -> None:
        """Start every layer afresh."""
        for cell in self._typed_cells():
            cell.reset_parameters()

    def forward(
        self,
        x: Tensor | None,
        state: States | None = None,
        *,
        steps: int | None = None,
        lengths: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> tuple[Tensor, States]:
        """Run the stack over a sequence.

        Args:
            x: The input, ``(T, B, in_channels, *space)``, or ``(B, T, …)`` if ``batch_first``; None
                where ``in_channels`` is 0.
            state: ``(h_0, c_0)``, each a tuple with a tensor ``(B, hidden_channels, *space)`` per layer;
                None starts from zeros.
            steps: How many steps to take without input; with one it is T and need not be said.
            lengths: Not offered.
            mask: Not offered.

        Returns:
            ``output, (h_n, c_n)``: the top layer's hidden states, laid out as ``x`` is, and the states
            after the last step, as ``state`` is. Giving them back goes on where this call stopped.

        Raises:
            ArgumentError: A tensor has not the expected shape, or is missing, or is one too many.
            NotOfferedError: ``lengths`` or ``mask`` is given.
        """
        arguments.absent("lengths", lengths)
        arguments.absent("mask", mask)
        h_n, c_n = [], []
        for hidden, (h, c) in self._layers(x, state, steps):
            output = hidden  # the top layer's, in the end
            h_n.append(h)
            c_n.append(c)
        return output, (tuple(h_n), tuple(c_n))

    def all_layers(
        self, x: Tensor | None, state: States | None = None, *, steps: int | None = None
    ) -> tuple[tuple[Tensor, ...], States]:
        """Run the stack as :meth:`forward` does, and return the hidden states of every layer, lowest first.

        Returns:
            ``outputs, (h_n, c_n)``: ``outputs[-1]`` is what :meth:`forward` returns. Dropout acts on what
            the next layer sees, not on these.
        """
        outputs, states = zip(*self._layers(x, state, steps), strict=True)
        h_n, c_n = zip(*states, strict=True)
        return outputs, (h_n, c_n)

    def _layers(
        self, x: Tensor | None, state: States | None, steps: int | None
    ) -> Iterator[tuple[Tensor, tuple[Tensor, Tensor]]]:
        """Run one layer after another: yield each one's hidden states and its last state."""
        time, batch = ("B", "T") if self.batch_first else ("T", "B")
        check_input(x, self.in_channels, (time, batch, "C", *self.cell.space))
        states = self._per_layer(state)
        if x is not None and self.batch_first:
            x = x.transpose(0, 1)
        steps = self._steps(x, steps)
        for layer, (cell, layer_state) in enumerate(zip(self._typed_cells(), states, strict=True)):
            if self.dropout and layer > 0 and x is not None:
                x = F.dropout(x, self.dropout, self.training)
            x, last = cell.sequence(x, layer_state, steps=steps, name=f"state of layer {layer}")
            yield x.transpose(0, 1) if self.batch_first else x, last

    def _per_layer(self, state: States | None) -> Sequence[tuple[Tensor, Tensor] | None]:
        """Turn ``(h_0, c_0)`` into an ``(h, c)`` per layer."""
        if state is None:
            return [None] * self.num_layers
        pair = isinstance(state, tuple | list) and len(state) == 2
        if not pair or any(not isinstance(s, tuple | list) or len(s) != self.num_layers for s in state):
            layers = f"{self.num_layers} tensor{'s' if self.num_layers > 1 else ''}"
            raise ArgumentError(
                f"state: expected (h_0, c_0), each a tuple of {layers}, one per layer, found {shape(state)}"
            )
        return list(zip(*state, strict=True))

    def _steps(self, x: Tensor | None, steps: int | None) -> int:
        """Tell how many steps to take, ``x`` being time first."""
        if x is None:
            return arguments.count("steps", steps)
        if steps not in (None, len(x)):
            raise ArgumentError(f"steps: expected None or {len(x)}, as x has, found {steps!r}")
        if len(x) == 0:
            raise ArgumentError(f"x: expected at least one step, found {shape(x)} with time first")
        return len(x)

    def _typed_cells(self) -> Iterator[ConvLSTMCell]:
        """Return the cells as what they are: a ModuleList only knows that they are modules."""
        return cast("Iterator[ConvLSTMCell]", iter(self.cells))

    def extra_repr(self) -> str:
        """Say what the cells do not."""
        return f"batch_first={self.batch_first}, dropout={self.dropout}"


class ConvLSTM2d(_ConvLSTM):
    """A ConvLSTM over sequences of images, in one or several layers: :class:`torch.nn.LSTM` with space.

    :class:`ConvLSTMCell2d` states the equations, those of Shi et al. (2015), arXiv:1506.04214, and how
    the parameters start; layer ``k`` is ``cells[k]``. Images may be of any size, another one every call.

    For ``kernel_size`` and ``recurrent_kernel_size`` a tuple means per axis and a list per layer, whose
    entries may again be per axis: ``[5, (3, 5)]``.

    Args:
        in_channels: Channels of the input; 0 for a stack that has none and runs on from its state.
        hidden_channels: Channels of ``h`` and ``c``: an int, or one per layer.
        kernel_size: Of the convolution over the input.
        num_layers: How many layers; None takes as many as the other arguments list, or one.
        bias: Whether the gates have one.
        batch_first: Whether sequences are ``(B, T, C, H, W)`` instead of ``(T, B, C, H, W)``.
        dropout: Probability of zeroing an element of a layer's output on its way to the next layer.
        bidirectional: Only False is offered.
        peephole: ``"channel"`` as the paper, or None.
        recurrent_kernel_size: Of the convolution over ``h``; None takes ``kernel_size``.
        forget_bias: What the bias of the forget gate starts at; without ``bias`` it has no meaning.
        backend: How to compute it: ``"auto"`` or ``"reference"``.
        device: Where the parameters are.
        dtype: What they are.
        stride, padding, dilation, padding_mode, activation, recurrent_activation, recurrent_dropout,
            zoneout, norm, cell_clip, proj_channels: Only their defaults are offered. Zeros surround
            the image; an even kernel has the extra row and column at the end.

    Raises:
        ArgumentError: An argument has a value it cannot have.
        NotOfferedError: An argument has a value that is not offered.

    Examples:
        >>> import torch
        >>> rnn = ConvLSTM2d(in_channels=3, hidden_channels=[8, 4], kernel_size=3)
        >>> output, (h_n, c_n) = rnn(torch.rand(10, 2, 3, 16, 24))  # (T, B, C, H, W)
        >>> output.shape, [h.shape[1] for h in h_n]
        (torch.Size([10, 2, 4, 16, 24]), [8, 4])

        A stack without input goes on from where another stopped:

        >>> ahead = ConvLSTM2d(in_channels=0, hidden_channels=[8, 4], kernel_size=3)
        >>> output, _ = ahead(None, (h_n, c_n), steps=5)
        >>> output.shape
        torch.Size([5, 2, 4, 16, 24])
    """

    cell = ConvLSTMCell2d
