"""The rain on an area: means, maxima, probabilities, and amounts over windows across the issue time."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from stormcell.errors import TooLargeError
from stormcell.maps.areas import Covered
from stormcell.serve.publication import Publication, scale
from stormcell.serve.rain_events import Sample
from stormcell.serve.series import steps
from stormcell.serve.watch import Newest

WINDOWS = (15, 30, 60, 180)  # minutes
_MOST_VALUES = 50_000_000
_LEAST_COVER = 0.5  # of an area that must be observed for its mean to be known
_DIGITS = 4

Values = NDArray[np.float32]


@dataclass(frozen=True)
class Statistics:
    """Values on an area at one time.

    Attributes:
        mean: Mean over what is observed; None if that is less than half.
        maximum: Highest value; None with the mean.
        observed_share: Share of the area that is observed.
    """

    mean: float | None
    maximum: float | None
    observed_share: float


@dataclass(frozen=True)
class AreaStep:
    """Values on an area at a time.

    Attributes:
        sample: Mean rate.
        observed: Whether it is an observation.
        rate: Statistics of the rate.
        quantiles: Statistics of each quantile of the rate, by level.
        probabilities: Statistics of each probability, by threshold.
        members: Mean rate of each member.
    """

    sample: Sample
    observed: bool
    rate: Statistics
    quantiles: dict[str, Statistics]
    probabilities: dict[str, Statistics]
    members: tuple[Sample, ...]


@dataclass(frozen=True)
class Amount:
    """Rain on an area in a window.

    Attributes:
        end: End of the window.
        minutes: Its length.
        amount: Mean amount in mm; None if a part of it is not known.
        observed_minutes: Part of the window that is observed.
        members: Amount of each member, with the same observation.
    """

    end: datetime
    minutes: int
    amount: float | None
    observed_minutes: int
    members: tuple[float | None, ...]


def area_series(newest: Newest, cells: Covered) -> list[AreaStep]:
    """Return the values on an area: observed frames, then the forecast.

    Raises:
        TooLargeError: It would take too many values.
    """
    publication = newest.publication
    layers = publication.cells.shape[2] + len(newest.observed)
    if len(cells.weights) * layers > _MOST_VALUES:
        raise TooLargeError(
            f"area: expected at most {_MOST_VALUES // layers} cells, found {len(cells.weights)}"
        )
    step = timedelta(seconds=newest.latest.step_seconds)
    found = []
    for seen in newest.observed:
        rate = _statistics(publication, "rate", seen.levels[cells.rows, cells.columns], cells)
        found.append(AreaStep(Sample(seen.time, rate.mean, step), True, rate, {}, {}, ()))
    levels = publication.cells[cells.rows, cells.columns]
    for at in steps(publication):

        def statistics(layer: int, kind: str = "rate") -> Statistics:
            return _statistics(publication, kind, levels[:, layer], cells)

        rate = Statistics(None, None, 0.0) if at.rate is None else statistics(at.rate)
        found.append(
            AreaStep(
                Sample(at.time, rate.mean, at.step),
                False,
                rate,
                {name: statistics(layer) for name, layer in at.quantiles.items()},
                {name: statistics(layer, "probability") for name, layer in at.probabilities.items()},
                tuple(Sample(at.time, statistics(layer).mean, at.step) for layer in at.members),
            )
        )
    return found


def amounts(series: Sequence[AreaStep], issue: datetime) -> list[Amount]:
    """Return the amounts of all windows that end at the issue time or later."""
    members = max((len(one.members) for one in series), default=0)
    found = []
    for minutes in WINDOWS:
        for one in series:
            if one.sample.time < issue:
                continue
            end, length = one.sample.time, timedelta(minutes=minutes)
            during = [other for other in series if end - length < other.sample.time <= end]
            seen = [other.sample for other in during if other.observed]
            ahead = [other for other in during if not other.observed]
            found.append(
                Amount(
                    end,
                    minutes,
                    _amount([*seen, *(other.sample for other in ahead)], length),
                    int(sum((sample.step for sample in seen), timedelta(0)) / timedelta(minutes=1)),
                    tuple(
                        _amount([*seen, *(other.members[k] for other in ahead)], length)
                        for k in range(members)
                        if all(len(other.members) == members for other in ahead)
                    ),
                )
            )
    return found


def _amount(samples: Sequence[Sample], length: timedelta) -> float | None:
    known = sum((sample.step for sample in samples if sample.rate is not None), timedelta(0))
    return round(sum(sample.amount for sample in samples), 3) if known == length else None


def _statistics(publication: Publication, kind: str, levels: NDArray[np.uint8], cells: Covered) -> Statistics:
    values = scale(publication.manifest.encodings[kind]).decode(levels)  # type: ignore[index]
    known = np.isfinite(values)
    weight = float(cells.weights[known].sum())
    share = weight / float(cells.weights.sum())
    if share < _LEAST_COVER:
        return Statistics(None, None, round(share, 3))
    mean = float(np.dot(values[known], cells.weights[known])) / weight
    return Statistics(_round(mean), _round(float(values[known].max())), round(share, 3))


def _round(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")
