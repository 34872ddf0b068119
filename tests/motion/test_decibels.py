import numpy as np

from stormcell.motion.decibels import from_decibels, from_moved_decibels, to_decibels


def test_to_decibels_dry_and_unobserved_are_kept():
    rates = np.array([0, 0.09, 0.1, 1, 100, np.nan], np.float32)
    np.testing.assert_allclose(to_decibels(rates), [-15, -15, -10, 0, 20, np.nan], atol=1e-5)


def test_from_decibels_gives_the_rates_again():
    rates = np.array([0, 0.1, 1, 100, np.nan], np.float32)
    np.testing.assert_allclose(from_decibels(to_decibels(rates)), rates, rtol=3e-6)


def test_from_decibels_gives_no_rate_below_that_of_the_decibels():
    rates = np.concatenate([np.arange(1, 10001) / 10, np.geomspace(0.101, 1000, 100_000)]).astype(np.float32)
    for back in (from_decibels(to_decibels(rates)), from_moved_decibels(to_decibels(rates))):
        assert (back >= rates).all()


def test_from_moved_decibels_keeps_the_edge_of_a_shower():
    decibels = np.array([-15, -14.9, -12, 0, np.nan], np.float32)
    expected = [0, 10**-1.49, 10**-1.2, 1, np.nan]
    np.testing.assert_allclose(from_moved_decibels(decibels), expected, rtol=3e-6)
    np.testing.assert_allclose(from_decibels(decibels), [0, 0, 0, 1, np.nan], rtol=3e-6)
