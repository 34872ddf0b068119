"""Every kind of layer on sequences; ``kind`` and ``varied`` are in conftest.py."""

import copy

import pytest
import torch
from torch.nn import functional
from torch.utils._pytree import tree_leaves, tree_map

from stormcell.nn import ConvLSTM2d, ConvLSTMCell2d, PeepholeLSTM, TrajGRU2d


def numbers(*shape, seed=1):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def assert_same(found, expected):
    """Equal to the bit, however the tensors are nested: the same operations on the same numbers."""
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


# Convolutions may sum in another order: float32's 2^-24 times some tens of terms, over a few steps.
CLOSE = {"rtol": 1e-5, "atol": 1e-6}
# Float64 sums in another order: 2^-53 times some hundred terms of order one, over a few steps.
EXACT = {"rtol": 1e-12, "atol": 1e-12}


def test_sequence_in_two_parts_matches_the_whole(varied):
    rnn = varied.build()
    x, begin = varied.frames(20, 2), varied.start(rnn)
    whole, end = rnn(x, begin)
    first, middle = rnn(x[:10], begin)
    assert_same(first, whole[:10])
    assert_same(rnn(x[10:], middle), (whole[10:], end))
    assert_same(rnn(x[10:], middle, return_sequence=False), (whole[-1], end))


def test_sequence_in_two_parts_under_autocast_matches_the_whole(varied):
    rnn = varied.build()
    x, begin = varied.frames(4, 2), varied.start(rnn)
    with torch.autocast("cpu", torch.bfloat16):
        whole, end = rnn(x, begin)
        first, middle = rnn(x[:2], begin)
        assert_same(first, whole[:2])
        assert_same(rnn(x[2:], middle), (whole[2:], end))
        assert_same(rnn(x[2:], middle, return_sequence=False), (whole[-1], end))
    assert (whole - rnn(x, begin)[0]).abs().max() > 0


def test_sequence_in_two_parts_without_input_matches_the_whole(varied):
    rnn = varied.build()
    begin = varied.start(rnn)
    whole, end = rnn(None, begin, steps=4)
    first, middle = rnn(None, begin, steps=2)
    assert_same(first, whole[:2])
    assert_same(rnn(None, middle, steps=2), (whole[2:], end))
    assert_same(rnn(None, middle, steps=2, return_sequence=False), (whole[-1], end))


def test_gradients_pass_through_a_returned_state(kind):
    rnn = kind.build().double()
    frames = kind.frames(6, 2).double()

    def gradients(run):
        x = frames.clone().requires_grad_()
        output, end = run(x)
        leaves = [output, *tree_leaves(end)]
        loss = sum(t.square().sum() for t in leaves)
        return torch.autograd.grad(loss, [x, *rnn.parameters()])

    def halves(x):
        first, middle = rnn(x[:3])
        second, end = rnn(x[3:], middle)
        return torch.cat([first, second]), end

    torch.testing.assert_close(gradients(halves), gradients(rnn), **EXACT)


def test_missing_state_is_zeros(varied):
    rnn = varied.build()
    x = varied.frames(3, 2)
    zeros = tree_map(torch.zeros_like, varied.start(rnn))
    assert_same(rnn(x), rnn(x, zeros))


def test_cells_step_by_step_match_the_layer(varied):
    rnn = varied.build()
    x, begin = varied.frames(4, 2), varied.start(rnn)
    states = varied.per_cell(begin)
    outputs = []
    for frame in x:
        for k, cell in enumerate(rnn.cells):
            states[k] = cell(frame, states[k])
            frame = states[k][0] if varied.lstm else states[k]
        outputs.append(frame)
    end = tuple(zip(*states, strict=True)) if varied.lstm else tuple(states)
    assert_same(rnn(x, begin), (torch.stack(outputs), end))


