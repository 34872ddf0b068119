import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from stormcell.nn.ops.convolution import PADDING_MODES, Convolution

# Sums of at most a few hundred terms of order one, which are rounded to 1e-16.
EXACT = {"rtol": 1e-12, "atol": 1e-12}


def numbers(*shape, seed=1):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@st.composite
def convolutions(draw):
    """A convolution, a kernel size, and a size of images which fits both."""
    axes = draw(st.integers(1, 3))

    def per_axis(least, most):
        return draw(st.tuples(*[st.integers(least, most)] * axes))

    kernel, stride, dilation = per_axis(1, 4 if axes < 3 else 3), per_axis(1, 3), per_axis(1, 2)
    padding = draw(st.sampled_from(["same", "valid"]) | st.tuples(*[st.integers(0, 2)] * axes))
    mode = draw(st.sampled_from(PADDING_MODES))
    spans = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
    # Padding is taken from the image, which must be larger than the padding.
    least = [1 if (padding, mode) == ("same", "zeros") else max(span, 3) for span in spans]
    size = tuple(draw(st.integers(n, n + 3)) for n in least)
    return Convolution(stride, padding, dilation, mode), kernel, size


@settings(derandomize=True, max_examples=200)
@given(drawn=convolutions())
def test_convolution_matches_the_sum_over_the_kernel(convolve, drawn):
    convolution, kernel, size = drawn
    x, weight, bias = numbers(2, 3, *size), numbers(4, 3, *kernel, seed=2), numbers(4, seed=3)
    expected = convolve(x.numpy(), weight.numpy(), **convolution._asdict())
    found = convolution(x, weight, bias)
    assert convolution.size(size, kernel) == found.shape[2:]
    bias = bias.reshape(-1, *(1,) * len(size))
    np.testing.assert_allclose(found, expected + bias.numpy(), **EXACT)


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "before"),
    [
        (4, 2, 1, 0),  # an even kernel looks one pixel further ahead than back
        (4, 4, 1, 1),
        (5, 3, 2, 1),  # three windows from -1 to 5: one pixel on either side
        (4, 3, 2, 0),  # two windows from 0 to 4: the one pixel that is missing is at the end
        (7, 4, 3, 1),
        (5, 1, 3, 0),  # a stride over the kernel leaves pixels out, and pads nothing
    ],
)
def test_uneven_padding_goes_to_the_end(size, kernel, stride, before):
    """Each output pixel lists its window: 1, 2, 3, ... for pixels of the image, 0 outside."""
    x = torch.arange(1.0, size + 1).view(1, 1, size)
    one_hot = torch.eye(kernel).unsqueeze(1)
    found = Convolution((stride,))(x, one_hot)[0].T.long().tolist()
    line = [0] * before + list(range(1, size + 1)) + [0] * kernel
    assert found == [line[at * stride : at * stride + kernel] for at in range(-(-size // stride))]


@pytest.mark.parametrize("mode", PADDING_MODES)
@pytest.mark.parametrize("padding", ["same", "valid", (1, 2)])
def test_convolution_with_odd_kernel_matches_torch(mode, padding):
    theirs = nn.Conv2d(3, 4, (3, 5), padding=padding, dilation=(2, 1), padding_mode=mode, dtype=torch.float64)
    x = numbers(2, 3, 6, 7)
    found = Convolution(padding=padding, dilation=(2, 1), padding_mode=mode)(x, theirs.weight, theirs.bias)
    torch.testing.assert_close(found, theirs(x), **EXACT)


def test_convolution_of_vectors_is_the_matrix_product():
    x, weight, bias = numbers(2, 3), numbers(4, 3, seed=2), numbers(4, seed=3)
    torch.testing.assert_close(Convolution()(x, weight, bias), x @ weight.T + bias, **EXACT)
    assert Convolution().size((), ()) == ()
