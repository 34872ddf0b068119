"""A trained network as a forecaster."""

import os
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray

from stormcell.data.grid import Spacing, spacing
from stormcell.errors import ArgumentError, FramesError
from stormcell.forecast.contract import forecast_array, require
from stormcell.models import model_file
from stormcell.models.nowcaster import Nowcaster
from stormcell.motion.coordinates import forecast_to_fixed, inputs_to_moving
from stormcell.motion.optical_flow import estimate


@dataclass(frozen=True)
class NetworkForecaster:
    """Forecasts rain with a trained network; see :func:`stormcell.load`.

    Attributes:
        nowcaster: The network, with its scaling.
        card: What its file says about it.
        digest: SHA-256 of the file.
    """

    nowcaster: Nowcaster
    card: model_file.Card
    digest: str

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> "NetworkForecaster":
        """Read a model file.

        Raises:
            ModelFileError: The file is missing, is not safetensors, or was not written by Stormcell.
        """
        return cls(*model_file.load(path))

    def __call__(self, frames: xr.DataArray, steps: int | None = None) -> xr.DataArray:
        """Forecast the frames that follow.

        Args:
            frames: Rain rates in mm/h, ``(time, y, x)``, row 0 northernmost, NaN where not observed; the
                newest last. As many of the last as the network needs are used.
            steps: Number of frames to forecast; by default as many as it was trained on.

        Returns:
            Rain rates in mm/h, ``(time, y, x)``, NaN where the newest frame was not observed.

        Raises:
            ArgumentError: ``steps`` is less than 1.
            FramesError: Too few frames, a hole, or another time step or grid spacing than the model's.
        """
        card = self.card
        steps = card.steps if steps is None else steps
        if steps < 1:
            raise ArgumentError(f"steps: expected 1 or more, found {steps}")
        recent = require(frames, card.inputs, step=np.timedelta64(card.time_step_seconds, "s"))
        expected, found = Spacing(*card.pixel_size, card.pixel_unit), spacing(recent)
        if not found.same_as(expected):
            raise FramesError(f"frames: expected the model's grid spacing, {expected}, found {found}")
        rate = self._forecast(np.asarray(recent.values, np.float32), steps)
        return forecast_array(rate, recent, attrs=self._provenance())

    def _forecast(self, frames: NDArray[np.float32], steps: int) -> NDArray[np.float32]:
        newest = frames[-1]
        if not np.nanmax(frames, initial=0.0) > 0:
            return np.where(np.isfinite(newest), np.float32(0), np.float32(np.nan))[None].repeat(
                steps, axis=0
            )
        moving = self.card.coordinates == "moving"
        motion = estimate(frames) if moving else np.zeros((2, *newest.shape), np.float32)
        rate = torch.from_numpy(inputs_to_moving(frames, motion))[None]
        with torch.inference_mode():
            forecast: NDArray[np.float32] = self.nowcaster(rate, steps)[0].numpy()
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
