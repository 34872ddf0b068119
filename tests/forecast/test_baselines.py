import itertools
import sys
from importlib.util import find_spec

import numpy as np
import pytest
import xarray as xr

from stormcell.data import synthetic
from stormcell.errors import ArgumentError, FramesError, MissingExtraError
from stormcell.forecast import baselines
from stormcell.forecast import pysteps_baselines as by_pysteps
from stormcell.forecast.baselines import BASELINES, baseline
from stormcell.forecast.contract import Analysis
from stormcell.forecast.probabilistic import EnsembleForecaster
from stormcell.motion.advection import extrapolate
from stormcell.motion.optical_flow import estimate

INSTALLED = [name for name, method in BASELINES.items() if not method.extra or find_spec(method.extra)]
needs_pysteps = pytest.mark.skipif(find_spec("pysteps") is None, reason="pysteps is not installed")


@pytest.fixture(scope="module")
def event():
    return synthetic.generate(seed=2, steps=10, shape=(96, 80)).rainfall_rate


def as_frames(values):
    times = np.datetime64("2024-06-01", "ns") + np.arange(len(values)) * np.timedelta64(300, "s")
    values = np.asarray(values, np.float32)
    coords = {
        "time": times,
        "y": -1000.0 * np.arange(values.shape[1]),
        "x": 1000.0 * np.arange(values.shape[2]),
    }
    return xr.DataArray(values, coords=coords, dims=("time", "y", "x"), name="rainfall_rate")


@pytest.mark.parametrize("name", INSTALLED)
def test_baseline_any_meets_the_contract(name, event, capsys):
    given = event[:6]
    forecast = baseline(name)(given, 3)
    assert forecast.dims == ("time", "y", "x")
    assert forecast.shape == (3, 96, 80)
    assert forecast.dtype == np.float32
    assert forecast["time"].values[0] == event["time"].values[6]
    assert forecast["crs"].attrs == event["crs"].attrs
    assert forecast.attrs["forecaster"] == name
    assert np.nanmin(forecast) >= 0
    assert np.isfinite(forecast).mean() > 0.7
    assert capsys.readouterr().out == ""
    # Older frames than it needs do not change the forecast.
    xr.testing.assert_identical(forecast, baseline(name)(event[6 - BASELINES[name].needs.frames : 6], 3))


@pytest.mark.parametrize("name", INSTALLED)
def test_baseline_dry_frames_forecasts_dry(name):
    dry = np.zeros((4, 40, 30), np.float32)
    dry[:, :5] = np.nan
    np.testing.assert_array_equal(baseline(name)(as_frames(dry), 3), np.stack([dry[-1]] * 3))


@pytest.mark.parametrize("name", INSTALLED)
def test_baseline_nothing_observed_forecasts_nan(name):
    assert np.isnan(baseline(name)(as_frames(np.full((4, 40, 30), np.nan)), 3)).all()


def unusual_rain():
    dry = np.zeros((4, 48, 37), np.float32)
    rng = np.random.default_rng(0)
    one_pixel, newest, still, vanished = (dry.copy() for _ in range(4))
    one_pixel[:, 20, 20] = 5
    newest[-1, 10:20, 10:20] = 5
    still[:, 10:20, 10:20] = 5
    vanished[:3, 10:20, 10:20] = 5
    vanished[3, 40, 30] = 0.2
    noise = rng.gamma(0.3, 3, size=dry.shape)
    with_unobserved_frame = noise.copy()
    with_unobserved_frame[1] = np.nan
    return {
        "one pixel": one_pixel,
        "newest only": newest,
        "stationary": still,
        "vanished": vanished,
        "uniform": dry + 2,
        "noise": noise,
        "a frame not observed": with_unobserved_frame,
        "tiny": noise[:, :6, :5],
    }


