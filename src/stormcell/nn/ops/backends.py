"""The choice of a back end: made once for every kind of call, and explained on request."""

import functools
import threading
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from stormcell.errors import NotOfferedError
from stormcell.nn.ops import driver, kernels, support
from stormcell.nn.ops.gru.fused import GRU
from stormcell.nn.ops.lstm.fused import LSTM
from stormcell.nn.ops.traj_gru.fused import TRAJ_GRU
from stormcell.nn.ops.types import CallSpec, State, Variant

BACKENDS = ("auto", "reference", "fused")
_RECURRENCES = {"conv_lstm": LSTM, "conv_gru": GRU, "traj_gru": TRAJ_GRU}
_TRACED = "tracing, torch.compile and torch.func"


@dataclass(frozen=True)
class Explanation:
    """The computation of one kind of call.

    Attributes:
        backend: ``"fused"`` or ``"reference"``.
        reason: Why it is not ``"fused"``; None if it is.
        parts: What computes each part of a step: ``"compiled"`` (C code), ``"Winograd, compiled"``,
            ``"AMX, compiled"``, ``"PyTorch"``, ``"matrix product"`` or ``"Triton"``.
        native: Where the C kernels for this dtype come from: ``"compiled on this machine"``, or ``"from the
            wheel, for"`` a kind of processor; None without kernels, and on a GPU.
        native_failure: Why compiled kernels are not available on the CPU; None if they are, or on a GPU.
    """

    backend: str
    reason: str | None
    parts: dict[str, str]
    native: str | None
    native_failure: str | None

    def __str__(self) -> str:
        """Return one line for the back end, and one for each part."""
        lines = [self.backend if self.reason is None else f"{self.backend} ({self.reason})"]
        lines += [f"  {part}: {name}" for part, name in self.parts.items()]
        if self.native is not None and self.reason is None:
            lines.append(f"  compiled kernels: {self.native}")
        if self.native_failure is not None:
            lines.append(f"  compiled kernels are not available: {self.native_failure}")
        return "\n".join(lines)


def run(
    recurrence: str,
    backend: str,
    x: Tensor | None,
    state: State,
    weights: Any,
    variant: Variant,
    spec: CallSpec,
) -> tuple[Tensor, State]:
    """Compute a recurrence, ``"conv_lstm"``, ``"conv_gru"`` or ``"traj_gru"``, by one of the back ends.

    Raises:
        NotOfferedError: ``backend`` is ``"fused"``, which does not support this call.
    """
    call = x, state, weights, variant, spec
    return _op(_RECURRENCES[recurrence], backend, _reason(recurrence, backend, *call))(*call)


def explain(
    recurrence: str,
    backend: str,
    x: Tensor | None,
    state: State,
    weights: Any,
    variant: Variant,
    spec: CallSpec,
) -> Explanation:
    """Return how :func:`run` computes such a call.

    Raises:
        NotOfferedError: As in :func:`run`.
    """
    reason = _reason(recurrence, backend, x, state, weights, variant, spec)
    _op(_RECURRENCES[recurrence], backend, reason)
    dtype, is_cpu = driver.convolution_dtype(weights), weights.weight_hh.device.type == "cpu"
    if reason is None:
        used = weights if x is not None else driver.without_input(weights)
        parts = _RECURRENCES[recurrence].describe(used, variant, dtype)
    else:
        parts = {"all operations": "PyTorch"}
    failure = kernels.failure(dtype) if is_cpu and reason is None else None
    native = kernels.origin(dtype) if is_cpu and kernels.is_supported(dtype) else None
    return Explanation("reference" if reason else "fused", reason, parts, native, failure)


def _op(recurrence: driver.Recurrence, backend: str, reason: str | None) -> driver.Op:
    """Return the function to call, given why it cannot be the fused one."""
    if reason is None:
        return recurrence.fused
    if backend == "fused":
        raise NotOfferedError(
            f"backend='fused' does not support {reason}; use 'auto' (falls back to 'reference')"
        )
    return recurrence.reference


def _reason(
    recurrence: str,
    backend: str,
    x: Tensor | None,
    state: State,
    weights: Any,
    variant: Variant,
    spec: CallSpec,
) -> str | None:
    """Return why the fused back end is not used; None if it is."""
    if support.is_traced():
        return _TRACED
    _warm_up_tanh()
    if backend == "reference":
        return "backend='reference'"
    kind = support.input_kind(_RECURRENCES[recurrence], x, state, weights, variant, spec)
    return _unsupported(recurrence, kind)


@functools.lru_cache(maxsize=1024)
def _unsupported(recurrence: str, kind: support.InputKind) -> str | None:
    return support.unsupported(_RECURRENCES[recurrence], kind)


_warm_up_lock = threading.Lock()
_is_warm = False


def _warm_up_tanh() -> None:
    """Compute one hyperbolic tangent, once per process, before the layers compute many in parallel.

    If several threads at once are the first of a process to ask MKL for a hyperbolic tangent, one of them
    occasionally gets an inaccurate one, off by 1e-5: https://github.com/pytorch/pytorch/issues/188792.
    """
    global _is_warm
    if not _is_warm:
        with _warm_up_lock:
            if not _is_warm:
                for dtype in (torch.float32, torch.float64):
                    torch.zeros(1, dtype=dtype, device="cpu").tanh()
                _is_warm = True
