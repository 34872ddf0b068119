"""Dropout and zoneout in training. Evaluation is tested with the other options."""

import math

import pytest
import torch
from torch.nn import functional

from stormcell.nn import ConvGRU2d, ConvLSTM2d, PeepholeLSTM, TrajGRU2d

# In float64: the order of sums of a hundred terms, over a few steps.
EXACT = {"rtol": 1e-12, "atol": 1e-12}
SAME = {"rtol": 0, "atol": 0}
STEPS, BATCH, INPUTS, HIDDEN, SPACE = 4, 3, 2, 5, (20, 25)


def numbers(*shape, seed=1):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def randomised(module):
    with torch.no_grad():
        for seed, parameter in enumerate(module.parameters()):
            parameter.copy_(0.3 * numbers(*parameter.shape, seed=seed))
    return module.double()


def seeded(function, *arguments, **options):
    torch.manual_seed(1)
    return function(*arguments, **options)


def within(count, trials, probability):
    """Whether a count is within five standard deviations: all but one in two million are."""
    return abs(count - trials * probability) <= 5 * math.sqrt(trials * probability * (1 - probability))


X = numbers(STEPS, BATCH, INPUTS, *SPACE)
STATE = [numbers(BATCH, HIDDEN, *SPACE, seed=2 + n) for n in range(2)]


def each(image, weight, masks):
    """The terms of an image for the gates, each with its own mask."""
    rows = weight.chunk(len(masks))
    return [functional.conv2d(image * m, w, padding="same") for m, w in zip(masks, rows, strict=True)]


def lstm(frames, h, c, cell, x_masks, h_masks):
    sigma, outputs = torch.sigmoid, []
    for x in frames:
        terms = zip(each(x, cell.weight_ih, x_masks), each(h, cell.weight_hh, h_masks), strict=True)
        i, f, g, o = (a + b for a, b in terms)
        c = sigma(f) * c + sigma(i) * torch.tanh(g)
        h = functional.conv2d(sigma(o) * torch.tanh(c), cell.weight_hr)
        outputs.append(h)
    return torch.stack(outputs), h, c


def gru(frames, h, cell, x_masks, h_masks):
    sigma, outputs = torch.sigmoid, []
    for x in frames:
        x_r, x_z, x_n = each(x, cell.weight_ih, x_masks)
        h_r, h_z, h_n = each(h, cell.weight_hh, h_masks)
        r, z = sigma(x_r + h_r), sigma(x_z + h_z)
        h_n = each(r * h, cell.weight_hh, h_masks)[2] if cell.reset == "before" else r * h_n
        h = (1 - z) * torch.tanh(x_n + h_n) + z * h
        outputs.append(h)
    return torch.stack(outputs), h


RATES = {"input_dropout": 0.3, "recurrent_dropout": 0.6}


@pytest.mark.parametrize("reset", ["before", "after", None])
def test_dropout_mask_differs_per_gate_and_is_constant_over_steps(reset):
    if reset is None:
        rnn = ConvLSTM2d(INPUTS, HIDDEN, 3, bias=False, peephole=None, proj_channels=2, **RATES)
        state = STATE[0][:, :2], STATE[1]
    else:
        rnn = ConvGRU2d(INPUTS, HIDDEN, 3, bias=False, reset=reset, **RATES)
        state = STATE[:1]
    cell = randomised(rnn).cells[0]
    masks = seeded(cell.draw_dropout, X, state)
    if reset is None:
        output, ((h,), (c,)) = seeded(rnn, X, ((state[0],), (state[1],)))
        torch.testing.assert_close((output, h, c), lstm(X, *state, cell, *masks), **EXACT)
    else:
        output, (h,) = seeded(rnn, X, state)
        torch.testing.assert_close((output, h), gru(X, *state, cell, *masks), **EXACT)


@pytest.mark.parametrize(("kind", "gates"), [(ConvLSTM2d, 4), (ConvGRU2d, 3)])
def test_dropout_mask_has_the_expected_rate_and_scale(kind, gates):
    rnn = kind(INPUTS, HIDDEN, 3, **RATES)
    masks = seeded(rnn.cells[0].draw_dropout, X, STATE)
    for mask, seen, rate in zip(masks, (X[0], STATE[0]), RATES.values(), strict=True):
        assert mask.shape == (gates, *seen.shape)
        assert within((mask == 0).sum(), mask.numel(), rate)
        torch.testing.assert_close(mask, (mask != 0) / (1 - seen.new_tensor(rate)), **EXACT)
        # No two gates, samples, channels, rows or columns share a mask.
        assert all(mask.diff(dim=axis).any() for axis in range(mask.dim()))


def test_dropout_masks_are_drawn_once_per_call():
    rnn = randomised(ConvLSTM2d(INPUTS, HIDDEN, 3, **RATES))
    output, last = seeded(rnn, X)
    torch.testing.assert_close(seeded(rnn, X, return_sequence=False), (output[-1], last), **SAME)
    assert (rnn(X)[0] != output).any()


