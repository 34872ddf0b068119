"""The equations as pure functions on tensors: one signature, several back ends.

:mod:`~stormcell.nn.ops.reference` states them plainly; every other back end must equal it.
"""

from typing import Any, Protocol

from torch import Tensor

from stormcell.errors import ArgumentError, NotOfferedError
from stormcell.nn.ops import fused, reference
from stormcell.nn.ops.terms import Form, LSTMWeights, Run, State


class Op(Protocol):
    """A recurrence, whoever computes it."""

    def __call__(
        self,
        x: Tensor | None,
        state: State,
        weights: Any,  # the NamedTuple of the recurrence
        form: Form,
        run: Run,
    ) -> tuple[Tensor, State]:
        """Compute what the function of that name in the reference computes."""
        ...


def _fused(
    x: Tensor | None, state: State, weights: LSTMWeights, form: Form, run: Run
) -> tuple[Tensor, State]:
    what = fused.refusal(x, state, weights, form, run)
    if what is not None:
        raise NotOfferedError(f"backend='fused' does not know {what}, only backend='auto' does")
    return fused.conv_lstm(x, state, weights, form, run)


def _auto(x: Tensor | None, state: State, weights: LSTMWeights, form: Form, run: Run) -> tuple[Tensor, State]:
    known = fused.refusal(x, state, weights, form, run) is None
    return (fused.conv_lstm if known else reference.conv_lstm)(x, state, weights, form, run)


_BACKENDS: dict[str, dict[str, Op]] = {
    "conv_lstm": {"auto": _auto, "reference": reference.conv_lstm, "fused": _fused},
    "conv_gru": {"auto": reference.conv_gru, "reference": reference.conv_gru},
    "traj_gru": {"auto": reference.traj_gru, "reference": reference.traj_gru},
}


def choose(recurrence: str, backend: str) -> Op:
    """Return the recurrence as the back end of this name computes it.

    Raises:
        ArgumentError: No back end has this name.
    """
    try:
        return _BACKENDS[recurrence][backend]
    except (KeyError, TypeError):
        names = ", ".join(map(repr, _BACKENDS[recurrence]))
        raise ArgumentError(f"backend: expected one of {names}, found {backend!r}") from None
