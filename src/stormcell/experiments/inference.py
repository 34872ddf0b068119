"""Predictions, and what is counted of them."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn

from stormcell.experiments.experiment import Array, Baseline, Batch, Contender, Gives, Scoring
from stormcell.experiments.protocols.tally import SequenceTally

Predict = Callable[[Array], Array]
Tallies = dict[str, SequenceTally]
"""By the protocol's place among the experiment's; the places where it cannot score are left out."""


def accelerator() -> torch.device:
    """The GPU, where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@contextmanager
def predicting(network: nn.Module, contender: Contender, precision: str) -> Iterator[Predict]:
    """A network that predicts instead of learning, in the numbers it learns in.

    Args:
        network: On its device; in training mode again afterwards, if it was before.
        contender: Whose it is.
        precision: Lightning's name.
    """
    before = network.training
    device = next(network.parameters()).device

    def predict(x: Array) -> Array:
        autocast = torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16-mixed")
        with torch.inference_mode(), autocast:
            predicted = contender.predict(network, torch.from_numpy(x).to(device))
        found: Array = predicted.float().cpu().numpy()
        return found

    network.eval()
    try:
        yield predict
    finally:
        network.train(before)


def gives(who: Contender | Baseline) -> Gives:
    """What its predictions are."""
    return who.gives if isinstance(who, Contender) else "pixels"


def count(prediction: Array, given: Gives, batch: Batch, protocols: Sequence[Scoring]) -> Tallies:
    """Tally a prediction by every protocol that can: of pixels there are no logits."""
    mask = None if batch.mask is None else _frames(batch.mask.numpy())
    truth, tallies = _frames(batch.y.numpy()), {}
    for place, protocol in enumerate(protocols):
        if protocol.takes == given:
            tallies[str(place)] = protocol.count(_frames(prediction), truth, mask)
        elif protocol.takes == "pixels":
            tallies[str(place)] = protocol.count(_frames(pixels(prediction, given)), truth, mask)
    return tallies


def added(one: Tallies, other: Tallies) -> Tallies:
    """Two sets of tallies put together; the first may be empty."""
    return {place: one[place] + tally if place in one else tally for place, tally in other.items()}


def scores(tallies: Tallies, protocols: Sequence[Scoring]) -> dict[str, float]:
    """The scores of all protocols that scored."""
    found: dict[str, float] = {}
    for place, tally in tallies.items():
        found |= protocols[int(place)].scores(tally)
    return found


def pixels(prediction: Array, given: Gives) -> Array:
    """Pixels of a prediction."""
    return prediction if given == "pixels" else 0.5 * (1 + np.tanh(0.5 * prediction))


def _frames(values: Array) -> Array:
    """Frames of one channel without it; classes as they are."""
    return values[:, :, 0] if values.ndim == 5 else values
