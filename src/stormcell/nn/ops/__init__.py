"""The equations as pure functions on tensors: one signature, several back ends.

:mod:`~stormcell.nn.ops.reference` states them plainly; every other back end must equal it.
"""

from typing import Protocol

from torch import Tensor

from stormcell.errors import ArgumentError
from stormcell.nn.ops import reference


class ConvLSTMOp(Protocol):
    """The ConvLSTM recurrence, whoever computes it."""

    def __call__(
        self,
        x: Tensor | None,
        h: Tensor,
        c: Tensor,
        weight_ih: Tensor | None,
        weight_hh: Tensor,
        bias: Tensor | None,
        peephole: Tensor | None,
        *,
        steps: int,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Compute what :func:`stormcell.nn.ops.reference.conv_lstm` computes."""
        ...


CONV_LSTM: dict[str, ConvLSTMOp] = {"auto": reference.conv_lstm, "reference": reference.conv_lstm}


def conv_lstm(backend: str) -> ConvLSTMOp:
    """Return the ConvLSTM recurrence as the back end of this name computes it.

    Raises:
        ArgumentError: No back end has this name.
    """
    try:
        return CONV_LSTM[backend]
    except (KeyError, TypeError):
        names = ", ".join(map(repr, CONV_LSTM))
        raise ArgumentError(f"backend: expected one of {names}, found {backend!r}") from None
