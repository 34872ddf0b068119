"""Accuracy of classes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from stormcell.errors import NotOfferedError
from stormcell.experiments.experiment import Array
from stormcell.experiments.protocols.protocol import Column
from stormcell.experiments.protocols.sequence_tally import SequenceTally, zero


@dataclass(frozen=True)
class Accuracy:
    """Percentage of examples whose most likely class is the true class.

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
        """Tally logits ``(B, classes)`` against true classes ``(B,)``.

        Raises:
            NotOfferedError: A mask is given.
        """
        if mask is not None:
            raise NotOfferedError("accuracy: a mask is not supported; expected mask=None")
        correct = prediction.argmax(axis=1) == truth
        return SequenceTally({"correct": correct[:, None].astype(np.float64)}, {})

    def scores(self, tally: SequenceTally) -> dict[str, float]:
        """Return ``accuracy`` in per cent."""
        return {"accuracy": 100 * float(tally.mean("correct")[0])}
