"""ConvLSTM layers, in one, two and three dimensions."""

from collections.abc import Sequence
from typing import Unpack

from torch import Tensor

from stormcell.errors import ArgumentError
from stormcell.nn.arguments import PerAxis, PerLayer
from stormcell.nn.conv_lstm_cell import ConvLSTMCell1d, ConvLSTMCell2d, ConvLSTMCell3d
from stormcell.nn.ops.types import State
from stormcell.nn.options import ConvLSTMOptions
from stormcell.nn.recurrent import Recurrent

States = tuple[tuple[Tensor, ...], tuple[Tensor, ...]]  # (h, c), with a tensor per layer and direction each


class LSTM(Recurrent):
    """A stack of LSTM layers, whatever the number of spatial axes."""

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
            x: The input, ``(T, B, in_channels, *space)``, or ``(B, T, …)`` if ``batch_first``. None for no
                input: the input convolution is then left out, and ``steps`` and a state are required.
            state: ``(h_0, c_0)``, each a tuple with a tensor per layer and direction in the order of
                :class:`torch.nn.LSTM`: ``(B, hidden_channels, *space)``, for ``h`` ``(B, proj_channels,
                *space)`` if that is given. A list is refused, as it may hold a pair per layer. None starts
                from zeros.
            steps: The number of steps without an input; with an input it is T and may be omitted.
            lengths: The number of steps of each sample, ``(B,)``, from 0 to T. After its last step the output
                is zero, and the last state is the state after that step, as :class:`torch.nn.LSTM` treats
                packed sequences.
            mask: Bool, ``(T, B)``, or ``(B, T)`` if ``batch_first``; False for a missing step. At a missing
                step the state stays as it is, and the previous output is repeated, or is zero if there is
                none, as Keras treats masks. Missing frames may have any values, even NaN.
            return_sequence: Whether to return the outputs of all steps, or only the last one. The others are
                then not stored, except for those that bidirectional layers pass to the layer above.

        Returns:
            ``output, (h_n, c_n)``: the hidden states of the top layer, with the axes of ``x``, and the last
            states, structured as ``state``. Pass them as ``state`` to continue the sequence. On a CPU the
            tensors may be stored channels last.
            Without ``return_sequence`` the output is ``(B, C, *space)``: that of the last step which is not
            missing, for each sample, and of the last step in each direction.

        Raises:
            ArgumentError: A tensor is missing, is not expected, or has another shape than expected.
        """
        output, states = self._run(self._read(x, state, steps, lengths, mask), return_sequence)
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
        """Run the stack as :meth:`forward` does, and return the hidden states of all layers, lowest first.

        Returns:
            ``outputs, (h_n, c_n)``: ``outputs[-1]`` is the output of :meth:`forward`. The outputs are those
            before dropout.
        """
        outputs, states = self._run_all(self._read(x, state, steps, lengths, mask))
        return outputs, self._tuples(states)

    def _state_per_cell(self, state: States | None) -> list[State] | None:
        """Convert ``(h_0, c_0)`` to ``(h, c)`` per layer and direction."""
        if state is None:
            return None
        if isinstance(state, list):  # a list of pairs (h, c) would be taken for (h_0, c_0) if there are two
            raise ArgumentError(
                "state: expected (h_0, c_0), a tuple, found a list; tuple(zip(*state)) makes it of a pair "
                "(h, c) per layer"
            )
        pair = isinstance(state, tuple) and len(state) == 2
        if not pair or any(not isinstance(s, tuple | list) or len(s) != len(self.cells) for s in state):
            self._reject_state("(h_0, c_0), each a tuple", state)
        return list(zip(*state, strict=True))

    def _tuples(self, states: list[State]) -> States:
        h_n, c_n = zip(*states, strict=True)
        return h_n, c_n


class _ConvLSTM(LSTM):
    """A stack of ConvLSTM layers over one, two or three spatial axes."""

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
        **options: Unpack[ConvLSTMOptions],
    ) -> None:
        given = {"kernel_size": kernel_size, "bias": bias, **options}
        super().__init__(in_channels, hidden_channels, num_layers, batch_first, dropout, bidirectional, given)


class ConvLSTM2d(_ConvLSTM):
    """A ConvLSTM over sequences of images, in one or several layers: :class:`torch.nn.LSTM` with space.

    :class:`ConvLSTMCell2d` documents the equations, those of Shi et al. (2015), arXiv:1506.04214, their
    options, and the initial parameters. Images may have any size, and another one in every call.

    In every argument of the cells a tuple gives one value per axis, and a list one per layer:
    ``kernel_size=[5, (3, 5)]`` makes two layers.

    Args:
        in_channels: Number of channels of the input, at least 0. With 0 the stack has no input and continues
            from its state.
        hidden_channels: Number of channels of ``h`` and ``c``: an int, or one per layer.
        kernel_size: Kernel size of the input convolution.
        num_layers: Number of layers. None is the length of the lists among the arguments, or 1.
        bias: Whether the gates have a bias.
        batch_first: Whether sequences are ``(B, T, C, H, W)`` instead of ``(T, B, C, H, W)``.
        dropout: Probability of dropping an element of a layer's output before the next layer.
        bidirectional: Whether each layer also runs over the sequence backward. The next layer gets both
            outputs, concatenated along the channels. Layer ``k`` is then ``cells[2 * k]`` and, backward,
            ``cells[2 * k + 1]``; otherwise it is ``cells[k]``.
        **options: All other arguments of :class:`ConvLSTMCell2d`.

    Raises:
        ArgumentError: An argument has a value which is not allowed.

    Examples:
        >>> import torch
        >>> rnn = ConvLSTM2d(in_channels=3, hidden_channels=[8, 4], kernel_size=3)
        >>> output, (h_n, c_n) = rnn(torch.rand(10, 2, 3, 16, 24))  # (T, B, C, H, W)
        >>> output.shape, [h.shape[1] for h in h_n]
        (torch.Size([10, 2, 4, 16, 24]), [8, 4])

        A stack without an input continues where another one stopped:

        >>> forecaster = ConvLSTM2d(in_channels=0, hidden_channels=[8, 4], kernel_size=3)
        >>> output, _ = forecaster(None, (h_n, c_n), steps=5)
        >>> output.shape
        torch.Size([5, 2, 4, 16, 24])
    """

    cell = ConvLSTMCell2d


class ConvLSTM1d(_ConvLSTM):
    """A ConvLSTM over sequences of lines, ``(T, B, C, W)``. All else is as in :class:`ConvLSTM2d`.

    Examples:
        >>> import torch
        >>> output, _ = ConvLSTM1d(in_channels=3, hidden_channels=8, kernel_size=5)(torch.rand(10, 2, 3, 24))
        >>> output.shape
        torch.Size([10, 2, 8, 24])
    """

    cell = ConvLSTMCell1d


class ConvLSTM3d(_ConvLSTM):
    """A ConvLSTM over sequences of volumes, ``(T, B, C, D, H, W)``. All else is as in :class:`ConvLSTM2d`.

    Examples:
        >>> import torch
        >>> rnn = ConvLSTM3d(in_channels=3, hidden_channels=8, kernel_size=(1, 3, 3))
        >>> output, _ = rnn(torch.rand(5, 2, 3, 4, 16, 24))
        >>> output.shape
        torch.Size([5, 2, 8, 4, 16, 24])
    """

    cell = ConvLSTMCell3d
