import pytest
import torch

from stormcell.errors import ArgumentError, NotOfferedError
from stormcell.models import (
    EncoderForecaster,
    FreeRunning,
    ReverseScheduledSampling,
    ScheduledSampling,
    TeacherForcing,
)


@pytest.mark.parametrize(
    ("hidden_channels", "kernel_size", "recurrent_kernel_size", "published"),
    [
        ([256], 5, 5, 13_524_496),
        ([128, 128], 5, 5, 10_042_896),
        ([128, 64, 64], 5, 5, 7_585_296),
        ([128, 128], 9, 1, 11_550_224),
        ([128, 64, 64], 9, 1, 8_830_480),
    ],
)
def test_encoder_forecaster_has_the_published_number_of_parameters(
    hidden_channels, kernel_size, recurrent_kernel_size, published
):
    with torch.device("meta"):
        model = EncoderForecaster(1, hidden_channels, kernel_size, 4, recurrent_kernel_size)
    assert sum(parameter.numel() for parameter in model.parameters()) == published


def by_hand(model, x, steps, patch, out_channels, read=None):
    """Compute the paper's figure cell by cell, with patches by indexing; sides are multiples of the patch.

    ``read`` returns the input of the forecaster, given its earlier forecasts.
    """
    batch, _, channels, height, width = x.shape

    def cut(frame):
        rows = [
            frame[:, channel, row::patch, column::patch]
            for channel in range(channels)
            for row in range(patch)
            for column in range(patch)
        ]
        return torch.stack(rows, dim=1)

    states = [None] * len(model.encoder.cells)
    for t in range(x.shape[1]):
        x_t = cut(x[:, t])
        for layer, cell in enumerate(model.encoder.cells):
            states[layer] = cell(x_t, states[layer])
            x_t = states[layer][0]
    frames = torch.zeros(batch, steps, out_channels, height, width)
    for t in range(steps):
        x_t = None if read is None else cut(read(t, frames))
        for layer, cell in enumerate(model.forecaster.cells):
            states[layer] = cell(x_t, states[layer])
            x_t = states[layer][0]
        hidden = torch.cat([h for h, _ in states], dim=1)
        weight = model.head.weight[:, :, 0, 0]
        laid = torch.einsum("oc,bcyx->boyx", weight, hidden) + model.head.bias[:, None, None]
        for n in range(laid.shape[1]):
            channel, row, column = n // patch**2, n // patch % patch, n % patch
            frames[:, t, channel, row::patch, column::patch] = laid[:, n]
    return frames


# Float32 sums of some hundred terms in another order, carried over nine steps of three layers.
CLOSE = {"rtol": 1e-4, "atol": 1e-5}


