import copy
import pickle

import pytest
import torch

from stormcell.nn import ConvLSTM2d, ConvLSTMCell2d


def numbers(*shape, seed=1):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def rnn():
    """Two layers, with every parameter random: peepholes start at zero and would hide."""
    module = ConvLSTM2d(2, [4, 3], 3)
    with torch.no_grad():
        for seed, parameter in enumerate(module.parameters()):
            parameter.copy_(0.3 * numbers(*parameter.shape, seed=seed))
    return module


def states(seed=5):
    return tuple(tuple(numbers(2, c, 5, 7, seed=seed + c) for c in (4, 3)) for seed in (seed, 2 * seed))


def assert_same(found, expected):
    """Equal to the bit, however the tensors are nested: the same operations on the same numbers."""
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


@pytest.mark.parametrize("autocast", [False, True])
def test_ten_steps_and_ten_more_are_twenty(rnn, autocast):
    x = numbers(20, 2, 2, 5, 7)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        whole, end = rnn(x, states())
        first, middle = rnn(x[:10], states())
        second, again = rnn(x[10:], middle)
    assert_same(torch.cat([first, second]), whole)
    assert_same(again, end)


def test_without_a_state_it_starts_from_zeros(rnn):
    x = numbers(3, 2, 2, 5, 7)
    zeros = tuple(tuple(torch.zeros_like(s) for s in layer) for layer in states())
    assert_same(rnn(x), rnn(x, zeros))


def test_its_cells_step_by_step_are_the_layer(rnn):
    x = numbers(4, 2, 2, 5, 7)
    per_layer = list(zip(*states(), strict=True))
    outputs = []
    for frame in x:
        for k, cell in enumerate(rnn.cells):
            per_layer[k] = cell(frame, per_layer[k])
            frame = per_layer[k][0]
        outputs.append(frame)
    expected = torch.stack(outputs), tuple(zip(*per_layer, strict=True))
    assert_same(rnn(x, states()), expected)


def test_all_layers_are_those_of_the_layers_alone(rnn):
    x = numbers(4, 2, 2, 5, 7)
    lowest = ConvLSTM2d(2, 4, 3)
    lowest.cells[0].load_state_dict(rnn.cells[0].state_dict())
    outputs, end = rnn.all_layers(x)
    assert_same(outputs[0], lowest(x)[0])
    assert_same((outputs[1], end), rnn(x))


def test_batch_first_swaps_the_axes_of_sequences_only(rnn):
    x = numbers(4, 2, 2, 5, 7)
    twin = copy.deepcopy(rnn)
    twin.batch_first = True
    output, end = rnn(x, states())
    assert_same(twin(x.transpose(0, 1), states()), (output.transpose(0, 1), end))
    outputs, _ = twin.all_layers(x.transpose(0, 1), states())
    assert_same(outputs[1], output.transpose(0, 1))


def test_how_the_input_lies_in_memory_changes_nothing(rnn):
    x = numbers(4, 2, 2, 5, 7)
    strided = numbers(7, 4, 2, 5, 4)[..., ::2].permute(1, 4, 2, 3, 0)
    strided.copy_(x)
    assert not strided.is_contiguous()
    # Convolutions may sum in another order: float32's 2^-24 times some tens of terms, over a few steps.
    torch.testing.assert_close(rnn(strided), rnn(x), rtol=1e-5, atol=1e-6)


def test_one_step_of_one_sample_is_what_it_is_among_others(rnn):
    x = numbers(4, 2, 2, 5, 7)
    output, _ = rnn(x)
    alone, (h_n, c_n) = rnn(x[:1, 1:])
    assert alone.shape == (1, 1, 3, 5, 7)
    assert [len(h_n), len(c_n)] == [2, 2]
    torch.testing.assert_close(alone, output[:1, 1:], rtol=1e-5, atol=1e-6)


def test_an_empty_batch_gives_an_empty_output(rnn):
    output, _ = rnn(torch.empty(3, 0, 2, 5, 7))
    assert output.shape == (3, 0, 3, 5, 7)


def test_without_input_it_runs_as_if_it_saw_zeros(rnn):
    blind = ConvLSTM2d(0, [4, 3], 3)
    weights = rnn.state_dict()
    del weights["cells.0.weight_ih"]
    blind.load_state_dict(weights)
    found = blind(None, states(), steps=3)
    torch.testing.assert_close(found, rnn(torch.zeros(3, 2, 2, 5, 7), states()), rtol=1e-5, atol=1e-6)


