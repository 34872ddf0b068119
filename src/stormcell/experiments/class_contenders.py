"""How networks that tell classes learn and predict, whatever the network."""

from collections.abc import Callable
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from stormcell.experiments.experiment import Batch, Contender, Moment


def classifier(name: str, build: Callable[[], nn.Module], learning_rate: float) -> Contender:
    """A network that learns by the cross-entropy of classes.

    Args:
        name: In tables and pictures.
        build: Makes it: frames ``(B, T, C, H, W)`` to logits ``(B, classes)``.
        learning_rate: The highest, where none is searched.
    """

    def learn(network: Any, batch: Batch, _moment: Moment) -> Tensor:
        return F.cross_entropy(network(batch.x).float(), batch.y)

    def predict(network: Any, x: Tensor) -> Tensor:
        logits: Tensor = network(x)
        return logits

    return Contender(name, build, learning_rate, learn, predict, "logits")
