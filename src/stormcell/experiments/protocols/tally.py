"""What a protocol counts, in a form that can be added."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scores.categorical import BasicContingencyManager

from stormcell.errors import ArgumentError
from stormcell.verification.scores import mean_over_leads

Counts = NDArray[np.int64]
Sums = NDArray[np.float64]
EVENTS = ("hits", "misses", "false_alarms", "correct_negatives")


@dataclass(frozen=True, eq=False)
class SequenceTally:
    """Statistics of forecast sequences; ``+`` puts two sets of sequences together.

    Counts are added as integers. Real numbers keep a row per sequence, and their sum is
    correctly rounded (``math.fsum``): neither the order in which sequences come nor how they were shared
    out changes a bit of any score. Rows are a few numbers per sequence, little for any test set.

    Attributes:
        sums: By name, ``(sequence, lead)``.
        counts: By name, ``(lead, threshold)``.

    Raises:
        ArgumentError: Tallies of other statistics, lead times or thresholds are added.

    Example:
        >>> first = SequenceTally({"error": np.ones((2, 3))}, {})
        >>> (first + first).sequences, (first + first).mean("error").tolist()
        (4, [1.0, 1.0, 1.0])
    """

    sums: Mapping[str, Sums]
    counts: Mapping[str, Counts]

    @property
    def sequences(self) -> int:
        """How many sequences were counted."""
        return len(next(iter(self.sums.values())))

    def __add__(self, other: "SequenceTally") -> "SequenceTally":
        if self._layout() != other._layout():
            raise ArgumentError(f"tally: expected {self._layout()} on both sides, found {other._layout()}")
        return SequenceTally(
            {name: np.concatenate([rows, other.sums[name]]) for name, rows in self.sums.items()},
            {name: count + other.counts[name] for name, count in self.counts.items()},
        )

    def total(self, name: str) -> Sums:
        """A statistic summed over sequences, ``(lead,)``, correctly rounded."""
        return np.array([math.fsum(column) for column in self.sums[name].T])

    def mean(self, name: str) -> Sums:
        """The mean of a statistic over sequences, ``(lead,)``; NaN where there are none."""
        total = self.total(name)
        return ratio(total, np.full_like(total, self.sequences))

    def contingency(self) -> BasicContingencyManager:
        """The contingency table of the ``scores`` package, dims ``(lead, threshold)``."""
        tables = [xr.DataArray(self.counts[name], dims=("lead", "threshold")) for name in EVENTS]
        hits, misses, false_alarms, correct_negatives = tables
        return BasicContingencyManager(
            {
                "tp_count": hits,
                "fn_count": misses,
                "fp_count": false_alarms,
                "tn_count": correct_negatives,
                "total_count": hits + misses + false_alarms + correct_negatives,
            }
        )

    def _layout(self) -> dict[str, tuple[int, ...]]:
        rows = {name: rows.shape[1:] for name, rows in self.sums.items()}
        return rows | {name: count.shape for name, count in self.counts.items()}


def ratio(numerator: Sums, denominator: Sums) -> Sums:
    """NaN where the denominator is 0."""
    undefined = np.full(numerator.shape, np.nan)
    return np.asarray(np.divide(numerator, denominator, where=denominator != 0, out=undefined))


def mean_where_defined(values: Sums) -> float:
    """The mean over the lead times at which a score is a number; NaN if there is none."""
    mean, _ = mean_over_leads([value if np.isfinite(value) else None for value in values.tolist()])
    return np.nan if mean is None else mean


def zero(sums: tuple[str, ...], leads: int, thresholds: int = 0) -> SequenceTally:
    """The tally of no sequence; without thresholds it has no contingency table."""
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
    """Contingency tables ``(lead, threshold)`` of ``(B, T, H, W)``; an event is a value at or above."""
    tables = {name: np.zeros((truth.shape[1], len(thresholds)), np.int64) for name in EVENTS}
    inside = np.count_nonzero(mask, axis=(0, 2, 3))
    for k, threshold in enumerate(thresholds):
        said, fell = (prediction >= threshold) & mask, (truth >= threshold) & mask
        hits = np.count_nonzero(said & fell, axis=(0, 2, 3))
        misses = np.count_nonzero(fell, axis=(0, 2, 3)) - hits
        false_alarms = np.count_nonzero(said, axis=(0, 2, 3)) - hits
        found = (hits, misses, false_alarms, inside - hits - misses - false_alarms)
        for name, count in zip(EVENTS, found, strict=True):
            tables[name][:, k] = count
    return tables
