import numpy as np
import pytest

from stormcell.errors import ArgumentError
from stormcell.motion.matching import match, wet_rates


def test_match_equals_mask_and_matching_of_pysteps():
    probmatching = pytest.importorskip(
        "pysteps.postprocessing.probmatching", reason="pysteps is not installed"
    )
    from pysteps.nowcasts.utils import compute_percentile_mask

    rng = np.random.default_rng(1)
    field = rng.normal(size=(40, 30)).astype(np.float32)
    target = np.maximum(rng.gamma(0.5, 3, size=(40, 30)) - 2, 0).astype(np.float32)
    masked = field.copy()
    masked[~compute_percentile_mask(masked, (target > 0).mean())] = -15
    expected = probmatching.nonparam_match_empirical_cdf(masked, target)
    np.testing.assert_array_equal(match(field, wet_rates(target, 1e-9)), expected)


def test_match_keeps_the_order_and_gives_the_rates():
    rng = np.random.default_rng(2)
    field = rng.normal(size=(20, 30)).astype(np.float32)
    rates = np.sort(rng.gamma(1, 2, size=100)).astype(np.float32)
    matched = match(field, rates)
    np.testing.assert_array_equal(np.sort(matched[matched > 0]), rates)
    order = field.ravel().argsort()
    assert (np.diff(matched.ravel()[order]) >= 0).all()


def test_match_equal_values_give_the_number_of_rates():
    matched = match(np.ones((4, 5), np.float32), np.array([1, 2, 3], np.float32))
    assert np.sort(matched[matched > 0]).tolist() == [1, 2, 3]


def test_match_pixels_that_do_not_count_stay_dry_and_all_others_can_be_wet():
    field = np.array([[1, np.nan, 3, 2]], np.float32)
    known = np.isfinite(field)
    assert match(field, np.array([1, 2], np.float32), dry=-1, where=known).tolist() == [[-1, -1, 2, 1]]
    assert match(field, np.array([1, 2, 3], np.float32), where=known).tolist() == [[1, 0, 3, 2]]


def test_match_without_rates_is_dry():
    assert match(np.ones((2, 2), np.float32), np.empty(0, np.float32)).tolist() == [[0, 0], [0, 0]]


def test_match_more_rates_than_pixels_raises():
    with pytest.raises(ArgumentError, match="expected 2 or fewer, one a pixel, found 3"):
        match(np.ones((1, 2), np.float32), np.ones(3, np.float32))
