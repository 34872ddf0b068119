"""Contenders from networks: the loss each is trained with, and its prediction."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from stormcell.experiments.experiment import Array, Batch, Contender, Gives, PixelBaseline
from stormcell.experiments.protocols.extrapolation import Extrapolation
from stormcell.models.base import Network
from stormcell.models.sampling_schedules import SamplingSchedule
from stormcell.training.task import Moment

Loss = Callable[[Tensor, Tensor, Tensor | None], Tensor]
"""A function of the output, the targets, and a mask of the pixels that count (None for all)."""


def free_running(
    name: str, build: Callable[[], Network], learning_rate: float, loss: Loss, gives: Gives, steps: int
) -> Contender:
    """A network that forecasts all targets from the inputs alone, in training as in use.

    Args:
        name: Name in tables and figures.
        build: Function that builds the network.
        learning_rate: Highest learning rate, if none is searched for.
        loss: Loss of the forecast frames.
        gives: ``"logits"`` or ``"pixels"``, the kind of the network's output.
        steps: Frames to forecast.
    """

    def learn(network: Any, batch: Batch, _moment: Moment) -> Tensor:
        return loss(network(batch.x, steps).float(), batch.y, batch.mask)

    return Contender(name, build, learning_rate, learn, _forecast(steps), gives)


def fed(
    name: str,
    build: Callable[[], Network],
    learning_rate: float,
    loss: Loss,
    gives: Gives,
    steps: int,
    schedule: Callable[[Moment], SamplingSchedule],
) -> Contender:
    """A next-frame network that is given some true frames in training. Its loss covers every frame.

    The given frames are drawn for the update as a whole: they do not depend on the number of processes.

    Args:
        name: Name in tables and figures.
        build: Function that builds a :class:`~stormcell.models.NextFrameForecaster`.
        learning_rate: Highest learning rate, if none is searched for.
        loss: Loss of all frames except the first.
        gives: ``"logits"`` or ``"pixels"``, the kind of the network's output.
        steps: Frames to forecast.
        schedule: Sampling schedule at a moment of training.
    """

    def learn(network: Any, batch: Batch, moment: Moment) -> Tensor:
        size, inputs = batch.x.shape[:2]
        drawn = schedule(moment).given(size * moment.processes, inputs, steps, moment.generator())
        own = drawn[size * moment.rank : size * (moment.rank + 1)]
        every = network(batch.x, steps, targets=batch.y, schedule=own, every=True)
        return loss(every.float(), torch.cat([batch.x, batch.y], dim=1)[:, 1:], None)

    return Contender(name, build, learning_rate, learn, _forecast(steps), gives)


def _forecast(steps: int) -> Callable[[Any, Tensor], Tensor]:
    def predict(network: Any, x: Tensor) -> Tensor:
        forecast: Tensor = network(x, steps)
        return forecast

    return predict


def classifier(name: str, build: Callable[[], Network], learning_rate: float) -> Contender:
    """A network trained on the cross-entropy of classes.

    Args:
        name: Name in tables and figures.
        build: Function that builds the network: frames ``(B, T, C, H, W)`` to logits ``(B, classes)``.
        learning_rate: Highest learning rate, if none is searched for.
    """

    def learn(network: Any, batch: Batch, _moment: Moment) -> Tensor:
        return F.cross_entropy(network(batch.x).float(), batch.y)

    def predict(network: Any, x: Tensor) -> Tensor:
        logits: Tensor = network(x)
        return logits

    return Contender(name, build, learning_rate, learn, predict, "logits")


def baselines(extrapolations: Sequence[Extrapolation], steps: int) -> tuple[PixelBaseline, ...]:
    """Return extrapolations as baselines of an experiment on frames of one channel."""

    def baseline(extrapolation: Extrapolation) -> PixelBaseline:
        def predict(x: Array) -> Array:
            return extrapolation(x[:, :, 0], steps)[:, :, None]

        return PixelBaseline(extrapolation.name, predict)

    return tuple(baseline(extrapolation) for extrapolation in extrapolations)
