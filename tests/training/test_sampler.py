from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from stormcell.data.rain_index import TILE
from stormcell.data.splits import WindowTable
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


def pool_of(rain: xr.DataArray, coordinates="fixed", windows=WINDOWS, sides=(1.0, 1.0)) -> Pool:
    found, _ = scan(rain, np.arange(rain.sizes["time"], dtype=np.int32), Path("no scans"), lambda _: None)
    reader = CropReader(rain, coordinates, in_memory=True)
    return Pool(reader, found.index(rain.sizes["time"]), windows, sides)


def sampler(*rains: xr.DataArray, crop: int = 32, shares=None, **options) -> Sampler:
    pools = [pool_of(rain, **options) for rain in rains]
    return Sampler(pools, shares or [1.0] * len(pools), steps=3, crop=crop)


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
    others = [batch(one, update=6), batch(one, update=5, seed=1)]
    assert all(not np.array_equal(first.inputs, other.inputs, equal_nan=True) for other in others)


def test_crops_of_missing_targets_are_not_observed():
    short = WindowTable(WINDOWS.inputs[1:], WINDOWS.targets[1:])
    truth = batch(sampler(archive(), windows=short)).targets
    assert np.isfinite(truth[:, 0]).any()
    assert np.isnan(truth[:, 1:]).all()


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
    drawn = batch(sampler(archive(), coordinates="moving", crop=SIZE))
    newest, truth = drawn.inputs[0, -1], drawn.targets[0]
    for frame in [*drawn.inputs[0, :-1], truth[0]]:
        both = np.isfinite(frame) & np.isfinite(newest)
        # A square of 10 × 10 pixels, its edges smeared by the small error of the motion.
        assert np.abs(frame - newest)[both].sum() < 0.2 * newest[both].sum()
    still = batch(sampler(archive(), crop=SIZE)).inputs[0]
    assert np.nansum(np.abs(still[0] - still[-1])) >= 0.3 * np.nansum(still[-1])


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


def test_crops_flip_inputs_and_targets_alike():
    made = sampler(archive(), crop=SIZE)
    for update in range(10):
        drawn = batch(made, update, augment=True, size=1)
        gone = np.isnan(drawn.inputs[0, 0])
        np.testing.assert_array_equal(gone, np.isnan(drawn.inputs[0, -1]))
        np.testing.assert_array_equal(gone, np.isnan(drawn.targets[0, 0]))


@pytest.mark.parametrize("symmetry", range(8))
def test_crops_that_are_flipped_are_crops_of_a_flipped_archive(symmetry):
    """Rain that drifts in a known direction is moved back to its place before the crop is flipped.

    The whole grid is one crop. The archive is flipped in the same way as the crop, and its motion is
    estimated anew, so that its vectors are flipped too.
    """
    rain = smooth_rain()
    made = sampler(rain, coordinates="moving", crop=SIZE)
    for update in range(200):
        (place,) = made.places(0, update, size=1, windows=1, augment=True)
        if place.flips == tuple(bool(symmetry & bit) for bit in (1, 2, 4)) and place.window.issue == 2:
            break
    else:
        raise AssertionError("not one of 200 draws has these flips")
    crop = made.crops(0, update, size=1, windows=1, augment=True)
    flipped = rain.copy(data=flip(rain.values, place.flips))
    inputs, targets = CropReader(flipped, "moving", in_memory=True).crop(
        place.window, slice(0, SIZE), slice(0, SIZE)
    )
    for ours, theirs in ((crop.inputs[0], inputs), (crop.targets[0], targets)):
        both = np.isfinite(ours) & np.isfinite(theirs)
        assert both[:, 12:-12, 12:-12].all()
        # The tracker is off by about a twentieth of a pixel, and rain changes by 1 mm/h per pixel at most.
        assert np.abs(ours - theirs)[both].max() < 0.2


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
    flips = np.array([made.places(0, k, size=1, windows=1, augment=True)[0].flips for k in range(40)])
    assert flips.any(axis=0).tolist() == [True, True, transposed]


def test_crops_of_two_processes_are_the_parts_of_one_draw():
    made = sampler(archive())
    whole = made.crops(0, 3, size=4, windows=2, augment=True)
    parts = [
        made.crops(0, 3, size=4, windows=2, augment=True, part=slice(2 * k, 2 * k + 2)) for k in range(2)
    ]
    for name in ("inputs", "targets", "importance_weights"):
        joined = np.concatenate([getattr(part, name) for part in parts])
        np.testing.assert_array_equal(joined, getattr(whole, name))
