"""ConvLSTM, in one, two and three dimensions."""

from collections.abc import Sequence
from typing import ClassVar, TypedDict, Unpack, cast

import torch
from torch import Tensor, nn

from stormcell.errors import ArgumentError
from stormcell.nn import arguments
from stormcell.nn.activations import Activation
from stormcell.nn.arguments import PerAxis, PerLayer
from stormcell.nn.cells import Cell, Dropout
from stormcell.nn.ops.terms import Form, LSTMWeights, Run, State
from stormcell.nn.recurrent import Recurrent

States = tuple[tuple[Tensor, ...], tuple[Tensor, ...]]  # (h, c), each a tensor per layer and direction


class LSTMCell(Cell):
    """The ConvLSTM's equations and parameters, whatever the number of spatial axes."""

    gates: ClassVar = 4
    recurrence: ClassVar = "conv_lstm"
    states: ClassVar = ("h", "c")
    tensors: ClassVar = LSTMWeights

    bias: nn.Parameter | None
    peephole: nn.Parameter | None
    weight_hr: nn.Parameter | None
    norm_ih: nn.Parameter | None
    norm_hh: nn.Parameter | None

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
        spatial_size: PerAxis | None = None,
        recurrent_kernel_size: PerAxis | None = None,
        recurrent_padding_mode: str = "zeros",
        activation: str | Activation = "tanh",
        recurrent_activation: str | Activation = "sigmoid",
        input_dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        zoneout: float | tuple[float, float] = 0.0,
        norm: str | None = None,
        cell_clip: float | None = None,
        proj_channels: int | None = None,
        proj_clip: float | None = None,
        forget_bias: float = 1.0,
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
        pixelwise = ("pixel",) if self.space else ()
        arguments.one_of("peephole", peephole, ("channel", *pixelwise, None))
        arguments.one_of("norm", norm, ("layer", "group", *(f"layer-{p}" for p in pixelwise), None))
        self.cell_clip = arguments.limit("cell_clip", cell_clip)
        self.proj_channels = (
            None if proj_channels is None else arguments.count("proj_channels", proj_channels)
        )
        self.proj_clip = arguments.limit("proj_clip", proj_clip)
        if proj_clip is not None and proj_channels is None:
            raise ArgumentError(f"proj_clip: expected None without proj_channels, found {proj_clip!r}")
        self.forget_bias = arguments.number("forget_bias", forget_bias)
        if spatial_size is not None:
            self.spatial_size = arguments.per_axis("spatial_size", spatial_size, len(self.space))
        elif peephole == "pixel" or norm == "layer-pixel":
            found = f"None with peephole={peephole!r}, norm={norm!r}"
            raise ArgumentError(
                f"spatial_size: expected that of the images, for weights per pixel, found {found}"
            )

        c, p = self.hidden_channels, self.state_channels[0]
        pixels = () if self.spatial_size is None else self.state_size(self.spatial_size)
        each = (4 * c, *(pixels if norm == "layer-pixel" else ()))
        self._create(
            device,
            dtype,
            weight_ih=(4 * c, in_channels, *self.kernel_size) if in_channels else None,
            weight_hh=(4 * c, p, *self.recurrent_kernel_size),
            bias=each if bias else None,
            peephole=(3, c, *(pixels if peephole == "pixel" else ())) if peephole else None,
            weight_hr=(p, c, *(1,) * len(self.space)) if proj_channels else None,
            norm_ih=each if norm and in_channels else None,
            norm_hh=each if norm else None,
        )

    @property
    def state_channels(self) -> tuple[int, ...]:
        """The channels of h and c."""
        return self.proj_channels or self.hidden_channels, self.hidden_channels

    def form(self) -> Form:
        """Return what this cell has varied in the equations."""
        return super().form()._replace(cell_clip=self.cell_clip, proj_clip=self.proj_clip)

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Start as Keras does: see the class for what that is."""
        super().reset_parameters()
        if self.bias is not None:
            self.bias.view(4, -1)[1].fill_(self.forget_bias)

    def forward(
        self,
        x: Tensor | None,  # (B, in_channels, *space)
        state: tuple[Tensor, Tensor] | None = None,
        *,
        _sequence: tuple[Run, Dropout] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Take one step and return the new ``h, c``.

        Args:
            x: The input, ``(B, in_channels, *space)``; None for none, and then a state is needed.
            state: ``(h, c)`` before the step, ``(B, proj_channels or hidden_channels, *space)`` and
                ``(B, hidden_channels, *space)``; None starts from zeros.

        Raises:
            ArgumentError: A tensor has not the expected shape, or is missing, or is one too many.
        """
        if _sequence is not None:  # a stack's, which asks for more than a step
            return self.sequence(x, cast("State", state), *_sequence)  # type: ignore[return-value]
        h, c = self.step(x, state)
        return h, c


