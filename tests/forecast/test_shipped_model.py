"""The shipped model on generated rain; other such rain is a small part of its training."""

import numpy as np
import pytest

from stormcell.data import synthetic
from stormcell.forecast.baselines import baseline
from stormcell.forecast.contract import Analysis
from stormcell.forecast.network import NetworkForecaster
from stormcell.forecast.resolve import shipped_name

THRESHOLDS = (0.5, 1.0, 2.0)  # mm/h; of higher rates, there are too few pixels
STEPS = 12


@pytest.fixture(scope="module")
def hits() -> dict[str, np.ndarray]:
    """Hits, and hits with misses and false alarms, by forecaster, lead time and threshold."""
    forecasters = {"model": NetworkForecaster.from_file(shipped_name()), "sprog": baseline("sprog")}
    counts = {name: np.zeros((STEPS, len(THRESHOLDS), 2)) for name in forecasters}
    for seed in (100, 101, 102, 103):
        rain = synthetic.generate(seed=seed, shape=(256, 256), steps=6 + STEPS).rainfall_rate
        analysis, truth = Analysis(rain[:6]), rain[6:].values
        made = {name: one.forecast_from(analysis, STEPS).values for name, one in forecasters.items()}
        defined = np.isfinite([truth, *made.values()]).all(axis=0)
        for name, forecast in made.items():
            for number, threshold in enumerate(THRESHOLDS):
                both = [(field >= threshold) & defined for field in (forecast, truth)]
                counts[name][:, number] += np.stack(
                    [(both[0] & both[1]).sum((1, 2)), (both[0] | both[1]).sum((1, 2))], axis=-1
                )
    return counts


def test_shipped_model_is_as_good_as_sprog_on_rain_that_has_its_physics(hits):
    """Generated rain is an autoregressive process by scale, for which S-PROG is nearly the best forecast."""
    model, sprog = ((hits[name][..., 0] / hits[name][..., 1]).mean(axis=0) for name in ("model", "sprog"))
    assert (model > 0.99 * sprog).all(), (model, sprog)


def test_shipped_model_is_as_good_as_sprog_at_the_first_lead_time(hits):
    model, sprog = ((hits[name][0, :, 0] / hits[name][0, :, 1]) for name in ("model", "sprog"))
    assert (model > 0.99 * sprog).all(), (model, sprog)
