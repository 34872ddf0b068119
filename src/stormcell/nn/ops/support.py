"""Which calls the fused back ends support. All others are left to the reference.

What is unsupported is described in a few words, which complete ``backend='fused' does not support ...``.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import forward_ad

from stormcell.nn.ops import kernel_padding
from stormcell.nn.ops.convolution import Convolution
from stormcell.nn.ops.driver import Recurrence, autocast_dtype
from stormcell.nn.ops.types import CallSpec, State, Variant, Weights

_DEVICE_NAMES = {"cpu": "the CPU", "cuda": "CUDA"}
_AUTOCAST_DTYPES = {"cpu": (torch.bfloat16,), "cuda": (torch.bfloat16, torch.float16)}


class TensorKind(NamedTuple):
    """The properties of a tensor that the choice of a back end depends on."""

    type: type
    dtype: torch.dtype
    device: torch.device


class InputKind(NamedTuple):
    """The properties of a call that the choice of a back end depends on: all but steps and numbers."""

    option: str | None  # an unsupported option of the layer
    tensors: tuple[TensorKind | None, ...]  # input, state and weights
    is_empty: bool  # a batch or an image of size 0
    has_mask_or_dropout: bool
    autocast: torch.dtype | None
    forward_mode: bool  # differentiation in forward mode
    grad_mode: bool


def input_kind(
    recurrence: Recurrence, x: Tensor | None, state: State, weights: Any, variant: Variant, spec: CallSpec
) -> InputKind:
    """Return the kind of a call, for which a back end is chosen once."""
    return InputKind(
        option=unsupported_padding(weights, variant.convolution)
        or recurrence.unsupported_option(weights, variant, x is not None),
        tensors=tuple(
            None if t is None else TensorKind(type(t), t.dtype, t.device) for t in (x, *state, *weights)
        ),
        is_empty=state[0].numel() == 0,
        has_mask_or_dropout=spec._replace(steps=0, training=False) != CallSpec(0),
        autocast=autocast_dtype(weights.weight_hh.device),
        forward_mode=forward_ad._current_level >= 0,
        grad_mode=torch.is_grad_enabled(),
    )


def is_traced() -> bool:
    """Return whether a tracer, a compiler or a function transform must see PyTorch's operations."""
    return (
        torch.compiler.is_compiling()
        or torch._C._is_tracing()
        or torch._C._len_torch_dispatch_stack() > 0
        or torch._C._are_functorch_transforms_active()
    )


def unsupported(recurrence: Recurrence, kind: InputKind) -> str | None:
    """Return what the fused back end does not support in calls of this kind; None if it supports them."""
    given = [t for t in kind.tensors if t is not None]
    if any(t.device.type not in recurrence.devices for t in given):
        return f"devices other than {' and '.join(_DEVICE_NAMES[device] for device in recurrence.devices)}"
    x, h, *others = kind.tensors
    weight_hh = kind.tensors[2 + len(recurrence.states)]
    assert weight_hh is not None
    dtype, device, autocast = weight_hh.dtype, weight_hh.device, kind.autocast
    if any(t.device != device for t in given):
        return "tensors on several devices"
    if kind.option:
        return kind.option
    if kind.has_mask_or_dropout:
        return "lengths, mask or dropout"
    if kind.is_empty:
        return "batches and images of size 0"
    if dtype not in (torch.float32, torch.float64):
        return "dtypes other than float32 and float64"
    # A layer below may have returned the dtype of autocast.
    if any(t.dtype != dtype for t in others if t is not None) or any(
        t.dtype not in (dtype, autocast) for t in (x, h) if t is not None
    ):
        return "tensors of different dtypes"
    if autocast is not None and (dtype != torch.float32 or autocast not in _AUTOCAST_DTYPES[device.type]):
        return "autocast other than from float32 to bfloat16, or float16 on CUDA"
    if any(t.type not in (Tensor, torch.nn.Parameter) for t in given):
        return "subclasses of torch.Tensor"
    return "differentiation in forward mode" if kind.forward_mode else None


def unsupported_padding(weights: Weights, convolution: Convolution) -> str | None:
    """Return what the fused back ends do not support in the convolution of the input; None if nothing."""
    if set(convolution.stride + convolution.dilation) - {1}:
        return "stride or dilation"
    weight = weights.weight_hh if weights.weight_ih is None else weights.weight_ih
    same = kernel_padding.keeps_size(convolution.padding, tuple(weight.shape[2:]))
    if convolution.padding_mode != "zeros" or not same:
        return "a padding other than 'same' or a padding_mode other than 'zeros'"
    return None
