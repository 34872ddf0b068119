import numpy as np
import pytest
import xarray as xr

from stormcell.data.splits import Window
from stormcell.training import sampler as sampler_module
from stormcell.training.sampler import TILE, FrameCache, Sampler, scan

SIZE = 3 * TILE


def archive(height: int = SIZE, width: int = SIZE, count: int = 8) -> xr.DataArray:
    """Rain in one corner tile, one pixel further east in every frame; a strip is never observed."""
    rate = np.zeros((count, height, width), np.float32)
    for k in range(count):
        rate[k, 4:14, 4 + k : 14 + k] = 5.0
    rate[:, -4:] = np.nan
    times = np.datetime64("2024-06-01T00:00", "ns") + np.arange(count) * np.timedelta64(300, "s")
    coords = {"time": times, "y": -1000.0 * np.arange(height), "x": 1000.0 * np.arange(width)}
    return xr.DataArray(rate, coords=coords, dims=("time", "y", "x"))


WINDOWS = [Window((0, 1, 2), (3, 4, 5)), Window((4, 5, 6), (7,))]


def sampler(rain: xr.DataArray, motion_count: int = 0, crop: int = 32) -> Sampler:
    frames = FrameCache(rain, motion_count, window=6)
    index = scan(frames, rain, range(rain.sizes["time"]), lambda _: None)
    return Sampler(frames, WINDOWS, index, steps=3, crop=crop)


def batch(made: Sampler, update: int = 0, seed: int = 0, augment: bool = False, size: int = 4):
    return made.crops(seed, update, size=size, windows=2, augment=augment)


def test_crops_are_a_function_of_seed_and_update():
    one, two = sampler(archive()), sampler(archive())
    first = batch(one, update=5)
    batch(two, update=1)  # drawn before: must not matter
    again = batch(two, update=5)
    np.testing.assert_array_equal(first.inputs, again.inputs)
    np.testing.assert_array_equal(first.targets, again.targets)
    others = [batch(one, update=6), batch(one, update=5, seed=1)]
    assert all(not np.array_equal(first.inputs, other.inputs, equal_nan=True) for other in others)


def test_crops_of_missing_targets_are_not_observed():
    made = sampler(archive())
    made.by_window[:] = [0.0, 1.0]
    truth = batch(made).targets
    assert np.isfinite(truth[:, 0]).any()
    assert np.isnan(truth[:, 1:]).all()


def test_crops_favour_rain_as_wet_shares_state():
    made = sampler(archive())
    natural, drawn = made.wet_shares()
    wet_pixels = 100 / TILE**2
    assert natural == pytest.approx(wet_pixels / 9)  # one tile of nine, the same in both windows
    weights = np.array([wet_pixels + 0.02] + 8 * [0.02])
    assert drawn == pytest.approx(weights[0] / weights.sum() * wet_pixels)
    with_rain = np.mean([(b > 0).any() for k in range(40) for b in batch(made, k).inputs])
    assert with_rain > 2 / 9


def test_crops_in_moving_coordinates_keep_the_rain_in_place():
    made = sampler(archive(), motion_count=3, crop=SIZE)
    drawn = batch(made)
    newest, truth = drawn.inputs[0, -1], drawn.targets[0]
    for frame in [*drawn.inputs[0, :-1], truth[0]]:
        both = np.isfinite(frame) & np.isfinite(newest)
        # A square of 10 × 10 pixels, its edges smeared by the small error of the motion.
        assert np.abs(frame - newest)[both].sum() < 0.2 * newest[both].sum()
    still = batch(sampler(archive(), motion_count=0, crop=SIZE)).inputs[0]
    assert np.nansum(np.abs(still[0] - still[-1])) >= 0.3 * np.nansum(still[-1])


def test_crops_of_small_frames_are_whole_frames():
    drawn = batch(sampler(archive(height=40, width=50), crop=64), augment=True)
    assert drawn.inputs.shape == (4, 3, 40, 50)


def test_crops_flip_inputs_and_targets_alike():
    made = sampler(archive(), crop=SIZE)
    for update in range(10):
        drawn = batch(made, update, augment=True, size=1)
        gone = np.isnan(drawn.inputs[0, 0])
        np.testing.assert_array_equal(gone, np.isnan(drawn.inputs[0, -1]))
        np.testing.assert_array_equal(gone, np.isnan(drawn.targets[0, 0]))


def test_scan_hash_depends_on_every_pixel_and_time():
    def hashed(rain: xr.DataArray) -> str:
        return scan(FrameCache(rain, 0, window=6), rain, range(3), lambda _: None).data_hash

    base = archive()
    assert hashed(base) == hashed(archive())
    wetter, later = archive(), archive()
    wetter[2, 50, 50] += 0.1
    later["time"] = later["time"] + np.timedelta64(300, "s")
    assert len({hashed(base), hashed(wetter), hashed(later)}) == 3


def test_scan_counts_observed_pixels_only():
    rain = archive()
    rain[0, :TILE, : TILE // 2] = np.nan
    rain[0, :TILE, TILE // 2 : TILE] = 1.0
    index = scan(FrameCache(rain, 0, window=6), rain, [0], lambda _: None)
    assert index.wet[0][0, 0] == 1.0
    rain[0, :TILE, :TILE] = np.nan
    index = scan(FrameCache(rain, 0, window=6), rain, [0], lambda _: None)
    assert np.isnan(index.wet[0][0, 0])


def test_frame_cache_is_bounded_in_bytes_and_holds_a_window(monkeypatch):
    rain = archive()
    frame = 4 * SIZE * SIZE
    for limit, expected in ((9 * frame, (6, 1)), (48 * frame, (32, 8)), (frame, (6, 1))):
        monkeypatch.setattr(sampler_module, "CACHE_BYTES", limit)
        cache = FrameCache(rain, 3, window=6)
        frames, motions = (getattr(cache, name).cache_info().maxsize for name in ("frame", "motion"))
        assert (frames, motions) == expected
        # A motion field has two numbers per pixel.
        assert frames + 2 * motions <= max(limit / frame, 6 + 2)


def test_crops_of_two_processes_are_the_parts_of_one_draw():
    made = sampler(archive())
    whole = made.crops(0, 3, size=4, windows=2, augment=True)
    parts = [
        made.crops(0, 3, size=4, windows=2, augment=True, part=slice(2 * k, 2 * k + 2)) for k in range(2)
    ]
    np.testing.assert_array_equal(np.concatenate([part.inputs for part in parts]), whole.inputs)
    np.testing.assert_array_equal(np.concatenate([part.targets for part in parts]), whole.targets)
