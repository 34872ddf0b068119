import numpy as np
import pytest
import torch
import xarray as xr

from stormcell.forecast import hindcast
from stormcell.forecast.contract import Analysis
from stormcell.forecast.hindcast import hindcast_frames, hindcast_slopes, rainy_tiles
from stormcell.forecast.logit_slopes import BOUNDS
from stormcell.models.nowcaster import Nowcaster
from stormcell.motion import optical_flow

SIDE = 96


def frames(count: int = 6, dx: int = 3, dy: int = -2, seed: int = 0, step: int = 5) -> xr.DataArray:
    """Smooth rain that moves by whole pixels and does not change."""
    rng = np.random.default_rng(seed)
    noise = np.fft.fft2(rng.normal(size=(SIDE, SIDE)))
    k = np.hypot(*np.meshgrid(np.fft.fftfreq(SIDE), np.fft.fftfreq(SIDE)))
    smooth = np.fft.ifft2(noise * np.exp(-((k * 25) ** 2))).real
    rate = np.where(smooth > 0, np.exp(1.2 * smooth / smooth.std()), 0)
    moved = np.stack([np.roll(rate, (dy * n, dx * n), (0, 1)) for n in range(count)])
    times = np.datetime64("2024-06-01T00:00", "ns") + np.arange(count) * np.timedelta64(step, "m")
    metres = {"units": "m"}
    places = {"y": ("y", -1000.0 * np.arange(SIDE), metres), "x": ("x", 1000.0 * np.arange(SIDE), metres)}
    return xr.DataArray(moved.astype(np.float32), {"time": times, **places}, ("time", "y", "x"))


def motion(dx: int = 3, dy: int = -2) -> np.ndarray:
    return np.stack([np.full((SIDE, SIDE), dx), np.full((SIDE, SIDE), dy)]).astype(np.float32)


@pytest.fixture
def nowcaster() -> Nowcaster:
    """A network that begins as the cascade."""
    torch.manual_seed(0)
    return Nowcaster(channels=4, detail_channels=4).eval()


def slopes(nowcaster: Nowcaster, given: xr.DataArray) -> np.ndarray:
    return hindcast_slopes(nowcaster, hindcast_frames(Analysis(given), 4), motion()).numpy()


def changed(rain: xr.DataArray, before: int) -> xr.DataArray:
    """Frames of which the first are those of other rain."""
    found = rain.copy(deep=True)
    found[:before] = frames(before, seed=2).values
    return found


def test_rain_that_changed_less_than_before_makes_the_probabilities_steeper(nowcaster):
    found = slopes(nowcaster, changed(frames(), before=3))
    assert (found[:4] > 1.3).all()


def test_rain_that_changed_more_than_before_makes_the_probabilities_flatter(nowcaster):
    found = slopes(nowcaster, changed(frames(seed=1), before=4))
    assert (found[:4] < 0.8).all()
    assert (found >= BOUNDS[0]).all()


def test_the_motion_is_that_of_the_older_frames(nowcaster, monkeypatch):
    seen = []
    estimate = optical_flow.estimate
    monkeypatch.setattr(
        optical_flow, "estimate", lambda given, count: seen.append(given) or estimate(given, count=count)
    )
    hindcast_slopes(nowcaster, frames(), motion())
    (given,) = seen
    np.testing.assert_array_equal(given, frames().values[:4])


@pytest.mark.parametrize("count", [3, 4])
def test_slopes_are_one_without_older_frames(nowcaster, count):
    assert (slopes(nowcaster, frames(count)) == 1).all()


def test_slopes_are_one_where_the_older_frames_have_a_gap(nowcaster):
    given = frames(9).isel(time=[0, 1, 2, 5, 6, 7, 8])
    assert (slopes(nowcaster, given) == 1).all()
    assert (slopes(nowcaster, frames(7)) != 1).any()


def test_slopes_are_one_without_rain_or_observations(nowcaster):
    nothing = frames() * 0
    assert (slopes(nowcaster, nothing) == 1).all()
    unknown = frames()
    unknown[-1] = np.nan
    assert (slopes(nowcaster, unknown) == 1).all()


@pytest.mark.parametrize(("step", "expected"), [(2, 9), (5, 6), (15, 5)])
def test_frames_reach_ten_minutes_further_back_than_those_that_are_read(step, expected):
    found = hindcast_frames(Analysis(frames(20, step=step)), 4)
    np.testing.assert_array_equal(found["time"], frames(20, step=step)["time"][-expected:])


def test_longer_time_steps_need_fewer_frames(nowcaster):
    """The newest frame is forecast from one that is 10 minutes older: one step or two."""
    assert (slopes(nowcaster, frames(4, step=10)) != 1).any()
    assert (slopes(nowcaster, frames(4, step=5)) == 1).all()


def test_slopes_do_not_depend_on_threads(nowcaster):
    one, two = (hindcast_slopes(nowcaster, frames(), motion(), threads) for threads in (1, 2))
    torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-4)


def test_slopes_of_tiles_are_near_those_of_the_whole_grid(nowcaster, monkeypatch):
    whole = slopes(nowcaster, frames())
    monkeypatch.setattr(hindcast, "SIDE", 64)
    assert len(rainy_tiles(frames().values[-1], 0.1)) == 4
    np.testing.assert_allclose(slopes(nowcaster, frames())[:4], whole[:4], rtol=0.2)


def test_a_tile_has_the_newest_frame_where_its_rain_was(monkeypatch):
    given = frames().values
    monkeypatch.setattr(
        optical_flow, "estimate", lambda seen, **_: motion()[:, : seen.shape[1], : seen.shape[2]]
    )
    tile = slice(20, 60), slice(30, 80)
    moving, target = hindcast._tile(given, motion(), tile, 2)
    np.testing.assert_array_equal(target, given[3][tile])
    np.testing.assert_allclose(moving, np.broadcast_to(given[3][tile], (4, 40, 50)), rtol=1e-4, atol=1e-5)


def test_rainy_tiles_of_a_small_grid_are_all():
    rain = np.zeros((100, 300), np.float32)
    assert rainy_tiles(rain, 0.1) == [
        (slice(0, 100), slice(0, 256)),
        (slice(0, 100), slice(44, 300)),
    ]


def test_rainy_tiles_of_a_large_grid_have_equal_parts_of_its_rain():
    side, count = hindcast.SIDE, hindcast.TILES
    rain = np.full((side * 4, side * 5), np.nan, np.float32)
    rain[:side, :side] = 1.0
    assert rainy_tiles(rain, 0.1) == [(slice(0, side), slice(0, side))]  # all of it
    rain[side : 2 * side] = 1.0  # five more
    numbers = [5 * (rows.start // side) + cols.start // side for rows, cols in rainy_tiles(rain, 0.1)]
    assert len(numbers) == count
    assert {0, 9} < set(numbers) < {0, 5, 6, 7, 8, 9}
    rain[:] = 1.0
    found = rainy_tiles(rain, 0.1)
    assert len(found) == count
    numbers = [5 * (rows.start // side) + cols.start // side for rows, cols in found]
    assert np.diff(numbers).min() >= 20 // count
    assert rainy_tiles(np.zeros_like(rain), 0.1)  # any, whose slopes are 1
