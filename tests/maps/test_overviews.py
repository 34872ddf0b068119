import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from stormcell.maps.levels import MISSING
from stormcell.maps.overviews import coarsen


@given(
    arrays.arrays(np.uint8, arrays.array_shapes(min_dims=2, max_dims=2, max_side=12)),
    st.integers(1, 5),
)
def test_coarsen_is_the_highest_observed_level_of_each_block(levels, factor):
    rows, columns = levels.shape
    expected = np.array(
        [
            [
                max(
                    (level for level in levels[r : r + factor, c : c + factor].flat if level != MISSING),
                    default=MISSING,
                )
                for c in range(0, columns, factor)
            ]
            for r in range(0, rows, factor)
        ]
    )
    found = coarsen(levels, factor)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, expected)


def test_coarsen_one_wet_pixel_remains():
    levels = np.zeros((64, 64), np.uint8)
    levels[37, 21] = 200
    assert (coarsen(levels, 8) == 200).sum() == 1


@pytest.mark.parametrize("factor", [2, 4])
def test_coarsen_not_observed_only_where_all_are_not(factor):
    levels = np.full((8, 8), MISSING, np.uint8)
    levels[0, 0] = 0
    found = coarsen(levels, factor)
    assert found[0, 0] == 0
    assert (found.ravel()[1:] == MISSING).all()
