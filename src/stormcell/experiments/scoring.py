"""Scores of predictions: all contenders and baselines on the same test examples, as many as time allows."""

import io
import json
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from stormcell.atomic import write_file
from stormcell.errors import RecipeError
from stormcell.experiments.experiment import (
    Array,
    Batch,
    Contender,
    Examples,
    Gives,
    PixelBaseline,
    Scoring,
)
from stormcell.experiments.protocols.sequence_tally import SequenceTally
from stormcell.training.mixed_precision import evaluating

_SAVE_SECONDS = 10.0  # of work, at least, between two saves

Predict = Callable[[Array], Array]
Tallies = dict[str, SequenceTally]
"""By position of the protocol in the experiment; a protocol that cannot score the prediction is left out."""


def predictor(network: nn.Module, contender: Contender, precision: str) -> Predict:
    """Return a contender's prediction as a function of input frames, computed in the precision of training.

    Args:
        network: The contender's network, on its device.
        contender: The contender.
        precision: Lightning's name of the precision.
    """
    device = next(network.parameters()).device

    def predict(x: Array) -> Array:
        with evaluating(network, precision):
            predicted = contender.predict(network, torch.from_numpy(x).to(device))
        found: Array = predicted.float().cpu().numpy()
        return found

    return predict


def output_kind(model: Contender | PixelBaseline) -> Gives:
    """Return the kind of a model's predictions."""
    return model.gives if isinstance(model, Contender) else "pixels"


def count(prediction: Array, kind: Gives, batch: Batch, protocols: Sequence[Scoring]) -> Tallies:
    """Tally a prediction by every protocol that can score it; one for logits cannot score pixels."""
    mask = None if batch.mask is None else _frames(batch.mask.numpy())
    truth, tallies = _frames(batch.y.numpy()), {}
    for place, protocol in enumerate(protocols):
        if protocol.takes == kind:
            tallies[str(place)] = protocol.count(_frames(prediction), truth, mask)
        elif protocol.takes == "pixels":
            tallies[str(place)] = protocol.count(_frames(pixels(prediction, kind)), truth, mask)
    return tallies


def added(one: Tallies, other: Tallies) -> Tallies:
    """Return the sum of two sets of tallies; the first may be empty."""
    return {place: one[place] + tally if place in one else tally for place, tally in other.items()}


def scores(tallies: Tallies, protocols: Sequence[Scoring]) -> dict[str, float]:
    """Return the scores of all protocols that scored."""
    found: dict[str, float] = {}
    for place, tally in tallies.items():
        found |= protocols[int(place)].scores(tally)
    return found


def pixels(prediction: Array, kind: Gives) -> Array:
    """Return the pixels of a prediction; the tanh form of the sigmoid does not overflow."""
    return prediction if kind == "pixels" else 0.5 * (1 + np.tanh(0.5 * prediction))


def _frames(values: Array) -> Array:
    """Return frames of one channel without the channel, and classes as they are."""
    return values[:, :, 0] if values.ndim == 5 else values