@pytest.mark.parametrize("kind", [ConvLSTM2d, ConvGRU2d])
def test_dropout_of_everything_gives_zeros(kind):
    rnn = randomised(kind(INPUTS, HIDDEN, 3, input_dropout=1.0))
    expected = rnn.eval()(torch.zeros_like(X))
    torch.testing.assert_close(rnn.train()(X), expected, **EXACT)


@pytest.mark.parametrize("direction", [0, 1])
def test_dropout_between_layers_is_drawn_per_element_and_step(direction):
    """The upper layer returns its input: c = 0 c + 1 g and h = 1 c, where g is the input."""
    rate, hidden = 0.6, 4 * (1 + direction)
    linear = {"activation": ["tanh", "linear"], "recurrent_activation": ["sigmoid", "linear"]}
    rnn = PeepholeLSTM(3, [4, hidden], dropout=rate, bidirectional=bool(direction), **linear)
    rnn = randomised(rnn)
    with torch.no_grad():
        for cell in rnn.cells[1 + direction :]:
            for parameter in cell.parameters():
                parameter.zero_()
            cell.weight_ih.view(4, hidden, hidden)[2] = torch.eye(hidden)
            cell.bias.view(4, hidden)[[0, 3]] = 1
    x = numbers(20, 50, 3)
    (lower, upper), _ = seeded(rnn.all_layers, x)
    for shown in upper.split(hidden, dim=2):
        kept = shown != 0
        assert within(kept.sum(), kept.numel(), 1 - rate)
        torch.testing.assert_close(shown, torch.where(kept, lower / (1 - rate), 0), **EXACT)
        assert all(kept.diff(dim=axis).any() for axis in range(3))
    if direction:
        torch.testing.assert_close(upper[..., :hidden], upper[..., hidden:], **SAME)  # both see the same
    (lower, upper), _ = rnn.eval().all_layers(x)
    torch.testing.assert_close(upper, torch.cat([lower] * (1 + direction), dim=2), **EXACT)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_dropout_between_layers_without_sequence_is_the_same(bidirectional):
    rnn = randomised(
        PeepholeLSTM(3, [4, 5, 2], dropout=1.0, bidirectional=bidirectional)
    )  # all, so as to compare
    x = numbers(6, 2, 3)
    output, last = rnn(x)
    ends = torch.cat([output[-1, :, :2], output[0, :, 2:]], dim=1)
    torch.testing.assert_close(rnn(x, return_sequence=False), (ends, last), **EXACT)
    assert (rnn.eval()(x)[0] != output).all()


@pytest.mark.parametrize(
    ("kind", "options", "rates"),
    [
        (ConvLSTM2d, {"kernel_size": 3, "zoneout": (0.2, 0.6)}, (0.2, 0.6)),
        (ConvLSTM2d, {"kernel_size": 3, "zoneout": (0.0, 0.6)}, (0.0, 0.6)),
        (ConvLSTM2d, {"kernel_size": 3, "zoneout": 0.3}, (0.3, 0.3)),
        (ConvGRU2d, {"kernel_size": 3, "zoneout": 0.3}, (0.3,)),
        (TrajGRU2d, {"kernel_size": 3, "zoneout": 0.3, "num_flows": 2}, (0.3,)),
    ],
)
def test_zoneout_in_training_keeps_or_replaces_each_element(kind, options, rates):
    options["backend"] = "reference"  # the same operations in the same order: equal to the bit
    rnn = randomised(kind(INPUTS, HIDDEN, **options))
    twin = kind(INPUTS, HIDDEN, **options | {"zoneout": 0.0}).double()
    twin.load_state_dict(rnn.state_dict())

    def run(module, x, state):
        given = tuple((s,) for s in state) if len(state) == 2 else state
        _, last = module(x, given)
        return [s for (s,) in last] if len(state) == 2 else list(last)

    state, elements = STATE[: len(rates)], STATE[0].numel()
    torch.manual_seed(1)
    for frame in X.unsqueeze(1):
        new, found = run(twin, frame, state), run(rnn, frame, state)
        kept = [after == before for after, before in zip(found, state, strict=True)]
        for after, before, there, old, rate in zip(found, state, new, kept, rates, strict=True):
            torch.testing.assert_close(after, torch.where(old, before, there), **SAME)
            assert within(old.sum(), elements, rate)
        if len(rates) == 2:  # h and c are drawn independently
            assert within((kept[0] & kept[1]).sum(), elements, rates[0] * rates[1])
        state = found
    # The steps of a sequence, each from the last state of the one before.
    torch.testing.assert_close(seeded(run, rnn, X, STATE[: len(rates)]), state, **SAME)
