"""Missing steps; ``kind`` and ``twins`` are in conftest.py.

All in float64, where what is computed in another order differs by some 2^-53 times a hundred terms.
"""

import copy

import pytest
import torch
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from torch.utils._pytree import tree_leaves, tree_map

EXACT = {"rtol": 1e-12, "atol": 1e-12}


def numbers(*shape, seed=1):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).double()


def assert_same(found, expected):
    """Equal to the bit: the same operations on the same numbers."""
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


def doubled(tree):
    return tree_map(torch.Tensor.double, tree)


# Samples: no step missing, all, the first ones, the last ones, some in between. (T, B)
MASK = torch.tensor(
    [
        [True, True, True, True, True, True],
        [False, False, False, False, False, False],
        [False, False, True, True, True, True],
        [True, True, True, True, False, False],
        [False, True, False, False, True, False],
    ]
).T
LENGTHS = [6, 0, 3, 1, 5]


def loop(kind, rnn, x, begin, there, *, repeat):
    """Each sample on its own, cell by cell, without the missing steps.

    Returns:
        Every layer's output, and the cells' last states.
    """
    outputs, ends = [], [None] * len(rnn.cells)
    for layer in range(rnn.num_layers):
        sides = []
        for side in range(rnn.directions):
            k = layer * rnn.directions + side
            order = range(len(there)) if side == 0 else range(len(there) - 1, -1, -1)
            samples, last = [], []
            for b in range(there.shape[1]):
                one = slice(b, b + 1)
                state = tree_map(lambda s, one=one: s[one], begin[k])
                frames, output = [None] * len(there), torch.zeros_like(tree_leaves(state)[0])
                for t in order:
                    if there[t, b]:
                        state = rnn.cells[k](None if x is None else x[t, one], state)
                        output = state[0] if kind.lstm else state
                    elif not repeat:
                        output = torch.zeros_like(output)
                    frames[t] = output
                samples.append(torch.stack(frames))
                last.append(state)
            sides.append(torch.cat(samples, dim=1))
            ends[k] = tuple(map(torch.cat, zip(*last, strict=True))) if kind.lstm else torch.cat(last)
        x = torch.cat(sides, dim=2)
        outputs.append(x)
    return outputs, ends


@pytest.fixture(params=[False, True], ids=["forwards", "both ways"])
def bidirectional(request):
    return request.param


@pytest.fixture(params=["mask", "lengths"])
def absent(request):
    """Arguments of a call, and the steps (T, B) which are present with them."""
    if request.param == "mask":
        return {"mask": MASK}, MASK
    return {"lengths": LENGTHS}, torch.arange(6).unsqueeze(1) < torch.tensor(LENGTHS)


@pytest.mark.parametrize("blind", [False, True])
def test_missing_step_is_skipped(kind, bidirectional, absent, blind):
    call, there = absent
    rnn = kind.build(bidirectional=bidirectional).double()
    begin = doubled(kind.start(rnn, 5))
    x = None if blind else kind.frames(6, 5).double()
    expected, ends = loop(kind, rnn, x, kind.per_cell(begin), there, repeat="mask" in call)
    outputs, last = rnn.all_layers(x, begin, steps=6, **call)
    torch.testing.assert_close(list(outputs), expected, **EXACT)
    torch.testing.assert_close(kind.per_cell(last), ends, **EXACT)
    assert_same(rnn(x, begin, steps=6, **call), (outputs[-1], last))


def test_missing_step_with_every_option_is_skipped(varied):
    rnn = varied.build().double()
    x, begin = varied.frames(6, 5).double(), doubled(varied.start(rnn, 5))
    expected, ends = loop(varied, rnn, x, varied.per_cell(begin), MASK, repeat=True)
    output, last = rnn(x, begin, mask=MASK)
    torch.testing.assert_close(output, expected[-1], **EXACT)
    torch.testing.assert_close(varied.per_cell(last), ends, **EXACT)


def test_last_output_is_that_of_the_last_present_step(kind, bidirectional, absent):
    call, there = absent
    rnn = kind.build(bidirectional=bidirectional).double()
    x, begin = kind.frames(6, 5).double(), doubled(kind.start(rnn, 5))
    whole, end = rnn(x, begin, **call)
    half = whole.shape[2] // rnn.directions
    expected = torch.zeros_like(whole[0])
    for b in range(5):
        steps = there[:, b].nonzero().flatten()
        if len(steps):
            expected[b, :half] = whole[steps[-1], b, :half]
            expected[b, half:] = whole[steps[0], b, half:]
    assert_same(rnn(x, begin, return_sequence=False, **call), (expected, end))


def test_mask_of_true_changes_nothing(kind, bidirectional):
    rnn = kind.build(bidirectional=bidirectional).double()
    x = kind.frames(4, 3).double()
    plain = rnn(x)
    torch.testing.assert_close(rnn(x, mask=torch.ones(4, 3, dtype=torch.bool)), plain, **EXACT)
    torch.testing.assert_close(rnn(x, lengths=[4, 4, 4]), plain, **EXACT)


