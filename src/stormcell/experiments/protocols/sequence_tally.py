"""Tallies of forecast sequences, which can be added."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scores.categorical import BasicContingencyManager

from stormcell.errors import ArgumentError
from stormcell.verification.contingency import Contingency, contingency
from stormcell.verification.scores import contingency_manager, mean_over_leads
from stormcell.verification.totals import ratio

Counts = NDArray[np.int64]
Sums = NDArray[np.float64]
EVENTS = Contingency._fields


@dataclass(frozen=True, eq=False)
class SequenceTally:
    """Statistics of forecast sequences; ``+`` joins two sets of sequences.

    Counts are added as integers. Real numbers have a row per sequence, and their sum is correctly rounded
    (``math.fsum``). So neither the order of the sequences nor their division into batches changes a bit of
    any score. A row is a few numbers, little memory for any test set.

    Attributes:
        sums: By name, ``(sequence, lead)``.
        counts: By name, ``(lead, threshold)``.

    Raises:
        ArgumentError: Tallies with different statistics, lead times or thresholds are added.

    Example:
        >>> first = SequenceTally({"error": np.ones((2, 3))}, {})
        >>> (first + first).sequences, (first + first).mean("error").tolist()
        (4, [1.0, 1.0, 1.0])
    """

    sums: Mapping[str, Sums]
    counts: Mapping[str, Counts]

    @property
    def sequences(self) -> int:
        """Number of sequences."""
        return len(next(iter(self.sums.values())))

    def __add__(self, other: "SequenceTally") -> "SequenceTally":
        if self._layout() != other._layout():
            raise ArgumentError(f"tally: expected {self._layout()} on both sides, found {other._layout()}")
        return SequenceTally(
            {name: np.concatenate([rows, other.sums[name]]) for name, rows in self.sums.items()},
            {name: count + other.counts[name] for name, count in self.counts.items()},
        )

    def total(self, name: str) -> Sums:
        """Return a statistic summed over sequences, ``(lead,)``, correctly rounded."""
        return np.array([math.fsum(column) for column in self.sums[name].T])

    def mean(self, name: str) -> Sums:
        """Return the mean of a statistic over sequences, ``(lead,)``; NaN without sequences."""
        total = self.total(name)
        return ratio(total, np.full_like(total, self.sequences))

    def contingency(self) -> BasicContingencyManager:
        """Return the contingency table of the ``scores`` package, with dimensions ``(lead, threshold)``."""
        return contingency_manager(Contingency(*(self.counts[name] for name in EVENTS)))

    def _layout(self) -> dict[str, tuple[int, ...]]:
        rows = {name: rows.shape[1:] for name, rows in self.sums.items()}
        return rows | {name: count.shape for name, count in self.counts.items()}


def mean_where_defined(values: Sums) -> float:
    """Return the mean over the lead times at which a score is defined; NaN if it is defined at none."""
    mean, _ = mean_over_leads([value if np.isfinite(value) else None for value in values.tolist()])
    return np.nan if mean is None else mean


def zero(sums: tuple[str, ...], leads: int, thresholds: int = 0) -> SequenceTally:
    """Return the tally of no sequence; without thresholds it has no contingency table."""
    return SequenceTally(
        {name: np.zeros((0, leads)) for name in sums},
        {name: np.zeros((leads, thresholds), np.int64) for name in EVENTS if thresholds},
    )


def events(
    prediction: NDArray[np.float32],
    truth: NDArray[np.float32],
    mask: NDArray[np.bool_],
    thresholds: NDArray[np.float32],
) -> dict[str, Counts]:
    """Return contingency tables ``(lead, threshold)`` of ``(B, T, H, W)``."""
    tables = [contingency(prediction, truth, mask, threshold, (0, 2, 3)) for threshold in thresholds]
    return {name: np.stack([getattr(table, name) for table in tables], axis=1) for name in EVENTS}
