"""The ConvLSTM paper's tables: cross-entropy on Moving MNIST (1), and rain in Hong Kong (2)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import numpy as np

from stormcell.errors import NotOfferedError
from stormcell.experiments.protocols.protocol import Column, Frames, Mask, Row, checked
from stormcell.experiments.protocols.reflectivity import Reflectivity
from stormcell.experiments.protocols.sequence_tally import SequenceTally, events, mean_where_defined, zero
from stormcell.verification.totals import ratio

THRESHOLD = 0.5
"""Rain rate in mm/h; rain is a rate at or above it."""
EPSILON = 1e-9  # in the correlation's denominator, for frames without an echo

_TABLE = "Shi et al. (2015), arXiv:1506.04214, table {}"


def _digits_row(model: str, parameters: int, cross_entropy: float) -> Row:
    return {
        "model": model,
        "parameters": parameters,
        "cross_entropy": cross_entropy,
        "source": _TABLE.format(1),
    }


def _radar_row(
    model: str, rainfall_mse: float, csi: float, far: float, pod: float, correlation: float
) -> Row:
    scores = {"rainfall_mse": rainfall_mse, "csi": csi, "far": far, "pod": pod, "correlation": correlation}
    return {"model": model, "source": _TABLE.format(2), **scores}


@dataclass(frozen=True)
class PaperMovingMnist:
    """Cross-entropy of Shi et al. (2015), arXiv:1506.04214, in nats per sequence.

    −Σ T log P + (1 − T) log(1 − P) over all pixels of all forecast frames of a sequence, then the mean over
    sequences; P is the sigmoid of the prediction, T the truth's grey pixel. The cross-entropy of a forecast
    of pixels is infinite if a single pixel is 0 or 1 and wrong, so baselines have no cross-entropy.

    Attributes:
        leads: Number of forecast frames.

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
        _digits_row("FC-LSTM-2048-2048", 142_667_776, 4832.49),
        _digits_row("ConvLSTM 5×5/5×5 256", 13_524_496, 3887.94),
        _digits_row("ConvLSTM 5×5/5×5 128-128", 10_042_896, 3733.56),
        _digits_row("ConvLSTM 5×5/5×5 128-64-64", 7_585_296, 3670.85),
        _digits_row("ConvLSTM 9×9/1×1 128-128", 11_550_224, 4782.84),
        _digits_row("ConvLSTM 9×9/1×1 128-64-64", 8_830_480, 4231.50),
    )

    def zero(self) -> SequenceTally:
        """The tally of no forecast."""
        return zero(("cross_entropy",), self.leads)

    def count(self, prediction: Frames, truth: Frames, mask: Mask | None = None) -> SequenceTally:
        """Tally a batch: see :class:`~stormcell.experiments.protocols.protocol.ScoringProtocol`."""
        if mask is not None:
            raise NotOfferedError(f"{self.name}: a mask is not supported; expected mask=None")
        logits, pixels, _ = checked(self.name, self.leads, prediction, truth, mask)
        # −log σ(z) = softplus(−z) and −log(1 − σ(z)) = softplus(z) = softplus(−z) + z: no exp overflows.
        nats = np.logaddexp(0, logits) - logits * pixels
        return SequenceTally({"cross_entropy": nats.sum(axis=(2, 3))}, {})

    def scores(self, tally: SequenceTally) -> dict[str, float]:
        """Return ``cross_entropy``, summed over the forecast frames."""
        return {"cross_entropy": float(tally.mean("cross_entropy").sum())}