@dataclass
class TestState:
    """The state of a test, which is saved and resumed.

    Attributes:
        digests: SHA-256 of each model's weights, by name; "" for a baseline.
        examples: Number of examples scored so far.
        seconds: Time of the test so far.
        tallies: Tallies by model.
        prediction_seconds: Time of predictions by model.
        lost: Models that predicted NaN or infinity, and are not scored any more.
    """

    __test__ = False  # not a test for pytest

    digests: Mapping[str, str]
    examples: int
    seconds: float
    tallies: dict[str, Tallies]
    prediction_seconds: dict[str, float]
    lost: list[str]

    def write(self, path: Path) -> None:
        """Write the state to a file of arrays, without pickles."""
        arrays: dict[str, Array] = {}
        for k, tallies in enumerate(self.tallies.values()):
            for place, tally in tallies.items():
                for kind, values in (("sums", tally.sums), ("counts", tally.counts)):
                    arrays |= {f"{k}/{place}/{kind}/{key}": value for key, value in values.items()}
        facts = {name: value for name, value in vars(self).items() if name != "tallies"}
        arrays["state"] = np.frombuffer(
            json.dumps(facts | {"digests": dict(self.digests)}).encode(), np.uint8
        )
        buffer = io.BytesIO()
        # Numbers alone. Before NumPy 2.1, allow_pickle=False would be stored as one of the arrays.
        save: Callable[..., None] = np.savez
        save(buffer, **arrays)
        write_file(path, buffer.getvalue())

    @classmethod
    def read(cls, path: Path, digests: Mapping[str, str]) -> "TestState":
        """Return the state in a file, or a new one if the file is missing or is about other models.

        Raises:
            RecipeError: The file is damaged.
        """
        names = list(digests)
        new = cls(digests, 0, 0.0, {name: {} for name in names}, dict.fromkeys(names, 0.0), [])
        if not path.exists():
            return new
        try:
            # Through memory, because numpy would leave a damaged file open.
            with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as stored:
                arrays = {key: stored[key] for key in stored.files}
            facts = json.loads(arrays.pop("state").tobytes())
            if facts["digests"] != dict(digests) or list(facts["prediction_seconds"]) != names:
                return new
            for key, value in arrays.items():
                k, place, kind, name = key.split("/", 3)
                tallies = new.tallies[names[int(k)]]
                tally = tallies.setdefault(place, SequenceTally({}, {}))
                if kind == "sums":
                    tallies[place] = SequenceTally({**tally.sums, name: value}, tally.counts)
                else:
                    tallies[place] = SequenceTally(tally.sums, {**tally.counts, name: value})
            return cls(**facts | {"tallies": new.tallies})
        except (OSError, ValueError, KeyError, IndexError, TypeError, zipfile.BadZipFile) as error:
            raise RecipeError(f"{path}: expected tallies, found something else: {error}") from None


def score(
    predictors: Mapping[str, tuple[Contender | PixelBaseline, Predict]],
    digests: Mapping[str, str],
    examples: Examples,
    protocols: Sequence[Scoring],
    path: Path,
    *,
    count_limit: int,
    seconds: float | None,
    batch_size: int,
    progress: Callable[[int], None],
) -> TestState:
    """Score all models on the same first examples of a test set, or resume scoring them.

    Args:
        predictors: Models and their predictions, by name.
        digests: SHA-256 of each model's weights; a saved state of other weights is not resumed.
        examples: The test set.
        protocols: The scores.
        path: File of the state between calls.
        count_limit: Largest number of examples.
        seconds: Time after which no further batch is begun; None for no limit. One batch is always scored.
        batch_size: Examples at once.
        progress: Function that is called with the number of examples scored so far.
    """
    state = TestState.read(path, digests)
    saved = time.monotonic()
    for batch in _batches(examples, state, min(count_limit, len(examples)), seconds, batch_size):
        begun = time.monotonic()
        for name, (model, predict) in predictors.items():
            if name in state.lost:
                continue
            since = time.monotonic()
            prediction = predict(batch.x.numpy())
            state.prediction_seconds[name] += time.monotonic() - since
            if not np.isfinite(prediction).all():
                state.lost.append(name)
                state.tallies[name] = {}
                continue
            tallies = count(prediction, output_kind(model), batch, protocols)
            state.tallies[name] = added(state.tallies[name], tallies)
        state.examples += len(batch.x)
        state.seconds += time.monotonic() - begun
        progress(state.examples)
        if time.monotonic() - saved >= _SAVE_SECONDS:
            state.write(path)
            saved = time.monotonic()
    state.write(path)
    return state


def _batches(
    examples: Examples, state: TestState, limit: int, seconds: float | None, size: int
) -> Iterator[Batch]:
    while state.examples < limit:
        if state.examples and seconds is not None and state.seconds >= seconds:
            return
        yield examples.batch(state.examples, min(size, limit - state.examples))
