"""Extrapolation: the frames it uses, and its forecast of a moving blob."""

import numpy as np
import pytest

from stormcell.errors import ArgumentError
from stormcell.experiments.dense_flow import dense_flow
from stormcell.experiments.protocols.extrapolation import LAST_FRAME, OPTICAL_FLOWS
from stormcell.motion.advection import extrapolate

ROWS = (LAST_FRAME, *OPTICAL_FLOWS)
names = [row.name for row in ROWS]


def blob(steps, dx=2.0, dy=-1.0, shape=(64, 64), start=(40, 16)):
    y, x = np.mgrid[: shape[0], : shape[1]]
    frames = [
        np.exp(-((y - start[0] - t * dy) ** 2 + (x - start[1] - t * dx) ** 2) / 60) for t in range(steps)
    ]
    return np.float32(frames)


@pytest.mark.parametrize("row", ROWS, ids=names)
def test_extrapolation_returns_pixels_of_the_requested_shape(row):
    frames = np.random.default_rng(0).random((2, 5, 24, 31), np.float32)
    forecast = row(frames, 4)
    assert forecast.shape == (2, 4, 24, 31)
    assert forecast.dtype == np.float32
    assert forecast.min() >= 0
    assert forecast.max() <= 1
    # The forecast depends neither on other sequences nor on frames older than needed.
    np.testing.assert_array_equal(row(frames[1:, 5 - row.needs :], 4), forecast[1:])


def test_last_frame_repeats_the_newest_frame():
    frames = blob(7)
    np.testing.assert_array_equal(LAST_FRAME(frames[None, :5], 2)[0], frames[[4, 4]])


@pytest.mark.parametrize("row", OPTICAL_FLOWS, ids=names[1:])
def test_optical_flow_of_a_steady_blob_follows_it(row):
    frames = blob(12)
    forecast = row(frames[None, :5], 7)[0]
    error = np.square(forecast - frames[5:]).sum(axis=(1, 2))
    still = np.square(frames[4] - frames[5:]).sum(axis=(1, 2))
    # An error of a tenth of the motion displaces the blob by a tenth of its path; squared, a hundredth.
    assert (error < 0.05 * still).all()


@pytest.mark.parametrize(
    ("row", "weights"),
    list(zip(OPTICAL_FLOWS, [(1.0,), (0.5, 0.5), (0.7, 0.2, 0.1)], strict=True)),
    ids=names[1:],
)
def test_optical_flow_weights_are_the_paper_s(row, weights):
    # The blob accelerates: the three flows differ, so the order of the weights matters.
    x = np.array([10.0, 11.0, 13.0, 16.0])
    y, columns = np.mgrid[:48, :64]
    frames = np.float32([np.exp(-((y - 24) ** 2 + (columns - place) ** 2) / 60) for place in x])
    motion = np.zeros((2, 48, 64))
    for age, weight in enumerate(weights):  # 0 is the newest
        motion += weight * dense_flow(frames[2 - age], frames[3 - age])
    expected = extrapolate(frames[-1], motion.astype(np.float32), 3)
    expected[np.isnan(expected)] = 0
    # The mean is in float32 or float64: an ulp of a few pixels per step, times a gradient below 1.
    np.testing.assert_allclose(row(frames[None], 3)[0], expected, atol=1e-4)
    assert row.needs == len(weights) + 1


def test_optical_flow_inflow_from_outside_is_dry():
    frames = np.ones((1, 2, 32, 32), np.float32) * blob(2, dx=3.0, dy=0.0, shape=(32, 32), start=(16, 8))
    forecast = OPTICAL_FLOWS[0](frames, 8)
    assert np.isfinite(forecast).all()
    assert (forecast[0, -1, 16, :4] == 0).all()


@pytest.mark.parametrize("row", ROWS, ids=names)
def test_extrapolation_invalid_steps_or_frames_raise(row):
    frames = np.zeros((1, row.needs, 32, 32), np.float32)
    with pytest.raises(ArgumentError, match="steps"):
        row(frames, 0)
    with pytest.raises(ArgumentError, match="expected"):
        row(frames[:, 1:], 3)
    with pytest.raises(ArgumentError, match="expected"):
        row(frames[0], 3)
