import numpy as np
import pytest
import xarray as xr

from stormcell.data.static_clutter import FREQUENCY, MASK
from stormcell.verification.clutter_map import clutter_map


def found(clutter):
    y, x = (1000.0 * np.arange(size) for size in clutter.shape)
    dims = ("y", "x")
    metres = {"units": "m"}
    return xr.Dataset(
        {FREQUENCY: (dims, np.full(clutter.shape, 0.2, np.float32)), MASK: (dims, clutter.astype(np.int8))},
        {"y": ("y", y[::-1], metres), "x": ("x", x, metres)},
        {"frames": 30, "period_start": "2024-06-01T00:00:00", "period_end": "2024-06-01T02:30:00"},
    )


def titles(figure):
    return [ax.get_title(loc="left") for ax in figure.axes]


def test_map_without_clutter_is_of_the_whole_grid_only():
    figure = clutter_map(found(np.zeros((500, 700), np.bool_)))
    assert titles(figure) == ["whole grid", ""]  # the last is the colour bar


def test_map_shows_clutter_in_the_middle_of_its_close_up():
    clutter = np.zeros((500, 700), np.bool_)
    clutter[245:255, 340:360] = True
    figure = clutter_map(found(clutter))
    assert titles(figure) == ["whole grid", "where clutter is densest", ""]
    (dots,) = [line for line in figure.axes[1].lines if line.get_marker() == "s"]
    assert len(dots.get_xdata()) == 200
    assert np.mean(dots.get_xdata()) == pytest.approx(150, abs=1)
    assert np.mean(dots.get_ydata()) == pytest.approx(150, abs=1)
