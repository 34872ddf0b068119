"""What a worker asks of what it runs."""

from typing import Any, NamedTuple, Protocol

from benchmarks.layers.arrays import Array
from benchmarks.layers.cases import Case


class Task(NamedTuple):
    """What a worker computes."""

    case: Case
    dtype: str
    mode: str
    device: str
    threads: int

    @property
    def trains(self) -> bool:
        """Whether it goes backwards too."""
        return self.mode == "training"


class Runner(Protocol):
    """A contender, its weights and input in place."""

    def step(self) -> Any:
        """Do what is timed, and return what came out."""
        ...

    def results(self, made: Any) -> dict[str, Array]:
        """Return what came out as float32, laid out as our layers have it.

        That is the ``"output"``, or the ``"last"`` one, and in training the gradients: of the weights,
        ``"0.weight_ih"``, and, if it is asked for, of the input, ``"input"``. Bare convolutions have nothing.
        """
        ...

    def timed(self, number: int) -> tuple[float, Any]:
        """Take so many steps; return how many seconds one took, and what the last one returned."""
        ...

    def held(self) -> int | None:
        """Return how many bytes of memory are in use, and begin to watch for a peak; None if unknown."""
        ...

    def peak(self) -> int | None:
        """Return how many have been in use at most."""
        ...

    def saved(self) -> int | None:
        """Return how many bytes a forward pass saves for the backward pass; None if unknown."""
        ...
