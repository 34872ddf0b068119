import numpy as np
import pytest
import xarray as xr

from stormcell.data.splits import Window
from stormcell.motion.advection import displacements
from stormcell.motion.coordinates import inputs_to_moving
from stormcell.motion.decibels import DRY_DB, to_decibels
from stormcell.motion.optical_flow import estimate
from stormcell.training.crop_reader import MARGIN, CropReader, crop_readers

HEIGHT, WIDTH = 420, 500
WINDOW, LEADS = Window((0, 1, 2), (3, 4, 5, 6)), (1, 2, 3, 4)
CROPS = [
    (slice(150, 214), slice(200, 280)),
    (slice(0, 64), slice(0, 64)),  # at two edges of the grid
    (slice(HEIGHT - 64, HEIGHT), slice(WIDTH - 64, WIDTH)),
]


@pytest.fixture(scope="module")
def rain() -> xr.DataArray:
    """Smooth showers that turn slowly, with a corner that is not observed."""
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)
    rng = np.random.default_rng(0)
    centres, sizes = rng.uniform(0, 500, (60, 2)), rng.uniform(30, 150, 60)
    rate = np.zeros((8, HEIGHT, WIDTH), np.float32)
    for k in range(8):
        for (a, b), size in zip(centres, sizes, strict=True):
            # Rows move by 2 + b / 200 pixels a step, columns by 3 - a / 200.
            rate[k] += 8 * np.exp(
                -((y - a - k * (2 + b / 200)) ** 2 + (x - b - k * (3 - a / 200)) ** 2) / size
            )
    rate[rate < 0.1] = 0
    rate[:, 300:340, 60:110] = np.nan
    return on_grid(rate)


def on_grid(rate: np.ndarray) -> xr.DataArray:
    coords = {
        "time": np.datetime64("2024-06-01", "ns") + np.arange(len(rate)) * np.timedelta64(300, "s"),
        "y": -1000.0 * np.arange(rate.shape[1]),
        "x": 1000.0 * np.arange(rate.shape[2]),
    }
    return xr.DataArray(rate, coords, ("time", "y", "x"))


def slope(frames: np.ndarray) -> float:
    """Return the largest change of rain from pixel to pixel."""
    return max(float(np.nanmax(np.abs(np.diff(frames, axis=axis)))) for axis in (1, 2))


def moved_decibels(rates: np.ndarray) -> np.ndarray:
    """Decibels of moved frames, whose edges of showers have interpolated rates below 0.1 mm/h."""
    return 10 * np.log10(np.maximum(rates, 10 ** (DRY_DB / 10)))


@pytest.mark.parametrize("crop", CROPS)
def test_crop_in_memory_is_the_crop_of_the_whole_grid_in_moving_coordinates(rain, crop):
    """The oracle moves whole frames along the motion field of the whole grid, as forecasting does."""
    frames = rain.values
    motion = estimate(frames[:3])
    inputs, targets = CropReader(rain, in_memory=True).crop(WINDOW, *crop, LEADS)
    # OpenCV interpolates at places rounded to 1/32 of a pixel. Where coordinates relative to a crop round
    # otherwise, the difference is the slope in two directions times 1/32.
    decibels = to_decibels(frames)
    allowed = 2 * slope(decibels) / 32 + 1e-4
    expected = inputs_to_moving(decibels[:3], motion, *crop)
    assert inputs.shape == expected.shape
    np.testing.assert_array_equal(np.isnan(inputs), np.isnan(expected))
    found = moved_decibels(inputs)
    np.testing.assert_allclose(found, expected, rtol=0, atol=allowed)
    assert np.mean(np.abs(found - expected)[np.isfinite(inputs)] > 1e-2) < 0.05
    for target, frame, path in zip(targets, frames[3:7], displacements(-motion, 4), strict=True):
        nearest = nearest_by_hand(frame, path)[crop]
        # Coordinates relative to a crop round otherwise where a place is halfway between two pixels.
        assert (np.nan_to_num(target, nan=-1) == np.nan_to_num(nearest, nan=-1)).mean() > 0.995


def nearest_by_hand(frame: np.ndarray, path: np.ndarray) -> np.ndarray:
    """The pixels of a frame that are nearest to displaced pixels, NaN outside the grid."""
    rows, cols = (
        np.rint(index + shift).astype(int)
        for index, shift in zip(np.indices(frame.shape), path[::-1], strict=True)
    )
    inside = (rows >= 0) & (rows < frame.shape[0]) & (cols >= 0) & (cols < frame.shape[1])
    found = np.full_like(frame, np.nan)
    found[inside] = frame[rows[inside], cols[inside]]
    return found


def test_crop_of_some_leads_has_the_targets_of_all_at_these(rain):
    reader = CropReader(rain, in_memory=True)
    inputs, every = reader.crop(WINDOW, *CROPS[0], LEADS)
    for leads in ((1,), (2, 4), (3, 3)):
        same, some = reader.crop(WINDOW, *CROPS[0], leads)
        # Places relative to another part of the field round otherwise, by one unit in the last place.
        np.testing.assert_allclose(same, inputs, rtol=1e-5, atol=1e-5)
        np.testing.assert_array_equal(some, every[np.array(leads) - 1])


def test_crop_targets_have_only_rates_of_the_frames(rain):
    """Nothing is interpolated, so that the rain is as rough as that which forecasts are verified against."""
    rough = rain.copy(data=rain.values * np.random.default_rng(0).gamma(2, 1, rain.shape).astype(np.float32))
    _, targets = CropReader(rough, in_memory=True).crop(WINDOW, *CROPS[0], LEADS)
    for target, frame in zip(targets, rough.values[3:7], strict=True):
        assert np.isin(target[np.isfinite(target)], frame).all()


