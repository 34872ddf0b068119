import numpy as np
import pytest

from stormcell.errors import ArgumentError
from stormcell.verification.axes import Axes
from stormcell.verification.statistics import STATISTICS, Statistic
from stormcell.verification.tally import Tally, tally_forecasts

AXES = Axes((5.0, 10.0), (0.1, 0.5, 2.0), ((2.0, 3), (8.0, 9)), (2.0, 4.0, 8.0), 1.0)


def tally_of(hour: int, seed: int | None = None) -> Tally:
    generator = np.random.default_rng(hour if seed is None else seed)
    # Rates over six orders of magnitude, so that sums depend on the order of addition.
    observation = (10 ** generator.uniform(-4, 2, (2, 12, 11))).astype(np.float32)
    forecast = (10 ** generator.uniform(-4, 2, (2, 12, 11))).astype(np.float32)
    mask = generator.random(observation.shape) < 0.8
    issued = np.datetime64("2024-06-01") + np.timedelta64(hour, "h")
    return tally_forecasts({"it": forecast}, observation, mask, issue_time=issued, axes=AXES)["it"]


def test_tally_sum_is_associative_commutative_and_has_a_zero():
    a, b, c = (tally_of(hour) for hour in range(3))
    assert (a + b) + c == a + (b + c)
    assert a + b == b + a
    assert a + Tally.zero(AXES) == a == Tally.zero(AXES) + a
    assert a + b != a + c


@pytest.mark.parametrize("seed", range(5))
def test_tally_sum_of_shards_equals_the_whole_to_the_bit(seed):
    tallies = [tally_of(hour) for hour in range(12)]
    whole = Tally.sum(tallies)
    generator = np.random.default_rng(seed)
    order = generator.permutation(12)
    shards = [Tally.sum([tallies[k] for k in part]) for part in np.array_split(order, 5)]
    sharded = shards[0]
    for shard in shards[1:]:
        sharded = shard + sharded
    assert sharded == whole
    for statistic in STATISTICS:
        assert sharded.total(statistic).tobytes() == whole.total(statistic).tobytes()


def test_tally_sum_in_another_order_would_differ():
    """Without reduction in time order the test above could fail, because sums are rounded."""
    tally = Tally.sum([tally_of(hour) for hour in range(12)])
    rows = tally.rows["squared_error"]
    there, back = np.zeros(2), np.zeros(2)
    for row in rows:
        there = there + row
    for row in rows[::-1]:
        back = back + row
    assert (there != back).any()
    np.testing.assert_array_equal(tally.total("squared_error"), there)


def test_tally_sum_with_an_issue_time_twice_raises():
    with pytest.raises(ArgumentError, match="every issue time once, found 2024-06-01T01:00"):
        tally_of(1) + tally_of(1, seed=99)


def test_tally_sum_with_other_thresholds_raises():
    other = Tally.zero(Axes((5.0, 10.0), (0.1, 0.5, 3.0), AXES.windows, AXES.bands, 1.0))
    with pytest.raises(ArgumentError, match=r"thresholds differ: \(0.1, 0.5, 2.0\) and \(0.1, 0.5, 3.0\)"):
        tally_of(1) + other


def test_tally_is_read_only():
    tally = tally_of(1)
    with pytest.raises(ValueError, match="read-only"):
        tally.rows["hits"][0] += 1
    with pytest.raises(TypeError, match="mappingproxy"):
        tally.rows["hits"] = tally.rows["misses"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (((5.0,), (0.0,), (), (), 1.0), "thresholds: expected numbers above 0"),
        (((), (1.0,), (), (), 1.0), "lead_minutes: expected numbers above 0"),
        (((5.0,), (1.0,), ((2.0, 2),), (), 1.0), "odd number of pixels, found 2"),
    ],
)
def test_axes_invalid_values_raise(arguments, message):
    with pytest.raises(ArgumentError, match=message):
        Axes(*arguments)


def test_tally_rows_of_another_shape_raise():
    with pytest.raises(ArgumentError, match=r"tally hits: expected shape \(1, 2, 3\), found \(1, 2\)"):
        Tally(AXES, np.array(["2024-06-01"], "datetime64[ns]"), {"hits": np.zeros((1, 2))})
    with pytest.raises(ArgumentError, match="found hit"):
        Tally(AXES, np.array(["2024-06-01"], "datetime64[ns]"), {"hit": np.zeros((1, 2, 3))})


def test_tally_where_counts_only_the_given_lead_times():
    whole = tally_of(1) + tally_of(2)
    counted = np.array([[True, False], [True, True]])
    found = whole.where(counted)
    assert found.where(counted) == found != whole
    for statistic in STATISTICS:
        np.testing.assert_array_equal(found.rows[statistic][counted], whole.rows[statistic][counted])
        assert not found.rows[statistic][~counted].any()


def test_statistics_of_a_new_entry_are_tallied_and_added(monkeypatch):
    """The squared difference of forecast and observed events: one entry is all that it needs."""

    def difference(at):
        forecast = at.pair.given.rate >= at.observed.threshold
        return np.square(forecast * 1.0 - at.observed.events)[at.pair.observed.mask].sum()

    entry = Statistic(("lead", "threshold"), np.float64, difference, "Σ (forecast − observed event)².")
    monkeypatch.setitem(STATISTICS, "difference", entry)
    found = (tally_of(1) + tally_of(2)).total("difference")
    errors = tally_of(1).total("misses") + tally_of(1).total("false_alarms")
    errors += tally_of(2).total("misses") + tally_of(2).total("false_alarms")
    np.testing.assert_array_equal(found, errors)  # of a single forecast