class LSTMOptions(TypedDict, total=False):
    """The arguments that a layer hands on to its cells."""

    peephole: PerLayer[str | None]
    activation: PerLayer[str | Activation]
    recurrent_activation: PerLayer[str | Activation]
    input_dropout: PerLayer[float]
    recurrent_dropout: PerLayer[float]
    zoneout: PerLayer[float | tuple[float, float]]
    norm: PerLayer[str | None]
    cell_clip: PerLayer[float | None]
    proj_channels: PerLayer[int | None]
    proj_clip: PerLayer[float | None]
    forget_bias: PerLayer[float]
    backend: str
    device: torch.device | str | None
    dtype: torch.dtype | None


class _ConvOptions(LSTMOptions, total=False):
    """The arguments that a layer with space hands on to its cells."""

    stride: PerLayer[PerAxis]
    padding: PerLayer[PerAxis | str]
    dilation: PerLayer[PerAxis]
    padding_mode: PerLayer[str]
    spatial_size: PerAxis | None
    recurrent_kernel_size: PerLayer[PerAxis | None]
    recurrent_padding_mode: PerLayer[str]


class LSTM(Recurrent):
    """A stack of LSTM layers, whatever the number of spatial axes."""

    options: ClassVar = LSTMOptions

    def forward(
        self,
        x: Tensor | None,
        state: States | None = None,
        *,
        steps: int | None = None,
        lengths: Tensor | Sequence[int] | None = None,
        mask: Tensor | None = None,
        return_sequence: bool = True,
    ) -> tuple[Tensor, States]:
        """Run the stack over a sequence.

        Args:
            x: The input, ``(T, B, in_channels, *space)``, or ``(B, T, …)`` if ``batch_first``. None for
                none, with ``steps`` and a state: the convolution over it then drops out.
            state: ``(h_0, c_0)``, each a tuple with a tensor per layer and direction, ordered as
                :class:`torch.nn.LSTM` orders them: ``(B, hidden_channels, *space)``, of ``h`` with
                ``proj_channels``; None starts from zeros.
            steps: How many steps to take without input; with one it is T and need not be said.
            lengths: How many steps of each sample are there, ``(B,)``, from 0 to T. Past them the output
                is zero, and the last state is that of the sample's own last step: what
                :class:`torch.nn.LSTM` makes of packed sequences.
            mask: Which steps are there, bool, ``(T, B)``, or ``(B, T)`` if ``batch_first``. Where it is
                False the state is held and the output before repeated, or zero if there was none: what
                Keras makes of masks. Frames that are not there may hold anything.
            return_sequence: Whether to return the output of every step, or of the last one only, without
                keeping the others: layers that go both ways keep those of the layer below.

        Returns:
            ``output, (h_n, c_n)``: the top layer's hidden states, laid out as ``x`` is, and the states
            after the last step, as ``state`` is. Giving them back goes on where this call stopped. On a
            CPU they may lie in memory channels last.
            Without ``return_sequence`` the output is ``(B, C, *space)``: of each sample the last step
            that is there, and of each direction the step it came to last.

        Raises:
            ArgumentError: A tensor has not the expected shape, or is missing, or is one too many.
        """
        output, states = self._run(x, self._pairs(state), steps, lengths, mask, return_sequence)
        return output, self._tuples(states)

    def all_layers(
        self,
        x: Tensor | None,
        state: States | None = None,
        *,
        steps: int | None = None,
        lengths: Tensor | Sequence[int] | None = None,
        mask: Tensor | None = None,
    ) -> tuple[tuple[Tensor, ...], States]:
        """Run the stack as :meth:`forward` does, and return the hidden states of every layer, lowest first.

        Returns:
            ``outputs, (h_n, c_n)``: ``outputs[-1]`` is what :meth:`forward` returns. Dropout acts on what
            the next layer sees, not on these.
        """
        outputs, states = self._run_all(x, self._pairs(state), steps, lengths, mask)
        return outputs, self._tuples(states)

    def _pairs(self, state: States | None) -> list[State] | None:
        """Turn ``(h_0, c_0)`` into an ``(h, c)`` per layer and direction."""
        if state is None:
            return None
        pair = isinstance(state, tuple | list) and len(state) == 2
        if not pair or any(not isinstance(s, tuple | list) or len(s) != len(self.cells) for s in state):
            self._refuse_state("(h_0, c_0), each a tuple", state)
        return list(zip(*state, strict=True))

    def _tuples(self, states: list[State]) -> States:
        h_n, c_n = zip(*states, strict=True)
        return h_n, c_n


