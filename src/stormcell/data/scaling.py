"""Scaling of rain rates to the values that a network works with."""

import math
import sys
from dataclasses import dataclass
from typing import Any, TypeVar

from stormcell.errors import ArgumentError

Array = TypeVar("Array")  # a numpy array or a torch tensor


def _namespace(array: Any) -> Any:
    """Return the numpy or torch module of an array, without importing torch on this floor."""
    return sys.modules[type(array).__module__.partition(".")[0]]


@dataclass(frozen=True)
class LogScaling:
    """x = ln(1 + R/knee) / ln(1 + top/knee): linear in drizzle, logarithmic in rain, 0 when dry.

    Rain rates are close to log-normal, so a squared error suits their logarithm. Below the knee the scaling
    is linear, because the logarithm of very small rates would dominate the error.

    Attributes:
        knee: Rain rate in mm/h where linear turns into logarithmic, > 0.
        top: Rain rate in mm/h that becomes 1, > 0. Higher rates scale to values above 1 and are not clipped.

    Raises:
        ArgumentError: ``knee`` or ``top`` is not a positive number.

    Example:
        >>> import numpy as np
        >>> scaling = LogScaling(knee=0.1, top=100.0)
        >>> scaling.forward(np.array([0.0, 0.1, 100.0])).round(2).tolist()
        [0.0, 0.1, 1.0]
        >>> scaling.inverse(scaling.forward(np.array([5.0]))).round(9).tolist()
        [5.0]
    """

    knee: float = 0.1
    top: float = 100.0

    def __post_init__(self) -> None:
        for name in ("knee", "top"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ArgumentError(
                    f"scaling {name}: expected a rate above 0 mm/h, found {getattr(self, name)}"
                )

    def forward(self, rate: Array) -> Array:
        """Convert rain rates in mm/h, ≥ 0, of any shape to scaled values, ≥ 0; NaN stays NaN."""
        xp: Any = _namespace(rate)
        return xp.log1p(rate / self.knee) / self._span  # type: ignore[operator, no-any-return]

    def inverse(self, scaled: Array) -> Array:
        """Convert scaled values of any shape to rain rates in mm/h; NaN stays NaN."""
        xp: Any = _namespace(scaled)
        return xp.expm1(scaled * self._span) * self.knee  # type: ignore[operator, no-any-return]

    @property
    def _span(self) -> float:
        return math.log1p(self.top / self.knee)
