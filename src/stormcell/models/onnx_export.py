"""A nowcaster as an ONNX file, for systems without PyTorch."""

import os
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor, nn

from stormcell.atomic import write_file
from stormcell.errors import ArgumentError, MissingExtraError
from stormcell.models.nowcaster import LEAST_INPUTS, Nowcaster


def export_onnx(
    nowcaster: Nowcaster, path: str | os.PathLike[str], *, frames: int, height: int, width: int, steps: int
) -> None:
    """Write a nowcaster as an ONNX file, for frames of one size.

    Its inputs are ``rate`` in mm/h ``(B, frames, height, width)``, in coordinates that move with the rain,
    the newest frame last, NaN where not observed; ``step_minutes`` ``(B,)`` and ``pixel_km`` ``(B,)``. Its
    output is ``logits`` ``(B, steps, threshold, height, width)``: the probabilities of rates at or above the
    thresholds of the nowcaster are ``1 / (1 + exp(-logits))``. They are in moving coordinates, too.
    Estimating the motion, and moving frames and probabilities along it, is left to the caller.

    Args:
        nowcaster: The network.
        path: File to write.
        frames: Number of frames, ≥ 3.
        height: Rows.
        width: Columns.
        steps: Number of lead times, ≥ 1, in time steps.

    Raises:
        ArgumentError: It is no nowcaster, or a number is too low.
        MissingExtraError: The packages ``onnx`` and ``onnxscript`` are not installed.
        OutputError: The file cannot be written.
    """
    if not isinstance(nowcaster, Nowcaster):
        raise ArgumentError(
            f"nowcaster: expected a Nowcaster, such as the attribute nowcaster of a loaded model, "
            f"found a {type(nowcaster).__name__}"
        )
    if frames < LEAST_INPUTS or min(height, width, steps) < 1:
        raise ArgumentError(
            f"frames, height, width and steps: expected {LEAST_INPUTS} or more, and 1 or more, "
            f"found {frames}, {height}, {width} and {steps}"
        )
    if find_spec("onnxscript") is None:
        raise MissingExtraError('export to ONNX: onnxscript is not installed: pip install "stormcell[onnx]"')
    # The exporter would take a batch of one for the only size.
    rate = torch.rand(2, frames, height, width)
    rate[..., :1, :1] = torch.nan
    given = (rate, torch.full((2,), 5.0), torch.ones(2))
    network = _Steps(nowcaster, steps).eval()
    with TemporaryDirectory() as folder:
        file = Path(folder) / "nowcaster.onnx"
        program = torch.onnx.export(
            network,
            given,
            input_names=["rate", "step_minutes", "pixel_km"],
            output_names=["logits"],
            dynamic_shapes=({0: torch.export.Dim.DYNAMIC},) * len(given),
            dynamo=True,
            optimize=False,
            verbose=False,
        )
        assert program is not None  # it is None only with dynamo=False
        _simplify(program.model)
        program.save(file, external_data=False)
        write_file(Path(path), file.read_bytes())


def _simplify(model: Any) -> None:
    """Compute what is constant in an ONNX model, which leaves a third of its nodes.

    The exporter's own optimisation also tries some forty rewrite rules at each node. That takes as long as
    the rest of the export, and what runs an ONNX file has such rules itself.
    """
    from onnxscript import optimizer

    optimizer.inline(model)
    optimizer.fold_constants(model)
    optimizer.remove_unused_nodes(model)


class _Steps(nn.Module):
    """A nowcaster for a fixed number of lead times."""

    def __init__(self, nowcaster: Nowcaster, steps: int) -> None:
        super().__init__()
        self.nowcaster, self.steps = nowcaster, steps

    def forward(self, rate: Tensor, step_minutes: Tensor, pixel_km: Tensor) -> Tensor:
        logits: Tensor = self.nowcaster(rate, step_minutes, pixel_km, self.steps)
        return logits
