import numpy as np
import pytest
import torch

from stormcell.verification.contingency import contingency


def fields():
    """A forecast and an observation with NaN and values on the threshold, and a mask."""
    generator = np.random.default_rng(0)
    forecast, observation = generator.integers(0, 4, (2, 3, 5, 7)).astype(np.float32)
    observation[0, 0], forecast[1, 1] = np.nan, np.nan
    return forecast, observation, ~np.isnan(observation) & (generator.random((3, 5, 7)) < 0.8)


@pytest.mark.parametrize("axis", [None, (1, 2), (0, 2)])
def test_contingency_of_arrays_equals_plain_loops_and_tensors(axis):
    forecast, observation, mask = fields()
    found = contingency(forecast, observation, mask, 2.0, axis)
    for name, count in found._asdict().items():
        expected = np.zeros(mask.shape, int)
        for place in np.argwhere(mask):
            predicted, event = forecast[tuple(place)] >= 2, observation[tuple(place)] >= 2
            kind = ("correct_negatives", "false_alarms", "misses", "hits")[2 * event + predicted]
            expected[tuple(place)] = kind == name
        np.testing.assert_array_equal(count, expected.sum(axis))
    tensors = contingency(*(torch.from_numpy(field) for field in (forecast, observation, mask)), 2.0, axis)
    for ours, theirs in zip(found, tensors, strict=True):
        assert theirs.dtype == torch.int64
        np.testing.assert_array_equal(ours, theirs.numpy())
