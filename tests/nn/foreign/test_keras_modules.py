import re

import pytest
import torch

from stormcell.errors import ArgumentError
from stormcell.nn import ConvLSTM2d
from stormcell.nn.foreign.keras_modules import KerasBidirectional, KerasLayer


def layer(go_backwards):
    rnn = ConvLSTM2d(2, 3, 3, batch_first=True)
    return KerasLayer(rnn, go_backwards=go_backwards, return_sequences=True, zero_output_for_mask=True)


@pytest.fixture
def both():
    return KerasBidirectional(layer(False), layer(True), "concat", -3)


X, H = torch.zeros(2, 4, 2, 5, 6), torch.zeros(2, 3, 5, 6)


@pytest.mark.parametrize("x", [None, X[0], torch.zeros(2, 4, 3, 5, 6)])
def test_keras_module_given_an_input_of_another_shape_names_it(both, x):
    for module in (both, layer(True)):
        with pytest.raises(ArgumentError, match=re.escape("x: expected (B, T, C, H, W) with C = 2, found ")):
            module(x)


@pytest.mark.parametrize("mask", [torch.ones(4, 2) > 0, torch.ones(4) > 0, [True]])
def test_keras_module_given_a_mask_of_another_shape_names_it(both, mask):
    with pytest.raises(ArgumentError, match=re.escape("mask: expected bools of shape (2, 4), found ")):
        both(X, mask=mask)


def test_keras_module_given_a_mask_of_floats_is_refused(both):
    with pytest.raises(ArgumentError, match="mask: expected bools"):
        both(X, mask=torch.ones(2, 4))


@pytest.mark.parametrize("state", [H, (H, H), ((H,), (H,)), ((H, H),), ((H, H), (H, H, H))])
def test_keras_bidirectional_given_another_state_names_it(both, state):
    message = "state: expected (h_0, c_0), each a tuple of 2 tensors, forward and backward, found "
    with pytest.raises(ArgumentError, match=f"^{re.escape(message)}"):
        both(X, state)


def test_keras_bidirectional_takes_states_as_lists(both):
    found, _ = both(X, [[H, H], [H, H]])
    assert found.equal(both(X)[0])


def test_keras_module_repr_describes_its_settings(both):
    assert "merge_mode='concat', axis=-3" in repr(both)
    assert "go_backwards=True, return_sequences=True, zero_output_for_mask=True" in repr(both)
