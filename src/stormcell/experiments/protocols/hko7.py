"""HKO-7's benchmark: balanced errors and skill at five rain rates."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from stormcell.experiments.protocols.protocol import Column, Frames, Mask, Row, checked
from stormcell.experiments.protocols.reflectivity import Pixels, Reflectivity
from stormcell.experiments.protocols.sequence_tally import SequenceTally, events, mean_where_defined, zero

REFLECTIVITY = Reflectivity(a=58.53, b=1.56)
THRESHOLDS = (0.5, 2.0, 5.0, 10.0, 30.0)
"""Rain rates in mm/h; an event is a rate at or above the threshold."""
WEIGHTS = (1.0, 1.0, 2.0, 5.0, 10.0, 30.0)
"""Weights of a pixel below the first threshold, between consecutive thresholds, and at or above the last."""

_FAINT = 71  # of 255
_SKILLS: dict[str, tuple[str, str, Literal["lowest", "highest"]]] = {
    "csi": ("CSI", "critical_success_index", "highest"),
    "hss": ("HSS", "heidke_skill_score", "highest"),
    "gss": ("GSS", "gilberts_skill_score", "highest"),
    "pod": ("POD", "probability_of_detection", "highest"),
    "far": ("FAR", "false_alarm_ratio", "lowest"),
}
_DUMPS = "github.com/Hzzone/Precipitation-Nowcasting, its evaluation of 6053 test sequences of HKO-7"


def pixel_thresholds() -> Pixels:
    """Return the thresholds as pixels, float32 ``(5,)``."""
    return REFLECTIVITY.pixel(THRESHOLDS)


def balance(truth: Pixels) -> NDArray[np.float64]:
    """Return the weight of each pixel, from :data:`WEIGHTS` by the rain rate of the truth, any shape.

    Example:
        >>> balance(REFLECTIVITY.pixel([0.0, 0.5, 2.0, 9.0, 10.0, 30.0])).tolist()
        [1.0, 1.0, 2.0, 5.0, 10.0, 30.0]
    """
    return np.asarray(WEIGHTS)[np.searchsorted(pixel_thresholds(), truth, side="right")]


def faint(truth: Pixels) -> NDArray[np.bool_]:
    """Return whether pixels are too faint to count: grey values 1 to 70 of 255, below 9.5 dBZ or 0.3 mm/h.

    HKO-7 treats these echoes as noise and excludes them from losses and scores. Pixels of 0 count.

    Args:
        truth: Pixels, 0…1 for −10…60 dBZ, any shape; NaN is not faint.

    Example:
        >>> faint(np.array([0, 1, 70, 71, 255], np.float32) / 255).tolist()
        [False, True, True, False, False]
    """
    grey = np.rint(255 * truth)
    return np.asarray((grey > 0) & (grey < _FAINT))


def _row(model: str, csi: str, b_mse: float, b_mae: float, hss: str = "") -> Row:
    skills = {"csi": csi, "hss": hss}
    scores = {
        f"{skill}_{threshold:g}": float(value)
        for skill, values in skills.items()
        for threshold, value in zip(THRESHOLDS, values.split(), strict=False)
    }
    return {"model": model, "source": _DUMPS, **scores, "b_mse": b_mse, "b_mae": b_mae}


@dataclass(frozen=True)
class HKO7:
    """The scores of Shi et al. (2017), arXiv:1706.03458.

    - ``b_mse``, ``b_mae``: Σ w (P − T)² and Σ w |P − T| over a frame's pixels, with P and T pixels 0…1 and w
      the weight of the truth's rain rate; the mean over sequences, then over lead times.
    - ``csi``, ``hss``, ``gss``, ``pod``, ``far`` at each threshold (``csi_0.5`` …): from hits, misses, false
      alarms and correct negatives summed over the whole test set for each lead time; the mean over the lead
      times at which the score is defined. At a lead time without events it is undefined.

    Predictions are clipped to 0…1 first, as HKO-7 and Hzzone do. The mask excludes pixels: in HKO-7 those of
    the radar's clutter map and those that are :func:`faint`.

    Attributes:
        leads: Number of forecast frames.

    Example:
        >>> protocol = HKO7(leads=1)
        >>> truth = REFLECTIVITY.pixel(np.full((1, 1, 4, 4), 12.0))
        >>> scores = protocol.scores(protocol.count(truth - np.float32(0.02), truth))
        >>> round(scores["b_mse"], 4), scores["csi_5"], scores["csi_10"]
        (0.064, 1.0, 0.0)
    """

    leads: int = 20
    name: ClassVar[str] = "HKO-7"
    takes: ClassVar[Literal["pixels"]] = "pixels"
    columns: ClassVar[Mapping[str, Column]] = {
        f"{skill}_{threshold:g}": Column(f"{heading} ≥ {threshold:g} mm/h", 4, best)
        for skill, (heading, _, best) in _SKILLS.items()
        for threshold in THRESHOLDS
    } | {"b_mse": Column("B-MSE", 0, "lowest"), "b_mae": Column("B-MAE", 0, "lowest")}
    published: ClassVar[tuple[Row, ...]] = (
        _row("last frame", ".4022 .3266 .2401 .1574 .0692", 15274, 28042),
        _row("ROVER-nonlinear", ".4655 .4074 .3226 .2164 .0951", 10945, 22857),
        _row("Conv2D", ".5213 .4503 .3549 .2637 .1321", 6545, 16835),
        _row("ConvLSTM", ".5543 .4790 .3784 .2866 .1815", 5885, 14964, ".6756 .6171 .5240 .4265 .2963"),
        _row("TrajGRU", ".5430 .4678 .3667 .2774 .1730", 5868, 15248),
        _row(
            "TrajGRU, frames weighted",
            ".5496 .4772 .3774 .2863 .1794",
            5861,
            15062,
            ".6713 .6150 .5226 .4253 .2919",
        ),
    )

    def zero(self) -> SequenceTally:
        """The tally of no forecast."""
        return zero(("b_mse", "b_mae"), self.leads, len(THRESHOLDS))

    def count(self, prediction: Frames, truth: Frames, mask: Mask | None = None) -> SequenceTally:
        """Tally a batch: see :class:`~stormcell.experiments.protocols.protocol.ScoringProtocol`."""
        p, t, inside = checked(self.name, self.leads, prediction, truth, mask)
        p = np.clip(p, 0, 1)
        forecast, observed = p.astype(np.float32), t.astype(np.float32)
        weight, error = balance(observed) * inside, p - t
        rows = {
            "b_mse": (weight * np.square(error)).sum(axis=(2, 3)),
            "b_mae": (weight * np.abs(error)).sum(axis=(2, 3)),
        }
        return SequenceTally(rows, events(forecast, observed, inside, pixel_thresholds()))

    def scores(self, tally: SequenceTally) -> dict[str, float]:
        """Return all scores of :attr:`columns`."""
        table = tally.contingency()
        found = {}
        for skill, (_, formula, _) in _SKILLS.items():
            by_lead = np.asarray(getattr(table, formula)().values)
            for threshold, values in zip(THRESHOLDS, by_lead.T, strict=True):
                found[f"{skill}_{threshold:g}"] = mean_where_defined(values)
        return found | {name: float(tally.mean(name).mean()) for name in ("b_mse", "b_mae")}
