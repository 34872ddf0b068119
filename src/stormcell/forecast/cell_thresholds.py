"""The network's corrected thresholds in tiles of cells of 2 × 2 pixels, in a C kernel where there is one.

The kernel is for processors and float32. It takes a third of the time of PyTorch's layers, which take new
memory for everything that passes between them.
"""

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from stormcell.forecast.contract import Field
from stormcell.forecast.rain_kernels import MOST_CHANNELS, Cells, in_groups, rain_kernels
from stormcell.models.nowcaster import FirstGuess, Nowcaster, Scene, cell_features
from stormcell.models.patch_encoder import PATCH
from stormcell.models.rain_cascade import CELL
from stormcell.models.rain_pyramid import Area, part_of


def corrector(nowcaster: Nowcaster, scene: Scene, guess: FirstGuess, at: Field) -> Callable[[Area], None]:
    """Return what writes the logarithms of the corrected thresholds in an area of cells.

    Args:
        nowcaster: The network.
        scene: Of one example.
        guess: The first guess of a lead time.
        at: The logarithms ``(H/2, W/2, thresholds)``, in whole groups.
    """
    kernels = rain_kernels()
    layers = [nowcaster.pixel, nowcaster.join, nowcaster.correction]
    if kernels is None or not _suit(layers):
        return partial(_correct_without_kernels, nowcaster, scene, guess, at)
    weights, biases = zip(*(_packed(layer) for layer in layers), strict=True)
    logs = np.log10(nowcaster.thresholds)
    distances = np.zeros(at.shape[2], np.float32)
    distances[: len(logs)] = np.diff(logs, prepend=0.0)
    around = None
    if guess.around is not None:
        around = Cells(guess.around[0].permute(1, 2, 0).contiguous().numpy(), PATCH // CELL)

    def correct(area: Area) -> None:
        with torch.inference_mode():
            features = cell_features(scene, guess, area)[0].contiguous().numpy()
        kernels.thresholds(features, area, around, weights, biases, distances, at)

    return correct


def planes(cells: Field, count: int) -> Tensor:  # (count, rows, cols)
    """Return the fields of cells ``(rows, cols, field)``, without those that complete a group.

    They share the memory.
    """
    return torch.from_numpy(cells).permute(2, 0, 1)[:count]


def _suit(layers: list[nn.Conv2d]) -> bool:
    """Return whether the kernel can compute these layers."""
    weights = [layer.weight for layer in layers]
    return all(
        weight.device.type == "cpu" and weight.dtype == torch.float32 and max(weight.shape) <= MOST_CHANNELS
        for weight in weights
    ) and all(len(weight) == in_groups(len(weight)) for weight in weights[:2])


def _packed(layer: nn.Conv2d) -> tuple[Field, Field]:
    """Return the weights ``(inputs, outputs)`` and the biases of a layer, outputs in whole groups."""
    outputs, inputs = layer.weight.shape[:2]
    weight = np.zeros((inputs, in_groups(outputs)), np.float32)
    bias = np.zeros(in_groups(outputs), np.float32)
    weight[:, :outputs] = layer.weight.detach()[:, :, 0, 0].numpy().T
    if layer.bias is not None:
        bias[:outputs] = layer.bias.detach().numpy()
    return weight, bias


def _correct_without_kernels(
    nowcaster: Nowcaster, scene: Scene, guess: FirstGuess, at: Field, area: Area
) -> None:
    with torch.inference_mode():
        found = nowcaster.cell_thresholds(scene, guess, area)[0].cpu()
        part_of(planes(at, len(found)), area).copy_(found)
