"""Table 2 of the ConvLSTM paper: rain in Hong Kong."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import numpy as np

from stormcell.experiments.protocols.protocol import Column, Frames, Mask, Row, checked
from stormcell.experiments.protocols.reflectivity import Reflectivity
from stormcell.experiments.protocols.tally import SequenceTally, events, mean_where_defined, ratio, zero

THRESHOLD = 0.5
"""mm/h: rain at or above."""
EPSILON = 1e-9  # in the correlation's denominator, for frames without an echo

_TABLE = "Shi et al. (2015), arXiv:1506.04214, table 2"


def _row(model: str, rainfall_mse: float, csi: float, far: float, pod: float, correlation: float) -> Row:
    scores = {"rainfall_mse": rainfall_mse, "csi": csi, "far": far, "pod": pod, "correlation": correlation}
    return {"model": model, "source": _TABLE, **scores}


@dataclass(frozen=True)
class PaperRadar:
    """The radar scores of Shi et al. (2015), arXiv:1506.04214.

    ``rainfall_mse`` is the mean squared error of rain rates in (mm/h)² over pixels; ``csi``, ``far`` and
    ``pod`` are of rain at or above 0.5 mm/h, their counts summed over the test set for each lead time;
    ``correlation`` is Σ P T / (√(Σ P² Σ T²) + 1e-9) of a frame's pixels P and T, the mean over frames of
    which anything counts; without an echo it is 0. All are then averaged over the lead times at which they
    are defined.

    What the paper does not say and is assumed here, as HKO-7 by the same authors has it: pixels of 0 and 1
    stand for −10 and 60 dBZ; counts are summed before ratios are taken; the correlation is of grey pixels.

    Attributes:
        leads: Frames forecast.
        reflectivity: What a pixel stands for.

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
        _row("ConvLSTM 3×3-64-3×3-64", 1.420, 0.577, 0.195, 0.660, 0.908),
        _row("ROVER1", 1.712, 0.516, 0.308, 0.636, 0.843),
        _row("ROVER2", 1.684, 0.522, 0.301, 0.642, 0.850),
        _row("ROVER3", 1.685, 0.522, 0.301, 0.642, 0.849),
        _row("FC-LSTM-2000-2000", 1.865, 0.286, 0.335, 0.351, 0.774),
    )

    def zero(self) -> SequenceTally:
        """The tally of no forecast."""
        return zero(("squared_error", "pixels", "correlation", "frames"), self.leads, 1)

    def count(self, prediction: Frames, truth: Frames, mask: Mask | None = None) -> SequenceTally:
        """Tally a batch: see :class:`~stormcell.experiments.protocols.protocol.ScoringProtocol`."""
        p, t, inside = checked(self.name, self.leads, prediction, truth, mask)
        error = self.reflectivity.rate(p) - self.reflectivity.rate(t)  # 0 outside, where both pixels are 0
        both, own = (p * t).sum(axis=(2, 3)), np.square(p).sum(axis=(2, 3)) * np.square(t).sum(axis=(2, 3))
        said, fell = p.astype(np.float32), t.astype(np.float32)
        rows = {
            "squared_error": np.square(error).sum(axis=(2, 3)),
            "pixels": inside.sum(axis=(2, 3)).astype(np.float64),
            "correlation": both / (np.sqrt(own) + EPSILON),
            "frames": inside.any(axis=(2, 3)).astype(np.float64),
        }
        return SequenceTally(rows, events(said, fell, inside, self.reflectivity.pixel([THRESHOLD])))

    def scores(self, tally: SequenceTally) -> dict[str, float]:
        """All of :attr:`columns`."""
        table = tally.contingency()
        by_lead = {
            "rainfall_mse": ratio(tally.total("squared_error"), tally.total("pixels")),
            "csi": table.critical_success_index().values[:, 0],
            "far": table.false_alarm_ratio().values[:, 0],
            "pod": table.probability_of_detection().values[:, 0],
            "correlation": ratio(tally.total("correlation"), tally.total("frames")),
        }
        return {name: mean_where_defined(np.asarray(values)) for name, values in by_lead.items()}