class _ConvLSTM(LSTM):
    """A stack of ConvLSTM layers over one, two or three spatial axes."""

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


class ConvLSTMCell2d(LSTMCell):
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
        in_channels: Channels of the input; 0 for a cell that has none, to which nothing applies that is
            said of the convolution over it.
        hidden_channels: Channels of ``c``, and of ``h`` but with ``proj_channels``.
        kernel_size: Of the convolution over the input: an int, or a tuple ``(kH, kW)``.
        bias: Whether the gates have one.
        stride: Of the convolution over the input: the states are that much smaller.
        padding: Of the convolution over the input. ``"same"`` gives an image of the input's size, or of
            that by the stride, rounded up; what cannot go around evenly goes to the end, as TensorFlow
            has it. ``"valid"`` pads nothing; an int, or one per axis, pads so many pixels on either side.
        dilation: Of the convolution over the input.
        padding_mode: What is beyond the input's edge: ``"zeros"``, ``"reflect"``, ``"replicate"`` or
            ``"circular"``.
        peephole: ``"channel"`` as the paper, ``"pixel"`` for a number per channel and pixel, or None.
        spatial_size: Of the images that come in, ``(H, W)``, which weights per pixel have to know; if
            given, images of any other size are refused.
        recurrent_kernel_size: Of the convolution over ``h``; None takes ``kernel_size``. It keeps the
            image's size whatever its input's convolution does.
        recurrent_padding_mode: What is beyond the edge of ``h``: the paper's zeros say that nothing is
            known of it; ``"circular"`` is for a world that is round.
        activation: Instead of tanh: a callable, or ``"tanh"``, ``"sigmoid"``, ``"relu"``,
            ``"leaky_relu"`` (slope 0.2), ``"linear"``, ``"hard_sigmoid"`` (PyTorch's and Keras 3's) or
            ``"hard_sigmoid_keras2"``.
        recurrent_activation: Instead of σ, the logistic sigmoid: the same.
        input_dropout: Probability of hiding an element of the input from a gate. Like Keras's it is
            drawn for each gate and stays the same at all steps of a sequence: Gal and Ghahramani
            (2016), arXiv:1512.05287.
        recurrent_dropout: Probability of hiding an element of ``h`` from a gate, in the same way.
        zoneout: Probability of an element of the state to keep its old value, in training; in evaluation
            the state is the mean of both: Krueger et al. (2017), arXiv:1606.01305. A tuple is for
            ``(h, c)``.
        norm: Normalises ``W_x * X`` and ``W_h * H``, before the bias: ``"layer"`` over all gates, channels
            and pixels (Ba et al. (2016), arXiv:1607.06450), ``"group"`` over those of each gate (Wu and He
            (2018), arXiv:1803.08494), with factors per channel ``norm_ih`` and ``norm_hh`` ``(4C,)``;
            ``"layer-pixel"`` with factors and bias per channel and pixel.
        cell_clip: Clips ``c`` to ± this before the output gate looks at it.
        proj_channels: Channels that ``h`` is projected to by a 1×1 convolution ``weight_hr``: Sak et al.
            (2014), arXiv:1402.1128.
        proj_clip: Clips the projected ``h`` to ± this.
        forget_bias: What the bias of the forget gate starts at; without ``bias`` it has no meaning.
        backend: How to compute it: ``"reference"`` as the equations are written; ``"fused"`` with less
            traffic through memory, which knows float32, also under autocast, and float64, and of the
            arguments here only sizes, ``bias``, and peepholes per channel, and refuses anything else;
            ``"auto"`` the fused way where it can.
        device: Where the parameters are.
        dtype: What they are.

    Raises:
        ArgumentError: An argument has a value it cannot have.
        NotOfferedError: A call asks of ``backend="fused"`` what that does not know.

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
    """One step of a ConvLSTM over lines, ``(B, C, W)``; all else is as in :class:`ConvLSTMCell2d`.

    Examples:
        >>> import torch
        >>> h, c = ConvLSTMCell1d(in_channels=3, hidden_channels=8, kernel_size=5)(torch.rand(2, 3, 24))
        >>> h.shape
        torch.Size([2, 8, 24])
    """

    space = ("W",)


