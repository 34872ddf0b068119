from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from stormcell.data.rain_index import TILE
from stormcell.data.splits import WindowTable
from stormcell.training.augmentation import Augmentation
from stormcell.training.crop_reader import CropReader
from stormcell.training.sampler import Pool, Sampler
from stormcell.training.sampling_index import scan

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


WINDOWS = WindowTable(np.int32([[0, 1, 2], [4, 5, 6]]), np.int32([[3, 4, 5], [7, -1, -1]]))


def pool_of(rain: xr.DataArray, windows=WINDOWS, sides=(1.0, 1.0), minutes=5.0) -> Pool:
    found, _ = scan(rain, np.arange(rain.sizes["time"], dtype=np.int32), Path("no scans"), lambda _: None)
    reader = CropReader(rain, in_memory=True)
    return Pool(reader, found.index(rain.sizes["time"]), windows, minutes, sides)


def sampler(*rains: xr.DataArray, crop: int = 32, shares=None, leads: int = 3, **options) -> Sampler:
    pools = [pool_of(rain, **options) for rain in rains]
    return Sampler(pools, shares or [1.0] * len(pools), leads=leads, crop=crop)


def batch(made: Sampler, update: int = 0, seed: int = 0, augment: bool = False, size: int = 4):
    return made.crops(seed, update, size=size, windows=2, augment=augment)


def places(made: Sampler, count: int, windows: int = 1):
    drawn = [made.places(0, k, size=windows, windows=windows, augment=False) for k in range(count)]
    return [place for some in drawn for place in some]


def test_crops_are_a_function_of_seed_and_update():
    one, two = sampler(archive()), sampler(archive())
    first = batch(one, update=5)
    batch(two, update=1)  # drawn before: must not matter
    again = batch(two, update=5)
    np.testing.assert_array_equal(first.inputs, again.inputs)
    np.testing.assert_array_equal(first.targets, again.targets)
    np.testing.assert_array_equal(first.importance_weights, again.importance_weights)
    np.testing.assert_array_equal(first.leads, again.leads)
    others = [batch(one, update=6), batch(one, update=5, seed=1)]
    assert all(not np.array_equal(first.inputs, other.inputs, equal_nan=True) for other in others)


def test_leads_are_drawn_from_those_of_the_window_in_order():
    made = sampler(archive(), leads=2)
    drawn = {place.window.issue: set() for place in places(made, 1)}
    for place in places(made, 60):
        drawn.setdefault(place.window.issue, set()).add(place.leads)
    assert drawn[2] == {(1, 2), (1, 3), (2, 3)}
    assert drawn[6] == {(1, 1)}  # of a single target, which is drawn again
    crops = batch(made)
    assert crops.leads.shape == (4, 2)
    assert crops.targets.shape[:2] == (4, 2)


def test_crops_have_the_targets_of_their_leads():
    """A crop of two lead times has the frames that a crop of all has at these places."""
    some, every = sampler(archive(), leads=2, crop=SIZE), sampler(archive(), leads=3, crop=SIZE)
    window = some.pools[0].windows[0]
    area = slice(0, SIZE)
    _, whole = every.pools[0].reader.crop(window, area, area, (1, 2, 3))
    for update in range(6):
        crops = some.crops(0, update, size=1, windows=1, augment=False)
        (place,) = some.places(0, update, size=1, windows=1, augment=False)
        if place.window.issue == 2:
            np.testing.assert_array_equal(crops.targets[0], whole[crops.leads[0] - 1])


def test_crops_have_the_time_step_and_the_pixels_of_their_archive():
    pools = pool_of(archive(), minutes=5.0), pool_of(archive(), minutes=10.0, sides=(1.9, 2.1))
    made = Sampler(pools, [1.0, 1.0], leads=3, crop=32)
    crops = made.crops(0, 0, size=30, windows=30, augment=True)
    chosen = made.places(0, 0, size=30, windows=30, augment=True)
    assert {place.pool for place in chosen} == {0, 1}
    assert {place.change.coarser for place in chosen} == {1, 2}
    for place, minutes, pixel in zip(chosen, crops.step_minutes, crops.pixel_km, strict=True):
        assert minutes == (5.0, 10.0)[place.pool]
        assert pixel == np.float32((1.0, 2.0)[place.pool] * place.change.coarser)


