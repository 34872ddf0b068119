import numpy as np
import pyproj
import pytest
from scipy import ndimage

from stormcell.data import cleaning, schema, static_clutter
from stormcell.data.cleaning import Cleaning, clean, highest_possible
from stormcell.data.grid import Grid
from stormcell.errors import ArgumentError, InputError

# Greatest point rainfalls on earth: minutes and mm. Barot, Unionville, Füssen, Plumb Point, Curtea de Argeș,
# Holt, Shangdi, D'Hanis, Smethport, Belouve, Foc-Foc.
RECORDS = [
    (1, 38), (1, 31.2), (8, 126), (15, 198), (20, 206), (42, 305), (60, 401), (165, 559), (270, 782),
    (540, 1087), (1440, 1825),
]  # fmt: skip


def frames(rate, measured=None):
    rate = np.asarray(rate, np.float32)
    rate = rate[None] if rate.ndim == 2 else rate
    times = np.datetime64("2020-06-01T00:00", "s") + np.arange(len(rate)) * np.timedelta64(5, "m")
    rows, columns = rate.shape[1:]
    grid = Grid.from_centres(
        pyproj.CRS(3067), 1000.0 * np.arange(columns), 7_000_000 - 1000.0 * np.arange(rows)
    )
    return schema.build(rate, times, grid, measured=measured or {}, attributes={})


@pytest.mark.parametrize(("minutes", "depth"), RECORDS)
def test_cleaning_limit_is_above_the_record_and_below_three_times_it(minutes, depth):
    record = depth * 60 / minutes
    assert record <= highest_possible({"accumulation_minutes": float(minutes)}) < 3 * record


def test_cleaning_limit_of_a_rate_is_the_record_of_a_minute():
    for measured in ({}, {"source_quantity": "dbz"}, {"accumulation_minutes": 0.0}):
        assert highest_possible(measured) == 38 * 60
    assert highest_possible({"accumulation_minutes": 5.0}) == pytest.approx(129.5 / (5 / 60), rel=1e-3)


def test_clean_impossible_rates_become_unobserved_and_are_counted_by_frame():
    rate = np.zeros((3, 4, 5), np.float32)
    rate[0, 1, 2], rate[2, 0, :2], rate[1, 3, 3] = 8646.82, (2281, 3112), np.nan
    rate[1, 0, 0] = 2280
    before = frames(rate)
    after, counts = clean(before, Cleaning())
    assert counts.tolist() == [[1, 0, 0], [0, 0, 0], [2, 0, 0]]
    expected = rate.copy()
    expected[0, 1, 2], expected[2, 0, :2] = np.nan, np.nan
    np.testing.assert_array_equal(after["rainfall_rate"].values, expected)
    np.testing.assert_array_equal(before["rainfall_rate"].values, rate)  # the input is not changed
    assert after["rainfall_rate"].attrs["highest_rate_kept"] == 2280
    schema.check(after)


def test_clean_hourly_outlier_of_3112_mm_is_impossible_but_the_record_is_not():
    after, counts = clean(frames([[3112.0, 401.0]] * 2, {"accumulation_minutes": 60.0}), Cleaning())
    assert counts.tolist() == [[2, 0, 0]]
    np.testing.assert_array_equal(after["rainfall_rate"].values[0], [[np.nan, 401]] * 2)


def test_clean_without_rules_changes_nothing():
    before = frames([[9000.0, 0], [0, 0]])
    after, counts = clean(before, Cleaning(max_rate=None))
    assert not counts.any()
    np.testing.assert_array_equal(after["rainfall_rate"].values, before["rainfall_rate"].values)
    assert after["rainfall_rate"].attrs == before["rainfall_rate"].attrs


def test_clean_stated_limit_replaces_the_record():
    after, counts = clean(frames([[151.0, 150.0], [0, 0]]), Cleaning(max_rate=150))
    assert counts.tolist() == [[1, 0, 0]]
    assert after["rainfall_rate"].attrs["highest_rate_kept"] == 150


