"""The one loop over time."""

from collections.abc import Callable, Sequence
from itertools import repeat

import torch
from torch import Tensor

from stormcell.nn.ops.terms import Form, Run, State


def unroll(
    step: Callable[..., State], x: Tensor | None, state: State, form: Form, run: Run
) -> tuple[Tensor, State]:
    """Apply ``state = step(x_t, *state)`` at every step; also return each step's ``state[0]``, stacked."""
    outputs: list[Tensor] = []
    for t, x_t in enumerate(repeat(None, run.steps) if x is None else x.unbind(0)):
        new = step(x_t, *state)
        if form.zoneout:
            new = _zoneout(new, state, form.zoneout, run.training)
        output = new[0]
        if run.mask is not None:
            there = run.mask[t].reshape(-1, *(1,) * (output.dim() - 1))
            held = outputs[-1] if outputs and run.repeat else torch.zeros_like(output)
            output = torch.where(there, output, held)
            new = tuple(torch.where(there, n, old.to(n.dtype)) for n, old in zip(new, state, strict=True))
        state = new
        outputs.append(output)
    return torch.stack(outputs), state


def _zoneout(new: State, old: State, rates: Sequence[float], training: bool) -> State:
    """Let each element keep its old value with some probability: Krueger et al. (2017), arXiv:1606.01305.

    In training it is drawn, elsewhere the state is its expectation.
    """

    def zone(new: Tensor, old: Tensor, rate: float) -> Tensor:
        old = old.to(new.dtype)
        return torch.where(torch.rand_like(new) < rate, old, new) if training else torch.lerp(new, old, rate)

    return tuple(map(zone, new, old, rates))
