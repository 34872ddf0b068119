from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from stormcell.live.scored_hours import ScoredHour
from stormcell.live.skill_warning import skill_warning
from stormcell.verification.axes import Axes
from stormcell.verification.tally import Tally

START = datetime(2024, 6, 1, tzinfo=UTC)
AXES = Axes((5.0,), (0.1, 1.0), (), (), 1.0)


def tally(hour, hits, events, pixels=1000):
    rows = {
        "hits": [[[hits, 0]]],
        "misses": [[[events - hits, 0]]],
        "correct_negatives": [[[pixels - events, pixels]]],
        "pixels": [[pixels]],
    }
    arrays = {name: np.array(row, np.int64) for name, row in rows.items()}
    return Tally(AXES, np.array([hour.replace(tzinfo=None)], "datetime64[ns]"), arrays)


def hours(*found):
    """Hours with the hits of a model and of extrapolation, and the observed events of both."""
    return {
        (time := START + k * timedelta(hours=1)): ScoredHour(
            time,
            frozenset([time]),
            {"model": tally(time, own, events), "extrapolation": tally(time, beside, events)},
        )
        for k, (own, beside, events) in enumerate(found)
    }


def test_skill_warning_names_a_forecaster_that_was_worse_in_six_wet_hours():
    assert skill_warning(hours(*[(50, 60, 100)] * 6)) == (
        "model was worse than extrapolation in the last 6 hours with rain: "
        "CSI at 0.1 mm/h 0.50, extrapolation 0.60"
    )


@pytest.mark.parametrize(
    "found",
    [
        [],
        [(50, 60, 100)] * 5,
        [(60, 60, 100)] * 6,
        [(50, 60, 100), *[(70, 60, 100)] * 6],
        [*[(50, 60, 100)] * 5, (5, 6, 10)],  # the last hour is dry
    ],
    ids=["nothing", "too few hours", "as good", "better since", "dry hour"],
)
def test_skill_warning_otherwise_there_is_none(found):
    assert skill_warning(hours(*found)) == ""


def test_skill_warning_does_not_count_dry_hours_between():
    dry = [(0, 10, 10)] * 3
    wet = [(50, 60, 100)] * 3
    assert "last 6 hours with rain" in skill_warning(hours(*wet, *dry, *wet))


def test_skill_warning_without_extrapolation_there_is_none():
    found = hours(*[(50, 60, 100)] * 6)
    alone = {k: ScoredHour(k, one.times, {"model": one.tallies["model"]}) for k, one in found.items()}
    assert skill_warning(alone) == ""
