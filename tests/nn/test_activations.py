import pickle

import numpy as np
import pytest
import torch

from stormcell.errors import ArgumentError
from stormcell.nn.activations import ACTIVATIONS, activation

EXPECTED = {
    "tanh": np.tanh,
    "sigmoid": lambda v: 1 / (1 + np.exp(-v)),
    "relu": lambda v: np.maximum(v, 0),
    "leaky_relu": lambda v: np.where(v > 0, v, v / 5),
    "linear": lambda v: v,
    "hard_sigmoid": lambda v: np.clip(v / 6 + 1 / 2, 0, 1),
    "hard_sigmoid_keras2": lambda v: np.clip(v / 5 + 1 / 2, 0, 1),
}


def test_activations_have_the_documented_names():
    assert set(ACTIVATIONS) == set(EXPECTED)


@pytest.mark.parametrize("name", EXPECTED)
def test_activation_by_name_computes_its_formula(name):
    # The kinks of the hard sigmoids, at 2.5 and 3, and both sides of them.
    x = torch.cat([torch.linspace(-4, 4, 81, dtype=torch.float64), torch.tensor([-2.5, 2.5])])
    # A few roundings of numbers up to 4, with relative errors of 2^-53.
    np.testing.assert_allclose(activation("φ", name)(x), EXPECTED[name](x.numpy()), rtol=0, atol=1e-14)


@pytest.mark.parametrize("name", EXPECTED)
def test_activation_pickled_computes_the_same(name):
    function = activation("φ", name)
    assert pickle.loads(pickle.dumps(function)) is function


def test_activation_given_as_callable_is_returned():
    assert activation("φ", torch.sin) is torch.sin


@pytest.mark.parametrize("value", ["than", "", None, 3])
def test_activation_of_another_type_raises_with_all_names(value):
    with pytest.raises(ArgumentError) as refusal:
        activation("recurrent_activation", value)
    assert str(refusal.value) == (
        "recurrent_activation: expected a callable or one of 'tanh', 'sigmoid', 'relu', 'leaky_relu', "
        f"'linear', 'hard_sigmoid', 'hard_sigmoid_keras2', found {value!r}"
    )
