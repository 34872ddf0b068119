"""The references on images with fewer axes, absent weights, and other dtypes."""

import pytest
import torch
from tests.nn.ops.recurrences import numbers
from torch.nn import functional

from stormcell.nn.ops.gru.reference import conv_gru
from stormcell.nn.ops.lstm import reference
from stormcell.nn.ops.types import CallSpec, GRUWeights, LSTMWeights, Variant

VARIANT, SPEC = Variant(), CallSpec(steps=4)


def conv_lstm(*tensors, spec=SPEC):
    """Run the op on x, h, c and the weights, and return the output, h and c."""
    x, h, c, *weights = tensors
    output, (h, c) = reference.conv_lstm(x, (h, c), LSTMWeights(*weights), VARIANT, spec)
    return output, h, c


def arguments(*space, kernel):
    """Arguments of the op for two channels in, three hidden, two samples and four steps."""
    x, h, c = numbers(4, 2, 2, *space), numbers(2, 3, *space, seed=2), numbers(2, 3, *space, seed=3)
    w_x, w_h = numbers(12, 2, *kernel, seed=4), numbers(12, 3, *kernel, seed=5)
    return [x, h, c, w_x, w_h, numbers(12, seed=6), numbers(3, 3, seed=7)]


def with_axis(tensors, axis):
    """Insert an axis of one pixel into tensors with spatial axes."""
    return [a.unsqueeze(axis) if a.dim() > 2 else a for a in tensors]


def test_lstm_on_line_matches_image_of_one_row():
    line = arguments(9, kernel=[4])
    for on_line, on_image in zip(conv_lstm(*line), conv_lstm(*with_axis(line, -2)), strict=True):
        torch.testing.assert_close(on_line, on_image.squeeze(-2))


def test_lstm_on_image_matches_volume_of_one_slice():
    image = arguments(5, 6, kernel=[3, 2])
    for on_image, in_volume in zip(conv_lstm(*image), conv_lstm(*with_axis(image, -3)), strict=True):
        torch.testing.assert_close(on_image, in_volume.squeeze(-3))


@pytest.mark.parametrize("reset", ["after", "before"])
@pytest.mark.parametrize("space", [(9,), (5, 6)])
def test_gru_with_axis_of_one_pixel_matches_without(reset, space):
    kernel = (4, 3)[: len(space)]
    x, h = numbers(4, 2, 2, *space), numbers(2, 3, *space, seed=2)
    w_x, w_h = numbers(9, 2, *kernel, seed=4), numbers(9, 3, *kernel, seed=5)
    biases = numbers(9, seed=6), numbers(9, seed=7)

    def run(x, h, w_x, w_h):
        weights = GRUWeights(w_x, w_h, *biases)
        return conv_gru(x, (h,), weights, VARIANT._replace(reset=reset), SPEC)[0]

    flat = run(*with_axis([x, h, w_x, w_h], -1 - len(space)))
    torch.testing.assert_close(run(x, h, w_x, w_h), flat.squeeze(-1 - len(space)))


@pytest.mark.parametrize("absent", [5, 6])
def test_absent_bias_or_peephole_matches_zeros(absent):
    given = arguments(4, 3, kernel=[3, 3])
    given[absent] = torch.zeros_like(given[absent])
    with_zeros = conv_lstm(*given)
    given[absent] = None
    torch.testing.assert_close(conv_lstm(*given), with_zeros)


def test_absent_input_matches_zeros():
    given = arguments(4, 3, kernel=[3, 3])
    given[0] = torch.zeros_like(given[0])
    with_zeros = conv_lstm(*given)
    given[0] = given[3] = None
    torch.testing.assert_close(conv_lstm(*given), with_zeros)


@pytest.mark.parametrize("peephole", [False, True])
def test_cell_state_of_low_precision_gets_precision_of_weights(peephole):
    x, h, c, *weights, peepholes = (a.float() for a in arguments(4, 3, kernel=[3, 3]))
    weights.append(peepholes if peephole else None)
    expected = conv_lstm(x, h, c.bfloat16().float(), *weights)
    found = conv_lstm(x, h, c.bfloat16(), *weights)
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


def test_autocast_rounds_only_convolutions_and_hidden_state():
    _, h, c, _, w_h, bias, (w_ci, w_cf, w_co) = (a.float() for a in arguments(1, 1, kernel=[1, 1]))
    with torch.autocast("cpu", torch.bfloat16):
        peepholes = torch.stack([w_ci, w_cf, w_co])
        found = conv_lstm(None, h, c, None, w_h, bias, peepholes, spec=CallSpec(steps=1))
        gates = functional.conv2d(h, w_h, bias)
    assert gates.dtype == torch.bfloat16
    i, f, g, o = gates.float()[..., 0, 0].chunk(4, dim=1)
    c = c[..., 0, 0]
    new = torch.sigmoid(f + w_cf * c) * c + torch.sigmoid(i + w_ci * c) * torch.tanh(g)
    hidden = torch.sigmoid(o + w_co * new) * torch.tanh(new)
    torch.testing.assert_close(found[2][..., 0, 0], new)
    torch.testing.assert_close(found[1][..., 0, 0], hidden.bfloat16())
