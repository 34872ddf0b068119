"""The interface of a published protocol: its statistics, its scores, and the published results."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from stormcell.errors import ArgumentError
from stormcell.experiments.protocols.sequence_tally import SequenceTally

Frames = NDArray[np.floating]
Mask = NDArray[np.bool_]
Row = Mapping[str, str | float]
"""A published row: ``"model"``, ``"source"``, and the published scores."""


@dataclass(frozen=True)
class Column:
    """Format of a score in a table.

    Attributes:
        heading: Heading with the unit.
        digits: Decimal places, as published.
        best: Whether the lowest or the highest value is best.
    """

    heading: str
    digits: int
    best: Literal["lowest", "highest"]


class ScoringProtocol(Protocol):
    """The scores of a published table, computed exactly as in the paper.

    Example:
        >>> from stormcell.experiments.protocols import OpenSTL
        >>> protocol = OpenSTL(leads=2)
        >>> truth = np.zeros((4, 2, 16, 16), np.float32)
        >>> tally = protocol.zero()
        >>> for part in (slice(0, 3), slice(3, 4)):
        ...     tally = tally + protocol.count(truth[part] + 0.5, truth[part])
        >>> protocol.scores(tally)["mse"]
        64.0
    """

    @property
    def name(self) -> str:
        """Name of the paper or benchmark, and of its data."""
        ...

    @property
    def leads(self) -> int:
        """Number of forecast frames."""
        ...

    @property
    def takes(self) -> Literal["logits", "pixels"]:
        """Kind of the predictions: pixels in 0…1, or logits whose sigmoid is a pixel."""
        ...

    @property
    def columns(self) -> Mapping[str, Column]:
        """The scores, in the order of the published table."""
        ...

    @property
    def published(self) -> tuple[Row, ...]:
        """The published rows."""
        ...

    def zero(self) -> SequenceTally:
        """The tally of no forecast."""
        ...

    def count(self, prediction: Frames, truth: Frames, mask: Mask | None = None) -> SequenceTally:
        """Tally a batch of sequences.

        Args:
            prediction: ``(B, leads, H, W)``, see :attr:`takes`.
            truth: Pixels 0…1, ``(B, leads, H, W)``.
            mask: True for pixels that count, ``(B, leads, H, W)``; None for all. Other pixels may be NaN.

        Raises:
            ArgumentError: The shapes differ, or a pixel that counts is NaN or infinite.
            NotOfferedError: A mask is given, but the protocol does not support masks.
        """
        ...

    def scores(self, tally: SequenceTally) -> dict[str, float]:
        """Return the scores of a tally by the names in :attr:`columns`; undefined scores are NaN."""
        ...


def checked(
    name: str, leads: int, prediction: Frames, truth: Frames, mask: Mask | None
) -> tuple[NDArray[np.float64], NDArray[np.float64], Mask]:
    """Return prediction and truth in float64, with zeros outside the mask, and the mask.

    Raises:
        ArgumentError: See :meth:`ScoringProtocol.count`.
    """
    if truth.ndim != 4 or truth.shape[1] != leads:
        raise ArgumentError(f"{name}, truth: expected shape (B, {leads}, H, W), found {truth.shape}")
    mask = np.ones(truth.shape, np.bool_) if mask is None else np.asarray(mask, np.bool_)
    for what, values in (("prediction", prediction), ("mask", mask)):
        if values.shape != truth.shape:
            raise ArgumentError(
                f"{name}, {what}: expected the truth's shape {truth.shape}, found {values.shape}"
            )
    for what, values in (("prediction", prediction), ("truth", truth)):
        unknown = int(np.count_nonzero(~np.isfinite(values) & mask))
        if unknown:
            # NaN ≥ threshold is false: NaN would silently count as dry.
            raise ArgumentError(
                f"{name}, {what}: expected finite pixels inside the mask, found {unknown} NaN or infinite"
            )
    prediction, truth = (np.where(mask, values, 0).astype(np.float64) for values in (prediction, truth))
    return prediction, truth, mask
