"""The interface between a worker and its contender."""

from typing import Any, NamedTuple, Protocol

from benchmarks.layers.arrays import Array
from benchmarks.layers.cases import Case


class Task(NamedTuple):
    """The task of a worker."""

    case: Case
    dtype: str
    mode: str
    device: str
    threads: int

    @property
    def trains(self) -> bool:
        """Whether it also computes gradients."""
        return self.mode == "training"


class Runner(Protocol):
    """A contender with weights and input."""

    def step(self) -> Any:
        """Take one timed step and return its results."""
        ...

    def results(self, made: Any) -> dict[str, Array]:
        """Return the results as float32, in the layout of our layers.

        That is the ``"output"``, or the ``"last"`` one, and in training the gradients: of the weights,
        ``"0.weight_ih"``, and, if it is asked for, of the input, ``"input"``. Bare convolutions have nothing.
        """
        ...

    def timed(self, number: int) -> tuple[float, Any]:
        """Take this number of steps; return the seconds per step, and the last results."""
        ...

    def held(self) -> int | None:
        """Return the bytes of memory in use, and reset the peak; None if unknown."""
        ...

    def peak(self) -> int | None:
        """Return the peak in bytes."""
        ...

    def saved(self) -> int | None:
        """Return the bytes saved for the backward pass; None if unknown."""
        ...
