"""The test: everyone on the same examples, batch by batch, as many as the time allows."""

import io
import json
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stormcell.atomic import write_file
from stormcell.errors import RecipeError
from stormcell.experiments import inference
from stormcell.experiments.experiment import Array, Baseline, Batch, Contender, Examples, Scoring
from stormcell.experiments.inference import Predict, Tallies
from stormcell.experiments.protocols.tally import SequenceTally

_SAVE = 10.0  # seconds of work, at least, between two savings


@dataclass
class Scored:
    """How far the test on one set is.

    Attributes:
        marks: Who is scored, and what tells their weights from others.
        examples: That everyone was scored on.
        seconds: That it took.
        tallies: By name of who was scored.
        spent: Seconds that each took, by name.
        lost: Who predicted something that is no number, and is scored no more.
    """

    marks: Mapping[str, str]
    examples: int
    seconds: float
    tallies: dict[str, Tallies]
    spent: dict[str, float]
    lost: list[str]

    def write(self, path: Path) -> None:
        """Put it in a file, whole or not at all: arrays, and no pickles."""
        arrays: dict[str, Array] = {}
        for k, tallies in enumerate(self.tallies.values()):
            for place, tally in tallies.items():
                for kind, values in (("sums", tally.sums), ("counts", tally.counts)):
                    arrays |= {f"{k}/{place}/{kind}/{key}": value for key, value in values.items()}
        told = {
            "marks": dict(self.marks),
            "examples": self.examples,
            "seconds": self.seconds,
            "spent": self.spent,
            "lost": self.lost,
        }
        arrays["told"] = np.frombuffer(json.dumps(told).encode(), np.uint8)
        buffer = io.BytesIO()
        np.savez(buffer, allow_pickle=False, **arrays)
        write_file(path, buffer.getvalue())

    @classmethod
    def read(cls, path: Path, marks: Mapping[str, str]) -> "Scored":
        """What is in a file; nothing scored, where there is none, or others were scored.

        Raises:
            RecipeError: It is damaged.
        """
        names = list(marks)
        nothing = cls(marks, 0, 0.0, {name: {} for name in names}, dict.fromkeys(names, 0.0), [])
        if not path.exists():
            return nothing
        try:
            # By way of memory: of a damaged file numpy would leave a handle open.
            with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as stored:
                arrays = {key: stored[key] for key in stored.files}
            told = json.loads(arrays.pop("told").tobytes())
            if told["marks"] != dict(marks) or list(told["spent"]) != names:
                return nothing
            for key, value in arrays.items():
                k, place, kind, name = key.split("/", 3)
                of_one = nothing.tallies[names[int(k)]]
                tally = of_one.setdefault(place, SequenceTally({}, {}))
                if kind == "sums":
                    of_one[place] = SequenceTally({**tally.sums, name: value}, tally.counts)
                else:
                    of_one[place] = SequenceTally(tally.sums, {**tally.counts, name: value})
            return cls(**told | {"tallies": nothing.tallies})
        except (OSError, ValueError, KeyError, IndexError, TypeError, zipfile.BadZipFile) as error:
            raise RecipeError(f"{path}: expected tallies, found something else: {error}") from None


def score(
    predictors: Mapping[str, tuple[Contender | Baseline, Predict]],
    marks: Mapping[str, str],
    examples: Examples,
    protocols: Sequence[Scoring],
    path: Path,
    *,
    count: int,
    seconds: float | None,
    batch_size: int,
    told: Callable[[int], None],
) -> Scored:
    """Score everyone on the same first examples of a test set, or go on scoring.

    Args:
        predictors: Who is scored, by name.
        marks: What tells each one's weights from others; tallies of others are not gone on with.
        examples: The test set.
        protocols: How.
        path: Where tallies are kept between calls.
        count: Examples at most.
        seconds: After so many no further batch is begun; None for no limit. One batch is always scored.
        batch_size: Examples at once.
        told: Called with the number of examples scored so far.
    """
    scored = Scored.read(path, marks)
    saved = time.monotonic()
    for batch in _batches(examples, scored, min(count, len(examples)), seconds, batch_size):
        begun = time.monotonic()
        for name, (who, predict) in predictors.items():
            if name in scored.lost:
                continue
            since = time.monotonic()
            prediction = predict(batch.x.numpy())
            scored.spent[name] += time.monotonic() - since
            if not np.isfinite(prediction).all():
                scored.lost.append(name)
                scored.tallies[name] = {}
                continue
            tallies = inference.count(prediction, inference.gives(who), batch, protocols)
            scored.tallies[name] = inference.added(scored.tallies[name], tallies)
        scored.examples += len(batch.x)
        scored.seconds += time.monotonic() - begun
        told(scored.examples)
        if time.monotonic() - saved >= _SAVE:
            scored.write(path)
            saved = time.monotonic()
    scored.write(path)
    return scored


def _batches(
    examples: Examples, scored: Scored, count: int, seconds: float | None, size: int
) -> Iterator[Batch]:
    while scored.examples < count:
        if scored.examples and seconds is not None and scored.seconds >= seconds:
            return
        yield examples.batch(scored.examples, min(size, count - scored.examples))
