"""Rain from where nothing was observed, in cells of 8 × 8 pixels."""

import numpy as np
import pytest

from stormcell.forecast import inflow
from stormcell.forecast.inflow import UnknownRain
from stormcell.motion.coordinates import Carrier

CELL = 8
OWN = 0.9  # what is there before, which is replaced far from what was observed


def fields(rows: int, cols: int) -> np.ndarray:
    """Probabilities of four thresholds, which fall."""
    chances = np.random.default_rng(4).uniform(0, 1, (4, rows, cols)).astype(np.float32)
    return np.sort(chances, axis=0)[::-1].copy()


def uniform(shape: tuple[int, int], dx: float, dy: float = 0.0) -> Carrier:
    """Rain of all pixels comes from ``dx`` pixels farther left and ``dy`` farther up."""
    return Carrier(np.stack([np.full(shape, -dx), np.full(shape, -dy)]).astype(np.float32))


def filled(
    observed: np.ndarray,
    carry: Carrier,
    around: np.ndarray,
    kind: inflow.Inflow = "mean",
    cell: int = CELL,
) -> np.ndarray:
    unknown = UnknownRain(observed, observed, kind, cell)
    moved = np.full((len(around), *observed.shape), OWN, np.float32)
    unknown.fill(moved, around, unknown.redirect(carry))
    return moved


@pytest.fixture
def with_gaps() -> np.ndarray:
    observed = np.ones((90, 100), bool)
    observed[:, 20:50], observed[60:, 70:], observed[5, 5] = False, False, False
    return observed


def test_filled_are_observed_pixels_whose_rain_comes_from_elsewhere(with_gaps):
    carry = uniform(with_gaps.shape, 12, -7)
    changed = filled(with_gaps, carry, np.zeros((4, 12, 13), np.float32)) != OWN
    y, x = np.mgrid[:90, :100]
    rows, cols = y + 7, x - 12
    inside = (rows < 90) & (cols >= 0)
    known = np.zeros(with_gaps.shape, bool)
    known[inside] = with_gaps[rows[inside], cols[inside]]
    assert 500 < (with_gaps & ~known).sum() < 5000
    for field in changed:
        np.testing.assert_array_equal(field, with_gaps & ~known)


@pytest.mark.parametrize("level", [0, 1, 2, 3])
def test_mean_of_a_gap_is_that_of_the_pyramid_summed_plainly(level):
    """Half of 2^k cells from what was observed, it is the mean of the level k, here at one of its cells.

    At the level 0, half a pixel is missing to that, so that it is a ninth of what is at the border.
    """
    around, cell = fields(96, 96), 9  # an odd number, so that a pixel is the centre of a cell
    place = 48 * cell + cell // 2
    border = place - cell * 2**level // 2  # the last pixel that was observed
    observed = np.ones((96 * cell, 96 * cell), bool)
    observed[:, border + 1 : border + 140] = False
    path = np.zeros((2, *observed.shape), np.float32)
    path[:, 10, 20] = place - 20, place - 10
    found = filled(observed, Carrier(path), around, cell=cell)[:, 10, 20]

    kernel = np.ones(1)
    for number in range(level):
        spaced = np.zeros(4 * 2**number + 1)
        spaced[:: 2**number] = np.array([1, 4, 6, 4, 1]) / 16
        kernel = np.convolve(kernel, spaced)
    reach = len(kernel) // 2
    near = slice(48 - reach, 48 + reach + 1)
    parts = observed.reshape(96, cell, 96, cell).mean(axis=(1, 3))[near, near]
    weights = np.outer(kernel, kernel) * parts
    expected = (weights * around[:, near, near]).sum(axis=(1, 2)) / weights.sum()
    share = min(2 * (place - border) / cell, 1)
    expected = OWN + share * (expected - OWN)
    # Sums of positive float32 numbers, four times rounded in each of two directions and at each level.
    np.testing.assert_allclose(found, expected, rtol=8 * (level + 2) * 2**-24)


