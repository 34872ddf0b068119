import numpy as np
import torch

from stormcell.models.calibration import Calibration


def test_calibration_interpolates_between_the_knots_of_each_lead_time():
    calibration = Calibration(steps=2, bins=4)
    levels = np.array([[0.0, 0.1, 0.3, 0.9, 1.2], [0.0, 0.5, 0.6, 0.7, 0.8]])
    calibration.levels.copy_(torch.from_numpy(levels))
    values = np.random.default_rng(0).uniform(0, 1, (3, 2, 5, 6)).astype(np.float32)
    mapped = calibration(torch.from_numpy(values)).numpy()
    for lead in range(2):
        expected = np.interp(values[:, lead], np.linspace(0, 1, 5), levels[lead])
        # A few float32 operations on numbers near one.
        np.testing.assert_allclose(mapped[:, lead], expected, atol=1e-6)


def test_calibration_above_one_has_slope_one():
    calibration = Calibration(steps=1, bins=4)
    calibration.levels[0, -1] = 1.5
    mapped = calibration(torch.tensor([1.0, 1.25, 2.0]).reshape(1, 1, 1, 3))
    torch.testing.assert_close(mapped.flatten(), torch.tensor([1.5, 1.75, 2.5]))


def test_calibration_of_later_lead_times_uses_the_last_map():
    calibration = Calibration(steps=2, bins=4)
    calibration.levels[1] *= 2
    y = torch.tensor([0.0, 0.5]).expand(1, 4, 1, 2)
    expected = torch.tensor([[0.0, 0.5], [0.0, 1.0], [0.0, 1.0], [0.0, 1.0]])
    torch.testing.assert_close(calibration(y)[0, :, 0], expected)
