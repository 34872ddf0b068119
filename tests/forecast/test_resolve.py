from dataclasses import replace

import numpy as np
import pytest
import xarray as xr

from stormcell.data.grid import Spacing
from stormcell.forecast.baselines import baseline
from stormcell.forecast.contract import Needs
from stormcell.forecast.resolution import Resolution
from stormcell.forecast.resolve import for_archive, latest_run, thinned

START = np.datetime64("2024-06-01T00:01", "ns")
BASELINE = baseline("persistence")


def rain(step: int, count: int = 31) -> xr.DataArray:
    times = START + np.arange(count) * np.timedelta64(step, "m")
    return xr.DataArray(np.zeros((count, 2, 2)), {"time": times}, ("time", "y", "x"))


def trained(*minutes: int):
    spacing = Spacing(1000.0, 1000.0, "m")
    resolutions = tuple(Resolution(np.timedelta64(60 * one, "s"), spacing) for one in minutes)
    return replace(BASELINE, needs=Needs(2, resolutions))


def kept(given: xr.DataArray) -> list[int]:
    return ((given["time"].values - START) / np.timedelta64(1, "m")).astype(int).tolist()


@pytest.mark.parametrize(
    ("step", "forecasters", "expected"),
    [
        (2, [trained(10)], 10),
        (2, [trained(10), BASELINE], 10),
        (2, [trained(10, 6)], 6),
        (2, [trained(10, 6), trained(10, 2)], 10),
        (5, [trained(10, 5)], 5),
        (5, [trained(12)], 5),
        (5, [BASELINE], 5),
        (5, [trained(5), trained(10)], 5),  # no common step: the models refuse the frames
    ],
)
def test_thinned_has_the_shortest_step_that_all_models_accept(step, forecasters, expected):
    assert kept(thinned(rain(step), forecasters)) == list(range(0, 30 * step + 1, expected))


def test_thinned_through_a_time_keeps_its_frame():
    through = START + np.timedelta64(14, "m")
    assert kept(thinned(rain(2)[:8], [trained(10)], through=through)) == [4, 14]


def test_latest_run_after_a_change_of_the_step_has_the_step_of_the_model():
    times = START + np.array([*range(0, 120, 10), *range(120, 156, 5)]) * np.timedelta64(1, "m")
    changed = xr.DataArray(np.zeros((len(times), 2, 2)), {"time": times}, ("time", "y", "x"))
    assert kept(latest_run(changed, trained(10), times[-1])) == [125, 135, 145, 155]
    assert kept(latest_run(changed, trained(5), times[-1])) == list(range(120, 156, 5))


def test_for_archive_of_a_baseline_is_the_baseline():
    assert for_archive(BASELINE, rain(5)) is BASELINE
