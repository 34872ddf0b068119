import pytest
import torch
from torch.nn import functional

from stormcell.errors import ArgumentError
from stormcell.nn import ops
from stormcell.nn.ops import reference


def numbers(*shape, seed=1):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def arguments(*space, kernel):
    """Arguments of the op for two channels in, three hidden, two samples and four steps."""
    x, h, c = numbers(4, 2, 2, *space), numbers(2, 3, *space, seed=2), numbers(2, 3, *space, seed=3)
    w_x, w_h = numbers(12, 2, *kernel, seed=4), numbers(12, 3, *kernel, seed=5)
    return [x, h, c, w_x, w_h, numbers(12, seed=6), numbers(3, 3, seed=7)]


def test_on_a_line_it_is_what_it_is_on_an_image_of_one_row():
    line = arguments(9, kernel=[4])
    image = [a.unsqueeze(-2) if a.dim() > 2 else a for a in line]
    for on_line, on_image in zip(
        reference.conv_lstm(*line, steps=4), reference.conv_lstm(*image, steps=4), strict=True
    ):
        torch.testing.assert_close(on_line, on_image.squeeze(-2))


def test_in_a_volume_of_one_slice_it_is_what_it_is_on_an_image():
    image = arguments(5, 6, kernel=[3, 2])
    volume = [a.unsqueeze(-3) if a.dim() > 2 else a for a in image]
    for on_image, in_volume in zip(
        reference.conv_lstm(*image, steps=4), reference.conv_lstm(*volume, steps=4), strict=True
    ):
        torch.testing.assert_close(on_image, in_volume.squeeze(-3))


@pytest.mark.parametrize("absent", [5, 6])
def test_absent_bias_and_peepholes_are_zeros(absent):
    given = arguments(4, 3, kernel=[3, 3])
    given[absent] = torch.zeros_like(given[absent])
    with_zeros = reference.conv_lstm(*given, steps=4)
    given[absent] = None
    torch.testing.assert_close(reference.conv_lstm(*given, steps=4), with_zeros)


def test_an_absent_input_is_zeros():
    given = arguments(4, 3, kernel=[3, 3])
    given[0] = torch.zeros_like(given[0])
    with_zeros = reference.conv_lstm(*given, steps=4)
    given[0] = given[3] = None
    torch.testing.assert_close(reference.conv_lstm(*given, steps=4), with_zeros)


@pytest.mark.parametrize("peephole", [False, True])
def test_a_cell_state_of_low_precision_gets_the_precision_of_the_weights(peephole):
    x, h, c, *weights, looks = (a.float() for a in arguments(4, 3, kernel=[3, 3]))
    weights.append(looks if peephole else None)
    expected = reference.conv_lstm(x, h, c.bfloat16().float(), *weights, steps=4)
    found = reference.conv_lstm(x, h, c.bfloat16(), *weights, steps=4)
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


def test_under_autocast_only_the_convolutions_and_the_hidden_state_are_rounded():
    _, h, c, _, w_h, bias, (w_ci, w_cf, w_co) = (a.float() for a in arguments(1, 1, kernel=[1, 1]))
    with torch.autocast("cpu", torch.bfloat16):
        found = reference.conv_lstm(None, h, c, None, w_h, bias, torch.stack([w_ci, w_cf, w_co]), steps=1)
        gates = functional.conv2d(h, w_h, bias)
    assert gates.dtype == torch.bfloat16
    i, f, g, o = gates.float()[..., 0, 0].chunk(4, dim=1)
    c = c[..., 0, 0]
    new = torch.sigmoid(f + w_cf * c) * c + torch.sigmoid(i + w_ci * c) * torch.tanh(g)
    hidden = torch.sigmoid(o + w_co * new) * torch.tanh(new)
    torch.testing.assert_close(found[2][..., 0, 0], new)
    torch.testing.assert_close(found[1][..., 0, 0], hidden.bfloat16())


def test_an_unknown_back_end_is_told_which_there_are():
    with pytest.raises(ArgumentError, match="backend: expected one of 'auto', 'reference', found 'fast'"):
        ops.conv_lstm("fast")
