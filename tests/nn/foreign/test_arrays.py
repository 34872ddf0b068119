import re

import numpy as np
import pytest
import torch
from torch import nn

from stormcell.errors import ArgumentError
from stormcell.nn.foreign import arrays


@pytest.mark.parametrize("kind", ["float16", "float32", "float64"])
def test_tensor_of_an_array_keeps_numbers_and_dtype(kind):
    values = np.arange(6, dtype=kind).reshape(2, 3) / 8
    for given in (
        values,
        torch.from_numpy(values),
        torch.tensor(values, requires_grad=True),
    ):
        found = arrays.tensor(given)
        assert (str(found.dtype), found.device.type, found.requires_grad) == (f"torch.{kind}", "cpu", False)
        assert found.tolist() == values.tolist()


def test_tensor_of_an_array_in_any_memory_layout_is_contiguous():
    values = np.arange(24.0).reshape(2, 3, 4)
    frozen = values.copy()
    frozen.flags.writeable = False
    for given in (
        values[:, ::-1, ::2],
        values.T,
        values.astype(">f8"),
        values.astype("<f4"),
        np.asfortranarray(values),
        frozen,
        torch.from_numpy(values).permute(2, 0, 1),
    ):
        found = arrays.tensor(given)
        assert found.is_contiguous()
        assert found.tolist() == given.tolist()


@pytest.mark.parametrize("given", [np.ones(3), torch.ones(3)])
def test_tensor_and_array_share_no_memory(given):
    arrays.tensor(given).fill_(7)
    back = torch.ones(3)
    arrays.array(back).fill(7)
    assert given.tolist() == back.tolist() == [1, 1, 1]


def test_tensor_of_bfloat16_from_ml_dtypes_is_bfloat16():
    bfloat16 = pytest.importorskip("ml_dtypes").bfloat16
    found = arrays.tensor(np.array([1.5, -0.25], dtype=bfloat16))
    assert found.dtype == torch.bfloat16
    assert found.tolist() == [1.5, -0.25]


@pytest.mark.parametrize(
    ("given", "found"),
    [
        (np.arange(3), "int64"),
        (torch.arange(3), "torch.int64"),
        (np.array(["a"]), "<U1"),
        (None, "a NoneType"),
        ([[1.0], [2.0, 3.0]], "a list"),
    ],
)
def test_tensor_of_something_else_names_it(given, found):
    with pytest.raises(ArgumentError, match=f"^kernel: expected an array of floats, found {found}$"):
        arrays.tensor(given, "kernel")


def test_array_is_a_contiguous_copy():
    given = torch.arange(6.0, requires_grad=True).view(2, 3).T
    found = arrays.array(given)
    assert found.flags.c_contiguous
    assert (found.dtype, found.tolist()) == (np.float32, given.tolist())


def test_array_of_bfloat16_is_refused():
    with pytest.raises(ArgumentError, match="expected a dtype that numpy supports, found bfloat16"):
        arrays.array(torch.ones(2, dtype=torch.bfloat16))


def test_dtype_of_several_tensors_is_the_widest():
    one = [torch.ones(1, dtype=kind) for kind in (torch.float16, torch.float32, torch.float64)]
    assert arrays.dtype(one[:1]) == torch.float16
    assert arrays.dtype(one) == torch.float64


@pytest.fixture
def linear():
    return nn.Linear(2, 3)


def test_assign_copies_values(linear):
    weight, bias = torch.arange(6.0).view(3, 2), torch.arange(3.0)
    arrays.assign({"bias": bias, "weight": weight}, linear)
    assert linear.weight.tolist() == weight.tolist()
    assert linear.bias.tolist() == bias.tolist()
    assert linear.weight.requires_grad


def test_assign_with_differences_lists_all(linear):
    before = linear.weight.tolist()
    with pytest.raises(ArgumentError) as caught:
        arrays.assign({"weight": torch.ones(2, 3), "b": torch.ones(3)}, linear)
    assert str(caught.value) == (
        "weights: expected weight (3, 2), found (2, 3); bias (3,), found none; no b, found (3,)"
    )
    assert linear.weight.tolist() == before


def test_assign_with_an_unknown_name_is_refused(linear):
    weights = {"weight": torch.ones(3, 2), "bias": torch.ones(3), "b": torch.ones(3)}
    with pytest.raises(ArgumentError, match=re.escape("weights: expected no b, found (3,)")):
        arrays.assign(weights, linear)
