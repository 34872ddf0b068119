import numpy as np
import pytest

from stormcell.forecast.light_rain import LIGHT, LightRain, add_light_rain, with_light_rain
from stormcell.motion.coordinates import carriers

NAN = np.float32(np.nan)


def frame(left: float, right: float, shape: tuple[int, int] = (64, 80)) -> np.ndarray:
    """One rate in the left half, another in the right one."""
    rates = np.full(shape, right, np.float32)
    rates[:, : shape[1] // 2] = left
    return rates


@pytest.mark.parametrize(
    ("left", "right", "some"),
    [(0, 0, False), (0.029, 0.1, False), (0.03, 5, True), (0.099, 0, True), (NAN, NAN, False)],
)
def test_light_rain_is_that_from_0_03_to_below_0_1(left, right, some):
    assert bool(LightRain(frame(left, right), kilometres=1.0)) is some


@pytest.mark.parametrize("cell", [(16, 20), (0, 0), (31, 3)])
def test_light_rain_chance_is_the_share_of_the_pixels_below_0_1_that_were_observed(cell):
    rates = np.random.default_rng(1).choice(np.float32([0, 0.02, 0.05, 0.09, 2, np.nan]), (64, 80))
    found = LightRain(rates, kilometres=1.0).chances(minutes=16)[0][cell]
    # Half the side is 10 km: 5 cells of 2 pixels on either side of the cell.
    rows, cols = (slice(max(2 * (number - 5), 0), 2 * (number + 6)) for number in cell)
    around = rates[rows, cols]
    assert found == pytest.approx(((around >= 0.03) & (around < 0.1)).sum() / (around < 0.1).sum(), rel=1e-5)


def test_light_rain_square_grows_with_lead_time_and_smaller_pixels():
    def reach(kilometres: float, minutes: float) -> int:
        rates = np.zeros((200, 200), np.float32)
        rates[100:102, 100:102] = 0.05
        return int((LightRain(rates, kilometres).chances(minutes)[0, 50] > 0).sum())

    # Cells of 2 pixels: a half side of 2 km and 0.5 km a minute.
    assert reach(1.0, 0) == 2 * 1 + 1
    assert reach(1.0, 20) == 2 * 6 + 1
    assert reach(0.5, 20) == 2 * 12 + 1


def test_light_rain_on_an_odd_grid_does_not_count_what_is_beyond():
    chances = LightRain(np.full((33, 47), 0.05, np.float32), kilometres=1.0).chances(minutes=30)
    assert chances.shape == (1, 17, 24)
    np.testing.assert_allclose(chances, 1, rtol=1e-5)


@pytest.mark.parametrize("kind", [np.float32, np.float16])
def test_added_light_rain_is_what_does_not_reach_more_and_moves(kind):
    rates = frame(0.05, 0.0)
    motion = np.zeros((2, *rates.shape), np.float32)
    motion[0] = 10.0
    found = np.full((2, *rates.shape), 0.25, kind)
    found[1, 0, 0] = np.nan
    (carry,) = carriers(motion, 1)
    chances = LightRain(rates, kilometres=1.0).chances(minutes=5)
    add_light_rain(found, chances, carry, (slice(0, 64), slice(0, 80)))
    assert np.isnan(found[0, 0, 0])
    np.testing.assert_array_equal(found[1, 1:], np.full((63, 80), 0.25, kind))
    row = found[0, 32].astype(np.float32)
    np.testing.assert_allclose(row[:44], 1, rtol=1e-3)  # the border was at 40, and moved by 10 pixels
    np.testing.assert_allclose(row[56:], 0.25, rtol=1e-3)
    assert row[50] == pytest.approx(0.25 + 0.75 * 0.5, abs=0.1)


def test_rates_with_light_rain_are_those_of_the_newest_frame_where_it_is_light():
    newest = np.array([[0.02, LIGHT, 0.099, 0.1, 4.0, NAN]], np.float32)
    known = np.array([[0.0, 0.0, 0.0, 0.1, 4.0, 2.0]], np.float32)
    np.testing.assert_array_equal(with_light_rain(known, newest), [np.float32([0, LIGHT, 0.099, 0.1, 4, 2])])