def test_crops_favour_rain_as_wet_shares_state():
    made = sampler(archive())
    natural, drawn = made.wet_shares()
    wet_pixels, observed = 100, SIZE * (SIZE - 4)
    assert natural == pytest.approx(wet_pixels / observed)
    share = wet_pixels / TILE**2
    weights = np.array([share + 0.02] + 8 * [0.02])
    assert drawn == pytest.approx(weights[0] / weights.sum() * share)
    with_rain = np.mean([(b > 0).any() for k in range(40) for b in batch(made, k).inputs])
    assert with_rain > 2 / 9


def test_places_are_drawn_with_the_stated_probability():
    """Frequencies of windows and tiles in 4000 draws are those of the weights, to four standard errors."""
    rain = archive()
    rain[6, :SIZE, :] = rain[6, :SIZE, :].where(np.isnan(rain[6]), 1.0)  # the second window rains everywhere
    made = sampler(rain)
    weights = np.stack([made.pools[0].index.tile_weights(issue) for issue in (2, 6)])
    expected = weights.sum(axis=(1, 2)) / weights.sum()
    drawn = places(made, 4000)
    second = np.mean([place.window.issue == 6 for place in drawn])
    assert abs(second - expected[1]) < 4 * np.sqrt(expected[1] * expected[0] / 4000)
    wettest = np.isclose(
        [1 / place.importance_weight for place in drawn], weights[0].max() / weights.sum() * made._tiles
    )
    share = weights[0].max() / weights.sum()
    assert abs(wettest.mean() - share) < 4 * np.sqrt(share / 4000)


def test_importance_weights_give_the_mean_over_uniform_crops():
    """The weighted mean of a statistic of drawn tiles is its mean over all tiles of all windows.

    The statistic is the wet share of the tile that a crop was drawn for. The standard error of the weighted
    mean is estimated from the draws; unweighted, the mean is more than ten of them off.
    """
    rng = np.random.default_rng(0)
    rain = archive()
    tiles = rng.random((8, 3, 3)) ** 4  # wet shares
    wet = rng.random(rain.shape) < tiles.repeat(TILE, axis=1).repeat(TILE, axis=2)
    rain.values[:] = np.where(wet, 2.0, 0.0)
    made = sampler(rain)
    index = made.pools[0].index
    shares = np.stack([index.tile_weights(issue) - 0.02 for issue in (2, 6)])
    drawn = places(made, 6000)
    weights = np.array([place.importance_weight for place in drawn])
    total = sum(made.pools[0].index.weight[issue] for issue in (2, 6))
    # The tile's wet share follows from the probability with which it was drawn.
    statistic = total / (made._tiles * weights) - 0.02
    estimate = (weights * statistic).sum() / weights.sum()
    error = np.std(weights * (statistic - estimate)) / np.sqrt(len(weights)) / weights.mean()
    assert abs(estimate - shares.mean()) < 4 * error
    assert abs(statistic.mean() - shares.mean()) > 10 * error
    assert weights.mean() == pytest.approx(1.0, abs=4 * weights.std() / np.sqrt(len(weights)))


def test_importance_weights_of_two_archives_count_tiles_of_both_alike():
    """An archive of four times the tiles has four fifths of the weighted crops, whatever its share."""
    small, large = archive(), archive(height=2 * SIZE, width=2 * SIZE)
    made = sampler(small, large, shares=[3.0, 1.0])
    drawn = places(made, 6000)
    weights = np.array([place.importance_weight for place in drawn])
    of_large = np.array([place.pool == 1 for place in drawn])
    assert abs(of_large.mean() - 0.25) < 4 * np.sqrt(0.25 * 0.75 / 6000)
    observed = [SIZE * (SIZE - 4), 2 * SIZE * (2 * SIZE - 4)]
    expected = observed[1] / sum(observed)
    share = weights[of_large].sum() / weights.sum()
    error = np.std(weights * (of_large - share)) / np.sqrt(len(weights)) / weights.mean()
    # 4 unobserved rows: tiles observed in part count as whole tiles in the draw.
    assert abs(share - expected) < 4 * error + 0.01


def test_crops_in_moving_coordinates_keep_the_rain_in_place():
    drawn = batch(sampler(archive(), crop=SIZE))
    newest, truth = drawn.inputs[0, -1], drawn.targets[0]
    for frame in [*drawn.inputs[0, :-1], truth[0]]:
        both = np.isfinite(frame) & np.isfinite(newest)
        # A square of 10 × 10 pixels, its edges smeared by the small error of the motion.
        assert np.abs(frame - newest)[both].sum() < 0.2 * newest[both].sum()


