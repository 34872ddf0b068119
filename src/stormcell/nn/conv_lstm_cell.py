"""The cells of ConvLSTM, in one, two and three dimensions."""

from collections.abc import Mapping
from typing import Any, ClassVar, Unpack, cast

import torch
from torch import Tensor, nn

from stormcell.errors import ArgumentError
from stormcell.nn.arguments import PerAxis
from stormcell.nn.cells import Cell, Dropout
from stormcell.nn.ops.types import CallSpec, LSTMWeights, State, Variant
from stormcell.nn.options import ConvLSTMOptions


class LSTMCell(Cell):
    """The ConvLSTM cell, whatever its number of spatial axes."""

    gates: ClassVar = 4
    recurrence: ClassVar = "conv_lstm"
    states: ClassVar = ("h", "c")
    tensors: ClassVar = LSTMWeights
    options: ClassVar[type] = ConvLSTMOptions

    bias: nn.Parameter | None
    peephole: nn.Parameter | None
    weight_hr: nn.Parameter | None
    norm_ih: nn.Parameter | None
    norm_hh: nn.Parameter | None

    cell_clip: float | None
    proj_channels: int | None
    proj_clip: float | None
    forget_bias: float

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int,
        kernel_size: PerAxis,
        bias: bool = True,
        **options: Unpack[ConvLSTMOptions],
    ) -> None:
        super().__init__(in_channels, hidden_channels, kernel_size, bias, options)

    def _parameter_shapes(self, bias: bool, options: Mapping[str, Any]) -> dict[str, tuple[int, ...] | None]:
        peephole, norm = options["peephole"], self.norm
        if self.proj_clip is not None and self.proj_channels is None:
            raise ArgumentError("proj_clip requires proj_channels")
        if self.spatial_size is None:
            for name, value in (("peephole", peephole), ("norm", norm)):
                if value in ("pixel", "layer-pixel"):
                    raise ArgumentError(f"{name}={value!r} requires spatial_size")
        c, p = self.hidden_channels, self.state_channels[0]
        pixels = () if self.spatial_size is None else self.state_size(self.spatial_size)
        per_gate = (4 * c, *(pixels if norm == "layer-pixel" else ()))
        return {
            "weight_ih": (4 * c, self.in_channels, *self.kernel_size) if self.in_channels else None,
            "weight_hh": (4 * c, p, *self.recurrent_kernel_size),
            "bias": per_gate if bias else None,
            "peephole": (3, c, *(pixels if peephole == "pixel" else ())) if peephole else None,
            "weight_hr": (p, c, *(1,) * len(self.space)) if self.proj_channels else None,
            "norm_ih": per_gate if norm and self.in_channels else None,
            "norm_hh": per_gate if norm else None,
        }

    @property
    def state_channels(self) -> tuple[int, ...]:
        """The channels of h and c."""
        return self.proj_channels or self.hidden_channels, self.hidden_channels

    def variant(self) -> Variant:
        """Return the options which vary the equations."""
        return super().variant()._replace(cell_clip=self.cell_clip, proj_clip=self.proj_clip)

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Initialise the parameters as Keras does; the class documents how."""
        super().reset_parameters()
        if self.bias is not None:
            self.bias.view(4, -1)[1].fill_(self.forget_bias)

    def forward(
        self,
        x: Tensor | None,  # (B, in_channels, *space)
        state: tuple[Tensor, Tensor] | None = None,
        *,
        _sequence: tuple[CallSpec, Dropout] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Take one step and return the new ``h, c``.

        Args:
            x: The input, ``(B, in_channels, *space)``. None for no input; a state is then required.
            state: ``(h, c)`` before the step, ``(B, proj_channels or hidden_channels, *space)`` and
                ``(B, hidden_channels, *space)``. None starts from zeros.

        Raises:
            ArgumentError: A tensor is missing, is not expected, or has another shape than expected.
        """
        if _sequence is not None:  # called by Cell.run, with a whole sequence
            return self.sequence(x, cast("State", state), *_sequence)  # type: ignore[return-value]
        h, c = self.step(x, state)
        return h, c