@pytest.mark.parametrize("name", INSTALLED)
@pytest.mark.parametrize("kind", unusual_rain())
def test_baseline_unusual_rain_forecasts_finite_rates(name, kind):
    frames = as_frames(unusual_rain()[kind])
    forecast = baseline(name)(frames, 3)
    assert forecast.shape == (3, *frames.shape[1:])
    assert not (forecast < 0).any()
    assert not np.isinf(forecast).any()


def test_persistence_repeats_the_newest_frame(event):
    forecast = baseline("persistence")(event[:5], 4)
    np.testing.assert_array_equal(forecast, np.stack([event.values[4]] * 4))


def test_extrapolation_moves_the_newest_frame(event):
    forecast = baseline("extrapolation")(event[:5], 4)
    expected = extrapolate(event.values[4], estimate(event.values[2:5]), 4)
    np.testing.assert_array_equal(forecast, expected)


@pytest.mark.parametrize("name", [name for name in INSTALLED if name != "persistence"])
def test_baseline_with_motion_beats_persistence(name, event):
    truth = event.values[6:9]
    forecast = baseline(name)(event[:6], 3).values
    mask = np.isfinite(truth) & np.isfinite(forecast) & np.isfinite(event.values[5])
    persistence_error = np.abs(event.values[5] - truth)[mask].mean()
    assert np.abs(forecast - truth)[mask].mean() < 0.9 * persistence_error


@needs_pysteps
@pytest.mark.parametrize(("name", "count"), [("sprog", 3), ("anvil", 4), ("steps", 3)])
def test_pysteps_baseline_equals_its_own_example(name, count, event, capsys):
    """The settings are those of the pysteps gallery: dB with -15 for dry, threshold -10, six levels."""
    from pysteps import nowcasts
    from pysteps.utils import transformation

    frames = event.values[6 - count : 6]
    motion = estimate(frames[-3:])
    with np.errstate(all="ignore"):
        if name in ("sprog", "steps"):
            decibels, _ = transformation.dB_transform(np.nan_to_num(frames), threshold=0.1, zerovalue=-15.0)
            options = {"precip_thr": -10.0, "n_cascade_levels": 6}
            if name == "steps":
                seed = int(np.random.SeedSequence(7).generate_state(1)[0])
                options |= {"n_ens_members": 2, "kmperpixel": 1.0, "timestep": 5.0, "seed": seed}
            nowcast = nowcasts.get_method(name)(decibels.astype(np.float64), motion, 3, **options)
            expected, _ = transformation.dB_transform(nowcast, threshold=-10.0, inverse=True)
        else:
            expected = nowcasts.get_method(name)(frames, motion, 3, n_cascade_levels=6)
    capsys.readouterr()
    if name == "steps":
        forecast = baseline(name).ensemble_from(Analysis(event[:6]), 3, members=2, seed=7).values
    else:
        forecast = baseline("pysteps-sprog" if name == "sprog" else name)(event[:6], 3).values
    known = np.isfinite(extrapolate(frames[-1], motion, 3))
    np.testing.assert_array_equal(np.isnan(forecast), np.isnan(expected) | ~known)
    # The forecast is float32, pysteps computes in float64.
    defined = np.isfinite(forecast)
    np.testing.assert_allclose(forecast[defined], expected[defined], rtol=1e-5, atol=1e-6)


@needs_pysteps
def test_steps_ensemble_meets_the_contract(event):
    members = baseline("steps").ensemble_from(Analysis(event[:6]), 3, members=4, seed=1)
    assert members.dims == ("realization", "time", "y", "x")
    assert members.shape == (4, 3, 96, 80)
    assert members.dtype == np.float32
    assert members.attrs["forecaster"] == "steps"
    assert np.nanmin(members) >= 0
    for one, other in itertools.combinations(members.values, 2):
        assert np.nanmax(np.abs(one - other)) > 1


