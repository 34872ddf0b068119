"""Gradients of what a fast way computed, where they must be made of operations that PyTorch knows."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def needed(upstream: Sequence[Tensor | None]) -> bool:
    """Tell whether a gradient of the gradient will be asked for, or these are many gradients at once."""
    return torch.is_grad_enabled() or any(map(_is_batched, upstream))


def gradients(
    compute: Callable[..., tuple[Tensor, ...]],  # what the fast way does, by the reference
    tensors: Sequence[Tensor | None],  # what it is computed of
    upstream: Sequence[Tensor | None],  # the gradients of the results; None is zero
) -> tuple[Tensor | None, ...]:
    """Return the gradients of the tensors."""
    create_graph = torch.is_grad_enabled()
    with torch.enable_grad():
        # Views, so that the search for gradients ends here: one tensor may have been made of another.
        views = [None if t is None else t.view_as(t) for t in tensors]
        results = compute(*views)
    known = [(r, d) for r, d in zip(results, upstream, strict=True) if d is not None]
    asked = [t for t in views if t is not None and t.requires_grad]
    found = torch.autograd.grad(
        [r for r, _ in known], asked, [d for _, d in known], create_graph=create_graph, allow_unused=True
    )
    by_tensor = dict(zip(map(id, asked), found, strict=True))
    return tuple(by_tensor.get(id(t)) for t in views)


def _is_batched(gradient: Tensor | None) -> bool:
    """Tell whether this is many gradients at once, in either of PyTorch's ways."""
    functorch = torch._C._functorch
    return gradient is not None and (
        functorch.is_batchedtensor(gradient) or functorch.is_legacy_batchedtensor(gradient)
    )
