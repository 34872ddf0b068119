import numpy as np
import pytest

from stormcell.errors import NotOfferedError
from stormcell.live.published_distribution import PublishedDistribution

THRESHOLDS = (0.1, 0.5, 1.0, 5.0, 10.0)


def distribution(*probabilities):
    field = np.array(probabilities, np.float32)[:, None, None]
    return PublishedDistribution(np.zeros((1, 1), np.float32), THRESHOLDS, field)


@pytest.mark.parametrize("observed", [0.0, 0.3, 2.0, 7.0, 15.0, 40.0])
def test_published_distribution_crps_equals_the_integral(observed):
    found = distribution(0.8, 0.6, 0.5, 0.2, 0.1).crps(np.float32([[observed]])).item()
    rates = np.linspace(0, 50, 500_001)
    exceeding = np.interp(rates, [0, *THRESHOLDS, 20], [0.8, 0.8, 0.6, 0.5, 0.2, 0.1, 0])
    expected = np.trapezoid((exceeding - (rates < observed)) ** 2, rates)
    assert found == pytest.approx(expected, rel=1e-3)


def test_published_distribution_certain_of_dry_weather_has_the_observed_rate_as_crps():
    dry = distribution(0, 0, 0, 0, 0)
    assert dry.crps(np.float32([[3.0]])).item() == pytest.approx(3.0)
    assert dry.crps(np.float32([[0.0]])).item() == 0


def test_published_distribution_has_probabilities_at_its_thresholds_only():
    found = distribution(0.8, 0.6, 0.5, 0.2, 0.1)
    assert found.probability([1.0, 0.1]).ravel().tolist() == pytest.approx([0.5, 0.8])
    with pytest.raises(NotOfferedError):
        found.quantile([0.5])
