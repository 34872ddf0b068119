"""Modules that add to our layers the settings of Keras layers."""

from typing import Literal, get_args

import torch
from torch import Tensor, nn

from stormcell.errors import ArgumentError
from stormcell.nn.conv_lstm import LSTM, States
from stormcell.nn.shapes import check_input, shape

MergeMode = Literal["concat", "sum", "ave", "mul", None]
MERGE_MODES = get_args(MergeMode)


class KerasLayer(nn.Module):
    """One of our layers with the settings of a Keras layer.

    Args:
        rnn: A layer that is ``batch_first``.
        go_backwards: Whether it starts at the last step. Its output is then in the order of processing.
        return_sequences: Whether it returns the outputs of all steps, ``(B, T, C, *space)``, or only of the
            last processed one, ``(B, C, *space)``.
        zero_output_for_mask: Whether the output of a masked step is zero or the previous output.
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
            mask: False at masked steps, bool, ``(B, T)``.

        Returns:
            ``output, ((h_n,), (c_n,))``.

        Raises:
            ArgumentError: A tensor does not have the expected shape.
        """
        check_input(x, self.rnn.in_channels, ("B", "T", "C", *self.rnn.cell.space))
        if mask is not None and (not isinstance(mask, Tensor) or mask.shape != x.shape[:2]):
            raise ArgumentError(f"mask: expected bools of shape {tuple(x.shape[:2])}, found {shape(mask)}")
        if self.go_backwards:
            x, mask = x.flip(1), None if mask is None else mask.flip(1)
        output, last = self.rnn(x, state, mask=mask, return_sequence=self.return_sequences)
        if self.zero_output_for_mask and mask is not None:
            kept = (mask if self.return_sequences else mask[:, -1]).to(output.device)
            kept = kept.reshape(*kept.shape, *(1,) * (output.dim() - kept.dim()))
            output = torch.where(kept, output, torch.zeros_like(output))
        return output, last

    def extra_repr(self) -> str:
        """Describe the settings."""
        names = "go_backwards", "return_sequences", "zero_output_for_mask"
        return ", ".join(f"{name}={getattr(self, name)}" for name in names)


class KerasBidirectional(nn.Module):
    """A forward and a backward layer whose outputs are merged as in Keras.

    Args:
        forward_layer: The forward layer.
        backward_layer: The backward layer; its output is reversed in time before merging.
        merge_mode: ``"concat"``, ``"sum"``, ``"ave"`` or ``"mul"``; None returns a tuple.
        axis: Axis of ``"concat"``: the channels if Keras's data are ``channels_last``, the last axis if they
            are ``channels_first``.
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
            mask: False at masked steps, bool, ``(B, T)``.

        Returns:
            ``output, (h_n, c_n)``, the states each ``(forward, backward)``.

        Raises:
            ArgumentError: A tensor does not have the expected shape.
        """
        starts: tuple[States | None, States | None] = None, None
        if state is not None:
            pair = isinstance(state, tuple | list) and len(state) == 2
            if not pair or any(not isinstance(s, tuple | list) or len(s) != 2 for s in state):
                raise ArgumentError(
                    "state: expected (h_0, c_0), each a tuple of 2 tensors, forward and backward, "
                    f"found {shape(state)}"
                )
            (h_forward, h_backward), (c_forward, c_backward) = state
            starts = ((h_forward,), (c_forward,)), ((h_backward,), (c_backward,))
        forward, (h, c) = self.forward_layer(x, starts[0], mask=mask)
        backward, (k, d) = self.backward_layer(x, starts[1], mask=mask)
        if self.backward_layer.return_sequences:
            backward = backward.flip(1)
        return self._merge(forward, backward), ((*h, *k), (*c, *d))

    def _merge(self, forward: Tensor, backward: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        match self.merge_mode:
            case "concat":
                return torch.cat([forward, backward], dim=self.axis)
            case "sum":
                return forward + backward
            case "ave":
                return (forward + backward) / 2
            case "mul":
                return forward * backward
        return forward, backward

    def extra_repr(self) -> str:
        """Describe the settings."""
        return f"merge_mode={self.merge_mode!r}, axis={self.axis}"
