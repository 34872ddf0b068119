"""Table 1 of the ConvLSTM paper: cross-entropy on Moving MNIST."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from stormcell.errors import NotOfferedError
from stormcell.experiments.protocols.protocol import Column, Frames, Mask, Row, checked
from stormcell.experiments.protocols.tally import SequenceTally, zero

_TABLE = "Shi et al. (2015), arXiv:1506.04214, table 1"


def _row(model: str, parameters: int, cross_entropy: float) -> Row:
    return {"model": model, "parameters": parameters, "cross_entropy": cross_entropy, "source": _TABLE}


@dataclass(frozen=True)
class PaperMovingMnist:
    """Cross-entropy of Shi et al. (2015), arXiv:1506.04214: in nats per sequence.

    −Σ T log P + (1 − T) log(1 − P) over all pixels of all forecast frames of a sequence, then the mean over
    sequences; P is the sigmoid of the prediction, T the truth's grey pixel. A forecast of pixels has no
    finite cross-entropy as soon as one pixel is 0 or 1 and wrong, so that baselines have none.

    Attributes:
        leads: Frames forecast.

    Example:
        >>> protocol = PaperMovingMnist(leads=1)
        >>> tally = protocol.count(np.zeros((1, 1, 8, 8)), np.ones((1, 1, 8, 8)))
        >>> round(protocol.scores(tally)["cross_entropy"], 6)  # 64 log 2
        44.36142
    """

    leads: int = 10
    name: ClassVar[str] = "ConvLSTM paper, Moving MNIST"
    takes: ClassVar[Literal["logits"]] = "logits"
    columns: ClassVar[Mapping[str, Column]] = {
        "cross_entropy": Column("cross-entropy, nats per sequence", 2, "lowest")
    }
    published: ClassVar[tuple[Row, ...]] = (
        _row("FC-LSTM-2048-2048", 142_667_776, 4832.49),
        _row("ConvLSTM 5×5/5×5 256", 13_524_496, 3887.94),
        _row("ConvLSTM 5×5/5×5 128-128", 10_042_896, 3733.56),
        _row("ConvLSTM 5×5/5×5 128-64-64", 7_585_296, 3670.85),
        _row("ConvLSTM 9×9/1×1 128-128", 11_550_224, 4782.84),
        _row("ConvLSTM 9×9/1×1 128-64-64", 8_830_480, 4231.50),
    )

    def zero(self) -> SequenceTally:
        """The tally of no forecast."""
        return zero(("cross_entropy",), self.leads)

    def count(self, prediction: Frames, truth: Frames, mask: Mask | None = None) -> SequenceTally:
        """Tally a batch: see :class:`~stormcell.experiments.protocols.protocol.ScoringProtocol`."""
        if mask is not None:
            raise NotOfferedError(f"{self.name}: expected no mask, for the paper has none, found one")
        logits, pixels, _ = checked(self.name, self.leads, prediction, truth, mask)
        # −log σ(z) = softplus(−z) and −log(1 − σ(z)) = softplus(z) = softplus(−z) + z: no exp overflows.
        nats = np.logaddexp(0, logits) - logits * pixels
        return SequenceTally({"cross_entropy": nats.sum(axis=(2, 3))}, {})

    def scores(self, tally: SequenceTally) -> dict[str, float]:
        """``cross_entropy``, summed over the forecast frames."""
        return {"cross_entropy": float(tally.mean("cross_entropy").sum())}