@pytest.mark.parametrize("shape", [(90, 100), (1, 30), (30, 1), (1, 1), (300, 8)])
def test_fields_that_are_the_same_everywhere_stay_the_same(shape):
    observed = np.random.default_rng(1).random(shape) < 0.3
    observed[0, 0] = True
    cells = [-(-length // CELL) for length in shape]
    around = np.full((2, *cells), OWN, np.float32)
    for carry in (uniform(shape, 3, 2), uniform(shape, -500, 40)):
        np.testing.assert_allclose(filled(observed, carry, around), OWN, rtol=1e-6)


@pytest.mark.parametrize(("dx", "dy"), [(1000, 0), (-1000, 0), (0, 1000), (0, -1000)])
def test_far_from_the_grid_it_is_nearly_the_mean_of_all(dx, dy):
    around = np.random.default_rng(3).uniform(0.2, 0.4, (1, 64, 64)).astype(np.float32)
    found = filled(np.ones((512, 512), bool), uniform((512, 512), dx, dy), around)
    # The standard deviation of one cell is 0.058. That of the mean of 1000 or more is below .002.
    np.testing.assert_allclose(found, 0.3, atol=0.01)


def test_unobserved_cells_have_no_part_in_it():
    observed = np.ones((128, 128), bool)
    observed[:, :64] = False
    around = np.full((1, 16, 16), 1.0, np.float32)
    around[:, :, 8:] = 0.25
    for shift in (5, 30, 60, 500):
        found = filled(observed, uniform((128, 128), shift), around)[0]
        own = (
            np.minimum(np.clip(64 + shift - np.arange(128), 0, None) * 2 / CELL, 1)[64:] * (0.25 - OWN) + OWN
        )
        if shift < 64:  # all comes from the gap
            np.testing.assert_allclose(found[:, 64:], np.broadcast_to(own, (128, 64)), rtol=1e-5)
        else:
            np.testing.assert_allclose(found[:, 64:], 0.25, rtol=1e-5)
        assert (found[:, :64] == OWN).all()


def test_a_gap_at_the_edge_adds_to_the_distance_beyond_it():
    observed = np.ones((64, 64), bool)
    observed[:, :16] = False
    around = np.full((1, 8, 8), 0.25, np.float32)
    found = filled(observed, uniform((64, 64), 17), around)[0]  # column 16 has what is one pixel beyond
    np.testing.assert_allclose(found[:, 16], 0.25, rtol=1e-5)


def test_what_flows_in_is_continuous_and_smoother_with_the_distance():
    observed = np.ones((256, 256), bool)
    around = np.zeros((1, 32, 32), np.float32)
    around[0, 16, 0] = 1.0  # at the edge it rains in one cell
    found = filled(observed, uniform((256, 256), 120), around)[0]
    assert np.abs(np.diff(found[:, :120], axis=1)).max() < 0.15
    profile = found[132, :113]  # up to eight pixels from the edge; the row is 1/16 cell below its centre
    assert (np.diff(profile) > 0).all()
    assert profile[0] < 0.02
    assert profile[-1] == pytest.approx(1 - 1 / 16)


def test_probabilities_still_fall_and_do_not_depend_on_the_pieces(monkeypatch, with_gaps):
    around, carry = fields(12, 13), uniform(with_gaps.shape, 20, 9)
    unknown = UnknownRain(with_gaps, with_gaps, "mean", CELL)
    places = unknown.redirect(carry)
    moved = np.sort(np.random.default_rng(2).uniform(0, 1, (4, 90, 100)).astype(np.float32), axis=0)[
        ::-1
    ].copy()
    before = moved.copy()
    unknown.fill(moved, around, places)
    assert (np.diff(moved, axis=0) <= 1e-6).all()
    monkeypatch.setattr(inflow, "_AT_ONCE", 77)
    unknown.fill(before, around, places)
    np.testing.assert_array_equal(moved, before)


def test_inflow_nan_is_nan_in_the_same_places(with_gaps):
    around = np.zeros((4, 12, 13), np.float32)
    unknown, mean = (
        filled(with_gaps, uniform(with_gaps.shape, 12, -7), around, kind) for kind in ("nan", "mean")
    )
    np.testing.assert_array_equal(np.isnan(unknown), mean != OWN)


def test_known_is_more_than_observed():
    """A pixel that is known from earlier frames is no gap, and is not forecast."""
    known, observed = np.ones((64, 64), bool), np.ones((64, 64), bool)
    observed[:, 20:40], known[:, 20:30] = False, False
    carry, unknown = uniform((64, 64), 15), UnknownRain(known, observed, "mean", CELL)
    moved = np.full((1, 64, 64), OWN, np.float32)
    unknown.fill(moved, np.full((1, 8, 8), 0.25, np.float32), unknown.redirect(carry))
    changed = np.zeros(64, bool)
    changed[:15], changed[40:45] = True, True  # from outside, and from columns 25 to 29
    np.testing.assert_array_equal(moved[0] != OWN, np.broadcast_to(changed, (64, 64)))


def test_from_a_gap_comes_what_is_at_its_border():
    """Probabilities of places in a gap are not used: nothing of them was ever scored."""
    observed = np.ones((64, 64), bool)
    observed[:, 20:40] = False
    carry, unknown = uniform((64, 64), 21), UnknownRain(observed, observed, "mean", CELL)
    unknown.redirect(carry)
    made = np.where(observed, np.arange(64, dtype=np.float32), 999)[None]
    expected = np.clip(np.arange(64) - 21, 0, None)
    expected[40:61] = [19] * 11 + [40] * 10  # each half of the gap from its own side
    np.testing.assert_array_equal(
        carry.sample(made)[0][:, observed[0]], np.tile(expected[observed[0]], (64, 1))
    )


def test_nothing_observed_or_nothing_unknown_changes_nothing():
    around = np.zeros((1, 2, 2), np.float32)
    assert (filled(np.zeros((16, 16), bool), uniform((16, 16), 3), around) == OWN).all()
    assert (filled(np.ones((16, 16), bool), uniform((16, 16), 0), around) == OWN).all()
