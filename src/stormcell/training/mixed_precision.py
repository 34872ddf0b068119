"""The precision of training, and evaluation in the same precision."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Literal

import torch
from torch import nn

Precision = Literal["auto", "float32", "bfloat16"]

_LEAST_GAIN = 1.2  # of bfloat16, which is less precise


def lightning_precision(precision: Precision) -> str:
    """Return Lightning's name of a precision; ``"auto"`` takes bfloat16 if it is faster here.

    Example:
        >>> lightning_precision("float32")
        '32-true'
    """
    if precision == "auto":
        on_cuda = torch.cuda.is_available()
        faster = torch.cuda.is_bf16_supported() if on_cuda else _faster_in_bfloat16()
        return "bf16-mixed" if faster else "32-true"
    return {"float32": "32-true", "bfloat16": "bf16-mixed"}[precision]


@cache
def _faster_in_bfloat16() -> bool:
    """Whether this processor convolves faster in bfloat16, tried once.

    A processor can support bfloat16 and still be slower in it: those with AVX512-BF16 but without AMX are.
    """
    if not torch.cpu._is_avx512_bf16_supported():
        return False
    x, weight = torch.rand(4, 48, 32, 32), torch.rand(192, 48, 3, 3)

    def seconds(kind: torch.dtype) -> float:
        inputs, kernel = x.to(kind), weight.to(kind)
        taken = []
        for _ in range(8):
            began = time.process_time()  # other programs do not matter
            torch.nn.functional.conv2d(inputs, kernel, padding=1)
            taken.append(time.process_time() - began)
        return min(taken)

    return seconds(torch.bfloat16) * _LEAST_GAIN < seconds(torch.float32)


@contextmanager
def evaluating(network: nn.Module, precision: str) -> Iterator[None]:
    """Switch a network to evaluation, without gradients, and back to its earlier mode at the end.

    Args:
        network: The network, on its device.
        precision: Lightning's name of the precision.
    """
    before, device = network.training, next(network.parameters()).device
    network.eval()
    try:
        with (
            torch.inference_mode(),
            torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16-mixed"),
        ):
            yield
    finally:
        network.train(before)
