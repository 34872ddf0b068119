"""How networks that forecast frames learn and predict, whatever the network."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from stormcell.experiments.experiment import Array, Baseline, Batch, Contender, Gives, Moment
from stormcell.experiments.protocols.extrapolation import Extrapolation
from stormcell.models.sampling_schedules import Feeding

Loss = Callable[[Tensor, Tensor, Tensor | None], Tensor]
"""Of an output, a truth, and what of it counts."""


def free_running(
    name: str, build: Callable[[], nn.Module], learning_rate: float, loss: Loss, gives: Gives, steps: int
) -> Contender:
    """A network that learns as it is used: from the frames that are given, all others forecast.

    Args:
        name: In tables and pictures.
        build: Makes it.
        learning_rate: The highest, where none is searched.
        loss: Of the frames forecast.
        gives: What its output is.
        steps: Frames to forecast.
    """

    def learn(network: Any, batch: Batch, _moment: Moment) -> Tensor:
        return loss(network(batch.x, steps).float(), batch.y, batch.mask)

    def predict(network: Any, x: Tensor) -> Tensor:
        forecast: Tensor = network(x, steps)
        return forecast

    return Contender(name, build, learning_rate, learn, predict, gives)


def fed(
    name: str,
    build: Callable[[], nn.Module],
    learning_rate: float,
    loss: Loss,
    gives: Gives,
    steps: int,
    feeding: Callable[[Moment], Feeding],
) -> Contender:
    """A next-frame network that is given some of the true frames while it learns, and judged on every frame.

    Which frames those are is drawn for the update as a whole, so that it does not depend on how many
    processes share it.

    Args:
        name: In tables and pictures.
        build: Makes a :class:`~stormcell.models.NextFrameForecaster`.
        learning_rate: The highest, where none is searched.
        loss: Of all frames but the first.
        gives: What its output is.
        steps: Frames to forecast.
        feeding: How it is fed at a moment of its training.
    """

    def learn(network: Any, batch: Batch, moment: Moment) -> Tensor:
        size, inputs = batch.x.shape[:2]
        drawn = feeding(moment).given(size * moment.processes, inputs, steps, moment.generator())
        own = drawn[size * moment.rank : size * (moment.rank + 1)]
        every = network(batch.x, steps, truth=batch.y, feeding=own, every=True)
        return loss(every.float(), torch.cat([batch.x, batch.y], dim=1)[:, 1:], None)

    def predict(network: Any, x: Tensor) -> Tensor:
        forecast: Tensor = network(x, steps)
        return forecast

    return Contender(name, build, learning_rate, learn, predict, gives)


def baselines(extrapolations: Sequence[Extrapolation], steps: int) -> tuple[Baseline, ...]:
    """Extrapolations as baselines of an experiment on frames of one channel."""

    def baseline(extrapolation: Extrapolation) -> Baseline:
        def predict(x: Array) -> Array:
            return extrapolation(x[:, :, 0], steps)[:, :, None]

        return Baseline(extrapolation.name, predict)

    return tuple(baseline(extrapolation) for extrapolation in extrapolations)
