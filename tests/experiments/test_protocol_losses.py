"""The protocols' losses, compared with plain loops and with the scores that they minimise."""

import numpy as np
import pytest
import torch

from stormcell.experiments.protocol_losses import absolute_error, balanced_error, cross_entropy, squared_error
from stormcell.experiments.protocols import HKO7, OpenSTL, PaperMovingMnist
from stormcell.experiments.protocols.hko7 import REFLECTIVITY, THRESHOLDS

SHAPE = (3, 4, 1, 9, 8)  # (B, T, C, H, W)


@pytest.fixture
def batch():
    generator = np.random.default_rng(0)
    truth = generator.beta(2, 2, SHAPE)
    truth.flat[::7] = REFLECTIVITY.pixel(np.resize(THRESHOLDS, truth.flat[::7].shape))
    prediction = truth + generator.normal(0, 0.2, SHAPE)
    mask = generator.random(SHAPE) < 0.7
    return torch.from_numpy(prediction), torch.from_numpy(truth), torch.from_numpy(mask)


def arrays(*tensors):
    return [tensor.squeeze(2).numpy() for tensor in tensors]


@pytest.mark.parametrize(
    ("loss", "protocol", "score"),
    [
        (cross_entropy, PaperMovingMnist(4), "cross_entropy"),
        (squared_error, OpenSTL(4), "mse"),
        (absolute_error, OpenSTL(4), "mae"),
        # The score clips predictions to 0…1; the loss does not.
        (lambda p, t: balanced_error(p.clamp(0, 1), t, absolute=0), HKO7(4), "b_mse"),
        (lambda p, t: balanced_error(p.clamp(0, 1), t, squared=0), HKO7(4), "b_mae"),
    ],
)
def test_loss_equals_the_protocol_s_score(batch, loss, protocol, score):
    prediction, truth, _ = batch
    scores = protocol.scores(protocol.count(*arrays(prediction, truth)))
    # A few hundred float64 additions of numbers of the same sign, in another order.
    assert loss(prediction, truth).item() == pytest.approx(scores[score], rel=1e-12)


def test_balanced_error_equals_a_plain_loop(batch):
    prediction, truth, mask = batch
    total = 0.0
    for k, t, y, x in np.ndindex(3, 4, 9, 8):
        if mask[k, t, 0, y, x]:
            forecast, observed = prediction[k, t, 0, y, x].item(), truth[k, t, 0, y, x].item()
            # A rate on a threshold may be one float32 ulp below it; the factor moves it above.
            rate = 1.0001 * (10 ** (7 * observed - 1) / 58.53) ** (1 / 1.56)
            weight = 1 if rate < 2 else 2 if rate < 5 else 5 if rate < 10 else 10 if rate < 30 else 30
            error = abs(forecast - observed)
            total += (1 + 0.01 * t) * weight * (0.5 * error**2 + 2 * error)
    loss = balanced_error(prediction, truth, mask, squared=0.5, absolute=2.0, frame_growth=0.01)
    # A few hundred float64 additions of numbers of the same sign.
    assert loss.item() == pytest.approx(total / (3 * 4), rel=1e-12)


def test_balanced_error_ignores_pixels_outside_the_mask(batch):
    prediction, truth, mask = batch
    loss = balanced_error(prediction, truth, mask)
    torn = truth.where(mask, float("nan"))
    prediction = prediction.where(mask, float("nan")).requires_grad_()
    again = balanced_error(prediction, torn, mask)
    again.backward()
    assert again.item() == loss.item()
    assert prediction.grad is not None
    assert (prediction.grad[~mask] == 0).all()
    assert (prediction.grad[mask] != 0).all()


@pytest.mark.parametrize("loss", [cross_entropy, squared_error, absolute_error, balanced_error])
def test_loss_of_a_split_batch_is_the_mean_of_the_parts(batch, loss):
    prediction, truth, _ = (torch.cat([values, values.flip(0).roll(1, 3)[:1]]) for values in batch)
    halves = [loss(prediction[part], truth[part]) for part in (slice(0, 2), slice(2, 4))]
    # Two sums of a few hundred numbers of the same sign instead of one.
    assert sum(halves).item() / 2 == pytest.approx(loss(prediction, truth).item(), rel=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_loss_keeps_the_dtype(batch, dtype):
    prediction, truth, _ = (values.to(dtype) for values in batch)
    for loss in (cross_entropy, squared_error, absolute_error, balanced_error):
        assert loss(prediction, truth).dtype is dtype