@dataclass(frozen=True)
class PaperRadar:
    """The radar scores of Shi et al. (2015), arXiv:1506.04214.

    - ``rainfall_mse``: mean squared error of rain rates in (mm/h)² over pixels.
    - ``csi``, ``far``, ``pod``: of rain at or above 0.5 mm/h, from counts summed over the test set for each
      lead time.
    - ``correlation``: Σ P T / (√(Σ P² Σ T²) + 1e-9) of a frame's pixels P and T; the mean over frames with at
      least one pixel that counts. It is 0 for a frame without an echo.

    Each score is then averaged over the lead times at which it is defined.

    The paper leaves three choices open. They follow HKO-7, by the same authors: pixels of 0 and 1 stand for
    −10 and 60 dBZ; counts are summed before ratios are taken; the correlation is of grey pixels.

    Attributes:
        leads: Number of forecast frames.
        reflectivity: Conversion between pixels and reflectivity.

    Example:
        >>> protocol = PaperRadar(leads=1)
        >>> truth = protocol.reflectivity.pixel(np.full((1, 1, 4, 4), 2.0))
        >>> scores = protocol.scores(protocol.count(truth, truth))
        >>> scores["rainfall_mse"], scores["csi"], round(scores["correlation"], 6)
        (0.0, 1.0, 1.0)
    """

    leads: int = 15
    reflectivity: Reflectivity = field(default=Reflectivity(a=118.239, b=1.5241))
    name: ClassVar[str] = "ConvLSTM paper, radar"
    takes: ClassVar[Literal["pixels"]] = "pixels"
    columns: ClassVar[Mapping[str, Column]] = {
        "rainfall_mse": Column("Rainfall-MSE", 3, "lowest"),
        "csi": Column("CSI", 3, "highest"),
        "far": Column("FAR", 3, "lowest"),
        "pod": Column("POD", 3, "highest"),
        "correlation": Column("correlation", 3, "highest"),
    }
    published: ClassVar[tuple[Row, ...]] = (
        _radar_row("ConvLSTM 3×3-64-3×3-64", 1.420, 0.577, 0.195, 0.660, 0.908),
        _radar_row("ROVER1", 1.712, 0.516, 0.308, 0.636, 0.843),
        _radar_row("ROVER2", 1.684, 0.522, 0.301, 0.642, 0.850),
        _radar_row("ROVER3", 1.685, 0.522, 0.301, 0.642, 0.849),
        _radar_row("FC-LSTM-2000-2000", 1.865, 0.286, 0.335, 0.351, 0.774),
    )

    def zero(self) -> SequenceTally:
        """The tally of no forecast."""
        return zero(("squared_error", "pixels", "correlation", "frames"), self.leads, 1)

    def count(self, prediction: Frames, truth: Frames, mask: Mask | None = None) -> SequenceTally:
        """Tally a batch: see :class:`~stormcell.experiments.protocols.protocol.ScoringProtocol`."""
        p, t, inside = checked(self.name, self.leads, prediction, truth, mask)
        # 0 outside the mask, where both pixels are 0.
        error = self.reflectivity.rate(p) - self.reflectivity.rate(t)
        both, own = (p * t).sum(axis=(2, 3)), np.square(p).sum(axis=(2, 3)) * np.square(t).sum(axis=(2, 3))
        rows = {
            "squared_error": np.square(error).sum(axis=(2, 3)),
            "pixels": inside.sum(axis=(2, 3)).astype(np.float64),
            "correlation": both / (np.sqrt(own) + EPSILON),
            "frames": inside.any(axis=(2, 3)).astype(np.float64),
        }
        forecast, observed = p.astype(np.float32), t.astype(np.float32)
        threshold = self.reflectivity.pixel([THRESHOLD])
        return SequenceTally(rows, events(forecast, observed, inside, threshold))

    def scores(self, tally: SequenceTally) -> dict[str, float]:
        """Return all scores of :attr:`columns`."""
        table = tally.contingency()
        by_lead = {
            "rainfall_mse": ratio(tally.total("squared_error"), tally.total("pixels")),
            "csi": table.critical_success_index().values[:, 0],
            "far": table.false_alarm_ratio().values[:, 0],
            "pod": table.probability_of_detection().values[:, 0],
            "correlation": ratio(tally.total("correlation"), tally.total("frames")),
        }
        return {name: mean_where_defined(np.asarray(values)) for name, values in by_lead.items()}
