import numpy as np
import torch

from stormcell.data.scaling import LogScaling
from stormcell.models.nowcaster import Nowcaster


def nowcaster(seed: int = 0, **changes) -> Nowcaster:
    """A nowcaster with a random head; the initial head only repeats the newest frame."""
    torch.manual_seed(seed)
    arguments = {"steps": 4, "hidden_channels": [6, 4], "kernel_size": 3, "patch_size": 4} | changes
    made = Nowcaster(LogScaling(), **arguments)
    torch.nn.init.normal_(made.network.head.weight, std=0.5)
    return made


def rain(*shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(1)) * 10


def test_nowcaster_untrained_nearly_repeats_the_newest_frame():
    made = Nowcaster(LogScaling(), steps=2, scales=(3,), hidden_channels=[4], kernel_size=3, patch_size=2)
    rate = torch.zeros(1, 2, 9, 9)
    rate[0, 1, 4, 4] = 5.0
    forecast = made.scaled(rate, steps=2)[0, 1]
    share = torch.tensor([5.0, 0.0]).softmax(0)
    peak = LogScaling().forward(torch.tensor(5.0))
    torch.testing.assert_close(forecast[4, 4], peak * (share[0] + share[1] / 9))
    torch.testing.assert_close(forecast[3, 5], peak * share[1] / 9)
    assert forecast[2, 2] == 0


def test_nowcaster_given_dry_frames_forecasts_dry_ones():
    rate = torch.zeros(2, 3, 16, 16)
    rate[0, :, :4] = float("nan")
    made = nowcaster()
    with torch.no_grad():
        made.network.head.bias += 1.0  # a network that would rain everywhere
    assert made(rate, steps=4).abs().max() == 0


def test_nowcaster_dry_sample_leaves_the_rest_of_the_batch():
    rate = rain(2, 3, 16, 16)
    rate[0] = 0
    forecast = nowcaster()(rate, steps=2)
    assert forecast[0].max() == 0
    assert forecast[1].max() > 0


def test_nowcaster_rain_is_never_negative_and_dry_is_exactly_zero():
    made = nowcaster()
    forecast = made(rain(2, 3, 16, 16), steps=5)
    assert forecast.min() == 0  # this network has pixels below zero, and cuts them
    assert (made.scaled(rain(2, 3, 16, 16), steps=5) < 0).any()


def test_nowcaster_distinguishes_unobserved_and_dry_pixels():
    dry, unobserved = rain(1, 3, 16, 16), rain(1, 3, 16, 16)
    dry[..., 3:6, 3:6] = 0
    unobserved[..., 3:6, 3:6] = float("nan")
    made = nowcaster()
    assert made(unobserved, steps=1).isfinite().all()
    assert not torch.equal(made(dry, steps=1), made(unobserved, steps=1))


def test_nowcaster_smoothing_uses_observed_pixels_only():
    made = nowcaster(scales=(3,))
    x, mask = rain(1, 5, 5), torch.ones(1, 5, 5)
    mask[0, 1, 1] = 0
    x = x * mask
    smoothed = made._smoothed(x, mask)[0, 1]
    window = [(r, c) for r in range(3) for c in range(3) if (r, c) != (1, 1)]
    by_hand = np.mean([x[0, r, c].item() for r, c in window])
    np.testing.assert_allclose(smoothed[1, 1].item(), by_hand, rtol=1e-6)


def test_nowcaster_takes_sizes_that_are_not_multiples_of_the_patch():
    assert nowcaster()(rain(1, 2, 37, 48), steps=3).shape == (1, 3, 37, 48)


def test_nowcaster_arguments_build_the_same_nowcaster():
    made = nowcaster(scales=(5,))
    again = Nowcaster(made.scaling, **made.arguments)
    again.load_state_dict(made.state_dict())
    torch.testing.assert_close(
        again(rain(1, 2, 8, 8), steps=2), made(rain(1, 2, 8, 8), steps=2), rtol=0, atol=0
    )