def test_crops_of_small_frames_are_whole_frames():
    drawn = batch(sampler(archive(height=40, width=50), crop=64), augment=True)
    assert drawn.inputs.shape == (4, 3, 40, 50)


def test_crops_of_a_grid_smaller_than_another_are_filled_with_unobserved_pixels():
    made = sampler(archive(height=40, width=50), archive(height=100, width=100), crop=64)
    found = [batch(made, k, size=1) for k in range(12)]
    assert {crops.inputs.shape for crops in found} == {(1, 3, 64, 64)}
    pools = [made.places(0, k, size=1, windows=2, augment=False)[0].pool for k in range(12)]
    assert set(pools) == {0, 1}
    for crops, pool in zip(found, pools, strict=True):
        outside = np.isnan(crops.inputs[0, -1, 40:]).all() and np.isnan(crops.inputs[0, -1, :, 50:]).all()
        assert outside == (pool == 0)


@pytest.mark.parametrize("symmetry", range(8))
def test_crops_that_are_flipped_are_crops_of_a_flipped_archive(symmetry):
    """Rain that drifts in a known direction is moved back to its place before the crop is flipped.

    The whole grid is one crop. The archive is flipped in the same way as the crop, and its motion is
    estimated anew, so that its vectors are flipped too.
    """
    rain = smooth_rain()
    made = sampler(rain, crop=SIZE)
    flips = tuple(bool(symmetry & bit) for bit in (1, 2, 4))
    place = made.places(0, 0, size=1, windows=1, augment=False)[0]
    place = replace(place, change=Augmentation(flips=flips), window=made.pools[0].windows[0], leads=(1, 2, 3))
    crop = made._crop(place)
    flipped = rain.copy(data=flip(rain.values, flips))
    area = slice(0, SIZE)
    expected = CropReader(flipped, in_memory=True).crop(place.window, area, area, (1, 2, 3))
    for ours, theirs in zip(crop, expected, strict=True):
        both = np.isfinite(ours) & np.isfinite(theirs)
        assert both[:, 12:-12, 12:-12].all()
        # The tracker is off by about a twentieth of a pixel, and rain changes by 1 mm/h per pixel at most. A
        # target is that of the nearest pixel.
        assert np.abs(ours - theirs)[both].mean() < 0.05
        assert np.abs(ours - theirs)[both].max() < 1.2


def smooth_rain() -> xr.DataArray:
    """Showers on a grid of SIZE × SIZE that drift by (1, 2) pixels per step."""
    y, x = np.mgrid[:SIZE, :SIZE]
    rain = archive()
    centres = np.random.default_rng(1).uniform(0, SIZE, (14, 2))
    for k in range(8):
        rain.values[k] = sum(6 * np.exp(-((y - a - k) ** 2 + (x - b - 2 * k) ** 2) / 60) for a, b in centres)
    return rain


def flip(frames: np.ndarray, flips: tuple[bool, bool, bool]) -> np.ndarray:
    if flips[0]:
        frames = frames[:, ::-1]
    if flips[1]:
        frames = frames[:, :, ::-1]
    return np.ascontiguousarray(frames.transpose(0, 2, 1) if flips[2] else frames)


@pytest.mark.parametrize(
    ("sides", "transposed"), [((1.0, 1.0), True), ((1.0, 1.04), True), ((1.11, 0.88), False)]
)
def test_crops_are_transposed_only_where_pixels_are_square(sides, transposed):
    made = sampler(archive(), crop=SIZE, sides=sides)
    flips = np.array([made.places(0, k, size=1, windows=1, augment=True)[0].change.flips for k in range(40)])
    assert flips.any(axis=0).tolist() == [True, True, transposed]


def test_crops_of_two_processes_are_the_parts_of_one_draw():
    made = sampler(archive())
    whole = made.crops(0, 3, size=4, windows=2, augment=True)
    parts = [
        made.crops(0, 3, size=4, windows=2, augment=True, part=slice(2 * k, 2 * k + 2)) for k in range(2)
    ]
    for name in vars(whole):
        joined = np.concatenate([getattr(part, name) for part in parts])
        np.testing.assert_array_equal(joined, getattr(whole, name))
