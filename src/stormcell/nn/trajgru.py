"""TrajGRU: a GRU whose hidden state moves along learned flows."""

from collections.abc import Sequence
from typing import ClassVar, Unpack

import torch
from torch import nn

from stormcell.nn import arguments
from stormcell.nn.activations import Activation
from stormcell.nn.arguments import PerAxis, PerLayer
from stormcell.nn.conv_gru import GRU, GRUCell, GRUOptions
from stormcell.nn.ops.terms import Form, TrajGRUWeights


class TrajGRUCell2d(GRUCell):
    """One step of a TrajGRU, which sees its hidden state along learned flows.

    The equations of Shi et al. (2017), arXiv:1706.03458. Convolutions make L flows of the input and the
    hidden state, and each flow moves the hidden state; with ``*`` the convolution, ``∘`` the elementwise
    product and ``[…]`` the images of all flows stacked::

        U = W_u * leaky(W_xu * X_t + b_xu + W_hu * H_{t-1} + b_hu) + b_u    L pairs (dx, dy), in pixels
        M = [warp(H_{t-1}, U_1), …, warp(H_{t-1}, U_L)]    warp(H, U)(p) = H(p - U(p)), 0 beyond the edge
        r = σ(W_xr * X_t + b_xr + W_hr * M + b_hr)
        z = σ(W_xz * X_t + b_xz + W_hz * M + b_hz)
        n = leaky(W_xn * X_t + b_xn + r ∘ (W_hn * M + b_hn))
        H_t = (1 - z) ∘ n + z ∘ H_{t-1}

    The parameters: those of :class:`ConvGRUCell2d`, but that ``weight_hh`` is 1×1 over the flows' images,
    ``(3C, L·C, 1, 1)``, flow by flow; and with F = ``flow_channels`` ``flow_weight_ih``
    ``(F, C_in, kH, kW)``, ``flow_weight_hh`` ``(F, C, kH, kW)``, ``flow_weight`` ``(2L, F, kH, kW)`` with
    biases ``flow_bias_ih``, ``flow_bias_hh``, ``flow_bias``. ``flow_weight`` and its bias start at zero:
    nothing moves at first, and the cell is a ConvGRU with a 1×1 recurrent kernel.

    Images keep their size. Sampling between pixels has a kink where a flow is a whole number of them, as all
    are at first: the flows' gradient is the slope on one side, which rounding or ``backend`` may choose.
    Elsewhere the cell has second derivatives too if PyTorch's ``grid_sample`` has, as in 2.13.

    Args:
        in_channels: Channels of the input; 0 for a cell that has none.
        hidden_channels: Channels of ``h``.
        kernel_size: Of the convolution over the input: an int, or a tuple ``(kH, kW)``.
        bias: Whether the gates and the flows have them.
        num_flows: How many flows, L.
        flow_channels: Channels between the two convolutions that make the flows.
        flow_kernel_size: Of both.
        activation: What makes n: as in :class:`ConvLSTMCell2d`; the flows always have a leaky ReLU.
        recurrent_activation: What makes r and z.
        zoneout: As in :class:`ConvLSTMCell2d`.
        align_corners: What the sampling grid, which runs from -1 to 1 between the centres of the outermost
            pixels, is taken to mean. True is right; False samples beside the pixels, as code written for
            PyTorch before 1.3 has done since, and is for weights trained with it.
        backend: How to compute it: ``"reference"`` as the equations are written; ``"fused"`` with less
            traffic through memory, which knows a CPU and float32, also under autocast to bfloat16, and
            float64, and of the arguments here only sizes, ``bias``, ``align_corners`` and the activations
            ``"leaky_relu"`` and ``"tanh"``, and refuses anything else; ``"auto"`` the fused way where it can.
        device: Where the parameters are.
        dtype: What they are.

    Raises:
        ArgumentError: An argument has a value it cannot have.
        NotOfferedError: A call asks of ``backend="fused"`` what that does not know.

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

    flow_weight_ih: nn.Parameter | None
    flow_bias_ih: nn.Parameter | None
    flow_weight_hh: nn.Parameter
    flow_bias_hh: nn.Parameter | None
    flow_weight: nn.Parameter
    flow_bias: nn.Parameter | None

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int,
        kernel_size: PerAxis,
        bias: bool = True,
        *,
        num_flows: int = 13,
        flow_channels: int = 32,
        flow_kernel_size: PerAxis = 5,
        activation: str | Activation = "leaky_relu",
        recurrent_activation: str | Activation = "sigmoid",
        zoneout: float = 0.0,
        align_corners: bool = True,
        backend: str = "auto",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(
            in_channels,
            hidden_channels,
            kernel_size,
            bias,
            recurrent_kernel_size=1,
            activation=activation,
            recurrent_activation=recurrent_activation,
            zoneout=zoneout,
            backend=backend,
        )
        arguments.one_of("align_corners", align_corners, (True, False))
        self.num_flows = arguments.count("num_flows", num_flows)
        self.flow_channels = arguments.count("flow_channels", flow_channels)
        self.flow_kernel_size = arguments.per_axis("flow_kernel_size", flow_kernel_size, len(self.space))
        self.align_corners = align_corners

        c, flows, f, k = self.hidden_channels, self.num_flows, self.flow_channels, self.flow_kernel_size
        self._create(
            device,
            dtype,
            weight_ih=(3 * c, in_channels, *self.kernel_size) if in_channels else None,
            weight_hh=(3 * c, flows * c, 1, 1),
            bias_ih=(3 * c,) if bias and in_channels else None,
            bias_hh=(3 * c,) if bias else None,
            flow_weight_ih=(f, in_channels, *k) if in_channels else None,
            flow_bias_ih=(f,) if bias and in_channels else None,
            flow_weight_hh=(f, c, *k),
            flow_bias_hh=(f,) if bias else None,
            flow_weight=(2 * flows, f, *k),
            flow_bias=(2 * flows,) if bias else None,
        )

    def form(self) -> Form:
        """Return what this cell has varied in the equations."""
        return super().form()._replace(align_corners=self.align_corners)

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Start as a ConvGRU, with nothing moving."""
        super().reset_parameters()
        nn.init.zeros_(self.flow_weight)


