"""A warning when the forecaster in use is worse than the extrapolation beside it."""

from collections.abc import Mapping
from datetime import datetime

import numpy as np

from stormcell.live.scored_hours import ScoredHour, total
from stormcell.published.manifest import EXTRAPOLATION
from stormcell.verification.scores import csi
from stormcell.verification.tally import Tally

_HOURS = 6
_WET = 0.01  # share of the observed pixels


def skill_warning(hours: Mapping[datetime, ScoredHour]) -> str:
    """Return a sentence if the newest forecaster was worse than extrapolation in the last six wet hours.

    An hour is wet if it rains at the lowest threshold on a hundredth of the pixels. The forecasters are
    compared by the mean CSI of that threshold.

    Args:
        hours: Statistics by hour.

    Returns:
        The sentence; empty if the forecaster was better, or if there are not six wet hours.
    """
    newest = next((found for _, hour in sorted(hours.items(), reverse=True) if (found := _names(hour))), None)
    if newest is None:
        return ""
    both = (newest, EXTRAPOLATION)
    wet = [hour for _, hour in sorted(hours.items()) if set(both) <= set(hour.tallies) and _is_wet(hour)]
    last = wet[-_HOURS:]
    if len(last) < _HOURS:
        return ""
    axes = last[-1].tallies[newest].axes
    own, beside = (_mean_csi(total(last, name, axes)) for name in both)
    if own >= beside:
        return ""
    return (
        f"{newest} was worse than extrapolation in the last {_HOURS} hours with rain: "
        f"CSI at {axes.thresholds[0]:g} mm/h {own:.2f}, extrapolation {beside:.2f}"
    )


def _names(hour: ScoredHour) -> str | None:
    """Return the forecaster of an hour that extrapolation was published beside."""
    others = [name for name in hour.tallies if name != EXTRAPOLATION]
    return others[-1] if others and EXTRAPOLATION in hour.tallies else None


def _is_wet(hour: ScoredHour) -> bool:
    tally = hour.tallies[EXTRAPOLATION]
    events = tally.total("hits")[:, 0] + tally.total("misses")[:, 0]
    return bool(events.sum() > _WET * tally.total("pixels").sum())


def _mean_csi(tally: Tally) -> float:
    return float(np.nanmean(csi(tally)[:, 0]))
