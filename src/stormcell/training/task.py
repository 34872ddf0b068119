"""The interface between the training loop and a network that it trains."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Moment:
    """The point of a training at which an update is made, and the process that makes its part of it.

    Attributes:
        seed: Seed of the run.
        update: Number of updates made before.
        progress: Spent share of the budget, 0 … 1.
        rank: Number of this process.
        processes: Number of processes.
    """

    seed: int
    update: int
    progress: float
    rank: int = 0
    processes: int = 1

    def generator(self) -> torch.Generator:
        """Return random numbers that depend on seed and update only, and so are the same in every process."""
        (seed,) = np.random.SeedSequence([self.seed, self.update]).generate_state(1, np.uint64)
        return torch.Generator().manual_seed(int(seed >> np.uint64(1)))


@dataclass(frozen=True)
class Schedule:
    """A learning rate that rises linearly and then falls to zero along half a cosine over the budget.

    Attributes:
        peak: Highest learning rate.
        warmup_updates: Updates of the rise; None for a rise over ``warmup_share``.
        warmup_share: Share of the budget over which the rate rises.

    Example:
        >>> schedule = Schedule(peak=1.0, warmup_updates=1)
        >>> schedule.rate(0, 0.0), schedule.rate(1, 0.5), schedule.rate(2, 1.0)
        (0.5, 0.5, 0.0)
    """

    peak: float
    warmup_updates: int | None = None
    warmup_share: float = 0.1

    def rate(self, update: int, progress: float) -> float:
        """Return the learning rate of an update, given the number of updates before it."""
        if self.warmup_updates is not None:
            rise = min(1.0, (update + 1) / (self.warmup_updates + 1))
        else:
            rise = min(1.0, (progress + 1e-3) / self.warmup_share)
        return self.peak * rise * (1 + math.cos(math.pi * progress)) / 2


@dataclass(frozen=True)
class Pace:
    """Intervals at which a training pauses to validate and to write a checkpoint.

    Attributes:
        validate_every: Updates between two validations; None to spread ``validations`` over the budget.
        validations: Number of validations over the budget.
        checkpoint_seconds: Least time between two checkpoints. With 0 the state at the end is written too.
        count_validation: Whether the minutes of the budget include validations and checkpoints.
    """

    validate_every: int | None = None
    validations: int = 10
    checkpoint_seconds: float = 30.0
    count_validation: bool = False


class Task(ABC):
    """A network to train: its examples, loss, optimizer and validation.

    Attributes:
        name: Name of the network, for the progress bar.
        seed: Seed of the initial weights and of everything drawn during training.
        precision: Lightning's name of the numbers to compute in.
        schedule: Learning rate over the training.
        batch_size: Examples per update and process.
        gradient_clip: Largest norm of the gradient; None for no limit.
        patience: Validations without a better score before training ends; None to train to the budget's end.
        loss_columns: Columns of ``losses.csv``, out of ``update``, ``seconds`` and ``loss``.
        scores: Names of the scores in ``validations.csv``; empty for no such file.
        leading: Name of the score that decides which validation is the best.
        workers: Processes that make batches beside a GPU.
    """

    name: str
    seed: int
    precision: str
    schedule: Schedule
    batch_size: int
    gradient_clip: float | None
    leading: str
    patience: int | None = None
    loss_columns: tuple[str, ...] = ("update", "seconds", "loss")
    scores: tuple[str, ...] = ()
    workers: int = 0

    @abstractmethod
    def build(self) -> nn.Module:
        """Return the network, its initial weights drawn from PyTorch's global generator."""

    @abstractmethod
    def optimizer(self, network: nn.Module) -> torch.optim.Optimizer:
        """Return the optimizer; the loop sets its learning rate before every update."""

    @abstractmethod
    def batch(self, update: int, rank: int, processes: int) -> Any:
        """Return one process's examples of an update: tensors, in a tuple.

        The parts of all processes together are the batch of a single process with as many examples.
        """

    @abstractmethod
    def loss(self, network: nn.Module, batch: Any, moment: Moment) -> Tensor:
        """Return the loss of a batch, such that the mean over processes is the loss of the whole batch."""

    @abstractmethod
    def validate(self, network: nn.Module) -> dict[str, float]:
        """Return scores by name; only the first process calls it, with the network in evaluation mode."""

    @abstractmethod
    def better(self, score: float, other: float) -> bool:
        """Return whether a leading score is better than another; any number is better than NaN."""

    @abstractmethod
    def describe(self, update: int, loss: float, scores: Mapping[str, float], best: bool) -> str:
        """Return the line that is shown after a validation."""

    def note(self, update: int, seconds: float, scores: Mapping[str, float]) -> str:  # noqa: ARG002
        """Return the end of the progress bar's text, given the scores of the last validation."""
        return ""

    def prepare_validation(self, network: nn.Module) -> None:  # noqa: B027 (an option)
        """Prepare the network for validation; all processes call it."""

    def keep_best(self, network: nn.Module, scores: Mapping[str, float]) -> None:  # noqa: B027 (an option)
        """Write files after the best validation so far; only the first process calls it."""

    def state(self) -> dict[str, Any]:
        """Return the additional content of a checkpoint; all processes call it."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:  # noqa: B027 (an option)
        """Take over the additional content of a checkpoint; all processes call it."""
