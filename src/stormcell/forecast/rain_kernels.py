"""The C kernels of predictive distributions; see ``native/rain_*.c`` of :mod:`stormcell.nn.ops`.

Without them, NumPy, OpenCV and PyTorch compute the same.
"""

import ctypes
import functools
from collections.abc import Sequence
from typing import NamedTuple

import torch

from stormcell.forecast.contract import Field
from stormcell.nn.ops import kernels
from stormcell.nn.ops.kernels import Kernel

# As in native/rain_*.c: pixels of a result, and fields whose numbers are together.
_STRIP, _GROUP = 64, 16
MOST_CHANNELS = 128  # of a layer

_Area = tuple[slice, slice]  # rows and columns
_NOTHING = (0,) * 5  # in the place of the arguments of cells


class Cells(NamedTuple):
    """A field in cells that cover a grid, or several.

    Attributes:
        field: ``(y, x)``, contiguous; of several, ``(y, x, field)`` in whole groups.
        side: Of a cell, in pixels, or in the smaller cells that it is read for.
    """

    field: Field
    side: int

    @property
    def arguments(self) -> tuple[int, ...]:
        """Arguments of the C code."""
        rows, cols, *stride = self.field.shape
        return self.field.ctypes.data, rows, cols, *(stride or [1]), self.side


