"""The equations as pure functions on tensors: one signature, several back ends.

:mod:`~stormcell.nn.ops.reference` states them plainly; every other back end must equal it.
"""

from typing import Any, Protocol

from torch import Tensor

from stormcell.errors import ArgumentError
from stormcell.nn.ops import reference
from stormcell.nn.ops.terms import Form, Run


class Op(Protocol):
    """A recurrence, whoever computes it."""

    def __call__(
        self,
        x: Tensor | None,
        state: tuple[Tensor, ...],
        weights: Any,  # the NamedTuple of the recurrence
        form: Form,
        run: Run,
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Compute what the function of that name in the reference computes."""
        ...


_BACKENDS: dict[str, dict[str, Op]] = {
    name: {"conv_lstm": reference.conv_lstm, "conv_gru": reference.conv_gru, "traj_gru": reference.traj_gru}
    for name in ("auto", "reference")
}


def choose(recurrence: str, backend: str) -> Op:
    """Return the recurrence as the back end of this name computes it.

    Raises:
        ArgumentError: No back end has this name.
    """
    try:
        return _BACKENDS[backend][recurrence]
    except (KeyError, TypeError):
        names = ", ".join(map(repr, _BACKENDS))
        raise ArgumentError(f"backend: expected one of {names}, found {backend!r}") from None
