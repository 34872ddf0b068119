"""Finite sets, learned from again and again."""

from collections.abc import Callable
from dataclasses import dataclass

from stormcell.experiments.experiment import Batch
from stormcell.experiments.moving_mnist.counter_rng import shuffled


def epochs(seed: int, first: int, count: int, size: int) -> list[int]:
    """So many places, from one on, in the epochs of a set of a size, each in an order of its own."""
    places = [divmod(place, size) for place in range(first, first + count)]
    return [int(shuffled(seed, epoch, size)[place]) for epoch, place in places]


@dataclass(frozen=True)
class Epochs:
    """A finite set as an endless stream: epoch after epoch, each in an order of its own.

    Attributes:
        some: The examples at some places of the set.
        count: How many there are.
        seed: Of the orders.

    Example:
        >>> import torch
        >>> stream = Epochs(lambda places: Batch(torch.tensor(places), torch.empty(0)), 5, seed=0)
        >>> first, second = stream.batch(0, 5).x.tolist(), stream.batch(5, 5).x.tolist()
        >>> sorted(first), sorted(second), first == second
        ([0, 1, 2, 3, 4], [0, 1, 2, 3, 4], False)
        >>> stream.batch(3, 4).x.tolist() == first[3:] + second[:2]
        True
    """

    some: Callable[[list[int]], Batch]
    count: int
    seed: int

    def batch(self, first: int, count: int) -> Batch:
        """See :class:`~stormcell.experiments.experiment.Stream`."""
        return self.some(epochs(self.seed, first, count, self.count))
