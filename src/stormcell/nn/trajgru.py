"""TrajGRU: a GRU whose hidden state moves along learned flows."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Unpack

import torch
from torch import nn

from stormcell.nn.arguments import PerAxis, PerLayer
from stormcell.nn.conv_gru import GRU, GRUCell
from stormcell.nn.ops.types import TrajGRUWeights, Variant
from stormcell.nn.options import TrajGRUOptions


class TrajGRUCell2d(GRUCell):
    """One step of a TrajGRU, whose gates use the hidden state warped along learned flows.

    The equations of Shi et al. (2017), arXiv:1706.03458. Two convolutions compute L flows from the input and
    the hidden state, and the hidden state is warped along each of them; with ``*`` the convolution, ``∘`` the
    elementwise product and ``[…]`` images stacked along the channels::

        U = W_u * leaky(W_xu * X_t + b_xu + W_hu * H_{t-1} + b_hu) + b_u    L pairs (dx, dy), in pixels
        M = [warp(H_{t-1}, U_1), …, warp(H_{t-1}, U_L)]    warp(H, U)(p) = H(p - U(p)), 0 beyond the edge
        r = σ(W_xr * X_t + b_xr + W_hr * M + b_hr)
        z = σ(W_xz * X_t + b_xz + W_hz * M + b_hz)
        n = leaky(W_xn * X_t + b_xn + r ∘ (W_hn * M + b_hn))
        H_t = (1 - z) ∘ n + z ∘ H_{t-1}

    The parameters are those of :class:`ConvGRUCell2d`, but ``weight_hh`` is a 1×1 convolution of the warped
    states, ``(3C, L·C, 1, 1)``, flow by flow. The flows add, with F = ``flow_channels``, ``flow_weight_ih``
    ``(F, C_in, kH, kW)``, ``flow_weight_hh`` ``(F, C, kH, kW)`` and ``flow_weight`` ``(2L, F, kH, kW)``, with
    biases ``flow_bias_ih``, ``flow_bias_hh`` and ``flow_bias``. ``flow_weight`` and its bias start at zero:
    there is no motion at first, and the cell is a ConvGRU with a 1×1 recurrent kernel.

    The state has the size of the input. Bilinear sampling is not differentiable where a flow is a whole
    number of pixels, as all flows are at first. The gradient of the flows is then the slope towards the next
    row or column, with every ``backend`` and in compiled code.

    Args:
        in_channels: Number of channels of the input, at least 0. With 0 the cell has no input.
        hidden_channels: Number of channels of ``h``, at least 1.
        kernel_size: Kernel size of the input convolution: an int, or a tuple ``(kH, kW)``.
        bias: Whether the gates and the flows have biases.
        num_flows: Number of flows, L, at least 1.
        flow_channels: Number of channels of the hidden layer which computes the flows, at least 1.
        flow_kernel_size: Kernel size of both convolutions which compute the flows.
        activation: Activation of n, as in :class:`ConvLSTMCell2d`; the flows always have a leaky ReLU.
        recurrent_activation: Activation of r and z.
        zoneout: As in :class:`ConvLSTMCell2d`.
        align_corners: The meaning of the sampling grid, which runs from -1 to 1 between the centres of the
            outermost pixels. True is correct. False samples slightly beside the pixels, as code written for
            PyTorch before 1.3 has done since; use it for weights trained that way.
        backend: ``"reference"`` computes the equations as written. ``"fused"`` is faster and raises an error
            for calls which it does not support: it supports the CPU, float32, also under autocast to
            bfloat16, and float64, and of the options above the sizes, ``bias``, ``align_corners`` and the
            activations ``"leaky_relu"`` and ``"tanh"``. ``"auto"`` is ``"fused"`` for supported calls and
            ``"reference"`` otherwise.
        device: Device of the parameters.
        dtype: Dtype of the parameters.

    Raises:
        ArgumentError: An argument has a value which is not allowed.
        NotOfferedError: In a call, if ``backend="fused"`` does not support it.

    Examples:
        >>> import torch
        >>> cell = TrajGRUCell2d(in_channels=3, hidden_channels=8, kernel_size=3, num_flows=5)
        >>> h = cell(torch.rand(2, 3, 16, 24))  # (B, C, H, W)
        >>> h = cell(torch.rand(2, 3, 16, 24), h)
        >>> h.shape
        torch.Size([2, 8, 16, 24])
    """

    space = ("H", "W")
    recurrence: ClassVar = "traj_gru"
    tensors: ClassVar = TrajGRUWeights
    options: ClassVar = TrajGRUOptions

    flow_weight_ih: nn.Parameter | None
    flow_bias_ih: nn.Parameter | None
    flow_weight_hh: nn.Parameter
    flow_bias_hh: nn.Parameter | None
    flow_weight: nn.Parameter
    flow_bias: nn.Parameter | None

    num_flows: int
    flow_channels: int
    flow_kernel_size: tuple[int, ...]
    align_corners: bool

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int,
        kernel_size: PerAxis,
        bias: bool = True,
        **options: Unpack[TrajGRUOptions],
    ) -> None:
        super().__init__(in_channels, hidden_channels, kernel_size, bias, options)
        self.recurrent_kernel_size = (1, 1)

    def _parameter_shapes(
        self,
        bias: bool,
        options: Mapping[str, Any],  # noqa: ARG002
    ) -> dict[str, tuple[int, ...] | None]:
        c, flows, f, k = self.hidden_channels, self.num_flows, self.flow_channels, self.flow_kernel_size
        has_input = self.in_channels > 0
        return {
            "weight_ih": (3 * c, self.in_channels, *self.kernel_size) if has_input else None,
            "weight_hh": (3 * c, flows * c, 1, 1),
            "bias_ih": (3 * c,) if bias and has_input else None,
            "bias_hh": (3 * c,) if bias else None,
            "flow_weight_ih": (f, self.in_channels, *k) if has_input else None,
            "flow_bias_ih": (f,) if bias and has_input else None,
            "flow_weight_hh": (f, c, *k),
            "flow_bias_hh": (f,) if bias else None,
            "flow_weight": (2 * flows, f, *k),
            "flow_bias": (2 * flows,) if bias else None,
        }

    def variant(self) -> Variant:
        """Return the options which vary the equations."""
        return super().variant()._replace(align_corners=self.align_corners)

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Initialise the parameters of a ConvGRU, without motion."""
        super().reset_parameters()
        nn.init.zeros_(self.flow_weight)