def test_mask_with_batch_first_has_batch_first(kind, bidirectional):
    rnn = kind.build(bidirectional=bidirectional)
    twin = copy.deepcopy(rnn)
    twin.batch_first = True
    x = kind.frames(6, 5)
    output, end = rnn(x, mask=MASK)
    assert_same(twin(x.transpose(0, 1), mask=MASK.T), (output.transpose(0, 1), end))
    only = rnn(x, mask=MASK, return_sequence=False)
    assert_same(twin(x.transpose(0, 1), mask=MASK.T, return_sequence=False), only)
    output, end = rnn(x, lengths=LENGTHS)
    assert_same(twin(x.transpose(0, 1), lengths=LENGTHS), (output.transpose(0, 1), end))


def test_missing_frames_reach_neither_outputs_nor_gradients(varied):
    rnn = varied.build(bidirectional=len(varied.size) < 3).double()
    mask = MASK[2:5]
    gone = ~mask.reshape(*mask.shape, *(1,) * (1 + len(varied.size)))

    def run(x):
        x = x.detach().requires_grad_()
        output, end = rnn(x, mask=mask)
        loss = sum(t.square().sum() for t in tree_leaves((output, end)))
        return [output, end, *torch.autograd.grad(loss, [x, *rnn.parameters()])]

    clean = varied.frames(*mask.shape).double().masked_fill(gone, 0)
    expected = run(clean)
    assert all(t.isfinite().all() for t in tree_leaves(expected))
    assert expected[2].masked_select(gone).count_nonzero() == 0
    assert_same(run(clean.masked_fill(gone, torch.nan)), expected)


def test_missing_frames_do_not_reach_the_last_output(kind, bidirectional, absent):
    call, there = absent
    rnn = kind.build(bidirectional=bidirectional)
    clean = kind.frames(6, 5)
    dirty = clean.masked_fill(~there.reshape(*there.shape, *(1,) * (1 + len(kind.size))), torch.nan)
    for kept in (True, False):
        expected = rnn(clean, return_sequence=kept, **call)
        assert_same(rnn(dirty, return_sequence=kept, **call), expected)
        assert expected[0].isfinite().all()


def test_lengths_of_any_int_dtype_are_accepted(kind):
    rnn = kind.build()
    x = kind.frames(6, 5)
    expected = rnn(x, lengths=LENGTHS)
    for dtype in (torch.int64, torch.int32, torch.uint8):
        assert_same(rnn(x, lengths=torch.tensor(LENGTHS, dtype=dtype)), expected)
    assert_same(rnn(x, lengths=tuple(LENGTHS)), expected)
    assert rnn(x[:, :0], lengths=[])[0].shape == expected[0][:, :0].shape


def test_state_of_masked_sequence_continues_it(varied):
    """The output before a gap is not part of the state: outputs must agree only at present steps."""
    rnn = varied.build()
    x, begin = varied.frames(6, 5), varied.start(rnn, 5)
    whole, end = rnn(x, begin, mask=MASK)
    first, middle = rnn(x[:3], begin, mask=MASK[:3])
    second, again = rnn(x[3:], middle, mask=MASK[3:])
    assert_same((first, again), (whole[:3], end))
    assert_same(second[MASK[3:]], whole[3:][MASK[3:]])

    lengths = torch.tensor(LENGTHS)
    whole, end = rnn(x, begin, lengths=lengths)
    first, middle = rnn(x[:3], begin, lengths=lengths.clamp(max=3))
    second, again = rnn(x[3:], middle, lengths=(lengths - 3).clamp(min=0))
    assert_same((torch.cat([first, second]), again), (whole, end))


def test_mask_with_dropout_skips_the_same_steps(kind):
    """The dropout mask is the same at every step, missing or not."""
    warped = "TrajGRU" in kind.name
    options = {"dropout": 1.0} if warped else {"input_dropout": 0.3, "recurrent_dropout": 0.3}
    # The fused back end does not support masks, and rounds differently.
    rnn = kind.build(**options, backend="reference").train()
    x = kind.frames(6, 5)
    torch.manual_seed(1)
    whole, end = rnn(x, mask=MASK)
    torch.manual_seed(1)
    last, again = rnn(x, mask=MASK, return_sequence=False)
    assert_same((last, again), (whole[-1], end))
    torch.manual_seed(1)
    assert_same(whole[:, 0], rnn(x)[0][:, 0])


@torch.no_grad()
@pytest.mark.parametrize("num_layers", [1, 3])
@pytest.mark.parametrize("lengths", [[5, 1, 3], [2, 2, 4], [4, 0, 2]])
def test_lengths_match_packed_sequences_of_torch(twins, bidirectional, num_layers, lengths):
    pair = twins(num_layers, bidirectional=bidirectional)
    x = numbers(5, 3, 4)
    states = numbers(2, num_layers * pair.ours.directions, 3, 3, seed=2)
    begin, _ = pair.start(states)
    found = pair.plain(*pair.ours(pair.image(x), begin, lengths=lengths))

    # torch cannot pack a sequence without steps: its state stays as it is and its output is zero.
    some = [b for b, n in enumerate(lengths) if n]
    _, theirs = pair.start(states[:, :, some])
    theirs = tree_map(torch.Tensor.contiguous, theirs)
    packed = pack_padded_sequence(x[:, some], [lengths[b] for b in some], enforce_sorted=False)
    output, last = pair.theirs(packed, theirs)
    output, _ = pad_packed_sequence(output, total_length=5)
    expected = [torch.zeros_like(found[0]), *states.clone()[: len(found) - 1]]
    for whole, part in zip(expected, pair.plain(output, last), strict=True):
        whole[:, some] = part
    torch.testing.assert_close(found, expected, **EXACT)