class _Options(GRUOptions, total=False):
    """The arguments that a TrajGRU hands on to its cells."""

    num_flows: PerLayer[int]
    flow_channels: PerLayer[int]
    flow_kernel_size: PerLayer[PerAxis]
    align_corners: bool


class TrajGRU2d(GRU):
    """A TrajGRU over sequences of images, in one or several layers.

    :class:`TrajGRUCell2d` states the equations of Shi et al. (2017), arXiv:1706.03458, and how the
    parameters start. Images may be of any size, another one every call. A tuple means per axis and a list
    per layer: ``num_flows=[13, 13, 9]``.

    Args:
        in_channels: Channels of the input; 0 for a stack that has none and runs on from its state.
        hidden_channels: Channels of ``h``: an int, or one per layer.
        kernel_size: Of the convolution over the input.
        num_layers: How many layers; None takes as many as the other arguments list, or one.
        bias: Whether the gates and the flows have them.
        batch_first: Whether sequences are ``(B, T, C, H, W)`` instead of ``(T, B, C, H, W)``.
        dropout: Probability of zeroing an element of a layer's output on its way to the next layer.
        bidirectional: As in :class:`ConvLSTM2d`.
        **options: What else :class:`TrajGRUCell2d` takes.

    Raises:
        ArgumentError: An argument has a value it cannot have.

    Examples:
        >>> import torch
        >>> rnn = TrajGRU2d(in_channels=3, hidden_channels=[8, 4], kernel_size=3, num_flows=5)
        >>> output, h_n = rnn(torch.rand(10, 2, 3, 16, 24))  # (T, B, C, H, W)
        >>> output.shape, [h.shape[1] for h in h_n]
        (torch.Size([10, 2, 4, 16, 24]), [8, 4])
    """

    cell = TrajGRUCell2d
    options: ClassVar = _Options

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
        **options: Unpack[_Options],
    ) -> None:
        given = {"kernel_size": kernel_size, "bias": bias, **options}
        super().__init__(in_channels, hidden_channels, num_layers, batch_first, dropout, bidirectional, given)
