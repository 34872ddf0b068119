"""The archives of a model's training that have something in common with an archive to forecast."""

import numpy as np
import xarray as xr

from stormcell.data.grid import Spacing
from stormcell.data.splits import Block
from stormcell.models.model_file import TrainingData


def archives_like(archives: tuple[TrainingData, ...], rain: xr.DataArray) -> tuple[TrainingData, ...]:
    """Return the archives of a training that have the grid of an archive to forecast.

    Args:
        archives: Archives of the training.
        rain: Rain rates ``(time, y, x)`` of the archive to forecast.

    Returns:
        If several have its grid, those whose blocks overlap it in time, if there are such. All archives, if
        none has its grid.
    """
    if len(archives) < 2:
        return archives
    times, spacing = rain["time"].values, Spacing.of(rain)
    archives = tuple(one for one in archives if _same_grid(one, rain, spacing)) or archives
    overlapping = tuple(
        one
        for one in archives
        if any(Block(*block).overlaps(times[0], times[-1]) for block in one.blocks.values())
    )
    return overlapping or archives


def _same_grid(archive: TrainingData, rain: xr.DataArray, spacing: Spacing) -> bool:
    """Whether an archive of the training has the grid of ``rain``, up to half a pixel."""
    if archive.extent is None or not spacing.same_as(Spacing(*archive.pixel_size, archive.pixel_unit)):
        return False
    y, x = rain["y"].values, rain["x"].values
    off = np.abs(np.array(archive.extent) - [y[0], y[-1], x[0], x[-1]])
    return bool((off < [spacing.dy / 2] * 2 + [spacing.dx / 2] * 2).all())