def in_groups(count: int) -> int:
    """Return the number of fields in whole groups, as the kernels expect them.

    Example:
        >>> in_groups(14)
        16
    """
    return -(-count // _GROUP) * _GROUP


class Pieces(NamedTuple):
    """A chain of Pareto distributions; see :class:`~stormcell.forecast.pareto_pieces.ParetoPieces`.

    Attributes:
        rates: Lower rate of each piece in mm/h ``(threshold,)``.
        lengths: Its length in ln r ``(threshold,)``.
        tops: Its largest rate ``(threshold,)``.
        limits: The smallest probability, the largest fall of ln S, and the smallest slopes of ln S over ln r,
            beyond the last threshold and anywhere; for the middle of a piece, the smallest complement of a
            probability, and the smallest share of the probability before ``(6,)``.
    """

    rates: Field
    lengths: Field
    tops: Field
    limits: Field

    def arguments(self, exceedance: Field) -> tuple[int, ...]:
        """Return what the C code is given, with the probabilities ``(threshold, rows, x)``."""
        plane = exceedance.strides[0] // exceedance.itemsize
        return exceedance.ctypes.data, plane, len(self.rates), *(array.ctypes.data for array in self)


class RainKernels:
    """The C kernels. Each call runs in the thread that calls, so that several can call at a time."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._mean, self._thresholds, self._chances, self._cut, self._invert = (
            Kernel(library, f"rain_{name}") for name in ("mean", "thresholds", "chances", "cut", "invert")
        )

    def mean(self, coarse: Field, bands: Sequence[Field], weights: Field, mean: Field) -> None:
        """Write the expectation of logarithmic rain.

        It is the sum of the bands of two frames, each times its weight, and of longer waves. Weights and
        longer waves are interpolated bilinearly.

        Args:
            coarse: Sum of the longer waves in cells of 2 × 2 pixels ``(y / 2, x / 2)``, contiguous.
            bands: Three bands of single pixels, each of the newest frame and of that before ``(2, y, x)``,
                contiguous.
            weights: Their weights in cells of 64 × 64 pixels ``(3, 2, y / 64, x / 64)``, contiguous.
            mean: The result ``(y, x)``, contiguous.
        """
        self._mean.in_this_thread(
            len(mean), *(array.ctypes.data for array in (coarse, *bands, weights, mean)), *mean.shape
        )

    def thresholds(
        self,
        features: Field,
        area: _Area,
        around: Cells | None,
        weights: Sequence[Field],
        biases: Sequence[Field],
        distances: Field,
        at: Field,
    ) -> None:
        """Write the logarithms of the corrected thresholds in an area of cells.

        The correction is that of three layers, with what is around added to the first, and rectified between
        them. It shifts the first threshold and stretches the distances between the others, as
        :func:`~stormcell.models.exceedance.log_thresholds` does.

        Args:
            features: What is known of the cells of the area ``(feature, rows, cols)``, contiguous.
            area: Rows and columns of the area.
            around: Fields in larger cells, one for each channel of the first layer.
            weights: Of each layer ``(inputs, outputs)``, outputs in whole groups.
            biases: Of each layer ``(outputs,)``.
            distances: Logarithm of the first threshold, then the distances from one to the next.
            at: The logarithms in all cells ``(y, x, threshold)``, thresholds in whole groups, contiguous.
        """
        rows, cols = area
        self._thresholds.in_this_thread(
            rows.stop - rows.start,
            features.ctypes.data,
            len(features),
            features[0].size,
            features.shape[2],
            rows.start,
            cols.start,
            len(biases[0]),
            at.shape[2],
            *(_NOTHING if around is None else around.arguments),
            *(array.ctypes.data for array in (*weights, *biases)),
            distances.ctypes.data,
            at.ctypes.data,
            at.shape[1],
        )

    def chances(
        self,
        chances: Field,
        places: tuple[Field, Field],
        area: _Area,
        *,
        mean: Cells,
        spread: Cells,
        at: Cells,
        slopes: Field,
        shifts: Field,
    ) -> None:
        """Write the probabilities of exceeding thresholds in an area of a grid.

        They are logistic functions of the logits ``(mean - at) / spread · slope + shift``. No logit is above
        that of the threshold before. Mean, spread and at are interpolated bilinearly. A probability
        below e^-43 is 0.

        Args:
            chances: The probabilities of the whole grid ``(threshold, y, x)``, contiguous.
            places: Column and row that the rain of each pixel comes from, each ``(y, x)``, contiguous.
            area: Rows and columns of the area.
            mean: Expected logarithmic rain.
            spread: The standard deviation of its error.
            at: The logarithms of the thresholds, in groups.
            slopes: Slopes of the logits ``(threshold,)``.
            shifts: Their shifts ``(threshold,)``.
        """
        rows, cols = area
        self._chances.in_this_thread(
            rows.stop - rows.start,
            *(place.ctypes.data for place in places),
            chances.shape[2],
            rows.start,
            cols.start,
            cols.stop,
            *mean.arguments,
            *spread.arguments,
            *at.arguments,
            len(chances),
            slopes.ctypes.data,
            shifts.ctypes.data,
            chances.ctypes.data,
            chances[0].size,
        )

    def cut(
        self, pieces: Pieces, exceedance: Field, cuts: Field, logs: Field, rises: Field, rates: Field
    ) -> None:
        """Write the largest rate whose probability is at least its cut, at every pixel.

        Args:
            pieces: The distribution.
            exceedance: Probabilities of each threshold ``(threshold, rows, x)``, each contiguous.
            cuts: A cut > 0 for each threshold.
            logs: Their logarithms.
            rises: Slopes of the logarithm over ln r, from each threshold on.
            rates: The result ``(rows, x)``, contiguous.
        """
        arrays = (cuts, logs, rises, rates)
        self._cut.in_this_thread(
            -(-rates.size // _STRIP),
            *pieces.arguments(exceedance),
            *(array.ctypes.data for array in arrays),
            rates.size,
        )

    def invert(self, pieces: Pieces, exceedance: Field, chances: Field, rates: Field) -> None:
        """Write the rate that every pixel exceeds with a probability of its own.

        Args:
            pieces: The distribution.
            exceedance: Probabilities of each threshold ``(threshold, rows, x)``, each contiguous.
            chances: These probabilities ``(rows, x)``, contiguous.
            rates: The result ``(rows, x)``, contiguous.
        """
        self._invert.in_this_thread(
            -(-rates.size // _STRIP),
            *pieces.arguments(exceedance),
            chances.ctypes.data,
            rates.ctypes.data,
            rates.size,
        )


@functools.cache
def rain_kernels() -> RainKernels | None:
    """Return the kernels, or None without those of a wheel and without a C compiler."""
    library = kernels.library(torch.float32)
    return None if library is None else RainKernels(library)
