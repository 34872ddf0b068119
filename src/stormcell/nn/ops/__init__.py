"""The equations as pure functions on tensors: one signature, several back ends.

:mod:`~stormcell.nn.ops.reference` states them plainly; every other back end must equal it.
"""

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor

from stormcell.errors import ArgumentError, NotOfferedError
from stormcell.nn.ops import fused, fused_gru, fused_traj_gru, reference
from stormcell.nn.ops.terms import Form, Run, State

# Where several threads at once are the first of a process to ask MKL for a hyperbolic tangent, one of them
# now and then gets a coarse one, off by 1e-5 (https://github.com/pytorch/pytorch/issues/188792). So one is
# asked for here.
for _dtype in (torch.float32, torch.float64):
    torch.zeros(1, dtype=_dtype, device="cpu").tanh()


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


def _backends(
    plain: Op, fast: Op, refusal: Callable[[Tensor | None, State, Any, Form, Run], str | None]
) -> dict[str, Op]:
    """Return the ways to compute a recurrence that a fast way knows in part."""

    def or_refuse(x: Tensor | None, state: State, weights: Any, form: Form, run: Run) -> tuple[Tensor, State]:
        what = refusal(x, state, weights, form, run)
        if what is not None:
            raise NotOfferedError(f"backend='fused' does not know {what}, only backend='auto' does")
        return fast(x, state, weights, form, run)

    def or_plain(x: Tensor | None, state: State, weights: Any, form: Form, run: Run) -> tuple[Tensor, State]:
        known = refusal(x, state, weights, form, run) is None
        return (fast if known else plain)(x, state, weights, form, run)

    return {"auto": or_plain, "reference": plain, "fused": or_refuse}


_BACKENDS: dict[str, dict[str, Op]] = {
    "conv_lstm": _backends(reference.conv_lstm, fused.conv_lstm, fused.refusal),
    "conv_gru": _backends(reference.conv_gru, fused_gru.conv_gru, fused_gru.refusal),
    "traj_gru": _backends(reference.traj_gru, fused_traj_gru.traj_gru, fused_traj_gru.refusal),
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
