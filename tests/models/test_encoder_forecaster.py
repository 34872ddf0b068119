import json

import pytest
import torch

from stormcell.errors import ArgumentError
from stormcell.models import EncoderForecaster


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


def randomised(model):
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    return model


def by_hand(model, x, steps, patch, out_channels):
    """The paper's figure, cell by cell, with patches cut and laid by indexing; sides fit the patch."""
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
        seen = None
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
def test_it_computes_what_the_paper_draws(out_channels):
    model = randomised(EncoderForecaster(2, [4, 3, 5], 3, 2, out_channels=out_channels))
    x = torch.rand(2, 5, 2, 6, 8, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        torch.testing.assert_close(model(x, 4), by_hand(model, x, 4, 2, out_channels), **CLOSE)


@pytest.mark.parametrize("size", [(48, 37), (5, 3), (4, 9)])
def test_any_size_is_padded_with_zeros_at_the_end_and_cropped_again(size):
    model = randomised(EncoderForecaster(1, [4], 3, 4))
    height, width = size
    x = torch.rand(1, 3, 1, height, width)
    padded = torch.zeros(1, 3, 1, -(-height // 4) * 4, -(-width // 4) * 4)
    padded[..., :height, :width] = x
    found = model(x, 2)
    assert found.shape == (1, 2, 1, height, width)
    torch.testing.assert_close(found, model(padded, 2)[..., :height, :width])


def test_a_longer_forecast_begins_with_the_shorter_one():
    model = randomised(EncoderForecaster(1, [4, 3], 3, 2))
    x = torch.rand(1, 3, 1, 6, 6)
    torch.testing.assert_close(model(x, 5)[:, :1], model(x, 1))


def test_every_parameter_gets_a_gradient():
    model = randomised(EncoderForecaster(2, [4, 3], 3, 2, out_channels=1))
    model(torch.rand(2, 3, 2, 6, 6), 3).square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad.abs().max() > 0, name


def test_its_arguments_survive_json_and_build_its_twin():
    model = EncoderForecaster(2, [4, 3], (3, 5), 2, [1, (2, 3)], 1, peephole=None, forget_bias=0.5)
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


def test_images_of_any_size_have_no_weights_per_pixel():
    with pytest.raises(ArgumentError, match=r"^spatial_size: expected .*, found None with peephole='pixel'"):
        EncoderForecaster(peephole="pixel")