def test_all_layers_match_single_layers(kind):
    rnn, lowest = kind.build(), kind.build(2, 4)
    x, begin = kind.frames(4, 2), kind.start(rnn)
    lowest.cells[0].load_state_dict(rnn.cells[0].state_dict())
    outputs, end = rnn.all_layers(x, begin)
    below = kind.nested([s if kind.lstm else (s,) for s in kind.per_cell(begin)[:1]])
    assert_same(outputs[0], lowest(x, below)[0])
    assert_same((outputs[1], end), rnn(x, begin))


@pytest.mark.parametrize("bidirectional", [False, True])
def test_batch_first_swaps_only_axes_of_sequences(kind, bidirectional):
    rnn = kind.build(bidirectional=bidirectional)
    x, begin = kind.frames(4, 3), kind.start(rnn, 3)
    twin = copy.deepcopy(rnn)
    twin.batch_first = True
    output, end = rnn(x, begin)
    swapped = x.transpose(0, 1)
    assert_same(twin(swapped, begin), (output.transpose(0, 1), end))
    outputs, _ = twin.all_layers(swapped, begin)
    assert_same(outputs, tuple(o.transpose(0, 1) for o in rnn.all_layers(x, begin)[0]))
    only = rnn(x, begin, return_sequence=False)
    assert_same(twin(swapped, begin, return_sequence=False), only)
    without_input, _ = rnn(None, begin, steps=4)
    assert_same(twin(None, begin, steps=4)[0], without_input.transpose(0, 1))


def test_input_in_any_memory_layout_gives_the_same(kind):
    rnn = kind.build()
    x, begin = kind.frames(4, 3), kind.start(rnn, 3)

    def strided(dense):
        """The same numbers, with axes in reverse order and gaps between elements."""
        holder = dense.new_full((*dense.shape[::-1], 2), torch.nan)[..., 0]
        return holder.permute(*reversed(range(dense.dim()))).copy_(dense)

    assert not strided(x).is_contiguous()
    found = rnn(strided(x), tree_map(strided, begin))
    torch.testing.assert_close(found, rnn(x, begin), **CLOSE)


def test_sample_alone_matches_sample_in_batch(varied):
    rnn = varied.build().double()
    x, begin = varied.frames(3, 3).double(), doubled(varied.start(rnn, 3))
    output, end = rnn(x, begin)
    found = rnn(x[:, 1:2], tree_map(lambda state: state[1:2], begin))
    torch.testing.assert_close(found, (output[:, 1:2], tree_map(lambda state: state[1:2], end)), **EXACT)


def doubled(tree):
    return tree_map(torch.Tensor.double, tree)


def test_norm_of_one_value_in_batch_of_one_is_accepted():
    """torch.nn.functional.group_norm raises an error for this case only."""
    rnn = PeepholeLSTM(2, 1, norm="group")
    x = numbers(3, 2, 2)
    torch.testing.assert_close(rnn(x[:, :1])[0], rnn(x)[0][:, :1], **CLOSE)


def test_one_step_matches_the_first_of_several(kind):
    rnn = kind.build()
    x, begin = kind.frames(4, 2), kind.start(rnn)
    output, end = rnn(x[:1], begin)
    assert_same(output, rnn(x, begin)[0][:1])
    assert_same(output[0], end[0][-1] if kind.lstm else end[-1])


def test_empty_batch_gives_empty_output(varied):
    rnn = varied.build(bidirectional=True)
    full, end = rnn(varied.frames(2, 2))
    none, shapes = full[:, :0].shape, [s[:0].shape for s in tensors(end)]
    x = varied.frames(2, 0).requires_grad_()
    output, last = rnn(x)
    assert [output.shape, *(s.shape for s in tensors(last))] == [none, *shapes]
    output.sum().backward()
    assert x.grad.shape == x.shape
    assert rnn(None, last, steps=2)[0].shape == none
    assert rnn(x, return_sequence=False)[0].shape == none[1:]


def tensors(*trees):
    return tree_leaves(trees)


