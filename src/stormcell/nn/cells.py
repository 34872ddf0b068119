"""One layer's parameters, and what they compute: one step, or a sequence of them."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from stormcell.errors import NotOfferedError
from stormcell.nn import arguments, ops
from stormcell.nn.arguments import PerAxis
from stormcell.nn.shapes import check_input, check_state


class ConvLSTMCell(nn.Module):
    """A ConvLSTM cell, whatever the number of spatial axes."""

    space: ClassVar[tuple[str, ...]]  # the names of the spatial axes

    weight_ih: nn.Parameter | None  # (4 * hidden_channels, in_channels, *kernel_size); gates i, f, g, o
    weight_hh: nn.Parameter  # (4 * hidden_channels, hidden_channels, *recurrent_kernel_size)
    bias: nn.Parameter | None  # (4 * hidden_channels,)
    peephole: nn.Parameter | None  # (3, hidden_channels); gates i, f, o

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int,
        kernel_size: PerAxis,
        bias: bool = True,
        *,
        stride: PerAxis = 1,
        padding: PerAxis | str = "same",
        dilation: PerAxis = 1,
        padding_mode: str = "zeros",
        peephole: str | None = "channel",
        recurrent_kernel_size: PerAxis | None = None,
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
        arguments.only("stride", stride, 1)
        arguments.only("padding", padding, "same")
        arguments.only("dilation", dilation, 1)
        arguments.only("padding_mode", padding_mode, "zeros")
        arguments.only("activation", activation, "tanh")
        arguments.only("recurrent_activation", recurrent_activation, "sigmoid")
        arguments.only("recurrent_dropout", recurrent_dropout, 0.0)
        arguments.only("zoneout", zoneout, 0.0)
        arguments.only("norm", norm, None)
        arguments.only("cell_clip", cell_clip, None)
        arguments.only("proj_channels", proj_channels, None)
        if peephole == "pixel":
            raise NotOfferedError("peephole='pixel' is not offered, only 'channel' and None")
        arguments.one_of("peephole", peephole, ("channel", None))
        arguments.one_of("bias", bias, (True, False))

        self.in_channels = arguments.count("in_channels", in_channels, least=0)
        self.hidden_channels = arguments.count("hidden_channels", hidden_channels)
        self.kernel_size = arguments.per_axis("kernel_size", kernel_size, len(self.space))
        self.recurrent_kernel_size = (
            self.kernel_size
            if recurrent_kernel_size is None
            else arguments.per_axis("recurrent_kernel_size", recurrent_kernel_size, len(self.space))
        )
        self.forget_bias = forget_bias
        self.backend = backend
        self._op = ops.conv_lstm(backend)

        def parameter(*shape: int) -> nn.Parameter:
            return nn.Parameter(torch.empty(shape, device=device, dtype=dtype))

        c = hidden_channels
        self.weight_ih = parameter(4 * c, in_channels, *self.kernel_size) if in_channels else None
        self.weight_hh = parameter(4 * c, c, *self.recurrent_kernel_size)
        self.bias = parameter(4 * c) if bias else None
        self.peephole = parameter(3, c) if peephole else None
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Start as Keras does: see the class for what that is."""
        if self.weight_ih is not None:
            nn.init.xavier_uniform_(self.weight_ih)
        # Half precision has no QR decomposition: draw in float32 at least.
        dtype = torch.promote_types(self.weight_hh.dtype, torch.float32)
        self.weight_hh.copy_(nn.init.orthogonal_(torch.empty_like(self.weight_hh, dtype=dtype)))
        if self.bias is not None:
            nn.init.zeros_(self.bias)
            self.bias.view(4, -1)[1].fill_(self.forget_bias)
        if self.peephole is not None:
            nn.init.zeros_(self.peephole)

    def forward(
        self,
        x: Tensor | None,  # (B, in_channels, *space)
        state: tuple[Tensor, Tensor] | None = None,  # (h, c), each (B, hidden_channels, *space)
    ) -> tuple[Tensor, Tensor]:
        """Take one step and return the new ``h, c``, each ``(B, hidden_channels, *space)``.

        Args:
            x: The input, ``(B, in_channels, *space)``; None where ``in_channels`` is 0.
            state: ``(h, c)`` before the step; None starts from zeros.

        Raises:
            ArgumentError: A tensor has not the expected shape, or is missing, or is one too many.
        """
        check_input(x, self.in_channels, ("B", "C", *self.space))
        _, state = self.sequence(None if x is None else x.unsqueeze(0), state, steps=1)
        return state

    def sequence(
        self,
        x: Tensor | None,
        state: tuple[Tensor, Tensor] | None,
        *,
        steps: int,
        name: str = "state",
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Take a step for each frame of ``x``, ``(T, B, in_channels, *space)``, as checked by the caller.

        Returns:
            All hidden states, ``(T, B, hidden_channels, *space)``, and the last ``(h, c)``.

        Raises:
            ArgumentError: The state, called ``name`` in the message, has not the expected shape.
        """
        h, c = self._start(x, state, name)
        output, h, c = self._op(
            x, h, c, self.weight_ih, self.weight_hh, self.bias, self.peephole, steps=steps
        )
        return output, (h, c)

    def _start(
        self, x: Tensor | None, state: tuple[Tensor, Tensor] | None, name: str
    ) -> tuple[Tensor, Tensor]:
        """Return the state to start from, checked; zeros where none is given."""
        if x is None:  # only the state tells how large the images are
            return check_state(name, state, ("B", self.hidden_channels, *self.space))
        expected = (x.shape[1], self.hidden_channels, *x.shape[3:])
        if state is None:
            return self.weight_hh.new_zeros(expected), self.weight_hh.new_zeros(expected)
        return check_state(name, state, expected)

    def extra_repr(self) -> str:
        """Say what distinguishes this cell from another."""
        return (
            f"{self.in_channels}, {self.hidden_channels}, kernel_size={self.kernel_size}, "
            f"recurrent_kernel_size={self.recurrent_kernel_size}, bias={self.bias is not None}, "
            f"peephole={None if self.peephole is None else 'channel'!r}"
        )


class ConvLSTMCell2d(ConvLSTMCell):
    """One step of a ConvLSTM over images: what :class:`torch.nn.LSTMCell` is to vectors.

    The equations of Shi et al. (2015), arXiv:1506.04214, with ``*`` the convolution and ``∘`` the
    elementwise product::

        i = σ(W_xi * X_t + W_hi * H_{t-1} + w_ci ∘ C_{t-1} + b_i)
        f = σ(W_xf * X_t + W_hf * H_{t-1} + w_cf ∘ C_{t-1} + b_f)
        g = tanh(W_xg * X_t + W_hg * H_{t-1} + b_g)
        C_t = f ∘ C_{t-1} + i ∘ g
        o = σ(W_xo * X_t + W_ho * H_{t-1} + w_co ∘ C_t + b_o)
        H_t = o ∘ tanh(C_t)

    The parameters are those of the equations and no others, the gates stacked in the order i, f, g, o:
    ``weight_ih`` ``(4C, C_in, kH, kW)``, ``weight_hh`` ``(4C, C, kH, kW)``, ``bias`` ``(4C,)`` and
    ``peephole`` ``(3, C)`` for i, f, o, one number per channel. They start as those of Keras's
    ConvLSTM: input weights Glorot-uniform, recurrent weights orthogonal, the bias zero but for the
    forget gate's, and the peepholes, which Keras has not, zero.

    Under autocast the convolutions and ``h`` have the lower precision, ``c`` and the gates float32.

    Args:
        in_channels: Channels of the input; 0 for a cell that has none.
        hidden_channels: Channels of ``h`` and ``c``.
        kernel_size: Of the convolution over the input: an int, or a tuple ``(kH, kW)``.
        bias: Whether the gates have one.
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
        >>> cell = ConvLSTMCell2d(in_channels=3, hidden_channels=8, kernel_size=3)
        >>> h, c = cell(torch.rand(2, 3, 16, 24))  # (B, C, H, W)
        >>> h, c = cell(torch.rand(2, 3, 16, 24), (h, c))
        >>> h.shape
        torch.Size([2, 8, 16, 24])
    """

    space = ("H", "W")
