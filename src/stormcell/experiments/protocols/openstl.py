"""OpenSTL's benchmark of Moving MNIST: MSE and MAE summed per frame, SSIM, PSNR."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter

from stormcell.errors import ArgumentError, NotOfferedError
from stormcell.experiments.protocols.protocol import Column, Frames, Mask, Row, checked
from stormcell.experiments.protocols.sequence_tally import SequenceTally, zero

WINDOW = 7  # pixels: the side of scikit-image's uniform window
# Older releases of scikit-image assumed −1…1 for floating-point images by default; OpenSTL uses the default.
DATA_RANGE = 2.0

_BENCHMARK = "Tan et al. (2023), arXiv:2306.11249, Moving MNIST, {} epochs"


def _row(model: str, epochs: int, mse: float, mae: float, ssim: float, psnr: float) -> Row:
    scores = {"mse": mse, "mae": mae, "ssim": ssim, "psnr": psnr}
    return {"model": model, "source": _BENCHMARK.format(epochs), **scores}


@dataclass(frozen=True)
class OpenSTL:
    """The scores of OpenSTL, Tan et al. (2023), arXiv:2306.11249.

    - ``mse``, ``mae``: squared and absolute error of pixels, summed over a frame; the mean over frames.
    - ``ssim``: the default of ``skimage.metrics.structural_similarity`` for frames clipped to 0…1: a uniform
      7×7 window, sample covariance, a border of 3 pixels excluded, and a data range of 2, the former default
      for floating-point images. A data range of 1 gives lower values.
    - ``psnr``: −10 log₁₀ of a clipped frame's mean squared error, in dB; the mean over frames, infinite if
      one frame is perfect.

    Attributes:
        leads: Number of forecast frames.

    Example:
        >>> protocol = OpenSTL(leads=1)
        >>> truth = np.zeros((2, 1, 32, 32))
        >>> scores = protocol.scores(protocol.count(truth + 0.1, truth))
        >>> round(scores["mse"], 6), round(scores["psnr"], 6)
        (10.24, 20.0)
    """

    leads: int = 10
    name: ClassVar[str] = "OpenSTL, Moving MNIST"
    takes: ClassVar[Literal["pixels"]] = "pixels"
    columns: ClassVar[Mapping[str, Column]] = {
        "mse": Column("MSE", 2, "lowest"),
        "mae": Column("MAE", 2, "lowest"),
        "ssim": Column("SSIM", 4, "highest"),
        "psnr": Column("PSNR, dB", 2, "highest"),
    }
    published: ClassVar[tuple[Row, ...]] = (
        _row("ConvLSTM-S", 200, 29.80, 90.64, 0.9288, 22.10),
        _row("ConvLSTM-L", 200, 27.78, 86.14, 0.9343, 22.44),
        _row("PredRNN", 200, 23.97, 72.82, 0.9462, 23.28),
        _row("PredRNN++", 200, 22.06, 69.58, 0.9509, 23.65),
        _row("PredRNN.V2", 200, 24.13, 73.73, 0.9453, 23.21),
        _row("MAU", 200, 26.86, 78.22, 0.9398, 22.76),
        _row("SimVP+gSTA", 200, 26.69, 77.19, 0.9402, 22.78),
        _row("TAU", 200, 24.60, 71.93, 0.9454, 23.19),
        _row("ConvLSTM-S, 2000 epochs", 2000, 22.41, 73.07, 0.9480, 23.54),
    )

    def zero(self) -> SequenceTally:
        """The tally of no forecast."""
        return zero(tuple(self.columns), self.leads)

    def count(self, prediction: Frames, truth: Frames, mask: Mask | None = None) -> SequenceTally:
        """Tally a batch: see :class:`~stormcell.experiments.protocols.protocol.ScoringProtocol`."""
        if mask is not None:
            raise NotOfferedError(f"{self.name}: a mask is not supported; expected mask=None")
        forecast, observed, _ = checked(self.name, self.leads, prediction, truth, mask)
        error, clipped = forecast - observed, np.clip(forecast, 0, 1)
        with np.errstate(divide="ignore"):  # the error of a perfect frame is 0
            psnr = -10 * np.log10(np.square(clipped - observed).mean(axis=(2, 3)))
        rows = {
            "mse": np.square(error).sum(axis=(2, 3)),
            "mae": np.abs(error).sum(axis=(2, 3)),
            "ssim": structural_similarity(clipped, observed),
            "psnr": psnr,
        }
        return SequenceTally(rows, {})

    def scores(self, tally: SequenceTally) -> dict[str, float]:
        """Return ``mse``, ``mae``, ``ssim`` and ``psnr``, means over frames."""
        return {name: float(tally.mean(name).mean()) for name in self.columns}


def structural_similarity(
    prediction: NDArray[np.float64], truth: NDArray[np.float64], *, data_range: float = DATA_RANGE
) -> NDArray[np.float64]:
    """Return SSIM of frames (Wang et al. 2004, doi:10.1109/TIP.2003.819861) with scikit-image's defaults.

    Args:
        prediction: Frames ``(…, H, W)``.
        truth: Frames of the same shape.
        data_range: Difference between the largest and the smallest possible pixel.

    Returns:
        The mean over the windows inside the frame, ``(…,)``, −1…1.

    Raises:
        ArgumentError: A side is shorter than the window.

    Example:
        >>> frame = np.linspace(0, 1, 100).reshape(1, 10, 10)
        >>> structural_similarity(frame, frame).tolist()
        [1.0]
    """
    if min(truth.shape[-2:]) < WINDOW:
        raise ArgumentError(f"SSIM: expected sides of {WINDOW} pixels or more, found {truth.shape[-2:]}")
    border = WINDOW // 2
    inside = (..., slice(border, -border), slice(border, -border))

    def mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(uniform_filter(values, WINDOW, axes=(-2, -1))[inside])

    p, t = mean(prediction), mean(truth)
    unbiased = WINDOW**2 / (WINDOW**2 - 1)
    variances = unbiased * (mean(prediction**2) - p**2 + mean(truth**2) - t**2)
    covariance = unbiased * (mean(prediction * truth) - p * t)
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    ssim = (2 * p * t + c1) * (2 * covariance + c2) / ((p**2 + t**2 + c1) * (variances + c2))
    return np.asarray(ssim.mean(axis=(-2, -1)))
