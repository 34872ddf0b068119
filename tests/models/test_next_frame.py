import pytest
import torch
from torch.nn.functional import conv2d

from stormcell.errors import ArgumentError
from stormcell.models import (
    FreeRunning,
    NextFrameForecaster,
    ReverseScheduledSampling,
    ScheduledSampling,
    TeacherForcing,
)

# Float32 sums of some hundred terms in another order, carried over nine steps of two layers.
CLOSE = {"rtol": 1e-4, "atol": 1e-5}


def test_next_frame_default_is_openstl_without_its_unused_convolutions():
    """OpenSTL's count, 15.1 million, includes conv_o and conv_last of every cell."""
    with torch.device("meta"):
        model = NextFrameForecaster()
    living = 25 * 512 * (16 + 128) + 3 * 25 * 512 * (128 + 128) + 128 * 16
    assert sum(parameter.numel() for parameter in model.parameters()) == living
    assert round((living + 4 * (25 * 256 * 128 + 256 * 128)) / 1e6, 1) == 15.1


def cut(frame, patch):
    channels = frame.shape[1]
    return torch.stack(
        [
            frame[:, channel, row::patch, column::patch]
            for channel in range(channels)
            for row in range(patch)
            for column in range(patch)
        ],
        dim=1,
    )


def lay(patches, patch):
    batch, depth, height, width = patches.shape
    frame = torch.zeros(batch, depth // patch**2, height * patch, width * patch)
    for n in range(depth):
        frame[:, n // patch**2, n // patch % patch :: patch, n % patch :: patch] = patches[:, n]
    return frame


def by_hand(model, x, steps, targets, given, back):
    """Compute the network frame by frame and sequence by sequence; sides are multiples of the patch."""
    batch, inputs = x.shape[:2]
    states = [None] * len(model.rnn.cells)
    forecasts = []
    for t in range(inputs + steps - 1):
        chosen = []
        for b in range(batch):
            if given[b, t]:
                chosen.append(x[b, t] if t < inputs else targets[b, t - inputs])
            else:
                chosen.append(back(forecasts[-1][b]))
        x_t = cut(torch.stack(chosen), model.patch_size)
        for layer, cell in enumerate(model.rnn.cells):
            h, c = states[layer] or (torch.zeros(batch, cell.hidden_channels, *x_t.shape[2:]),) * 2
            z = conv2d(x_t, cell.weight_ih, cell.bias, padding="same") + conv2d(
                h, cell.weight_hh, padding="same"
            )
            i, f, g, o = z.chunk(4, dim=1)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            states[layer] = torch.sigmoid(o) * torch.tanh(c), c
            x_t = states[layer][0]
        forecasts.append(lay(conv2d(x_t, model.head.weight, model.head.bias), model.patch_size))
    return torch.stack(forecasts, dim=1)


@pytest.mark.parametrize("feedback", ["linear", "sigmoid"])
@pytest.mark.parametrize(
    "schedule",
    [FreeRunning(), TeacherForcing(), ScheduledSampling(0.5), ReverseScheduledSampling(0.5, 0.5)],
    ids=lambda schedule: type(schedule).__name__,
)
@pytest.mark.parametrize("bias", [False, True])
def test_next_frame_reads_given_frames_or_its_own_forecasts(randomised, schedule, feedback, bias):
    model = randomised(NextFrameForecaster(2, [4, 3], 3, 2, bias=bias, feedback=feedback), 0.2)
    x, targets = torch.rand(3, 4, 2, 6, 8), torch.rand(3, 5, 2, 6, 8)
    given = schedule.given(3, 4, 5, torch.Generator().manual_seed(0))
    back = torch.sigmoid if feedback == "sigmoid" else lambda frame: frame
    with torch.no_grad():
        expected = by_hand(model, x, 5, targets, given, back)
        every = model(x, 5, targets=targets, schedule=given, every=True)
        torch.testing.assert_close(every, expected, **CLOSE)
        found = model(x, 5, targets=targets, schedule=given)
        assert torch.equal(found, every[:, -5:])


def test_next_frame_free_running_ignores_targets(randomised):
    model = randomised(NextFrameForecaster(1, [4], 3, 2))
    x = torch.rand(2, 3, 1, 6, 8)
    nowhere = torch.full((2, 4, 1, 6, 8), torch.nan)
    assert torch.equal(model(x, 4), model(x, 4, targets=nowhere))
    assert model(x, 1, every=True).shape == (2, 3, 1, 6, 8)


@pytest.mark.parametrize("size", [(9, 7), (3, 2), (4, 9)])
def test_next_frame_pads_frames_with_zeros_and_crops(randomised, size):
    """Padding stays zero in the forecasts that the network reads."""
    model = randomised(NextFrameForecaster(1, [4], 3, 4))
    height, width = size
    x = torch.rand(1, 3, 1, height, width)

    def padded(frame):
        wide = torch.zeros(1, 1, -(-height // 4) * 4, -(-width // 4) * 4)
        wide[..., :height, :width] = frame
        return wide

    with torch.no_grad():
        found = model(x, 3)
        assert found.shape == (1, 3, 1, height, width)
        frames = [padded(x[:, t]) for t in range(3)]
        for t in range(3):
            forecast = model(torch.stack(frames, dim=1), 1)[:, 0, :, :height, :width]
            torch.testing.assert_close(found[:, t], forecast, **CLOSE)
            frames.append(padded(forecast))


def test_next_frame_gradients_pass_through_its_own_forecasts(randomised):
    model = randomised(NextFrameForecaster(1, [3], 3, 2))
    x = torch.rand(1, 2, 1, 4, 4, requires_grad=True)
    model(x, 3)[:, -1].sum().backward()
    assert x.grad.abs().max() > 0
    for name, parameter in model.named_parameters():
        assert parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"in_channels": 0}, "in_channels: expected an int of at least 1, found 0"),
        ({"hidden_channels": 0}, "hidden_channels: expected an int of at least 1, found 0"),
        ({"patch_size": 0}, "patch_size: expected an int of at least 1, found 0"),
        ({"feedback": None}, "feedback: expected one of 'linear', 'sigmoid', found None"),
        ({"norm": "layer-pixel"}, "norm='layer-pixel' requires spatial_size"),
    ],
)
def test_next_frame_with_impossible_arguments_is_refused(arguments, message):
    with torch.device("meta"), pytest.raises(ArgumentError, match=f"^{message}$"):
        NextFrameForecaster(**arguments)


@pytest.mark.parametrize(
    ("shape", "steps", "message"),
    [
        ((3, 1, 8, 8), 2, r"x: expected \(B, T, C, H, W\) with C = 1, found \(3, 1, 8, 8\)"),
        ((1, 3, 1, 8, 8), 0, "steps: expected an int of at least 1, found 0"),
        ((1, 0, 1, 8, 8), 1, r"x: expected at least one frame, found \(1, 0, 1, 8, 8\)"),
    ],
)
def test_next_frame_given_other_frames_is_refused(shape, steps, message):
    with pytest.raises(ArgumentError, match=f"^{message}$"):
        NextFrameForecaster(1, [4], 3, 2)(torch.zeros(shape), steps)
