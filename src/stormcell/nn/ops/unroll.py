"""The loop over time of the reference back end."""

from collections.abc import Callable, Sequence
from itertools import repeat

import torch
from torch import Tensor

from stormcell.nn.ops.types import CallSpec, State


def unroll(
    step: Callable[..., State],
    x: Tensor | None,  # (T, B, C_in, *)
    state: State,
    spec: CallSpec,
    zoneout: Sequence[float] = (),  # one probability per state tensor
) -> tuple[Tensor, State]:
    """Apply ``state = step(x_t, *state)`` at every step, with mask and zoneout.

    Returns:
        ``state[0]`` of every step, stacked, and the last state.
    """
    outputs: list[Tensor] = []
    for t, x_t in enumerate(repeat(None, spec.steps) if x is None else x.unbind(0)):
        new = step(x_t, *state)
        if zoneout:
            new = _zoneout(new, state, zoneout, spec.training)
        output = new[0]
        if spec.mask is not None:
            present = spec.mask[t].reshape(-1, *(1,) * (output.dim() - 1))
            held = outputs[-1] if outputs and spec.repeat else torch.zeros_like(output)
            output = torch.where(present, output, held)
            new = tuple(torch.where(present, n, old.to(n.dtype)) for n, old in zip(new, state, strict=True))
        state = new
        outputs.append(output)
    return torch.stack(outputs), state


def _zoneout(new: State, old: State, rates: Sequence[float], training: bool) -> State:
    """Let each element keep its old value with some probability: Krueger et al. (2017), arXiv:1606.01305.

    In training the choice is random; in evaluation the result is its expectation.
    """

    def mix(new: Tensor, old: Tensor, rate: float) -> Tensor:
        old = old.to(new.dtype)
        return torch.where(torch.rand_like(new) < rate, old, new) if training else torch.lerp(new, old, rate)

    return tuple(map(mix, new, old, rates))
