"""The numbers that training counts in."""

from typing import Any, Literal

import torch

Precision = Literal["auto", "float32", "bfloat16"]


def lightning_precision(precision: Precision) -> Any:
    """What Lightning calls it; ``"auto"`` takes bfloat16 where the processor has it.

    Example:
        >>> lightning_precision("float32")
        '32-true'
    """
    if precision == "auto":
        on_cuda = torch.cuda.is_available()
        has_it = torch.cuda.is_bf16_supported() if on_cuda else torch.cpu._is_avx512_bf16_supported()
        return "bf16-mixed" if has_it else "32-true"
    return {"float32": "32-true", "bfloat16": "bf16-mixed"}[precision]
