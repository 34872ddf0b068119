"""A trained network as a forecaster."""

import math
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import xarray as xr

from stormcell.data.grid import Spacing
from stormcell.data.parallel import in_worker
from stormcell.data.splits import Block
from stormcell.errors import ModelFileError
from stormcell.forecast.contract import (
    MOTION_FRAMES,
    Analysis,
    Field,
    Needs,
    check_steps,
    forecast_array,
)
from stormcell.forecast.resolution import Resolution
from stormcell.forecast.tiles import tiles
from stormcell.models import model_file
from stormcell.models.nowcaster import Nowcaster
from stormcell.motion.coordinates import Inflow, forecast_to_fixed, inputs_to_moving

# Pixels times lead times that the network forecasts at once: 1024 × 1024 pixels at 12 lead times. With the
# default recipe this takes 1.7 GB.
TILE_VALUES = 12 * 2**20


@dataclass(frozen=True)
class NetworkForecaster:
    """A forecaster that runs a trained network; see :func:`stormcell.load`.

    Attributes:
        nowcaster: The network with its scaling.
        card: The model file's description of itself.
        digest: SHA-256 of the model file.
        inflow: Rain from outside the grid: ``"mean"`` of the edge region, or ``"nan"``; see
            :func:`~stormcell.motion.coordinates.forecast_to_fixed`.
        threads: Number of threads of the network on a CPU; None for that of PyTorch. Forecasts with another
            number differ in the last bits, because convolutions are summed in another order.
        archives: Archives of the training whose blocks are stated; None for all.
    """

    nowcaster: Nowcaster
    card: model_file.Card
    digest: str
    inflow: Inflow = "mean"
    threads: int | None = None
    archives: tuple[model_file.TrainingData, ...] | None = None

    @classmethod
    def from_file(
        cls, path_or_name: str | os.PathLike[str], device: str | torch.device = "cpu"
    ) -> "NetworkForecaster":
        """Read the model file of a nowcaster.

        Raises:
            ModelFileError: The file is missing, is not safetensors, was not written by Stormcell, or holds
                another network.
            ArgumentError: PyTorch has no such device.
        """
        network, card, digest = model_file.load(path_or_name, device)
        if not isinstance(network, Nowcaster):
            raise ModelFileError(f"{path_or_name}: expected a Nowcaster, found a {card.model}")
        return cls(network, card, digest)

    @property
    def title(self) -> str:
        """Name for figures and tables."""
        return self.card.title

    @property
    def device(self) -> torch.device:
        """Device that the network runs on."""
        return next(self.nowcaster.parameters()).device

    @property
    def _nowcasting(self) -> model_file.Nowcasting:
        assert self.card.nowcasting is not None
        return self.card.nowcasting

    @property
    def needs(self) -> Needs:
        """Number and resolution of the frames that the network was trained on."""
        return Needs(
            self.card.inputs,
            tuple(
                Resolution(
                    np.timedelta64(one.time_step_seconds, "s"), Spacing(*one.pixel_size, one.pixel_unit)
                )
                for one in self._nowcasting.archives
            ),
        )

    @property
    def default_steps(self) -> int:
        """Number of lead times that the network was trained on."""
        assert self.card.steps is not None
        return self.card.steps

    @property
    def blocks(self) -> tuple[Mapping[str, tuple[str, str]], ...]:
        """First and last time (UTC) of the blocks train, validation and test, for each archive."""
        archives = self._nowcasting.archives if self.archives is None else self.archives
        return tuple(
            {str(name): block for name, block in one.blocks.items()} for one in archives if one.blocks
        )

    def for_archive(self, rain: xr.DataArray) -> "NetworkForecaster":
        """Return the forecaster with the blocks of one archive only.

        Of several archives that a network was trained on, it is the one with the grid of ``rain``; if there
        are several, those whose blocks overlap ``rain`` in time. If there is no such archive, all blocks
        remain, so that forecasts of times of the training are recognised on another grid, too.

        Args:
            rain: Rain rates ``(time, y, x)`` of the archive to forecast.
        """
        archives = self._nowcasting.archives
        if len(archives) > 1:
            times, spacing = rain["time"].values, Spacing.of(rain)
            archives = tuple(one for one in archives if _same_grid(one, rain, spacing)) or archives
            archives = (
                tuple(
                    one
                    for one in archives
                    if any(Block(*block).overlaps(times[0], times[-1]) for block in one.blocks.values())
                )
                or archives
            )
        return replace(self, archives=archives)

    def __call__(self, frames: xr.DataArray, steps: int | None = None) -> xr.DataArray:
        """Forecast the frames that follow.

        Args:
            frames: Rain rates in mm/h ``(time, y, x)``, row 0 northernmost, the newest last, NaN where not
                observed. The network uses the last ones, as many as it needs.
            steps: Number of lead times, ≥ 1; None takes the number that it was trained on.

        Returns:
            Rain rates in mm/h ``(time, y, x)``, NaN where the newest frame was not observed.

        Raises:
            ArgumentError: ``steps`` is less than 1.
            FramesError: The frames are too few, have a gap, or differ from the model in time step or spacing.
        """
        return self.forecast_from(Analysis(frames), self.default_steps if steps is None else steps)

    def forecast_from(self, analysis: Analysis, steps: int) -> xr.DataArray:
        """Forecast as a call does, from an analysis that other forecasters may share."""
        check_steps(steps)
        recent = analysis.latest(self.needs)
        return forecast_array(
            self._forecast(analysis, recent.values, steps), recent, attrs=self._provenance()
        )

    def _forecast(self, analysis: Analysis, frames: Field, steps: int) -> Field:
        newest = frames[-1]
        unobserved = np.isnan(newest)
        forecast = np.zeros((steps, *newest.shape), np.float32)
        if np.nanmax(frames, initial=0.0) > 0:
            if self._nowcasting.coordinates == "moving":
                motion = analysis.motion(min(MOTION_FRAMES, len(frames)))
                self._forecast_tiles(lambda *area: inputs_to_moving(frames, motion, *area), forecast)
                fixed = forecast_to_fixed(forecast, motion, steps, self.inflow)
                for lead, frame in enumerate(fixed):
                    forecast[lead] = frame
            else:
                self._forecast_tiles(lambda rows, cols: frames[:, rows, cols].copy(), forecast)
        forecast[:, unobserved] = np.nan
        return forecast

    def _forecast_tiles(self, inputs: Callable[[slice, slice], Field], forecast: Field) -> None:
        """Run the network tile by tile, with the overlap that makes the result that of the whole grid.

        Args:
            inputs: Function of rows and columns that returns the input frames of an area.
            forecast: Array ``(steps, y, x)`` for the result.
        """
        steps, height, width = forecast.shape
        overlap = self.nowcaster.overlap(self.card.inputs, steps)
        raining = False
        # At the least, a third of the area's side is the tile itself.
        side = max(math.isqrt(TILE_VALUES // steps), 3 * overlap)
        patch = self.nowcaster.network.patch_size
        for tile in tiles(height, width, side=side, overlap=overlap, multiple=patch):
            rate = inputs(tile.read_rows, tile.read_cols)
            raining = raining or bool((rate > 0).any())
            with torch.inference_mode(), _threads(self.threads):
                x = torch.from_numpy(rate)[None].to(self.device)
                result = self.nowcaster(x, steps, keep_dry=False)[0]
            forecast[:, tile.rows, tile.cols] = result[:, *tile.crop].cpu().numpy()
        if not raining:
            forecast[:] = 0

    def _provenance(self) -> dict[str, Any]:
        return {
            "stormcell_model": self.card.model,
            "stormcell_model_sha256": self.digest,
            "stormcell_training_data_sha256": self.card.data_hash,
            "source": f"Stormcell {self.card.versions['stormcell']}, {self.card.model}",
        }


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    """Let PyTorch compute with a number of threads."""
    before = torch.get_num_threads()
    if count in (None, before):
        yield
        return
    torch.set_num_threads(count)
    try:
        yield
    finally:
        # In a worker process, other threads may be computing now, and all of them with the same number.
        if not in_worker():
            torch.set_num_threads(before)


def _same_grid(archive: model_file.TrainingData, rain: xr.DataArray, spacing: Spacing) -> bool:
    """Whether an archive of the training has the grid of ``rain``, up to half a pixel."""
    if archive.extent is None or not spacing.same_as(Spacing(*archive.pixel_size, archive.pixel_unit)):
        return False
    y, x = rain["y"].values, rain["x"].values
    off = np.abs(np.array(archive.extent) - [y[0], y[-1], x[0], x[-1]])
    return bool((off < [spacing.dy / 2] * 2 + [spacing.dx / 2] * 2).all())
