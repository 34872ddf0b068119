"""Unusual but valid arguments, and almost valid ones."""

import numpy as np
import pytest
import torch

from stormcell.errors import ArgumentError
from stormcell.nn import ConvGRU2d, ConvLSTM2d, ConvLSTMCell2d, TrajGRU2d

KINDS = [ConvLSTM2d, ConvGRU2d, TrajGRU2d]
X = torch.rand(3, 2, 2, 5, 4, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.uint8])
def test_input_of_another_dtype_raises(kind, dtype):
    message = f"x: expected float32 on cpu, as the parameters are, found {str(dtype)[6:]} on cpu"
    with pytest.raises(ArgumentError, match=message):
        kind(2, 3, 3)(X.to(dtype))


def test_cell_input_of_another_dtype_or_device_raises():
    with pytest.raises(ArgumentError, match="found float64 on cpu"):
        ConvLSTMCell2d(2, 3, 3)(X[0].double())
    with pytest.raises(
        ArgumentError, match="x: expected float32 on meta, as the parameters are, found float32"
    ):
        ConvLSTMCell2d(2, 3, 3, device="meta")(X[0])


@pytest.mark.parametrize("kind", KINDS)
def test_state_from_autocast_continues_without_it(kind):
    rnn = kind(2, 3, 3)
    with torch.autocast("cpu", torch.bfloat16):
        _, state = rnn(X)
    output, _ = rnn(X, state)
    assert output.dtype == torch.float32


@pytest.mark.parametrize("kind", KINDS)
def test_layer_of_low_precision_accepts_state_of_higher(kind):
    rnn = kind(2, 3, 3, dtype=torch.bfloat16)
    h = (torch.zeros(2, 3, 5, 4),)
    output, _ = rnn(X.bfloat16(), (h, h) if kind is ConvLSTM2d else h)
    assert output.dtype == torch.bfloat16


@pytest.mark.parametrize("option", [{"norm": "layer"}, {"recurrent_dropout": 0.3}, {"input_dropout": 0.3}])
def test_hidden_state_under_autocast_keeps_low_precision_with_any_option(option):
    rnn = ConvLSTM2d(2, 3, 3, **option)
    with torch.autocast("cpu", torch.bfloat16):
        output, (h_n, c_n) = rnn(X)
    assert (output.dtype, h_n[0].dtype, c_n[0].dtype) == (torch.bfloat16, torch.bfloat16, torch.float32)


def test_numpy_numbers_are_accepted():
    rnn = ConvLSTM2d(
        np.int64(0), np.int32(3), np.int64(3), forget_bias=np.float32(2), cell_clip=np.float64(1)
    )
    h = (torch.zeros(2, 3, 5, 4),)
    assert rnn(None, (h, h), steps=np.int64(4))[0].shape == (4, 2, 3, 5, 4)
    assert rnn.cells[0].bias[3:6].tolist() == [2.0] * 3


def test_activation_with_parameters_is_trained():
    rnn = ConvLSTM2d(2, 3, 3, activation=torch.nn.PReLU(init=0.5))
    assert rnn.cells[0].activation.weight.item() == 0.5
    rnn(X)[0].sum().backward()
    assert rnn.cells[0].activation.weight.grad is not None


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"padding_mode": "reflect"}, r"padding_mode='reflect' and a kernel of \(9, 9\), found \(5, 4\)"),
        ({"padding_mode": "circular", "kernel_size": 11}, "padding_mode='circular' and a kernel"),
        (
            {"recurrent_padding_mode": "reflect", "kernel_size": 1, "recurrent_kernel_size": 9},
            "recurrent_padd",
        ),
    ],
)
@pytest.mark.parametrize("kind", [ConvLSTM2d, ConvGRU2d])
def test_image_too_small_for_its_padding_raises(kind, option, message):
    with pytest.raises(ArgumentError, match="x: expected images large enough for .*" + message):
        kind(2, 3, **{"kernel_size": 9} | option)(X)


@pytest.mark.parametrize(("mode", "kernel"), [("reflect", 7), ("circular", 9)])
def test_image_just_large_enough_for_its_padding_is_accepted(mode, kernel):
    assert ConvLSTM2d(2, 3, kernel, padding_mode=mode)(X)[0].shape == (3, 2, 3, 5, 4)


@pytest.mark.parametrize(
    ("kind", "name"),
    [(ConvLSTM2d, "foo"), (ConvLSTM2d, "reset"), (ConvGRU2d, "spatial_size"), (TrajGRU2d, "norm")],
)
def test_unknown_keyword_error_names_the_layer(kind, name):
    with pytest.raises(
        TypeError, match=rf"^{kind.__name__}\(\) got an unexpected keyword argument '{name}'$"
    ):
        kind(2, 3, 3, **{name: None})


def test_reset_parameters_works_in_any_memory_format():
    rnn = ConvLSTM2d(2, 4, 3).to(memory_format=torch.channels_last)
    before = rnn.cells[0].weight_hh.clone()
    rnn.reset_parameters()
    assert (rnn.cells[0].weight_hh != before).any()


@pytest.mark.parametrize("kind", KINDS)
def test_lengths_of_another_type_raise(kind):
    with pytest.raises(ArgumentError, match="lengths: expected 2 ints"):
        kind(2, 3, 3)(X, lengths=torch.ones(2, dtype=torch.complex64))
