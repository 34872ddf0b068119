"""Names, shapes and axes of Keras's weights, and the parameters of ours that they become."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

# In the order of get_weights(). The gates are in our order, i, f, g, o, but along the last axis, with the
# input channels before them.
_PARAMETERS = {"kernel": "weight_ih", "recurrent_kernel": "weight_hh", "bias": "bias"}
_PEEPHOLES = tuple(f"{gate}_gate_peephole_weights" for gate in ("input", "forget", "output"))


def names(bias: bool, peephole: bool) -> list[str]:
    """Return Keras's names of a layer's weights, in Keras's order."""
    parameters = [name for name in _PARAMETERS if bias or name != "bias"]
    return [*parameters, *_PEEPHOLES] if peephole else parameters


def shape(name: str, kernel_size: Sequence[int], in_channels: int, hidden: int) -> tuple[int, ...]:
    """Return the shape of the weights with a name."""
    shapes = {"kernel": (*kernel_size, in_channels, 4 * hidden), "bias": (4 * hidden,)}
    shapes["recurrent_kernel"] = (*kernel_size, hidden, 4 * hidden)
    return shapes.get(name, (hidden,))


def read(theirs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return our parameters of one cell, by name."""
    ours = {name: _to_the_front(theirs[keras]) for keras, name in _PARAMETERS.items() if keras in theirs}
    if _PEEPHOLES[0] in theirs:
        ours["peephole"] = torch.stack([theirs[name] for name in _PEEPHOLES])
    return ours


def write(ours: Mapping[str, Tensor]) -> list[Tensor]:
    """Return Keras's weights of one cell, in Keras's order: the inverse of :func:`read`."""
    theirs = [_to_the_back(ours[name]) for name in _PARAMETERS.values() if name in ours]
    return [*theirs, *ours.get("peephole", ())]


def _to_the_front(weights: Tensor) -> Tensor:
    """Move the gates and the input channels of a kernel to the front; a bias has the gates only."""
    return weights if weights.dim() == 1 else weights.movedim((-1, -2), (0, 1))


def _to_the_back(weights: Tensor) -> Tensor:
    return weights if weights.dim() == 1 else weights.movedim((0, 1), (-1, -2))
