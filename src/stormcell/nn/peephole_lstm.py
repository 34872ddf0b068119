"""The LSTM with peepholes: a ConvLSTM without spatial axes."""

from collections.abc import Sequence
from typing import ClassVar, Unpack

from stormcell.nn.conv_lstm import LSTM
from stormcell.nn.conv_lstm_cell import LSTMCell
from stormcell.nn.options import LSTMOptions


class PeepholeLSTMCell(LSTMCell):
    """One step of an LSTM with peepholes: :class:`ConvLSTMCell2d` with matrices instead of convolutions.

    Shi et al. (2015), arXiv:1506.04214, call it FC-LSTM. The peepholes are those of Gers and Schmidhuber
    (2000), doi:10.1109/IJCNN.2000.861302. Without them it equals :class:`torch.nn.LSTMCell`, with one bias
    instead of two.

    Args:
        in_channels: Number of features of the input, at least 0. With 0 the cell has no input.
        hidden_channels: Number of features of ``h`` and ``c``, at least 1.
        bias: Whether the gates have a bias.
        **options: As in :class:`ConvLSTMCell2d`, except for those which concern space.

    Raises:
        ArgumentError: An argument has a value which is not allowed.

    Examples:
        >>> import torch
        >>> h, c = PeepholeLSTMCell(in_channels=3, hidden_channels=8)(torch.rand(2, 3))
        >>> h.shape
        torch.Size([2, 8])
    """

    space: ClassVar = ()
    options: ClassVar[type] = LSTMOptions

    def __init__(
        self, in_channels: int, hidden_channels: int, bias: bool = True, **options: Unpack[LSTMOptions]
    ) -> None:
        super().__init__(in_channels, hidden_channels, (), bias, **options)


class PeepholeLSTM(LSTM):
    """An LSTM with peepholes over sequences of vectors, ``(T, B, C)``: FC-LSTM.

    :class:`PeepholeLSTMCell` documents the equations. In every argument of the cells a list gives one value
    per layer.

    Args:
        in_channels: Number of features of the input, at least 0. With 0 the stack has no input and continues
            from its state.
        hidden_channels: Number of features of ``h`` and ``c``: an int, or one per layer.
        num_layers: Number of layers. None is the length of the lists among the arguments, or 1.
        bias: Whether the gates have a bias.
        batch_first: Whether sequences are ``(B, T, C)`` instead of ``(T, B, C)``.
        dropout: Probability of dropping an element of a layer's output before the next layer.
        bidirectional: Whether each layer also runs over the sequence backward.
        **options: All other arguments of :class:`PeepholeLSTMCell`.

    Raises:
        ArgumentError: An argument has a value which is not allowed.

    Examples:
        >>> import torch
        >>> output, (h_n, c_n) = PeepholeLSTM(in_channels=3, hidden_channels=[8, 4])(torch.rand(10, 2, 3))
        >>> output.shape
        torch.Size([10, 2, 4])
    """

    cell = PeepholeLSTMCell

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int | Sequence[int],
        num_layers: int | None = None,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        **options: Unpack[LSTMOptions],
    ) -> None:
        given = {"bias": bias, **options}
        super().__init__(in_channels, hidden_channels, num_layers, batch_first, dropout, bidirectional, given)
