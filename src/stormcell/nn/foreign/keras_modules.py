"""What a Keras layer does around the recurrence, around one of our layers."""

from typing import Literal, get_args

import torch
from torch import Tensor, nn

from stormcell.errors import ArgumentError
from stormcell.nn.conv_lstm import LSTM, States
from stormcell.nn.shapes import check_input, shape

MergeMode = Literal["concat", "sum", "ave", "mul", None]
MERGE_MODES = get_args(MergeMode)


class KerasLayer(nn.Module):
    """One layer of ours, run as a config of Keras's says.

    Args:
        rnn: A layer that is ``batch_first``.
        go_backwards: Whether it begins at the last step. Its output then stays in the order of processing.
        return_sequences: Whether its output is that of all steps, ``(B, T, C, *space)``, or that of the one
            it came to last, ``(B, C, *space)``.
        zero_output_for_mask: Whether the output of a step that is not there is zero, or that of the step
            before it.
    """

    def __init__(
        self, rnn: LSTM, *, go_backwards: bool, return_sequences: bool, zero_output_for_mask: bool
    ) -> None:
        super().__init__()
        self.rnn = rnn
        self.go_backwards = go_backwards
        self.return_sequences = return_sequences
        self.zero_output_for_mask = zero_output_for_mask

    def forward(
        self, x: Tensor, state: States | None = None, *, mask: Tensor | None = None
    ) -> tuple[Tensor, States]:
        """Run the layer over a sequence.

        Args:
            x: The input, ``(B, T, in_channels, *space)``.
            state: ``((h_0,), (c_0,))``; None starts from zeros.
            mask: Which steps are there, bool, ``(B, T)``.

        Returns:
            ``output, ((h_n,), (c_n,))``.

        Raises:
            ArgumentError: A tensor has not the expected shape.
        """
        check_input(x, self.rnn.in_channels, ("B", "T", "C", *self.rnn.cell.space))
        if mask is not None and (not isinstance(mask, Tensor) or mask.shape != x.shape[:2]):
            raise ArgumentError(f"mask: expected bools of shape {tuple(x.shape[:2])}, found {shape(mask)}")
        if self.go_backwards:
            x, mask = x.flip(1), None if mask is None else mask.flip(1)
        output, last = self.rnn(x, state, mask=mask, return_sequence=self.return_sequences)
        if self.zero_output_for_mask and mask is not None:
            there = (mask if self.return_sequences else mask[:, -1]).to(output.device)
            there = there.reshape(*there.shape, *(1,) * (output.dim() - there.dim()))
            output = torch.where(there, output, torch.zeros_like(output))
        return output, last

    def extra_repr(self) -> str:
        """Say what the layer does not."""
        names = "go_backwards", "return_sequences", "zero_output_for_mask"
        return ", ".join(f"{name}={getattr(self, name)}" for name in names)


class KerasBidirectional(nn.Module):
    """Two layers, one of which begins at the last step, their outputs merged as Keras merges them.

    Args:
        forward_layer: The layer whose output comes first.
        backward_layer: The layer whose output is turned round in time before it is merged.
        merge_mode: How they are merged; None keeps them apart, as a tuple.
        axis: Along which ``"concat"`` puts them side by side: that of the channels, where Keras's data are
            ``channels_last``; the last one where they are ``channels_first``, as it does then too.
    """

    def __init__(
        self, forward_layer: KerasLayer, backward_layer: KerasLayer, merge_mode: MergeMode, axis: int
    ) -> None:
        super().__init__()
        self.forward_layer = forward_layer
        self.backward_layer = backward_layer
        self.merge_mode = merge_mode
        self.axis = axis

    def forward(
        self, x: Tensor, state: States | None = None, *, mask: Tensor | None = None
    ) -> tuple[Tensor | tuple[Tensor, Tensor], States]:
        """Run both layers over a sequence.

        Args:
            x: The input, ``(B, T, in_channels, *space)``.
            state: ``((h_forward, h_backward), (c_forward, c_backward))``; None starts from zeros.
            mask: Which steps are there, bool, ``(B, T)``.

        Returns:
            ``output, (h_n, c_n)``, the states each ``(forward, backward)``.

        Raises:
            ArgumentError: A tensor has not the expected shape.
        """
        starts: tuple[States | None, States | None] = None, None
        if state is not None:
            pair = isinstance(state, tuple | list) and len(state) == 2
            if not pair or any(not isinstance(s, tuple | list) or len(s) != 2 for s in state):
                raise ArgumentError(
                    "state: expected (h_0, c_0), each a tuple of 2 tensors, forward and backward, "
                    f"found {shape(state)}"
                )
            (h_ahead, h_back), (c_ahead, c_back) = state
            starts = ((h_ahead,), (c_ahead,)), ((h_back,), (c_back,))
        ahead, (h, c) = self.forward_layer(x, starts[0], mask=mask)
        back, (k, d) = self.backward_layer(x, starts[1], mask=mask)
        if self.backward_layer.return_sequences:
            back = back.flip(1)
        return self._merged(ahead, back), ((*h, *k), (*c, *d))

    def _merged(self, ahead: Tensor, back: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        match self.merge_mode:
            case "concat":
                return torch.cat([ahead, back], dim=self.axis)
            case "sum":
                return ahead + back
            case "ave":
                return (ahead + back) / 2
            case "mul":
                return ahead * back
        return ahead, back

    def extra_repr(self) -> str:
        """Say what the layers do not."""
        return f"merge_mode={self.merge_mode!r}, axis={self.axis}"