def test_crop_with_jittered_vectors_is_moved_along_them(rain):
    """Without motion, targets are cut out."""

    def stopped(vectors):
        changed = vectors.copy()
        changed[:, 2:] = 0
        return changed

    reader = CropReader(rain, in_memory=True)
    rows, cols = CROPS[0]
    inputs, targets = reader.crop(WINDOW, rows, cols, LEADS, stopped)
    seen = np.where(rain.values < 0.1, 0, rain.values)[:3, rows, cols]
    np.testing.assert_allclose(inputs, seen, rtol=3e-6)  # by way of decibels
    np.testing.assert_array_equal(targets, rain.values[3:7, rows, cols])
    moved, _ = reader.crop(WINDOW, rows, cols, LEADS)  # the vectors that are kept did not change
    assert not np.array_equal(moved, inputs)


@pytest.mark.parametrize("crop", CROPS)
def test_crop_from_its_neighbourhood_is_close_to_that_in_memory(rain, crop):
    near = CropReader(rain, in_memory=False).crop(WINDOW, *crop, LEADS)
    whole = CropReader(rain, in_memory=True).crop(WINDOW, *crop, LEADS)
    for found, expected, most in zip(near, whole, (0.5, 2), strict=True):
        both = np.isfinite(found) & np.isfinite(expected)
        assert both.sum() >= np.isfinite(expected).sum() - 0.02 * expected.size
        # At the last of four steps the paths differ by four times the difference of the motion fields,
        # about 0.1 pixels; the nearest pixel can be the next along either axis.
        assert np.abs(found - expected)[both].max() < most * slope(rain.values)
        assert np.abs(found - expected)[both].mean() < 0.05 * slope(rain.values)


def test_crop_of_frames_with_others_between_has_their_rain(rain):
    """Frames of a thinned archive, read from all frames, and the same frames alone."""
    thinned = rain.isel(time=[0, 2, 4, 6])
    windows = Window((0, 2), (4, 6)), Window((0, 1), (2, 3))
    found, expected = (
        CropReader(given, in_memory=False).crop(window, *CROPS[0], (1, 2))
        for given, window in zip((rain, thinned), windows, strict=True)
    )
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_crop_without_moving_rain_is_cut_out(rain):
    dry = rain.copy(data=np.where(np.isnan(rain.values), np.nan, 0).astype(np.float32))
    inputs, targets = CropReader(dry, in_memory=False).crop(WINDOW, *CROPS[0], LEADS)
    assert not inputs.any()
    assert not targets.any()


class Counting(xr.backends.BackendArray):
    """An array that records the areas that are read of it."""

    def __init__(self, values: np.ndarray) -> None:
        self.values, self.shape, self.dtype = values, values.shape, values.dtype
        self.read: list[np.ndarray] = []

    def __getitem__(self, key):
        found = self.values[key.tuple]
        self.read.append(found)
        return found


def test_crop_from_its_neighbourhood_reads_no_more_than_that(rain):
    counting = Counting(rain.values)
    lazy = rain.copy(data=xr.Variable(rain.dims, xr.core.indexing.LazilyIndexedArray(counting)))
    rows, cols = CROPS[0]
    CropReader(lazy, in_memory=False).crop(WINDOW, rows, cols, LEADS)
    around = (rows.stop - rows.start + 2 * MARGIN) * (cols.stop - cols.start + 2 * MARGIN)
    # The neighbourhood of the four inputs, and of the targets the crop with as far as rain comes until then.
    assert all(found.shape[1] * found.shape[2] <= around for found in counting.read)
    assert sum(found.size for found in counting.read) < 4 * around + 3 * around / 4
    assert sum(len(found) for found in counting.read) == 4 + 3


@pytest.mark.parametrize(
    "speed", [5, 50]
)  # pixels per step: from within the neighbourhood, and from beyond it
def test_crop_from_its_neighbourhood_has_the_pixels_of_whole_frames(rain, speed):
    def fixed(_: np.ndarray) -> np.ndarray:
        return np.array([[250.0, 200.0, speed, -speed]])

    rows, cols = CROPS[0]
    found = CropReader(rain, in_memory=False).crop(WINDOW, rows, cols, LEADS, fixed)
    expected = CropReader(rain, in_memory=True).crop(WINDOW, rows, cols, LEADS, fixed)
    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_array_equal(found[1], expected[1])


def test_crop_in_memory_reads_each_frame_once(rain):
    counting = Counting(rain.values)
    lazy = rain.copy(data=xr.Variable(rain.dims, xr.core.indexing.LazilyIndexedArray(counting)))
    reader = CropReader(lazy, in_memory=True)
    for crop in CROPS:
        reader.crop(WINDOW, *crop, LEADS)
    assert len(counting.read) == 7


def test_crop_readers_keep_the_frames_of_the_smallest_archives_in_the_memory_there_is():
    sizes = [400, 200, 100]  # frames of 1000 × 1000 pixels: 1.6 GB, 0.8 GB and 0.4 GB, of 1.6 GB
    frame = np.zeros((1, 1, 1), np.float32)
    rains = [
        xr.DataArray(np.broadcast_to(frame, (count, 1000, 1000)), dims=("time", "y", "x")) for count in sizes
    ]
    assert [reader.in_memory for reader in crop_readers(rains)] == [False, True, True]
    assert [reader.in_memory for reader in crop_readers(rains[:1])] == [True]
    twice = crop_readers([*rains[1:], *rains[1:]])
    assert [reader.in_memory for reader in twice] == [True, True, False, True]
