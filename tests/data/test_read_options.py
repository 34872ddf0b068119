import numpy as np
import pytest

from stormcell.data.read_options import ReadOptions
from stormcell.errors import InputError


def test_read_options_times_of_one_frame_need_no_step():
    assert ReadOptions(start="2020-05-01T12:00").times(1) == [np.datetime64("2020-05-01T12:00")]


@pytest.mark.parametrize(
    ("options", "reason"),
    [(ReadOptions(step="5min"), "give --start"), (ReadOptions(start="2020-05-01T12:00"), "give --step")],
)
def test_read_options_missing_start_or_step_raises(options, reason):
    with pytest.raises(InputError, match=reason):
        options.times(2)


def test_read_options_grid_lies_within_the_bounds():
    grid = ReadOptions(crs="EPSG:4326", bounds=(10.0, 50.0, 12.0, 51.0)).grid(20, 5)
    assert (grid.x[0] - grid.dx / 2, grid.x[-1] + grid.dx / 2) == pytest.approx((10, 12))
    assert (grid.y[0] + grid.dy / 2, grid.y[-1] - grid.dy / 2) == pytest.approx((51, 50))


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({}, "give --crs and --bounds"),
        ({"crs": "EPSG:4326"}, "give --bounds"),
        ({"bounds": (0.0, 0.0, 1.0, 1.0)}, "give --crs"),
    ],
)
def test_read_options_grid_without_position_raises(given, reason):
    with pytest.raises(InputError, match=f"{reason}$"):
        ReadOptions(**given).grid(4, 4)


def test_read_options_lowest_quality_of_a_format_without_quality_raises():
    ReadOptions().expect_no_quality("FMI PGM")
    with pytest.raises(InputError, match="min_quality: expected a quality field, found FMI PGM"):
        ReadOptions(min_quality=0.5).expect_no_quality("FMI PGM")
