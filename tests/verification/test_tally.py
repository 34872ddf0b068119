import numpy as np
import pytest

from stormcell.errors import ArgumentError
from stormcell.verification.statistics import measure
from stormcell.verification.tally import Layout, Tally

LAYOUT = Layout((5.0, 10.0), (0.1, 0.5, 2.0), ((2.0, 3), (8.0, 9)), (2.0, 4.0, 8.0), 1.0)


def tally_of(hour: int, seed: int | None = None) -> Tally:
    generator = np.random.default_rng(hour if seed is None else seed)
    # Rates over six orders of magnitude: sums of them depend on the order of addition.
    truth = (10 ** generator.uniform(-4, 2, (2, 12, 11))).astype(np.float32)
    forecast = (10 ** generator.uniform(-4, 2, (2, 12, 11))).astype(np.float32)
    mask = generator.random(truth.shape) < 0.8
    issued = np.datetime64("2024-06-01") + np.timedelta64(hour, "h")
    return measure({"it": forecast}, truth, mask, issue_time=issued, layout=LAYOUT)["it"]


def test_adding_is_associative_commutative_and_has_a_zero():
    a, b, c = (tally_of(hour) for hour in range(3))
    assert (a + b) + c == a + (b + c)
    assert a + b == b + a
    assert a + Tally.zero(LAYOUT) == a == Tally.zero(LAYOUT) + a
    assert a + b != a + c


@pytest.mark.parametrize("seed", range(5))
def test_no_sharding_changes_a_bit(seed):
    tallies = [tally_of(hour) for hour in range(12)]
    whole = Tally.sum(tallies)
    generator = np.random.default_rng(seed)
    order = generator.permutation(12)
    shards = [Tally.sum([tallies[k] for k in part]) for part in np.array_split(order, 5)]
    sharded = shards[0]
    for shard in shards[1:]:
        sharded = shard + sharded
    assert sharded == whole
    for statistic in LAYOUT.shapes():
        assert sharded.total(statistic).tobytes() == whole.total(statistic).tobytes()


def test_this_data_would_tell_if_the_order_of_addition_mattered():
    """Without reduction in time order the test above could fail: the sums are not exact."""
    rows = Tally.sum([tally_of(hour) for hour in range(12)]).squared_error
    there, back = np.zeros(2), np.zeros(2)
    for row in rows:
        there = there + row
    for row in rows[::-1]:
        back = back + row
    assert (there != back).any()


def test_the_same_issue_time_twice_is_refused():
    with pytest.raises(ArgumentError, match="every issue time once, found 2024-06-01T01:00"):
        tally_of(1) + tally_of(1, seed=99)


def test_other_thresholds_are_refused():
    other = Tally.zero(Layout((5.0, 10.0), (0.1, 0.5, 3.0), LAYOUT.windows, LAYOUT.bands, 1.0))
    with pytest.raises(ArgumentError, match="on both sides"):
        tally_of(1) + other


def test_a_tally_cannot_be_changed():
    tally = tally_of(1)
    with pytest.raises(ValueError, match="read-only"):
        tally.hits[0] += 1
    with pytest.raises(AttributeError):
        tally.hits = tally.misses


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (((5.0,), (0.0,), (), (), 1.0), "thresholds: expected numbers above 0"),
        (((), (1.0,), (), (), 1.0), "lead_minutes: expected numbers above 0"),
        (((5.0,), (1.0,), ((2.0, 2),), (), 1.0), "odd number of pixels, found 2"),
    ],
)
def test_an_impossible_layout_is_refused(arguments, message):
    with pytest.raises(ArgumentError, match=message):
        Layout(*arguments)


def test_arrays_of_another_shape_are_refused():
    with pytest.raises(ArgumentError, match=r"tally hits: expected shape \(1, 2, 3\), found \(1, 2\)"):
        Tally.of(LAYOUT, np.array(["2024-06-01"], "datetime64[ns]"), {"hits": np.zeros((1, 2))})
    with pytest.raises(ArgumentError, match="found hit"):
        Tally.of(LAYOUT, np.array(["2024-06-01"], "datetime64[ns]"), {"hit": np.zeros((1, 2, 3))})
