import json

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
def test_parameters_are_as_many_as_the_paper_counts(
    hidden_channels, kernel_size, recurrent_kernel_size, published
):
    with torch.device("meta"):
        model = EncoderForecaster(1, hidden_channels, kernel_size, 4, recurrent_kernel_size)
    assert sum(parameter.numel() for parameter in model.parameters()) == published


def by_hand(model, x, steps, patch, out_channels, fed=None):
    """The paper's figure, cell by cell, with patches cut and laid by indexing; sides fit the patch.

    ``fed`` makes what the forecaster reads of the frames that it forecast before.
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
        seen = cut(x[:, t])
        for layer, cell in enumerate(model.encoder.cells):
            states[layer] = cell(seen, states[layer])
            seen = states[layer][0]
    frames = torch.zeros(batch, steps, out_channels, height, width)
    for t in range(steps):
        seen = None if fed is None else cut(fed(t, frames))
        for layer, cell in enumerate(model.forecaster.cells):
            states[layer] = cell(seen, states[layer])
            seen = states[layer][0]
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
def test_it_computes_what_the_paper_draws(randomised, out_channels):
    model = randomised(EncoderForecaster(2, [4, 3, 5], 3, 2, out_channels=out_channels))
    x = torch.rand(2, 5, 2, 6, 8, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        torch.testing.assert_close(model(x, 4), by_hand(model, x, 4, 2, out_channels), **CLOSE)


@pytest.mark.parametrize("size", [(48, 37), (5, 3), (4, 9)])
def test_any_size_is_padded_with_zeros_at_the_end_and_cropped_again(randomised, size):
    model = randomised(EncoderForecaster(1, [4], 3, 4))
    height, width = size
    x = torch.rand(1, 3, 1, height, width)
    padded = torch.zeros(1, 3, 1, -(-height // 4) * 4, -(-width // 4) * 4)
    padded[..., :height, :width] = x
    found = model(x, 2)
    assert found.shape == (1, 2, 1, height, width)
    torch.testing.assert_close(found, model(padded, 2)[..., :height, :width])


def test_a_longer_forecast_begins_with_the_shorter_one(randomised):
    model = randomised(EncoderForecaster(1, [4, 3], 3, 2))
    x = torch.rand(1, 3, 1, 6, 6)
    torch.testing.assert_close(model(x, 5)[:, :1], model(x, 1))


def test_every_parameter_gets_a_gradient(randomised):
    model = randomised(EncoderForecaster(2, [4, 3], 3, 2, out_channels=1))
    model(torch.rand(2, 3, 2, 6, 6), 3).square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize("feedback", ["linear", "sigmoid"])
@pytest.mark.parametrize(
    "feeding",
    [FreeRunning(), TeacherForcing(), ScheduledSampling(0.5)],
    ids=lambda feeding: type(feeding).__name__,
)
def test_with_feedback_it_reads_what_the_feeding_gives_and_else_its_own_forecast(
    randomised, feedback, feeding
):
    model = randomised(EncoderForecaster(2, [4, 3], 3, 2, feedback=feedback), 0.15)
    x, truth = torch.rand(3, 4, 2, 6, 8), torch.rand(3, 5, 2, 6, 8)
    given = feeding.given(3, 4, 5, torch.Generator().manual_seed(0))

    def fed(t, frames):
        if t == 0:
            return x[:, -1]
        own = frames[:, t - 1] if feedback == "linear" else torch.sigmoid(frames[:, t - 1])
        return torch.stack([truth[b, t - 1] if given[b, 3 + t] else own[b] for b in range(3)])

    with torch.no_grad():
        found = model(x, 5, truth=truth, feeding=given)
        torch.testing.assert_close(found, by_hand(model, x, 5, 2, 2, fed), **CLOSE)


def test_what_it_does_not_read_is_not_fed():
    x, truth = torch.zeros(2, 3, 1, 8, 8), torch.zeros(2, 4, 1, 8, 8)
    plain = EncoderForecaster(1, [4], 3, 2)
    for feeding in (TeacherForcing(), ScheduledSampling(0.5), torch.ones(2, 6, dtype=torch.bool)):
        with pytest.raises(NotOfferedError, match=r"^feeding: expected FreeRunning\(\), as the forecaster"):
            plain(x, 4, truth=truth, feeding=feeding)
    fed = EncoderForecaster(1, [4], 3, 2, feedback="linear")
    with pytest.raises(NotOfferedError, match=r"^feeding: expected all 3 known frames, .* found Reverse"):
        fed(x, 4, truth=truth, feeding=ReverseScheduledSampling(0.0, 0.5))


@pytest.mark.parametrize(("out_channels", "feedback"), [(1, None), (2, "sigmoid")])
def test_its_arguments_survive_json_and_build_its_twin(out_channels, feedback):
    model = EncoderForecaster(
        2,
        [4, 3],
        (3, 5),
        2,
        [1, (2, 3)],
        out_channels,
        peephole=None,
        forget_bias=0.5,
        feedback=feedback,
    )
    twin = EncoderForecaster(**json.loads(json.dumps(model.arguments)))
    assert twin.arguments == model.arguments
    assert str(twin) == str(model)
    assert all(cell.forget_bias == 0.5 for cell in twin.encoder.cells)
    twin.load_state_dict(model.state_dict())
    x = torch.rand(1, 3, 2, 6, 6)
    torch.testing.assert_close(twin(x, 2), model(x, 2), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("shape", "steps", "message"),
    [
        ((3, 1, 8, 8), 2, r"x: expected \(B, T, C, H, W\) with C = 1, found \(3, 1, 8, 8\)"),
        ((1, 3, 2, 8, 8), 2, r"x: expected \(B, T, C, H, W\) with C = 1, found \(1, 3, 2, 8, 8\)"),
        ((1, 3, 1, 8, 8), 0, "steps: expected an int of at least 1, found 0"),
    ],
)
def test_wrong_frames_are_refused(shape, steps, message):
    with pytest.raises(ArgumentError, match=message):
        EncoderForecaster(1, [4], 3, 2)(torch.zeros(shape), steps)


@pytest.mark.parametrize(
    "name", ["in_channels", "hidden_channels", "kernel_size", "patch_size", "out_channels"]
)
def test_impossible_arguments_are_refused_by_name(name):
    with pytest.raises(ArgumentError, match=f"{name}: expected an int of at least 1, found 0"):
        EncoderForecaster(**{name: 0})


def test_only_the_frames_own_channels_are_fed_back():
    with pytest.raises(ArgumentError, match=r"^out_channels: expected 2, as feedback='linear' makes them"):
        EncoderForecaster(2, out_channels=1, feedback="linear")


def test_images_of_any_size_have_no_weights_per_pixel():
    with pytest.raises(ArgumentError, match=r"^spatial_size: expected .*, found None with peephole='pixel'"):
        EncoderForecaster(peephole="pixel")