def test_steps_may_repeat_what_the_input_says(rnn):
    x = numbers(4, 2, 2, 5, 7)
    assert_same(rnn(x, steps=4), rnn(x))


def test_dropout_acts_on_what_the_next_layer_sees_and_only_in_training(rnn):
    x = numbers(4, 2, 2, 5, 7)
    plain, _ = rnn.all_layers(x)
    rnn.dropout = 1.0
    dropped, _ = rnn.all_layers(x)
    upper = ConvLSTM2d(4, 3, 3)
    upper.cells[0].load_state_dict(rnn.cells[1].state_dict())
    assert_same(dropped, (plain[0], upper(torch.zeros_like(plain[0]))[0]))
    assert_same(rnn.eval().all_layers(x)[0], plain)


def test_dropout_with_one_layer_is_warned_of():
    with pytest.warns(UserWarning, match="dropout=0.5 acts between layers, and there is only one"):
        ConvLSTM2d(2, 4, 3, dropout=0.5)


def test_copies_and_pickles_compute_the_same(rnn):
    x = numbers(4, 2, 2, 5, 7)
    for twin in copy.deepcopy(rnn), pickle.loads(pickle.dumps(rnn)):
        assert_same(twin(x), rnn(x))


def test_parameters_are_those_of_the_equations_and_have_these_names():
    rnn = ConvLSTM2d(3, [8, 4], (3, 5), recurrent_kernel_size=[1, (2, 3)])
    assert {name: tuple(value.shape) for name, value in rnn.named_parameters()} == {
        "cells.0.weight_ih": (32, 3, 3, 5),
        "cells.0.weight_hh": (32, 8, 1, 1),
        "cells.0.bias": (32,),
        "cells.0.peephole": (3, 8),
        "cells.1.weight_ih": (16, 8, 3, 5),
        "cells.1.weight_hh": (16, 4, 2, 3),
        "cells.1.bias": (16,),
        "cells.1.peephole": (3, 4),
    }
    assert list(rnn.state_dict()) == [name for name, _ in rnn.named_parameters()]
    bare = ConvLSTMCell2d(0, 8, 3, bias=False, peephole=None)
    assert [name for name, _ in bare.named_parameters()] == ["weight_hh"]


def test_every_parameter_and_state_gets_a_gradient(rnn):
    state = tuple(tuple(s.requires_grad_() for s in layer) for layer in states())
    output, _ = rnn(numbers(3, 2, 2, 5, 7), state)
    output.square().sum().backward()
    for tensor in (*rnn.parameters(), *state[0], *state[1]):
        assert tensor.grad is not None
        assert tensor.grad.abs().min() > 0


def test_parameters_start_as_they_say():
    cell = ConvLSTMCell2d(6, 5, 3, forget_bias=2.5)
    matrix = cell.weight_hh.detach().flatten(1)  # (20, 45): more columns than rows, so rows are orthonormal
    torch.testing.assert_close(matrix @ matrix.T, torch.eye(20), rtol=0, atol=1e-5)
    glorot = (6 / ((6 + 20) * 9)) ** 0.5
    assert 0.9 * glorot < cell.weight_ih.abs().max() <= glorot
    assert cell.bias.tolist() == [0.0] * 5 + [2.5] * 5 + [0.0] * 10
    assert cell.peephole.count_nonzero() == 0


def test_starting_afresh_is_starting(rnn):
    torch.manual_seed(3)
    expected = ConvLSTM2d(2, [4, 3], 3).state_dict()
    torch.manual_seed(3)
    rnn.reset_parameters()
    assert_same(rnn.state_dict(), expected)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_it_computes_in_the_type_it_was_made_in(dtype):
    output, (h_n, c_n) = ConvLSTM2d(2, 4, 3, dtype=dtype)(numbers(3, 2, 2, 5, 7).to(dtype))
    assert {output.dtype, h_n[0].dtype, c_n[0].dtype} == {dtype}
    assert output.isfinite().all()


def test_on_the_meta_device_it_tells_shapes():
    output, _ = ConvLSTM2d(2, 4, 3, device="meta")(torch.empty(3, 2, 2, 5, 7, device="meta"))
    assert output.shape == (3, 2, 4, 5, 7)
