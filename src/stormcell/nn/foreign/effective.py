"""What our layers compute with, whatever pruning and parametrizations of PyTorch's have made of them."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn
from torch.nn.utils.parametrize import type_before_parametrizations

from stormcell.nn.cells import Cell


def effective(cell: Cell) -> dict[str, Tensor]:
    """Return the tensors that a cell computes with, detached, by our parameters' names, those that are there.

    The parameters may go by other names, and hold other numbers, that these are made of.
    """
    tensors = cell.weights()._asdict()
    return {name: value.detach() for name, value in tensors.items() if value is not None}


def kind(module: nn.Module) -> type:
    """Return the class of a module: a parametrized one has a class of its own, derived from it."""
    return type_before_parametrizations(module)


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Have a module in evaluation mode meanwhile: in training a look at a spectral norm changes it."""
    training = [one for one in module.modules() if one.training]
    for one in training:
        one.training = False
    try:
        yield
    finally:
        for one in training:
            one.training = True