@pytest.mark.parametrize("out_channels", [1, 3])
def test_encoder_forecaster_equals_the_paper_cell_by_cell(randomised, out_channels):
    model = randomised(EncoderForecaster(2, [4, 3, 5], 3, 2, out_channels=out_channels))
    x = torch.rand(2, 5, 2, 6, 8, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        torch.testing.assert_close(model(x, 4), by_hand(model, x, 4, 2, out_channels), **CLOSE)


@pytest.mark.parametrize("size", [(48, 37), (5, 3), (4, 9)])
def test_encoder_forecaster_pads_frames_with_zeros_and_crops(randomised, size):
    model = randomised(EncoderForecaster(1, [4], 3, 4))
    height, width = size
    x = torch.rand(1, 3, 1, height, width)
    padded = torch.zeros(1, 3, 1, -(-height // 4) * 4, -(-width // 4) * 4)
    padded[..., :height, :width] = x
    found = model(x, 2)
    assert found.shape == (1, 2, 1, height, width)
    torch.testing.assert_close(found, model(padded, 2)[..., :height, :width])


def test_encoder_forecaster_longer_forecast_begins_with_the_shorter(randomised):
    model = randomised(EncoderForecaster(1, [4, 3], 3, 2))
    x = torch.rand(1, 3, 1, 6, 6)
    torch.testing.assert_close(model(x, 5)[:, :1], model(x, 1))


def test_encoder_forecaster_has_a_gradient_for_every_parameter(randomised):
    model = randomised(EncoderForecaster(2, [4, 3], 3, 2, out_channels=1))
    model(torch.rand(2, 3, 2, 6, 6), 3).square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize("feedback", ["linear", "sigmoid"])
@pytest.mark.parametrize(
    "schedule",
    [FreeRunning(), TeacherForcing(), ScheduledSampling(0.5)],
    ids=lambda schedule: type(schedule).__name__,
)
def test_encoder_forecaster_with_feedback_reads_given_frames_or_its_own_forecasts(
    randomised, feedback, schedule
):
    model = randomised(EncoderForecaster(2, [4, 3], 3, 2, feedback=feedback), 0.15)
    x, targets = torch.rand(3, 4, 2, 6, 8), torch.rand(3, 5, 2, 6, 8)
    given = schedule.given(3, 4, 5, torch.Generator().manual_seed(0))

    def read(t, frames):
        if t == 0:
            return x[:, -1]
        own = frames[:, t - 1] if feedback == "linear" else torch.sigmoid(frames[:, t - 1])
        return torch.stack([targets[b, t - 1] if given[b, 3 + t] else own[b] for b in range(3)])

    with torch.no_grad():
        found = model(x, 5, targets=targets, schedule=given)
        torch.testing.assert_close(found, by_hand(model, x, 5, 2, 2, read), **CLOSE)


def test_encoder_forecaster_refuses_schedules_of_frames_it_does_not_read():
    x, targets = torch.zeros(2, 3, 1, 8, 8), torch.zeros(2, 4, 1, 8, 8)
    plain = EncoderForecaster(1, [4], 3, 2)
    for schedule in (TeacherForcing(), ScheduledSampling(0.5), torch.ones(2, 6, dtype=torch.bool)):
        with pytest.raises(NotOfferedError, match=r"^schedule: expected FreeRunning\(\), as the forecaster"):
            plain(x, 4, targets=targets, schedule=schedule)
    read = EncoderForecaster(1, [4], 3, 2, feedback="linear")
    with pytest.raises(
        NotOfferedError, match=r"^schedule: expected all 3 inputs to be given, .* found Reverse"
    ):
        read(x, 4, targets=targets, schedule=ReverseScheduledSampling(0.0, 0.5))


@pytest.mark.parametrize(
    ("shape", "steps", "message"),
    [
        ((3, 1, 8, 8), 2, r"x: expected \(B, T, C, H, W\) with C = 1, found \(3, 1, 8, 8\)"),
        ((1, 3, 2, 8, 8), 2, r"x: expected \(B, T, C, H, W\) with C = 1, found \(1, 3, 2, 8, 8\)"),
        ((1, 3, 1, 8, 8), 0, "steps: expected an int of at least 1, found 0"),
    ],
)
def test_encoder_forecaster_given_other_frames_is_refused(shape, steps, message):
    with pytest.raises(ArgumentError, match=message):
        EncoderForecaster(1, [4], 3, 2)(torch.zeros(shape), steps)


@pytest.mark.parametrize(
    "name", ["in_channels", "hidden_channels", "kernel_size", "patch_size", "out_channels"]
)
def test_encoder_forecaster_with_an_impossible_argument_names_it(name):
    with pytest.raises(ArgumentError, match=f"{name}: expected an int of at least 1, found 0"):
        EncoderForecaster(**{name: 0})


def test_encoder_forecaster_with_feedback_requires_equal_channels():
    with pytest.raises(
        ArgumentError, match=r"^out_channels: expected 2, as feedback='linear' requires in_channels"
    ):
        EncoderForecaster(2, out_channels=1, feedback="linear")


def test_encoder_forecaster_with_pixel_peepholes_is_refused():
    with pytest.raises(ArgumentError, match=r"^peephole='pixel' requires spatial_size$"):
        EncoderForecaster(peephole="pixel")
