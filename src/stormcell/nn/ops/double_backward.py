"""Gradients by the reference, for callers which differentiate a gradient of a fused back end once more."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def needed(upstream: Sequence[Tensor | None]) -> bool:
    """Return whether the gradients must be built from PyTorch's own operations.

    That is so if they will be differentiated (``create_graph=True``), or if ``upstream`` is a batch of
    gradients (``is_grads_batched=True``, ``torch.func.vmap``).
    """
    return torch.is_grad_enabled() or any(map(_is_batched, upstream))


def gradients(
    compute: Callable[..., tuple[Tensor, ...]],  # the reference
    tensors: Sequence[Tensor | None],  # its arguments
    upstream: Sequence[Tensor | None],  # the gradients of its results; None is zero
) -> tuple[Tensor | None, ...]:
    """Return the gradients of the tensors."""
    create_graph = torch.is_grad_enabled()
    with torch.enable_grad():
        # Views end the search for gradients here: one tensor may have been computed from another.
        views = [None if t is None else t.view_as(t) for t in tensors]
        results = compute(*views)
    given = [(r, d) for r, d in zip(results, upstream, strict=True) if d is not None]
    inputs = [t for t in views if t is not None and t.requires_grad]
    found = torch.autograd.grad(
        [r for r, _ in given], inputs, [d for _, d in given], create_graph=create_graph, allow_unused=True
    )
    by_tensor = dict(zip(map(id, inputs), found, strict=True))
    return tuple(by_tensor.get(id(t)) for t in views)


def _is_batched(gradient: Tensor | None) -> bool:
    """Return whether this is a batch of gradients, in either of PyTorch's two implementations."""
    functorch = torch._C._functorch
    return gradient is not None and (
        functorch.is_batchedtensor(gradient) or functorch.is_legacy_batchedtensor(gradient)
    )
