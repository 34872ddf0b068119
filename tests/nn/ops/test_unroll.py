import math

import pytest
import torch

from stormcell.nn.ops.types import CallSpec
from stormcell.nn.ops.unroll import unroll


def numbers(*shape, seed=1):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def counting(x, h, c):
    """Two states: one adds up the input, the other doubles."""
    return h + x, 2 * c


def run(*, zoneout=(), training=False, mask=None, repeat=True, steps=3):
    """Run over three frames of ones, two samples of one pixel, from h = 0 and c = 1."""
    zeros = torch.zeros(2, 1, 1)
    spec = CallSpec(steps=steps, mask=mask, repeat=repeat, training=training)
    outputs, (h, c) = unroll(counting, torch.ones(steps, 2, 1, 1), (zeros, zeros + 1), spec, zoneout)
    return [side.flatten().tolist() for side in (*outputs.unbind(1), h, c)]


def test_step_starts_from_the_previous_state():
    assert run() == [[1, 2, 3], [1, 2, 3], [3, 3], [8, 8]]


def test_step_without_input_gets_none():
    outputs, (last,) = unroll(lambda x, h: (h + (x is None),), None, (torch.zeros(1),), CallSpec(steps=4))
    assert outputs.flatten().tolist() == [1, 2, 3, 4]
    assert last.item() == 4


MASK = torch.tensor([[False, True], [True, False], [False, True]])


def test_masked_step_holds_state_and_repeats_output():
    assert run(mask=MASK) == [[0, 1, 1], [1, 1, 2], [1, 2], [2, 4]]


def test_masked_step_without_repeat_has_zero_output():
    assert run(mask=MASK, repeat=False) == [[0, 1, 0], [1, 0, 2], [1, 2], [2, 4]]


def test_zoneout_in_evaluation_is_its_expectation():
    # h gains 1 with probability 3/4; c doubles with probability 1/2, and so grows by half.
    assert run(zoneout=(0.25, 0.5)) == [[0.75, 1.5, 2.25]] * 2 + [[2.25] * 2, [1.5**3] * 2]


@pytest.mark.parametrize("rate", [0, 1])
@pytest.mark.parametrize("training", [False, True])
def test_zoneout_of_rate_0_or_1_is_certain(rate, training):
    h, c = run(zoneout=(rate, 1 - rate), training=training)[2:]
    assert (h, c) == ([0, 0], [8, 8]) if rate else ([3, 3], [1, 1])


def within(count, trials, probability):
    """Whether a count is within five standard deviations: all but one in two million are."""
    return abs(count - trials * probability) <= 5 * math.sqrt(trials * probability * (1 - probability))


def test_zoneout_in_training_keeps_or_replaces_each_element():
    torch.manual_seed(1)
    rates, elements = (0.2, 0.6), 20_000
    old = numbers(4, 5, 1000), numbers(4, 5, 1000, seed=2)
    new = numbers(4, 5, 1000, seed=3), numbers(4, 5, 1000, seed=4)
    spec = CallSpec(steps=2, training=True)
    states = []

    def step(_, h, c):
        states.append((h, c))
        return new

    outputs, last = unroll(step, None, old, spec, rates)
    first, second = states[1], last
    torch.testing.assert_close(outputs, torch.stack([first[0], second[0]]), rtol=0, atol=0)
    kept = []
    for before, after, there, rate in zip(old, first, new, rates, strict=True):
        kept.append(after == before)
        assert torch.equal(torch.where(kept[-1], before, there), after)
        assert within(kept[-1].sum(), elements, rate)
    # h and c are drawn independently: both keep their values with the product of the probabilities.
    assert within((kept[0] & kept[1]).sum(), elements, 0.2 * 0.6)
    # So are steps: an old value has been kept twice.
    for before, after, rate in zip(old, second, rates, strict=True):
        assert within((after == before).sum(), elements, rate**2)
