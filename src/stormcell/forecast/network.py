"""A trained network as a forecaster."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import xarray as xr

from stormcell.data.grid import Spacing
from stormcell.errors import ModelFileError
from stormcell.forecast.contract import (
    MOTION_FRAMES,
    Analysis,
    Field,
    Needs,
    check_steps,
    forecast_array,
)
from stormcell.models import model_file
from stormcell.models.nowcaster import Nowcaster
from stormcell.motion.coordinates import forecast_to_fixed, inputs_to_moving


@dataclass(frozen=True)
class NetworkForecaster:
    """A forecaster that runs a trained network; see :func:`stormcell.load`.

    Attributes:
        nowcaster: The network with its scaling.
        card: The model file's description of itself.
        digest: SHA-256 of the model file.
    """

    nowcaster: Nowcaster
    card: model_file.Card
    digest: str

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
        """Number, time step and grid spacing of the frames that the network was trained on."""
        return Needs(
            self.card.inputs,
            time_step=np.timedelta64(self._nowcasting.time_step_seconds, "s"),
            spacing=Spacing(*self._nowcasting.pixel_size, self._nowcasting.pixel_unit),
        )

    @property
    def default_steps(self) -> int:
        """Number of lead times that the network was trained on."""
        assert self.card.steps is not None
        return self.card.steps

    @property
    def blocks(self) -> Mapping[str, tuple[str, str]]:
        """First and last time (UTC) of the blocks train, validation and test."""
        return {str(name): block for name, block in self.card.blocks.items()}

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
        if not np.nanmax(frames, initial=0.0) > 0:
            return np.where(np.isfinite(newest), np.float32(0), np.float32(np.nan))[None].repeat(
                steps, axis=0
            )
        moving = self._nowcasting.coordinates == "moving"
        motion = (
            analysis.motion(min(MOTION_FRAMES, len(frames)))
            if moving
            else np.zeros((2, *newest.shape), np.float32)
        )
        rate = torch.from_numpy(inputs_to_moving(frames, motion))[None].to(self.device)
        with torch.inference_mode():
            forecast: Field = self.nowcaster(rate, steps)[0].cpu().numpy()
        if moving:
            forecast = forecast_to_fixed(forecast, motion)
        forecast[:, np.isnan(newest)] = np.nan
        return forecast

    def _provenance(self) -> dict[str, Any]:
        return {
            "stormcell_model": self.card.model,
            "stormcell_model_sha256": self.digest,
            "stormcell_training_data_sha256": self.card.data_hash,
            "source": f"Stormcell {self.card.versions['stormcell']}, {self.card.model}",
        }
