import numpy as np
import pytest
import xarray as xr

from stormcell.data.splits import Window
from stormcell.motion.coordinates import inputs_to_moving, truths_to_moving
from stormcell.motion.optical_flow import estimate
from stormcell.training.crop_reader import MARGIN, CropReader, fits_in_memory

HEIGHT, WIDTH = 420, 500
WINDOW = Window((0, 1, 2), (3, 4, 5, 6))
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


@pytest.mark.parametrize("crop", CROPS)
def test_crop_in_memory_is_the_crop_of_the_whole_grid_in_moving_coordinates(rain, crop):
    """The oracle moves whole frames along the motion field of the whole grid, as forecasting does."""
    frames = rain.values
    motion = estimate(frames[:3])
    inputs, targets = CropReader(rain, "moving", in_memory=True).crop(WINDOW, *crop)
    # OpenCV interpolates at places rounded to 1/32 of a pixel. Where coordinates relative to a crop round
    # otherwise, the difference is the slope in two directions times 1/32.
    allowed = 2 * slope(frames) / 32 + 1e-4
    for found, expected in (
        (inputs, inputs_to_moving(frames[:3], motion, *crop)),
        (targets, truths_to_moving(frames[3:7], motion, *crop)),
    ):
        assert found.shape == expected.shape
        np.testing.assert_array_equal(np.isnan(found), np.isnan(expected))
        np.testing.assert_allclose(found, expected, rtol=0, atol=allowed)
        assert np.mean(np.abs(found - expected)[np.isfinite(found)] > 1e-3) < 0.05


@pytest.mark.parametrize("crop", CROPS)
def test_crop_from_its_neighbourhood_is_close_to_that_in_memory(rain, crop):
    near = CropReader(rain, "moving", in_memory=False).crop(WINDOW, *crop)
    whole = CropReader(rain, "moving", in_memory=True).crop(WINDOW, *crop)
    for found, expected in zip(near, whole, strict=True):
        both = np.isfinite(found) & np.isfinite(expected)
        assert both.sum() >= np.isfinite(expected).sum() - 0.02 * expected.size
        # At the last of four steps the paths differ by four times the difference of the motion fields,
        # about 0.1 pixels.
        assert np.abs(found - expected)[both].max() < 0.5 * slope(rain.values)


@pytest.mark.parametrize("in_memory", [True, False])
def test_crop_in_fixed_coordinates_is_cut_out(rain, in_memory):
    inputs, targets = CropReader(rain, "fixed", in_memory=in_memory).crop(WINDOW, *CROPS[0])
    np.testing.assert_array_equal(inputs, rain.values[:3, CROPS[0][0], CROPS[0][1]])
    np.testing.assert_array_equal(targets, rain.values[3:7, CROPS[0][0], CROPS[0][1]])


@pytest.mark.parametrize("coordinates", ["moving", "fixed"])
def test_crop_of_frames_with_others_between_has_their_rain(rain, coordinates):
    """Frames of a thinned archive, read from all frames, and the same frames alone."""
    thinned = rain.isel(time=[0, 2, 4, 6])
    windows = Window((0, 2), (4, 6)), Window((0, 1), (2, 3))
    found, expected = (
        CropReader(given, coordinates, in_memory=False).crop(window, *CROPS[0])
        for given, window in zip((rain, thinned), windows, strict=True)
    )
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_crop_without_moving_rain_is_cut_out(rain):
    dry = rain.copy(data=np.where(np.isnan(rain.values), np.nan, 0).astype(np.float32))
    inputs, targets = CropReader(dry, "moving", in_memory=False).crop(WINDOW, *CROPS[0])
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
    CropReader(lazy, "moving", in_memory=False).crop(WINDOW, rows, cols)
    around = (rows.stop - rows.start + 2 * MARGIN) * (cols.stop - cols.start + 2 * MARGIN)
    # The neighbourhood of three frames, and of all frames the crop with as far as rain comes in four steps.
    assert all(found.shape[1] * found.shape[2] <= around for found in counting.read)
    assert sum(found.size for found in counting.read) < 3 * around + 7 * around / 4
    assert sum(len(found) for found in counting.read) == 3 + 7


def test_crop_in_memory_reads_each_frame_once(rain):
    counting = Counting(rain.values)
    lazy = rain.copy(data=xr.Variable(rain.dims, xr.core.indexing.LazilyIndexedArray(counting)))
    reader = CropReader(lazy, "moving", in_memory=True)
    for crop in CROPS:
        reader.crop(WINDOW, *crop)
    assert len(counting.read) == 7


def test_fits_in_memory_shares_the_memory_among_archives():
    assert fits_in_memory(400, (1000, 1000), archives=1)
    assert not fits_in_memory(400, (1000, 1000), archives=2)
    assert not fits_in_memory(500, (1000, 1000), archives=1)
