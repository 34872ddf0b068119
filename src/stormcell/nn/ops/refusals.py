"""What no fast way knows, whatever the recurrence."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.autograd import forward_ad

from stormcell.nn.ops import kernels
from stormcell.nn.ops.precision import lowered
from stormcell.nn.ops.terms import Form, GRUWeights, LSTMWeights, Run, State, TrajGRUWeights

_NAMES = {"cpu": "the CPU", "cuda": "CUDA"}
_LOWERED = {"cpu": (torch.bfloat16,), "cuda": (torch.bfloat16, torch.float16)}  # by autocast


def common(
    x: Tensor | None,
    state: State,
    weights: LSTMWeights | GRUWeights | TrajGRUWeights,
    form: Form,
    run: Run,
    devices: Sequence[str] = ("cpu",),  # those that are known
) -> dict[str, bool]:
    """Tell of what is not known whether a call asks for it."""
    h, *states = state
    w_x, w_h = weights.weight_ih, weights.weight_hh
    how = form.convolution
    given = [t for t in (x, *state, *weights) if t is not None]
    elsewhere = f"devices other than {' and '.join(_NAMES[device] for device in devices)}"
    if any(t.device.type not in devices for t in given):
        return {elsewhere: True}  # of which no more may be asked
    dtype, device = w_h.dtype, w_h.device
    autocast = lowered(device)
    made = [t for t in (x, h) if t is not None]  # perhaps by a layer under autocast
    return {
        "tensors on several devices": any(t.device != device for t in given),
        "stride or dilation": bool(set(how.stride + how.dilation) - {1}),
        "another padding or padding_mode": how.padding_mode != "zeros"
        or not kernels.same(how.padding, (w_h if w_x is None else w_x).shape[2:]),
        "lengths, mask or dropout": run._replace(steps=0, training=False) != Run(0),
        "batches and images of size 0": h.numel() == 0,
        "dtypes other than float32 and float64": dtype not in (torch.float32, torch.float64),
        "tensors of unlike dtype": any(t.dtype != dtype for t in (*states, *weights) if t is not None)
        or any(t.dtype not in (dtype, autocast) for t in made),
        "autocast other than from float32 to bfloat16, or float16 on CUDA": autocast is not None
        and (dtype != torch.float32 or autocast not in _LOWERED[device.type]),
        "tensors that are not plain": any(type(t) not in (Tensor, torch.nn.Parameter) for t in given),
        # Compiled code is unseen by whoever watches PyTorch's operations.
        "tracing and torch.func": torch.compiler.is_compiling()
        or torch._C._is_tracing()
        or torch._C._len_torch_dispatch_stack() > 0
        or torch._C._are_functorch_transforms_active(),
        "forward-mode differentiation": forward_ad._current_level >= 0,
    }


def first(checks: dict[str, bool]) -> str | None:
    """Return what of all this a call asks for; None if nothing."""
    return next((what for what, asked in checks.items() if asked), None)