def test_images_of_another_size_per_call_are_accepted(kind):
    rnn = kind.build()
    for larger in (0, 2, -1, 1):
        size = tuple(n + larger + k for k, n in enumerate(kind.size))
        x = numbers(3, 2 + larger % 2, 2, *size)
        output, end = rnn(x)
        assert output.shape == (3, 2 + larger % 2, 3, *size)
        assert_same((output, end), kind.build()(x))


def test_call_without_input_matches_zeros(kind):
    """A GRU's input bias is left out together with the input."""
    rnn = kind.build()
    begin = kind.start(rnn)
    blind = rnn(None, begin, steps=3)
    for name, parameter in rnn.cells[0].named_parameters():
        if name.endswith("bias_ih"):
            parameter.data.zero_()
    torch.testing.assert_close(rnn(torch.zeros_like(kind.frames(3, 2)), begin), blind, **CLOSE)


def test_layer_of_zero_channels_matches_call_without_input(varied):
    rnn, blind = varied.build(), varied.build(0)
    assert [name for name in rnn.state_dict() if name not in blind.state_dict()] == [
        f"cells.0.{name}" for name, _ in rnn.cells[0].named_parameters() if name.endswith("_ih")
    ]
    blind.load_state_dict({name: rnn.state_dict()[name] for name in blind.state_dict()})
    begin = varied.start(rnn)
    assert_same(blind(None, begin, steps=3), rnn(None, begin, steps=3))


def test_steps_equal_to_those_of_input_are_accepted(kind):
    rnn = kind.build()
    x = kind.frames(4, 2)
    assert_same(rnn(x, steps=4), rnn(x))


def test_dropout_applies_between_layers_in_training_only(kind):
    rnn, upper = kind.build(), kind.build(4, 3)
    x = kind.frames(4, 2)
    plain, end = rnn.all_layers(x)
    rnn.dropout = 1.0
    assert_same(rnn.all_layers(x), (plain, end))
    rnn.train()
    dropped, _ = rnn.all_layers(x)
    upper.cells[0].load_state_dict(rnn.cells[1].state_dict())
    blinded, _ = upper(torch.zeros_like(plain[0]))
    assert_same(dropped, (plain[0], blinded))
    assert_same(rnn(x, return_sequence=False)[0], blinded[-1])


def test_dropout_drops_and_scales_input_of_next_layer(kind):
    """The upper layer is run on the lower one's output with the same elements dropped."""
    rnn, upper = kind.build(dropout=0.4).train(), kind.build(4, 3)
    x = kind.frames(4, 2)
    upper.cells[0].load_state_dict(rnn.cells[1].state_dict())
    torch.manual_seed(2)
    below, output = rnn.all_layers(x)[0]
    torch.manual_seed(2)
    seen = functional.dropout(below, 0.4)
    hidden = (seen == 0).float().mean()
    assert 0.2 < hidden < 0.6  # of 32 elements or more
    assert_same(output, upper(seen)[0])


def test_dropout_with_one_layer_warns():
    with pytest.warns(UserWarning, match="dropout=0.5 applies between layers, but there is only one"):
        ConvLSTM2d(2, 4, 3, dropout=0.5)


# Random numbers. With only the last output, all layers take a step before the next step: numbers drawn
# at every step, for zoneout and for dropout between layers, then have another order.


def drawing(kind):
    """Options which draw a mask or random numbers for each cell."""
    return [] if kind.layer is TrajGRU2d else [{"input_dropout": 0.3, "recurrent_dropout": 0.4}]


def test_last_output_with_dropout_matches_the_sequence(kind):
    for options in drawing(kind):
        for bidirectional in (False, True):
            rnn = kind.build(bidirectional=bidirectional, **options).train()
            x = kind.frames(5, 2)
            torch.manual_seed(3)
            whole, end = rnn(x)
            torch.manual_seed(3)
            last, again = rnn(x, return_sequence=False)
            assert_same((last, again), (ends(rnn, whole), end))
            assert (whole[-1] - kind.build(bidirectional=bidirectional)(x)[0][-1]).abs().max() > 1e-3


