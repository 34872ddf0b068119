"""The precision of training, and evaluation in the same precision."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch
from torch import nn

from stormcell.nn.ops import bfloat16_probe

Precision = Literal["auto", "float32", "bfloat16"]


def lightning_precision(precision: Precision) -> str:
    """Return Lightning's name of a precision; ``"auto"`` takes bfloat16 if it is faster here.

    Example:
        >>> lightning_precision("float32")
        '32-true'
    """
    if precision == "auto":
        if torch.cuda.is_available():
            faster = torch.cuda.is_bf16_supported(including_emulation=False)  # emulated it is slow
        else:
            faster = bfloat16_probe.measured().prefers_bfloat16
        return "bf16-mixed" if faster else "32-true"
    return {"float32": "32-true", "bfloat16": "bf16-mixed"}[precision]


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
