"""The LSTM with peepholes: a ConvLSTM without space."""

from collections.abc import Sequence
from typing import ClassVar, Unpack

from stormcell.nn.conv_lstm import LSTM, LSTMCell, LSTMOptions


class PeepholeLSTMCell(LSTMCell):
    """One step of an LSTM with peepholes: :class:`ConvLSTMCell2d` with matrices for convolutions.

    So Shi et al. (2015), arXiv:1506.04214, write FC-LSTM; the peepholes are those of Gers and Schmidhuber
    (2000), doi:10.1109/IJCNN.2000.861302. Without them it is :class:`torch.nn.LSTMCell`, with one bias
    instead of two.

    Args:
        in_channels: Features of the input; 0 for a cell that has none.
        hidden_channels: Features of ``h`` and ``c``.
        bias: Whether the gates have one.
        **options: As in :class:`ConvLSTMCell2d`, but for what speaks of space.

    Raises:
        ArgumentError: An argument has a value it cannot have.

    Examples:
        >>> import torch
        >>> h, c = PeepholeLSTMCell(in_channels=3, hidden_channels=8)(torch.rand(2, 3))
        >>> h.shape
        torch.Size([2, 8])
    """

    space: ClassVar = ()

    def __init__(
        self, in_channels: int, hidden_channels: int, bias: bool = True, **options: Unpack[LSTMOptions]
    ) -> None:
        unknown = sorted(set(options) - LSTMOptions.__optional_keys__)
        if unknown:
            raise TypeError(f"{type(self).__name__}() got an unexpected keyword argument {unknown[0]!r}")
        # The options are typed as a stack's, which may be lists; a cell refuses those.
        super().__init__(in_channels, hidden_channels, (), bias, **options)  # type: ignore[arg-type]


class PeepholeLSTM(LSTM):
    """An LSTM with peepholes over sequences of vectors, ``(T, B, C)``: FC-LSTM.

    :class:`PeepholeLSTMCell` says what it computes. For every argument of the cells a list means per layer.

    Args:
        in_channels: Features of the input; 0 for a stack that has none and runs on from its state.
        hidden_channels: Features of ``h`` and ``c``: an int, or one per layer.
        num_layers: How many layers; None takes as many as the other arguments list, or one.
        bias: Whether the gates have one.
        batch_first: Whether sequences are ``(B, T, C)`` instead of ``(T, B, C)``.
        dropout: Probability of zeroing an element of a layer's output on its way to the next layer.
        bidirectional: Whether each layer also goes through the sequence backwards.
        **options: What else :class:`PeepholeLSTMCell` takes.

    Raises:
        ArgumentError: An argument has a value it cannot have.

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
