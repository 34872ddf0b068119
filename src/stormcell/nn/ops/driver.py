"""The autograd driver of the fused back ends: one for all recurrences.

A recurrence defines its forward and its backward pass over a whole sequence (:class:`Recurrence`). The
driver decides whether a gradient will be needed, saves tensors for the backward pass, selects gradients by
name, turns autocast off around both passes, and leaves second derivatives to the reference.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from stormcell.nn.ops import double_backward
from stormcell.nn.ops.types import CallSpec, State, Variant


class Op(Protocol):
    """A recurrence as a function of tensors. All back ends have this signature."""

    def __call__(
        self,
        x: Tensor | None,  # (T, B, C_in, *)
        state: State,
        weights: Any,  # the NamedTuple of the recurrence
        variant: Variant,
        spec: CallSpec,
    ) -> tuple[Tensor, State]:
        """Return the hidden state after each step, ``(T, B, C, *)``, and the last state."""
        ...


class Call(NamedTuple):
    """One call of a fused recurrence. Everything but the gradients is known before the passes start."""

    x: Tensor | None  # (T, B, C_in, *)
    state: State
    weights: Any  # the NamedTuple of the recurrence; without an input its ``*_ih`` are None
    variant: Variant
    steps: int
    dtype: torch.dtype  # of the convolutions


class Gradients(NamedTuple):
    """Arguments of the backward pass: the upstream gradients, and the names of the gradients to compute."""

    output: Tensor  # (T, B, C, *)
    state: State  # of the last state
    needed: Mapping[str, bool]  # "x", the names of the states, and those of the weights


@dataclass(frozen=True)
class Recurrence:
    """A recurrence: its two back ends, and the parts of the fused one."""

    fused: Op
    reference: Op
    # Returns output and last state, and the tensors saved for the backward pass, if asked to save them.
    forward: Callable[[Call, bool], tuple[Tensor, State, list[Tensor]]]
    # Returns gradients by name; it may compute more than is needed, and may overwrite the saved tensors.
    backward: Callable[[Call, list[Tensor], Gradients], dict[str, Tensor]]
    # Given weights, variant, and whether there is an input: an option which is not supported, or None.
    unsupported_option: Callable[[Any, Variant, bool], str | None]
    # Given weights, variant and dtype: which implementation computes each part of a step.
    describe: Callable[[Any, Variant, torch.dtype], dict[str, str]]
    states: tuple[str, ...]  # their names
    devices: tuple[str, ...] = ("cpu",)  # the supported types of devices
    overwrites_saved: bool = False  # a second backward pass then repeats the forward pass


def run(
    recurrence: Recurrence, x: Tensor | None, state: State, weights: Any, variant: Variant, spec: CallSpec
) -> tuple[Tensor, State]:
    """Compute the recurrence, whose arguments :mod:`.support` has found to be supported."""
    if x is None or weights.weight_ih is None:
        x, weights = None, without_input(weights)
    call = Call(x, state, weights, variant, spec.steps, convolution_dtype(weights))
    tensors = x, *state, *weights
    if torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors):
        output, *last = _Function.apply(recurrence, call, *tensors)  # type: ignore[no-untyped-call]
        return output, tuple(last)
    output, last_state, _ = _forward(recurrence, call, save=False)
    return output, last_state


def without_input(weights: Any) -> Any:
    """Return the weights without those of the input."""
    return weights._replace(**{name: None for name in weights._fields if name.endswith("_ih")})


def convolution_dtype(weights: Any) -> torch.dtype:
    """Return the dtype of the convolutions: that of the weights, or of autocast."""
    dtype: torch.dtype = weights.weight_hh.dtype
    return autocast_dtype(weights.weight_hh.device) or dtype


def autocast_dtype(device: torch.device) -> torch.dtype | None:
    """Return the dtype of convolutions under autocast on this device; None if autocast is off."""
    available = torch.amp.is_autocast_available(device.type) and torch.is_autocast_enabled(device.type)
    return torch.get_autocast_dtype(device.type) if available else None


def _forward(recurrence: Recurrence, call: Call, *, save: bool) -> tuple[Tensor, State, list[Tensor]]:
    with torch.autocast(call.weights.weight_hh.device.type, enabled=False):
        return recurrence.forward(call, save)


def _reference(recurrence: Recurrence, call: Call, *tensors: Tensor | None) -> tuple[Tensor, ...]:
    call = _with_tensors(call, tensors)
    output, state = recurrence.reference(call.x, call.state, call.weights, call.variant, CallSpec(call.steps))
    return output, *state


def _with_tensors(call: Call, tensors: tuple[Tensor | None, ...]) -> Call:
    """Return the call with these tensors: the input, the states and the weights."""
    x, states = tensors[0], len(call.state)
    state: Any = tensors[1 : 1 + states]
    return call._replace(x=x, state=state, weights=type(call.weights)(*tensors[1 + states :]))


class _Function(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, recurrence: Recurrence, call: Call, *tensors: Tensor | None) -> tuple[Tensor, ...]:
        call = _with_tensors(call, tensors)
        output, state, saved = _forward(recurrence, call, save=True)
        results = output, *state
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*tensors, *saved)
        # Autograd holds the tensors: a reference from here would keep them alive for ever.
        nothing: tuple[None, ...] = (None,) * len(tensors)
        ctx.recurrence, ctx.call, ctx.count = recurrence, _with_tensors(call, nothing), len(tensors)
        ctx.results = [(result.shape, result.dtype) for result in results]
        ctx.autocast = autocast_dtype(output.device)
        ctx.was_overwritten = False
        return results

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor | None) -> tuple[Tensor | None, ...]:
        recurrence, everything = ctx.recurrence, ctx.saved_tensors  # read once: a checkpoint recomputes them
        tensors, saved = everything[: ctx.count], everything[ctx.count :]
        call: Call = _with_tensors(ctx.call, tensors)
        device = call.weights.weight_hh.device
        if double_backward.needed(upstream):
            with torch.autocast(device.type, ctx.autocast, enabled=ctx.autocast is not None):
                compute = partial(_reference, recurrence, call)
                return None, None, *double_backward.gradients(compute, tensors, upstream)
        names = "x", *recurrence.states, *call.weights._fields
        needed = dict(zip(names, ctx.needs_input_grad[2:], strict=True))
        d_output, *d_state = (
            torch.zeros((), dtype=dtype, device=device).expand(shape) if d is None else d
            for d, (shape, dtype) in zip(upstream, ctx.results, strict=True)
        )
        if ctx.was_overwritten:
            saved = _forward(recurrence, call, save=True)[-1]
        ctx.was_overwritten = recurrence.overwrites_saved
        gradients = Gradients(d_output, tuple(d_state), needed)
        with torch.autocast(device.type, enabled=False):
            # Autograd may not see that ``data`` is overwritten.
            found = recurrence.backward(call, [each.data for each in saved], gradients)
        return None, None, *(found.get(name) if needed[name] else None for name in names)
