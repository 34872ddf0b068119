import numpy as np
import pytest
import xarray as xr

from stormcell.data.grid import Spacing
from stormcell.errors import FramesError
from stormcell.forecast.resolution import Resolution, expect_resolution

FIVE, TEN = np.timedelta64(5, "m"), np.timedelta64(600, "s")
KM, TWO_KM = Spacing(1000, 1000, "m"), Spacing(2000, 2000, "m")


def frames(step: int = 5, pixel: float = 1000.0, count: int = 3) -> xr.DataArray:
    coords = {
        "time": np.datetime64("2024-06-01", "ns") + np.arange(count) * np.timedelta64(step, "m"),
        "y": -pixel * np.arange(2),
        "x": pixel * np.arange(2),
    }
    return xr.DataArray(np.zeros((count, 2, 2)), coords, ("time", "y", "x"))


def test_expect_resolution_without_a_choice_accepts_any():
    expect_resolution(frames(step=7, pixel=3.0), ())


@pytest.mark.parametrize("given", [frames(5, 1000.0), frames(10, 2000.0), frames(5, 1005.0)])
def test_expect_resolution_of_one_of_several_is_accepted(given):
    expect_resolution(given, (Resolution(FIVE, KM), Resolution(TEN, TWO_KM)))


@pytest.mark.parametrize(
    ("given", "accepted", "message"),
    [
        (frames(5), (Resolution(TEN, KM),), "expected one every 10 min, found one every 5 min"),
        (
            frames(15),
            (Resolution(TEN, KM), Resolution(FIVE, KM)),
            "expected one every 5 or 10 min, found one every 15 min",
        ),
        (
            frames(5),
            (Resolution(FIVE, TWO_KM),),
            "expected the model's grid spacing, 2000 × 2000 m, found 1000 × 1000 m",
        ),
        # Each time step was trained with its own spacing.
        (
            frames(10, 1000.0),
            (Resolution(FIVE, KM), Resolution(TEN, TWO_KM)),
            "expected the model's grid spacing, 2000 × 2000 m, found 1000 × 1000 m",
        ),
        (frames(5).isel(time=[0, 2, 1]), (Resolution(FIVE, KM),), "increasing order"),
    ],
)
def test_expect_resolution_of_another_raises_and_names_both(given, accepted, message):
    with pytest.raises(FramesError) as caught:
        expect_resolution(given, accepted)
    assert message in str(caught.value)


def test_expect_resolution_of_a_single_frame_compares_the_spacing():
    expect_resolution(frames(count=1), (Resolution(TEN, KM),))
    with pytest.raises(FramesError, match="grid spacing"):
        expect_resolution(frames(count=1), (Resolution(TEN, TWO_KM),))