class ConvLSTMCell3d(LSTMCell):
    """One step of a ConvLSTM over volumes, ``(B, C, D, H, W)``; all else is as in :class:`ConvLSTMCell2d`.

    Examples:
        >>> import torch
        >>> cell = ConvLSTMCell3d(in_channels=3, hidden_channels=8, kernel_size=(1, 3, 3))
        >>> h, c = cell(torch.rand(2, 3, 4, 16, 24))
        >>> h.shape
        torch.Size([2, 8, 4, 16, 24])
    """

    space = ("D", "H", "W")


class ConvLSTM2d(_ConvLSTM):
    """A ConvLSTM over sequences of images, in one or several layers: :class:`torch.nn.LSTM` with space.

    :class:`ConvLSTMCell2d` states the equations, those of Shi et al. (2015), arXiv:1506.04214, what may
    be varied in them, and how the parameters start. Images may be of any size, another one every call.

    A tuple means per axis and a list per layer: ``kernel_size=[5, (3, 5)]`` is two layers. A list may be
    given for any argument that cells have.

    Args:
        in_channels: Channels of the input; 0 for a stack that has none and runs on from its state.
        hidden_channels: Channels of ``h`` and ``c``: an int, or one per layer.
        kernel_size: Of the convolution over the input.
        num_layers: How many layers; None takes as many as the other arguments list, or one.
        bias: Whether the gates have one.
        batch_first: Whether sequences are ``(B, T, C, H, W)`` instead of ``(T, B, C, H, W)``.
        dropout: Probability of zeroing an element of a layer's output on its way to the next layer.
        bidirectional: Whether each layer also goes through the sequence backwards, and the next one sees
            both outputs, stacked in the channels. Layer ``k`` is then ``cells[2 * k]`` and, backwards,
            ``cells[2 * k + 1]``; else it is ``cells[k]``.
        **options: What else :class:`ConvLSTMCell2d` takes.

    Raises:
        ArgumentError: An argument has a value it cannot have.

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


class ConvLSTM1d(_ConvLSTM):
    """A ConvLSTM over sequences of lines, ``(T, B, C, W)``; all else is as in :class:`ConvLSTM2d`.

    Examples:
        >>> import torch
        >>> output, _ = ConvLSTM1d(in_channels=3, hidden_channels=8, kernel_size=5)(torch.rand(10, 2, 3, 24))
        >>> output.shape
        torch.Size([10, 2, 8, 24])
    """

    cell = ConvLSTMCell1d


class ConvLSTM3d(_ConvLSTM):
    """A ConvLSTM over sequences of volumes, ``(T, B, C, D, H, W)``; all else is as in :class:`ConvLSTM2d`.

    Examples:
        >>> import torch
        >>> rnn = ConvLSTM3d(in_channels=3, hidden_channels=8, kernel_size=(1, 3, 3))
        >>> output, _ = rnn(torch.rand(5, 2, 3, 4, 16, 24))
        >>> output.shape
        torch.Size([5, 2, 8, 4, 16, 24])
    """

    cell = ConvLSTMCell3d