def ends(rnn, output):
    """The last step in each direction."""
    half = output.shape[2] // rnn.directions
    return torch.cat([output[-1, :, :half], output[0, :, half:]], dim=1)


def test_last_output_with_zoneout_matches_the_sequence(kind):
    """For one layer, where the order is the same."""
    rnn = kind.build(2, 4, zoneout=0.5).train()
    x = kind.frames(5, 2)
    torch.manual_seed(3)
    whole, end = rnn(x)
    torch.manual_seed(3)
    assert_same(rnn(x, return_sequence=False), (whole[-1], end))
    torch.manual_seed(4)
    other, _ = rnn(x, return_sequence=False)
    assert (whole[-1] - other).abs().max() > 1e-3


# Bidirectional layers.


@pytest.mark.parametrize("num_layers", [1, 3])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_layer_on_one_pixel_matches_torch(twins, num_layers, bidirectional):
    pair = twins(num_layers, bidirectional=bidirectional)
    x = numbers(5, 3, 4).double()
    begin, theirs = pair.start(numbers(2, num_layers * pair.ours.directions, 3, 3, seed=2).double())
    expected = pair.plain(*pair.theirs(x, theirs))
    torch.testing.assert_close(pair.plain(*pair.ours(pair.image(x), begin)), expected, **EXACT)
    only, last = pair.ours(pair.image(x), begin, return_sequence=False)
    expected[0] = ends(pair.ours, expected[0]).unsqueeze(0)
    torch.testing.assert_close(pair.plain(only.unsqueeze(0), last), expected, **EXACT)


# Parameters.


def test_parameters_have_the_documented_names_and_shapes():
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
    bare = ConvLSTMCell2d(0, 8, 3, bias=False, peephole=None)
    assert [name for name, _ in bare.named_parameters()] == ["weight_hh"]


def test_bidirectional_layer_gets_both_outputs_of_the_one_below(kind):
    rnn = kind.build(2, [4, 3], bidirectional=True)
    assert [cell.in_channels for cell in rnn.cells] == [2, 2, 8, 8]
    assert [cell.hidden_channels for cell in rnn.cells] == [4, 4, 3, 3]
    assert rnn.hidden_channels == [4, 3]
    assert len(rnn.kernel_size) == len(rnn.recurrent_kernel_size) == rnn.num_layers == 2


def test_every_parameter_and_state_gets_a_gradient(varied):
    rnn = varied.build(bidirectional=len(varied.size) < 3)
    x, begin = varied.frames(2, 2), varied.start(rnn)
    leaves = [x, *tensors(begin), *rnn.parameters()]
    for leaf in leaves:
        leaf.requires_grad_()
    output, end = rnn(x, begin)
    sum(t.square().sum() for t in tensors(output, end)).backward()
    for leaf in leaves:
        assert leaf.grad is not None
        assert leaf.grad.abs().max() > 0


def test_initial_parameters_have_the_documented_distribution():
    cell = ConvLSTMCell2d(6, 5, 3, forget_bias=2.5)
    matrix = cell.weight_hh.detach().flatten(1)  # (20, 45): more columns than rows, so rows are orthonormal
    torch.testing.assert_close(matrix @ matrix.T, torch.eye(20), rtol=0, atol=1e-5)
    glorot = (6 / ((6 + 20) * 9)) ** 0.5
    assert 0.9 * glorot < cell.weight_ih.abs().max() <= glorot
    assert cell.bias.tolist() == [0.0] * 5 + [2.5] * 5 + [0.0] * 10
    assert cell.peephole.count_nonzero() == 0


def test_reset_parameters_matches_construction(varied):
    rnn = varied.build()
    torch.manual_seed(3)
    fresh = varied.layer(2, [4, 3], **varied.options)
    torch.manual_seed(3)
    rnn.reset_parameters()
    assert_same(rnn.state_dict(), fresh.state_dict())