@needs_pysteps
def test_steps_single_forecast_and_ensemble_of_an_analysis_are_computed_once(event, monkeypatch):
    calls = []
    computed = by_pysteps.steps_members
    monkeypatch.setattr(by_pysteps, "steps_members", lambda *given: calls.append(given) or computed(*given))
    steps, analysis = baseline("steps"), Analysis(event[:6])
    mean = steps.forecast_from(analysis, 2)
    members = steps.ensemble_from(analysis, 2, members=20, seed=0)
    assert len(calls) == 1
    everywhere = np.isfinite(members.values).all(axis=0)
    np.testing.assert_allclose(
        mean.values[everywhere], members.values.mean(axis=0)[everywhere], rtol=1e-5, atol=1e-6
    )
    steps.ensemble_from(analysis, 2, members=3, seed=0)
    assert len(calls) == 2


@needs_pysteps
def test_steps_ensemble_same_seed_same_members_and_another_seed_others(event):
    steps, analysis = baseline("steps"), Analysis(event[:6])
    np.random.seed(3)  # noqa: NPY002 - pysteps uses NumPy's global numbers
    first = steps.ensemble_from(analysis, 2, members=2, seed=2**40)
    assert np.random.random() == np.random.RandomState(3).random()  # noqa: NPY002
    xr.testing.assert_identical(first, steps.ensemble_from(analysis, 2, members=2, seed=2**40))
    assert (first != steps.ensemble_from(analysis, 2, members=2, seed=5)).mean() > 0.1


@needs_pysteps
def test_steps_single_forecast_is_the_mean_of_20_members(event):
    analysis = Analysis(event[:6])
    members = baseline("steps").ensemble_from(analysis, 2, members=20, seed=0)
    expected = members.mean("realization").values
    np.testing.assert_allclose(baseline("steps").forecast_from(analysis, 2), expected, rtol=1e-5)


@needs_pysteps
def test_steps_dry_frames_give_members_that_are_dry():
    dry = as_frames(np.zeros((4, 40, 30)))
    members = baseline("steps").ensemble_from(Analysis(dry), 3, members=2, seed=0)
    np.testing.assert_array_equal(members, np.zeros((2, 3, 40, 30)))


@needs_pysteps
@pytest.mark.parametrize(
    ("members", "seed", "message"),
    [(0, 0, "members: expected 1 or more, found 0"), (2, -1, "seed: expected 0 or more, found -1")],
)
def test_steps_impossible_numbers_raise(members, seed, message, event):
    with pytest.raises(ArgumentError, match=message):
        baseline("steps").ensemble_from(Analysis(event[:6]), 3, members=members, seed=seed)


def test_baselines_only_steps_forecasts_ensembles():
    assert [name for name, one in BASELINES.items() if isinstance(one, EnsembleForecaster)] == ["steps"]


@pytest.mark.parametrize("name", INSTALLED)
def test_baseline_too_few_frames_error_names_the_number(name, event):
    needs = BASELINES[name].needs.frames
    with pytest.raises(FramesError, match=f"at least {needs} without a gap up to the issue time, found 1"):
        baseline(name)(event[:1], 3)


def test_baseline_zero_steps_raises(event):
    with pytest.raises(ArgumentError, match="steps: expected 1 or more, found 0"):
        baseline("persistence")(event, 0)


def test_baseline_unknown_name_error_lists_known_names():
    known = "persistence, extrapolation, sprog, pysteps-sprog, anvil, steps"
    with pytest.raises(ArgumentError, match=f'one of {known}, found "lk"'):
        baseline("lk")


def test_baseline_without_pysteps_error_names_the_extra(monkeypatch):
    monkeypatch.setattr(baselines, "find_spec", lambda _: None)
    with pytest.raises(
        MissingExtraError, match=r'steps: pysteps is not installed: pip install "stormcell\[pysteps\]"'
    ):
        baseline("steps")
    assert baseline("sprog").needs.frames == 3


def test_baselines_import_does_not_import_pysteps():
    import subprocess

    code = "import sys, stormcell.forecast.baselines; sys.exit('pysteps' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