def test_clean_speckle_becomes_dry_and_groups_and_edges_are_kept():
    rate = np.zeros((9, 9), np.float32)
    rate[1, 1] = 5  # alone
    rate[1, 4], rate[2, 5] = 1, 1  # two that share a corner
    rate[4, 2:5] = 1  # three
    rate[8, 8] = 5  # alone, at the edge of the grid
    rate[6, 6], rate[5, 7] = 5, np.nan  # alone, beside an unobserved pixel
    rate[6, 1] = 0.09  # not wet
    after, counts = clean(frames(rate), Cleaning(min_group=3))
    assert counts.tolist() == [[0, 3, 0]]
    expected = rate.copy()
    expected[1, 1] = expected[1, 4] = expected[2, 5] = 0
    np.testing.assert_array_equal(after["rainfall_rate"].values[0], expected)
    assert after["rainfall_rate"].attrs["smallest_group_kept"] == 3


def test_clean_speckle_agrees_with_labels_of_scipy():
    generator = np.random.default_rng(5)
    rate = np.where(generator.random((60, 70)) < 0.15, generator.gamma(1, 3, (60, 70)), 0).astype(np.float32)
    rate[generator.random(rate.shape) < 0.03] = np.nan
    after, counts = clean(frames(rate), Cleaning(max_rate=None, min_group=4))
    expected = rate.copy()
    labels, number = ndimage.label(rate >= 0.1, np.ones((3, 3)))
    padded = np.pad(np.isnan(rate), 1, constant_values=True)
    for label in range(1, number + 1):
        rows, columns = np.nonzero(labels == label)
        touches = any(
            padded[y : y + 3, x : x + 3].any() for y, x in zip(rows, columns, strict=True)
        )  # the padding shifts by one
        if len(rows) < 4 and not touches:
            expected[rows, columns] = 0
    np.testing.assert_array_equal(after["rainfall_rate"].values[0], expected)
    assert counts[0, 1] == (expected != rate)[~np.isnan(rate)].sum() > 20


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"max_rate": 0}, "found 0"),
        ({"max_rate": float("nan")}, "found nan"),
        ({"max_rate": float("inf")}, "found inf"),
        ({"max_rate": "much"}, 'found "much"'),
        ({"min_group": 0}, "found 0"),
        ({"min_group": 10**6}, "found 1000000"),
    ],
)
def test_cleaning_impossible_option_raises(options, reason):
    with pytest.raises(ArgumentError, match=reason):
        Cleaning(**options)


@pytest.fixture
def mask(tmp_path):
    """A mask in which the pixel in row 2, column 3 is clutter."""
    rate = np.zeros((30, 5, 6), np.float32)
    rate[:, 2, 3] = 4
    found = static_clutter.find(frames(rate))
    static_clutter.write(found, tmp_path / "clutter.nc")
    return tmp_path / "clutter.nc"


def test_clean_clutter_becomes_unobserved(mask):
    rate = np.full((2, 5, 6), 9000.0, np.float32)
    rate[1, 2, 3] = np.nan
    after, counts = clean(frames(rate), Cleaning(clutter=mask, max_rate=None))
    assert counts.tolist() == [[0, 0, 1], [0, 0, 0]]
    assert np.isnan(after["rainfall_rate"].values[:, 2, 3]).all()
    assert np.isnan(after["rainfall_rate"].values).sum() == 2
    # A pixel counts under one rule only.
    assert clean(frames(rate), Cleaning(clutter=mask))[1].tolist() == [[29, 0, 1], [29, 0, 0]]


def test_clean_clutter_of_another_grid_raises(mask):
    with pytest.raises(InputError, match=r"expected the mask's grid of 5 × 6, found 5 × 7"):
        clean(frames(np.zeros((5, 7))), Cleaning(clutter=mask))


def test_clean_changed_mask_is_read_again(mask):
    before = Cleaning(clutter=mask).attributes({})["clutter_mask"]
    rate = np.zeros((30, 5, 6), np.float32)
    rate[:, 1, 1] = 4
    static_clutter.write(static_clutter.find(frames(rate)), mask)
    assert Cleaning(clutter=mask).attributes({})["clutter_mask"] != before


def test_clean_missing_mask_raises(tmp_path):
    with pytest.raises(InputError, match=r"none\.nc: expected a mask of static clutter"):
        clean(frames(np.zeros((2, 2))), Cleaning(clutter=tmp_path / "none.nc"))


def test_describe_names_only_rules_that_changed_something():
    assert cleaning.describe(np.zeros((4, 3), np.int64)) == ""
    found = cleaning.describe(np.array([[0, 0, 1]]))
    assert found == "1 implausible pixel removed in 1 frame (1 clutter)"
