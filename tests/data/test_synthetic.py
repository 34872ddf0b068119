from itertools import pairwise

import numpy as np
import pytest
import xarray as xr

from stormcell.data import schema, synthetic
from stormcell.errors import ArgumentError
from stormcell.motion.advection import extrapolate


@pytest.fixture(scope="module")
def events():
    return [synthetic.generate(seed=seed) for seed in range(6)]


def csi(forecast, truth, mask, threshold):
    predicted, observed = (forecast >= threshold) & mask, (truth >= threshold) & mask
    return (predicted & observed).sum() / (predicted | observed).sum()


def test_synthetic_event_is_an_archive(events):
    for event in events:
        schema.check(event)
        assert not schema.value_problems(event.rainfall_rate.values)


def test_synthetic_same_seed_gives_the_same_rain():
    first, again, other = (synthetic.generate(seed=s, steps=4, shape=(40, 60)) for s in (1, 1, 2))
    xr.testing.assert_identical(first, again)
    assert not np.array_equal(first.rainfall_rate, other.rainfall_rate, equal_nan=True)
    assert not np.allclose(first.motion_x, other.motion_x)


def test_synthetic_shape_of_the_grid_is_free():
    for shape in ((16, 16), (40, 60), (61, 33)):
        event = synthetic.generate(seed=3, shape=shape, steps=2)
        assert event.rainfall_rate.shape == (2, *shape)
        schema.check(event)


def test_synthetic_unobserved_pixels_are_the_same_in_every_frame(events):
    unobserved = np.isnan(events[0].rainfall_rate.values)
    assert 0.02 < unobserved.mean() < 0.1
    for event in events:
        assert (np.isnan(event.rainfall_rate.values) == unobserved[0]).all()


def test_synthetic_rain_has_realistic_frequencies(events):
    rates = np.stack([event.rainfall_rate.values for event in events])
    wet = (rates > 0).sum(axis=(1, 2, 3)) / np.isfinite(rates).sum(axis=(1, 2, 3))
    # Drawn between 12 and 28 %, but only a part of each field is observed.
    assert wet.min() > 0.05
    assert wet.max() < 0.45
    assert 0.12 < wet.mean() < 0.28
    strongest = np.nanmax(rates, axis=(1, 2, 3))
    assert strongest.min() > 5
    assert strongest.max() < 0.1 * 10 ** (synthetic.MOST_DECIBELS / 10)
    # Heavy rain is rare: at least a tenth of the wet pixels reach 1 mm/h, and fewer reach 5 mm/h.
    share = [(rates > threshold).sum() / (rates > 0).sum() for threshold in (1, 5)]
    assert 0.1 < share[0] < 0.5
    assert 0.005 < share[1] < share[0] / 3


def test_synthetic_spectrum_falls_by_a_power(events):
    """The spectrum of log rain, tapered so that the edges do not contribute."""
    slopes = []
    window = np.hanning(128)[:, None] * np.hanning(128)
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(128), np.fft.fftfreq(128)))
    # Wavelengths of 4 to 32 km: shorter than the largest areas, longer than a few pixels.
    bins = np.geomspace(1 / 32, 1 / 4, 8)
    for event in events:
        rate = np.nan_to_num(event.rainfall_rate.values[18])
        power = np.abs(np.fft.fft2(np.log10(np.maximum(rate, 0.1)) * window)) ** 2
        mean = [power[(frequency >= a) & (frequency < b)].mean() for a, b in pairwise(bins)]
        slopes.append(np.polyfit(np.log(np.sqrt(bins[1:] * bins[:-1])), np.log(mean), 1)[0])
    # The field itself falls with the power SLOPE. The threshold makes it rougher.
    assert -3.6 < np.mean(slopes) < -2.2


