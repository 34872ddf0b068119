"""The score of classes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from stormcell.experiments.experiment import Array
from stormcell.experiments.protocols.protocol import Column
from stormcell.experiments.protocols.tally import SequenceTally, zero


@dataclass(frozen=True)
class Accuracy:
    """Share of the examples whose most likely class is theirs, in per cent.

    Example:
        >>> logits = np.array([[0.0, 1.0], [3.0, 2.0], [0.5, 0.4], [1.0, 1.5]])
        >>> accuracy = Accuracy()
        >>> accuracy.scores(accuracy.count(logits, np.array([1, 0, 1, 1])))
        {'accuracy': 75.0}
    """

    takes: ClassVar[str] = "logits"
    columns: ClassVar[Mapping[str, Column]] = {"accuracy": Column("accuracy, %", 2, "highest")}

    def zero(self) -> SequenceTally:
        """The tally of no example."""
        return zero(("correct",), 1)

    def count(self, prediction: Array, truth: Array, mask: Array | None = None) -> SequenceTally:
        """The tally of logits ``(B, classes)`` and classes ``(B,)``; a mask there is none."""
        assert mask is None
        return SequenceTally(
            {"correct": (prediction.argmax(axis=1) == truth)[:, None].astype(np.float64)}, {}
        )

    def scores(self, tally: SequenceTally) -> dict[str, float]:
        """``accuracy``."""
        return {"accuracy": 100 * float(tally.mean("correct")[0])}