class ConvLSTMCell2d(LSTMCell):
    """One step of a ConvLSTM over images, as :class:`torch.nn.LSTMCell` is one step of an LSTM over vectors.

    The equations of Shi et al. (2015), arXiv:1506.04214, with ``*`` the convolution and ``∘`` the
    elementwise product::

        i = σ(W_xi * X_t + W_hi * H_{t-1} + w_ci ∘ C_{t-1} + b_i)
        f = σ(W_xf * X_t + W_hf * H_{t-1} + w_cf ∘ C_{t-1} + b_f)
        g = tanh(W_xg * X_t + W_hg * H_{t-1} + b_g)
        C_t = f ∘ C_{t-1} + i ∘ g
        o = σ(W_xo * X_t + W_ho * H_{t-1} + w_co ∘ C_t + b_o)
        H_t = o ∘ tanh(C_t)

    The parameters are those of the equations, with gates stacked in the order i, f, g, o: ``weight_ih``
    ``(4C, C_in, kH, kW)``, ``weight_hh`` ``(4C, C, kH, kW)``, ``bias`` ``(4C,)``, and ``peephole`` ``(3, C)``
    for i, f, o, one number per channel. They are initialised as in Keras's ConvLSTM: input weights
    Glorot-uniform, recurrent weights orthogonal, biases zero except for the forget gate's. Peepholes, which
    Keras does not have, start at zero.

    Under autocast the convolutions and ``h`` have the lower precision; ``c`` and the gates are float32.

    Args:
        in_channels: Number of channels of the input, at least 0. With 0 the cell has no input, and options of
            the input convolution have no effect.
        hidden_channels: Number of channels of ``c``, at least 1, and of ``h`` without ``proj_channels``.
        kernel_size: Kernel size of the input convolution: an int, or a tuple ``(kH, kW)``.
        bias: Whether the gates have a bias.
        stride: Stride of the input convolution. The state is smaller than the input by this factor.
        padding: Padding of the input convolution. ``"same"`` gives an output of the input's size, divided by
            the stride and rounded up; an odd padding pixel goes to the end, as in TensorFlow. ``"valid"``
            does not pad. An int, or one per axis, is the number of pixels on both sides.
        dilation: Dilation of the input convolution.
        padding_mode: Values outside the input: ``"zeros"``, ``"reflect"``, ``"replicate"`` or ``"circular"``.
        peephole: ``"channel"``, as in the paper; ``"pixel"``, for one weight per channel and pixel; or None.
        spatial_size: Size of the input images, ``(H, W)``. Required by weights per pixel; if given, images of
            another size raise an error.
        recurrent_kernel_size: Kernel size of the convolution of ``h``, which keeps its size; None is
            ``kernel_size``.
        recurrent_padding_mode: Values outside ``h``, as in ``padding_mode``. The paper's zeros mean that
            nothing is known there; ``"circular"`` suits periodic domains.
        activation: Replaces tanh: a callable, or ``"tanh"``, ``"sigmoid"``, ``"relu"``, ``"leaky_relu"``
            (slope 0.2), ``"linear"``, ``"hard_sigmoid"`` (PyTorch's and Keras 3's) or
            ``"hard_sigmoid_keras2"``.
        recurrent_activation: Replaces σ, the logistic sigmoid: as in ``activation``.
        input_dropout: Probability of dropping an element of the input of a gate. As in Keras, each gate has a
            mask of its own, the same at all steps of a sequence: Gal and Ghahramani (2016), arXiv:1512.05287.
        recurrent_dropout: The same for ``h``.
        zoneout: Probability that an element of the state keeps its old value, in training; in evaluation the
            state is the expectation: Krueger et al. (2017), arXiv:1606.01305. A tuple is for ``(h, c)``.
        norm: Normalises ``W_x * X`` and ``W_h * H`` before the bias is added: ``"layer"`` over all gates,
            channels and pixels (Ba et al. (2016), arXiv:1607.06450), ``"group"`` over those of each gate (Wu
            and He (2018), arXiv:1803.08494), with scales per channel ``norm_ih`` and ``norm_hh`` ``(4C,)``;
            ``"layer-pixel"`` as ``"layer"``, with scales and bias per channel and pixel.
        cell_clip: Clips ``c`` to ± this value, before the output gate uses it.
        proj_channels: Projects ``h`` to this number of channels, by a 1×1 convolution ``weight_hr``: Sak et
            al. (2014), arXiv:1402.1128.
        proj_clip: Clips the projected ``h`` to ± this value.
        forget_bias: Initial bias of the forget gate; without ``bias`` it has no effect.
        backend: ``"reference"`` computes the equations as written. ``"fused"`` is faster and raises an error
            for calls which it does not support: it supports CPU and CUDA, float32, also under autocast, and
            float64, and of the options above the sizes, ``bias``, and peepholes per channel. ``"auto"`` is
            ``"fused"`` for supported calls and ``"reference"`` otherwise.
        device: Device of the parameters.
        dtype: Dtype of the parameters.

    Raises:
        ArgumentError: An argument has a value which is not allowed.
        NotOfferedError: In a call, if ``backend="fused"`` does not support it.

    Examples:
        >>> import torch
        >>> cell = ConvLSTMCell2d(in_channels=3, hidden_channels=8, kernel_size=3)
        >>> h, c = cell(torch.rand(2, 3, 16, 24))  # (B, C, H, W)
        >>> h, c = cell(torch.rand(2, 3, 16, 24), (h, c))
        >>> h.shape
        torch.Size([2, 8, 16, 24])
    """

    space = ("H", "W")


class ConvLSTMCell1d(LSTMCell):
    """One step of a ConvLSTM over lines, ``(B, C, W)``. All else is as in :class:`ConvLSTMCell2d`.

    Examples:
        >>> import torch
        >>> h, c = ConvLSTMCell1d(in_channels=3, hidden_channels=8, kernel_size=5)(torch.rand(2, 3, 24))
        >>> h.shape
        torch.Size([2, 8, 24])
    """

    space = ("W",)


class ConvLSTMCell3d(LSTMCell):
    """One step of a ConvLSTM over volumes, ``(B, C, D, H, W)``. All else is as in :class:`ConvLSTMCell2d`.

    Examples:
        >>> import torch
        >>> cell = ConvLSTMCell3d(in_channels=3, hidden_channels=8, kernel_size=(1, 3, 3))
        >>> h, c = cell(torch.rand(2, 3, 4, 16, 24))
        >>> h.shape
        torch.Size([2, 8, 4, 16, 24])
    """

    space = ("D", "H", "W")
