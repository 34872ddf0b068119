"""Agreement with pysteps, if it is installed: the same trajectories, and forecasts as good."""

import contextlib
import gzip
import io

import numpy as np
import pytest

from stormcell.data import synthetic
from stormcell.motion.advection import displacements, extrapolate
from stormcell.motion.optical_flow import estimate


@pytest.fixture(scope="module")
def pysteps():
    pytest.importorskip("pysteps", reason="pysteps is not installed", exc_type=ImportError)
    from pysteps import motion
    from pysteps.extrapolation import semilagrangian

    return motion, semilagrangian


@pytest.fixture
def event():
    ds = synthetic.generate(seed=3, steps=3, shape=(80, 100))
    motion = np.stack([ds.motion_x.values, ds.motion_y.values])
    # Steeper shear than any real one, so that integration schemes differ.
    y, x = np.mgrid[:80, :100]
    shear = np.stack([np.sin(y / 9), np.cos(x / 7)])
    return ds.rainfall_rate.values[-1], (motion + shear).astype(np.float32)


def test_displacements_equal_those_of_pysteps(pysteps, event):
    _, semilagrangian = pysteps
    frame, motion = event
    for steps in (1, 6):
        _, theirs = semilagrangian.extrapolate(
            np.nan_to_num(frame), motion.astype(np.float64), steps, return_displacement=True
        )
        # float32 places up to 100 err by 4e-6, twice per step, on slopes up to 0.15: 1e-4 after six steps.
        np.testing.assert_allclose(list(displacements(motion, steps))[-1], theirs, atol=1e-4)


def test_extrapolate_equals_pysteps(pysteps, event):
    _, semilagrangian = pysteps
    frame, motion = event
    theirs = semilagrangian.extrapolate(
        frame.astype(np.float64), motion.astype(np.float64), 6, allow_nonfinite_values=True
    )
    ours = extrapolate(frame, motion, 6)
    both = np.isfinite(ours) & np.isfinite(theirs)
    # Places differ by up to 1e-4, so values differ by that fraction of the largest step between neighbours.
    steepest = max(np.nanmax(np.abs(np.diff(frame, axis=axis))) for axis in (0, 1))
    np.testing.assert_allclose(ours[both], theirs[both], atol=2e-4 * steepest)
    # Where the weight of a NaN neighbour is negligible, pysteps returns NaN and we do not.
    assert (np.isfinite(ours) != np.isfinite(theirs)).mean() < 1e-3


def fmi(path):
    """Rain rates of one Finnish composite, read from the description of the format alone."""
    content = gzip.decompress(path.read_bytes())
    pixels = np.frombuffer(content[-1226 * 760 :], np.uint8).reshape(1226, 760)
    rate = (10 ** ((pixels.astype(np.float32) - 64) / 20) / 223) ** (1 / 1.53)
    return np.where(pixels == 255, np.nan, np.where(pixels == 0, 0, rate)).astype(np.float32)


def csi(tallies):
    hits, misses, false_alarms = np.moveaxis(tallies, -1, 0)
    return (hits / (hits + misses + false_alarms)).mean(axis=0)


@pytest.fixture(scope="module")
def real_event(radar_data):
    files = sorted((radar_data / "fmi_pgm_20160928").glob("*.pgm.gz"))
    if len(files) < 40:
        pytest.skip("the Finnish event of 2016-09-28 is not complete")
    return files


def test_extrapolation_scores_at_least_as_pysteps(pysteps, real_event):
    """CSI at 0.5, 1 and 5 mm/h, lead times 5 to 60 min. The settings were chosen on other data."""
    theirs, semilagrangian = pysteps
    tallies = {"ours": np.zeros((12, 3, 3)), "theirs": np.zeros((12, 3, 3))}
    for issued in (8, 20):
        frames = np.stack([fmi(real_event[k]) for k in range(issued - 2, issued + 13)])
        past, truths = frames[:3], frames[3:]
        decibels = np.where(past >= 0.1, 10 * np.log10(np.maximum(past, 0.1)), -15)
        with contextlib.redirect_stdout(io.StringIO()):
            motion = theirs.get_method("LK")(np.ma.masked_invalid(np.where(np.isnan(past), np.nan, decibels)))
        forecasts = {
            "ours": extrapolate(past[-1], estimate(past), 12),
            "theirs": semilagrangian.extrapolate(past[-1], motion, 12, allow_nonfinite_values=True),
        }
        mask = np.isfinite(truths) & np.isfinite(forecasts["ours"]) & np.isfinite(forecasts["theirs"])
        for name, forecast in forecasts.items():
            for k, threshold in enumerate((0.5, 1, 5)):
                said, was = (forecast >= threshold) & mask, (truths >= threshold) & mask
                counts = [said & was, ~said & was, said & ~was]
                tallies[name][:, k] += np.stack([c.sum(axis=(1, 2)) for c in counts], axis=-1)
    # At every threshold, to within 1e-3, which is less than the effect of one issue time more or less.
    assert (csi(tallies["ours"]) >= csi(tallies["theirs"]) - 1e-3).all(), (
        csi(tallies["ours"]),
        csi(tallies["theirs"]),
    )
