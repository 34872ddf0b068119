"""The single forecast of a distribution, where rain comes from known and from unknown places."""

import numpy as np
import pytest

from stormcell.forecast.anchored_rain import AnchoredRain

THRESHOLDS = (0.1, 1.0, 10.0)
HALF = 300  # columns: of rain from known places, and of rain from unknown ones


def rain_of(unknown: tuple[float, ...], *, areas: tuple[float, ...], height: int = 40) -> AnchoredRain:
    """Probabilities that differ where rain is known, and do not where it is unknown."""
    known = np.random.default_rng(0).random((height, HALF), np.float32)
    exceedance = np.empty((3, height, 2 * HALF), np.float32)
    for field, part, chance in zip(exceedance, (1.0, 0.8, 0.3), unknown, strict=True):
        field[:, :HALF], field[:, HALF:] = known * part, chance
    among = np.zeros((height, 2 * HALF), bool)
    among[:, :HALF] = True
    return AnchoredRain(THRESHOLDS, exceedance, areas, among)


@pytest.mark.parametrize("height", [40, 400])  # of the latter, every second row and column is looked at
def test_single_has_the_areas_of_known_places_whatever_the_unknown_ones_have(height):
    areas = np.array([0.5, 0.3, 0.1]) * height * HALF
    for unknown in ((0.9, 0.8, 0.7), (0.0, 0.0, 0.0)):
        single = rain_of(unknown, areas=tuple(areas), height=height).single()[:, :HALF]
        found = np.array([(single >= threshold).sum() for threshold in THRESHOLDS])
        assert (found >= 0.98 * areas).all()
        assert (found <= 1.12 * areas).all()


def test_single_of_unknown_places_does_not_reach_what_is_unlikely():
    """Where rain is known, there is hardly any 10 mm/h, and a cut of 0.01 would give its area."""
    rain = rain_of((0.6, 0.3, 0.1), areas=(9000, 6000, 3000))
    rain.exceedance[2, :, :HALF] *= 0.05
    single = rain.single()
    assert (single[:, :HALF] >= 10).any()
    assert 0.1 <= single[:, HALF:].min() == single[:, HALF:].max() < 10


def test_single_of_unknown_places_reaches_what_is_likely():
    """Where rain is known, probabilities are too high for the area."""
    rain = rain_of((0.6, 0.55, 0.1), areas=(60, 30, 0))
    single = rain.single()
    assert (single[:, :HALF] >= 0.1).sum() <= 66
    assert 1 <= single[:, HALF:].min() == single[:, HALF:].max() < 10


def test_single_is_undefined_where_the_probabilities_are():
    rain = rain_of((0.6, 0.55, 0.1), areas=(6000, 3000, 100))
    rain.exceedance[:, 3:5, 10:500] = np.nan
    np.testing.assert_array_equal(np.isnan(rain.single()), np.isnan(rain.exceedance[0]))


@pytest.mark.parametrize("known", [True, False])
def test_single_where_all_rain_is_known_or_none(known):
    rain = rain_of((0.6, 0.55, 0.1), areas=(6000, 3000, 100) if known else (0, 0, 0))
    rain.among[:] = known
    single = rain.single()
    assert np.isfinite(single).all()
    # Without known places, the cuts are a half.
    assert known or ((single >= 1) == (rain.exceedance[1] >= 0.5)).all()


def test_single_of_unknown_places_has_no_larger_area_than_is_expected_of_what_is_unlikely():
    """Probabilities of 0.3 to 0.46 are all above the cut; a mean of 0.38 is expected."""
    rain = rain_of((0.6, 0.0, 0.0), areas=(9000, 3000, 900))
    rain.exceedance[1, :, :HALF] = np.where(rain.exceedance[1, :, :HALF] > 0.6, 0.3, 0.0)  # a low cut
    rain.exceedance[1, :, HALF:] = np.linspace(0.3, 0.46, HALF, dtype=np.float32)
    single = rain.single()[:, HALF:]
    assert 0.3 <= (single >= 1).mean() <= 1.1 * 0.38
    assert (single[:, 200:] >= 1).all()  # where it is most likely
