import json

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
        # The radar experiment's, 2000-2000 on 100×100, of which no count is published: per layer and half
        # four matrices over what it reads and remembers, four biases, three peepholes; then the head.
        (
            {"spatial_size": (100, 100), "hidden_channels": [2000, 2000]},
            4 * 2000 * (10_000 + 2000 + 2000 + 2000 + 2000 + 2000 + 2000) + 4 * 7 * 2000 + 10_000 * 2001,
        ),
    ],
)
def test_parameters_are_as_many_as_the_paper_counts(arguments, published):
    with torch.device("meta"):
        model = FCLSTMForecaster(**arguments)
    assert sum(parameter.numel() for parameter in model.parameters()) == published


def lstm(cell, x, h, c):
    """The paper's equations with matrices, written out."""
    z = h @ cell.weight_hh.T + cell.bias + (0 if x is None else x @ cell.weight_ih.T)
    i, f, g, o = z.chunk(4, dim=1)
    w_i, w_f, w_o = cell.peephole
    i, f = torch.sigmoid(i + w_i * c), torch.sigmoid(f + w_f * c)
    c = f * c + i * torch.tanh(g)
    return torch.sigmoid(o + w_o * c) * torch.tanh(c), c


def by_hand(model, x, steps, fed=None):
    """The paper's figure, vector by vector; ``fed`` makes what the forecaster reads of what it said."""
    batch, inputs, _, height, width = x.shape
    states = [(torch.zeros(batch, c),) * 2 for c in model.encoder.hidden_channels]

    def step(stack, seen):
        for layer, cell in enumerate(stack.cells):
            states[layer] = lstm(cell, seen, *states[layer])
            seen = states[layer][0]
        return seen @ model.head.weight.T + model.head.bias

    for t in range(inputs):
        step(model.encoder, x[:, t].reshape(batch, -1))
    frames = []
    for t in range(steps):
        seen = None if fed is None else fed(t, frames).reshape(batch, -1)
        frames.append(step(model.forecaster, seen).reshape(batch, -1, height, width))
    return torch.stack(frames, dim=1)


@pytest.mark.parametrize("out_channels", [2, 1])
def test_it_computes_what_the_paper_draws(randomised, out_channels):
    model = randomised(FCLSTMForecaster(2, (5, 4), [6, 7], out_channels))
    x = torch.rand(3, 5, 2, 5, 4)
    with torch.no_grad():
        torch.testing.assert_close(model(x, 4), by_hand(model, x, 4), **CLOSE)


@pytest.mark.parametrize("feedback", ["linear", "sigmoid"])
def test_fed_it_reads_the_frame_before(randomised, feedback):
    model = randomised(FCLSTMForecaster(1, (5, 4), [6, 7], feedback=feedback), 0.15)
    x, truth = torch.rand(3, 5, 1, 5, 4), torch.rand(3, 4, 1, 5, 4)
    given = ScheduledSampling(0.5).given(3, 5, 4, torch.Generator().manual_seed(2))
    assert {0 < n < 3 for n in given[:, 5:].sum(dim=0).tolist()} == {True}  # some of each

    def fed(t, frames):
        if t == 0:
            return x[:, -1]
        own = frames[-1] if feedback == "linear" else 1 / (1 + torch.exp(-frames[-1]))
        return torch.stack([truth[b, t - 1] if given[b, 4 + t] else own[b] for b in range(3)])

    with torch.no_grad():
        found = model(x, 4, truth=truth, feeding=given)
        torch.testing.assert_close(found, by_hand(model, x, 4, fed), **CLOSE)


def test_every_parameter_gets_a_gradient(randomised):
    model = randomised(FCLSTMForecaster(1, (3, 4), [4, 3], feedback="linear"))
    x = torch.rand(2, 3, 1, 3, 4)
    model(x, 3, truth=x, feeding=TeacherForcing()).square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad.abs().max() > 0, name


def test_its_arguments_survive_json_and_build_its_twin(randomised):
    model = randomised(
        FCLSTMForecaster(2, (3, 4), [4, 3], 2, peephole=None, forget_bias=0.5, feedback="linear")
    )
    twin = FCLSTMForecaster(**json.loads(json.dumps(model.arguments)))
    assert twin.arguments == model.arguments
    assert all(cell.forget_bias == 0.5 for cell in twin.encoder.cells)
    twin.load_state_dict(model.state_dict())
    x = torch.rand(1, 3, 2, 3, 4)
    torch.testing.assert_close(twin(x, 2), model(x, 2), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("shape", "steps", "message"),
    [
        ((1, 3, 2, 3, 4), 2, r"x: expected \(B, T, C, H, W\) with C = 1, found \(1, 3, 2, 3, 4\)"),
        ((1, 3, 1, 4, 4), 2, r"x: expected frames of \(3, 4\) pixels, found \(1, 3, 1, 4, 4\)"),
        ((1, 3, 1, 3, 4), 0, "steps: expected an int of at least 1, found 0"),
    ],
)
def test_wrong_frames_are_refused(shape, steps, message):
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
            "out_channels: expected 1, as feedback='linear' makes them in_channels, found 2",
        ),
    ],
)
def test_impossible_arguments_are_refused(arguments, message):
    with torch.device("meta"), pytest.raises(ArgumentError, match=f"^{message}$"):
        FCLSTMForecaster(**arguments)


def test_without_feedback_nothing_is_fed():
    model = FCLSTMForecaster(1, (3, 4), 2)
    x = torch.zeros(1, 3, 1, 3, 4)
    with pytest.raises(
        NotOfferedError, match=r"^feeding: expected FreeRunning\(\), .* found TeacherForcing\(\)$"
    ):
        model(x, 3, truth=x, feeding=TeacherForcing())