class TrajGRU2d(GRU):
    """A TrajGRU over sequences of images, in one or several layers.

    :class:`TrajGRUCell2d` documents the equations of Shi et al. (2017), arXiv:1706.03458, and the initial
    parameters. Images may have any size, and another one in every call. A tuple gives one value per axis, and
    a list one per layer: ``num_flows=[13, 13, 9]``.

    Args:
        in_channels: Number of channels of the input, at least 0. With 0 the stack has no input and continues
            from its state.
        hidden_channels: Number of channels of ``h``: an int, or one per layer.
        kernel_size: Kernel size of the input convolution.
        num_layers, bias, batch_first, dropout, bidirectional: As in :class:`ConvLSTM2d`.
        **options: All other arguments of :class:`TrajGRUCell2d`.

    Raises:
        ArgumentError: An argument has a value which is not allowed.

    Examples:
        >>> import torch
        >>> rnn = TrajGRU2d(in_channels=3, hidden_channels=[8, 4], kernel_size=3, num_flows=5)
        >>> output, h_n = rnn(torch.rand(10, 2, 3, 16, 24))  # (T, B, C, H, W)
        >>> output.shape, [h.shape[1] for h in h_n]
        (torch.Size([10, 2, 4, 16, 24]), [8, 4])
    """

    cell = TrajGRUCell2d

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
        **options: Unpack[TrajGRUOptions],
    ) -> None:
        given = {"kernel_size": kernel_size, "bias": bias, **options}
        super().__init__(in_channels, hidden_channels, num_layers, batch_first, dropout, bidirectional, given)
