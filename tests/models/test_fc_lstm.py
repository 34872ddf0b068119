import pytest
import torch

from stormcell.errors import ArgumentError, NotOfferedError
from stormcell.models import FCLSTMForecaster, ScheduledSampling, TeacherForcing

# Float32 sums of some hundred terms in another order, carried over nine steps of two layers.
CLOSE = {"rtol": 1e-4, "atol": 1e-5}


@pytest.mark.parametrize(
    ("arguments", "published"),
    [
        ({}, 142_667_776),
        # The radar experiment's network, 2000-2000 on 100×100, has no published count. Each layer has four
        # matrices over its input and its state, four biases and three peepholes; then there is the head.
        (
            {"spatial_size": (100, 100), "hidden_channels": [2000, 2000]},
            4 * 2000 * (10_000 + 2000 + 2000 + 2000 + 2000 + 2000 + 2000) + 4 * 7 * 2000 + 10_000 * 2001,
        ),
    ],
)
def test_fc_lstm_has_the_published_number_of_parameters(arguments, published):
    with torch.device("meta"):
        model = FCLSTMForecaster(**arguments)
    assert sum(parameter.numel() for parameter in model.parameters()) == published


def lstm(cell, x, h, c):
    """Compute the paper's equations with matrices."""
    z = h @ cell.weight_hh.T + cell.bias + (0 if x is None else x @ cell.weight_ih.T)
    i, f, g, o = z.chunk(4, dim=1)
    w_i, w_f, w_o = cell.peephole
    i, f = torch.sigmoid(i + w_i * c), torch.sigmoid(f + w_f * c)
    c = f * c + i * torch.tanh(g)
    return torch.sigmoid(o + w_o * c) * torch.tanh(c), c


def by_hand(model, x, steps, read=None):
    """Compute the paper's figure vector by vector; ``read`` returns the forecaster's input."""
    batch, inputs, _, height, width = x.shape
    states = [(torch.zeros(batch, c),) * 2 for c in model.encoder.hidden_channels]

    def step(stack, x_t):
        for layer, cell in enumerate(stack.cells):
            states[layer] = lstm(cell, x_t, *states[layer])
            x_t = states[layer][0]
        return x_t @ model.head.weight.T + model.head.bias

    for t in range(inputs):
        step(model.encoder, x[:, t].reshape(batch, -1))
    frames = []
    for t in range(steps):
        x_t = None if read is None else read(t, frames).reshape(batch, -1)
        frames.append(step(model.forecaster, x_t).reshape(batch, -1, height, width))
    return torch.stack(frames, dim=1)


@pytest.mark.parametrize("out_channels", [2, 1])
def test_fc_lstm_equals_the_paper_vector_by_vector(randomised, out_channels):
    model = randomised(FCLSTMForecaster(2, (5, 4), [6, 7], out_channels))
    x = torch.rand(3, 5, 2, 5, 4)
    with torch.no_grad():
        torch.testing.assert_close(model(x, 4), by_hand(model, x, 4), **CLOSE)


@pytest.mark.parametrize("feedback", ["linear", "sigmoid"])
def test_fc_lstm_with_feedback_reads_the_previous_frame(randomised, feedback):
    model = randomised(FCLSTMForecaster(1, (5, 4), [6, 7], feedback=feedback), 0.15)
    x, targets = torch.rand(3, 5, 1, 5, 4), torch.rand(3, 4, 1, 5, 4)
    given = ScheduledSampling(0.5).given(3, 5, 4, torch.Generator().manual_seed(2))
    assert {0 < n < 3 for n in given[:, 5:].sum(dim=0).tolist()} == {True}  # some of each

    def read(t, frames):
        if t == 0:
            return x[:, -1]
        own = frames[-1] if feedback == "linear" else 1 / (1 + torch.exp(-frames[-1]))
        return torch.stack([targets[b, t - 1] if given[b, 4 + t] else own[b] for b in range(3)])

    with torch.no_grad():
        found = model(x, 4, targets=targets, schedule=given)
        torch.testing.assert_close(found, by_hand(model, x, 4, read), **CLOSE)


def test_fc_lstm_has_a_gradient_for_every_parameter(randomised):
    model = randomised(FCLSTMForecaster(1, (3, 4), [4, 3], feedback="linear"))
    x = torch.rand(2, 3, 1, 3, 4)
    model(x, 3, targets=x, schedule=TeacherForcing()).square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize(
    ("shape", "steps", "message"),
    [
        ((1, 3, 2, 3, 4), 2, r"x: expected \(B, T, C, H, W\) with C = 1, found \(1, 3, 2, 3, 4\)"),
        ((1, 3, 1, 4, 4), 2, r"x: expected frames of \(3, 4\) pixels, found \(1, 3, 1, 4, 4\)"),
        ((1, 3, 1, 3, 4), 0, "steps: expected an int of at least 1, found 0"),
    ],
)
def test_fc_lstm_given_other_frames_is_refused(shape, steps, message):
    with pytest.raises(ArgumentError, match=f"^{message}$"):
        FCLSTMForecaster(1, (3, 4), 2)(torch.zeros(shape), steps)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"in_channels": 0}, "in_channels: expected an int of at least 1, found 0"),
        ({"spatial_size": (3,)}, r"spatial_size: expected an int or 2 of them, one per axis, found \(3,\)"),
        ({"out_channels": 0}, "out_channels: expected an int of at least 1, found 0"),
        ({"feedback": "tanh"}, "feedback: expected one of 'linear', 'sigmoid', None, found 'tanh'"),
        (
            {"feedback": "linear", "out_channels": 2},
            "out_channels: expected 1, as feedback='linear' requires in_channels, found 2",
        ),
    ],
)
def test_fc_lstm_with_impossible_arguments_is_refused(arguments, message):
    with torch.device("meta"), pytest.raises(ArgumentError, match=f"^{message}$"):
        FCLSTMForecaster(**arguments)


def test_fc_lstm_without_feedback_refuses_teacher_forcing():
    model = FCLSTMForecaster(1, (3, 4), 2)
    x = torch.zeros(1, 3, 1, 3, 4)
    with pytest.raises(
        NotOfferedError, match=r"^schedule: expected FreeRunning\(\), .* found TeacherForcing\(\)$"
    ):
        model(x, 3, targets=x, schedule=TeacherForcing())