def test_synthetic_rain_follows_the_true_motion(events):
    """Persistence loses skill as on real radar; extrapolation along the true motion loses far less."""
    still, moved = np.zeros((2, 6, 12))
    for k, event in enumerate(events):
        rate = event.rainfall_rate.values
        motion = np.stack([event.motion_x.values, event.motion_y.values])
        forecast = extrapolate(rate[6], motion, 12)
        for lead in range(12):
            truth = rate[7 + lead]
            mask = np.isfinite(truth) & np.isfinite(forecast[lead]) & np.isfinite(rate[6])
            still[k, lead] = csi(rate[6], truth, mask, 0.1)
            moved[k, lead] = csi(forecast[lead], truth, mask, 0.1)
    # On real radar, with larger rain areas: .81 and .82 one frame ahead, .64 and .60 six frames ahead.
    assert 0.6 < still[:, 0].mean() < 0.85
    assert 0.25 < still[:, 5].mean() < 0.65
    assert (moved[:, :6] > still[:, :6]).mean() > 0.9
    assert moved[:, 0].mean() > 0.8
    # Rain also grows and decays: motion alone explains little an hour ahead.
    assert moved[:, 11].mean() < 0.7


def test_synthetic_motion_turns_about_the_middle_and_drifts():
    weather = synthetic.Weather((2.0, -1.0), np.deg2rad(1.5), 0.2, 0.1, 0.0, 1.0, 0.0)
    shape = (41, 61)
    x, y = synthetic._displaced(weather, shape, 1)
    assert (x[20, 30], y[20, 30]) == pytest.approx((32, 19), abs=1e-5)
    # Clockwise on the map: rain east of the middle moves south. 20 px · sin 1.5° is half a pixel.
    assert y[20, 50] - 20 == pytest.approx(-1 + 20 * np.sin(np.deg2rad(1.5)), abs=1e-5)


@pytest.mark.parametrize("turn", [0.0, 0.03])
def test_synthetic_displacements_of_steps_add_up(turn):
    weather = synthetic.Weather((2.0, -1.0), turn, 0.2, 0.1, 0.0, 1.0, 0.0)
    shape = (41, 61)
    far_x, far_y = synthetic._displaced(weather, shape, 5)
    place = np.array([10.0, 7.0])
    for _ in range(5):
        centre, rotation = (
            np.array([30, 20]),
            np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]),
        )
        place = centre + rotation @ (place - centre) + [2.0, -1.0]
    assert (far_x[7, 10], far_y[7, 10]) == pytest.approx(tuple(place), abs=1e-4)


def test_synthetic_files_are_events_in_order_with_pauses(tmp_path):
    files = synthetic.write(tmp_path / "new", seed=4, events=3, shape=(24, 32), steps=5)
    assert sorted(files) == files == sorted((tmp_path / "new").iterdir())
    ends = np.datetime64("2000-01-01")
    drifts = set()
    for file in files:
        with xr.open_dataset(file, decode_coords="all") as ds:
            assert ds.attrs["Conventions"].startswith("CF-1.")
            assert ds.rainfall_rate.attrs["standard_name"] == "rainfall_flux"
            assert ds.rainfall_rate.attrs["units"] == "kg m-2 h-1"
            assert "crs_wkt" in ds.crs.attrs
            assert ds.y[0] > ds.y[-1]
            assert ds.time.values[0] - ends >= np.timedelta64(3, "h")
            ends = ds.time.values[-1]
            drifts.add(float(ds.rainfall_rate.sum()))
            # The given seed, not the event's own: an archive of all files has a single source.
            assert ds.attrs["source"] == "stormcell, seed 4"
    assert len(drifts) == 3


def test_synthetic_write_twice_gives_the_same_files(tmp_path):
    once, again = (synthetic.write(tmp_path / n, seed=4, events=1, shape=(24, 32), steps=3) for n in "ab")
    xr.testing.assert_identical(xr.load_dataset(once[0]), xr.load_dataset(again[0]))


@pytest.mark.parametrize("wrong", [{"shape": (15, 40)}, {"steps": 0}, {"step_minutes": -5}, {"pixel_km": 0}])
def test_synthetic_impossible_sizes_raise(wrong):
    with pytest.raises(ArgumentError, match="expected 16 × 16 pixels or more and positive"):
        synthetic.generate(seed=1, **wrong)
