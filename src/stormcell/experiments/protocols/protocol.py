"""What a published protocol is: how it counts, what it scores, what was published."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from stormcell.errors import ArgumentError
from stormcell.experiments.protocols.tally import SequenceTally

Frames = NDArray[np.floating]
Mask = NDArray[np.bool_]
Row = Mapping[str, str | float]
"""A published row: ``"model"``, ``"source"``, and those of the protocol's scores that were published."""


@dataclass(frozen=True)
class Column:
    """How a score is shown.

    Attributes:
        heading: With its unit.
        digits: After the point, as published.
        best: Whether the lowest or the highest is best.
    """

    heading: str
    digits: int
    best: Literal["lowest", "highest"]


class ScoringProtocol(Protocol):
    """The scores of a published table, exactly as it counts them.

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
        """Whose table it is."""
        ...

    @property
    def leads(self) -> int:
        """Frames forecast."""
        ...

    @property
    def takes(self) -> Literal["logits", "pixels"]:
        """What a prediction is: pixels (0…1 is their range), or logits whose sigmoid is a pixel."""
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
            mask: Which pixels count, ``(B, leads, H, W)``; None for all. What lies outside may be NaN.

        Raises:
            ArgumentError: The shapes do not fit, or a value that counts is not a number.
            NotOfferedError: The protocol knows no mask, and one is given.
        """
        ...

    def scores(self, tally: SequenceTally) -> dict[str, float]:
        """The scores of a tally, keyed as :attr:`columns`; what is undefined is NaN."""
        ...


def checked(
    name: str, leads: int, prediction: Frames, truth: Frames, mask: Mask | None
) -> tuple[NDArray[np.float64], NDArray[np.float64], Mask]:
    """A batch in float64 with its mask spelt out, and zero in prediction and truth outside it.

    Raises:
        ArgumentError: As :meth:`ScoringProtocol.count` says.
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
            # NaN ≥ threshold is false: it would be counted as dry and nobody would know.
            raise ArgumentError(
                f"{name}, {what}: expected numbers where counted, found {unknown} NaN or infinite"
            )
    prediction, truth = (np.where(mask, values, 0).astype(np.float64) for values in (prediction, truth))
    return prediction, truth, mask
