"""Probabilistic forecasters whose quality is known."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr
from scores.probability import crps_for_ensemble

from stormcell.errors import NotOfferedError
from stormcell.forecast.contract import Analysis, forecast_array


@dataclass(frozen=True)
class OfMembers:
    """The distribution of equally likely members ``(realization, y, x)``."""

    members: np.ndarray

    def probability(self, thresholds: Sequence[float]) -> np.ndarray:
        shares = [(self.members >= threshold).mean(axis=0) for threshold in thresholds]
        undefined = np.isnan(self.members).any(axis=0)
        return np.where(undefined, np.nan, np.stack(shares)).astype(np.float32)

    def quantile(self, levels: Sequence[float]) -> np.ndarray:
        return np.quantile(self.members, levels, axis=0)

    def crps(self, observation: np.ndarray) -> np.ndarray:
        with np.errstate(invalid="ignore"):  # of infinite values
            crps = crps_for_ensemble(
                xr.DataArray(self.members.astype(np.float64), dims=("realization", "y", "x")),
                xr.DataArray(observation.astype(np.float64), dims=("y", "x")),
                "realization",
                preserve_dims="all",
            ).values
        return np.where(np.isnan(self.members).any(axis=0), np.nan, crps).astype(np.float32)


class Blurred:
    """Members are the newest frame times random factors; the column of inflow is undefined.

    It offers an ensemble, and a distribution if ``distribution`` is true.
    """

    def __init__(self, *, distribution: bool = True) -> None:
        self.distribution = distribution
        self.asked: list[tuple[int, int]] = []

    def _members(self, frames: xr.DataArray, steps: int, members: int, seed: int) -> np.ndarray:
        newest = frames.values[-1]
        issued = int(frames.time.values[-1].astype(np.int64))
        values = []
        for member in range(members):
            generator = np.random.default_rng([seed, member, issued])
            values.append(newest * generator.gamma(2.0, 0.5, (steps, *newest.shape)))
        result = np.stack(values).astype(np.float32)
        result[..., 0] = np.nan
        return result

    def __call__(self, frames: xr.DataArray, steps: int) -> xr.DataArray:
        return forecast_array(frames.values[-1:].repeat(steps, axis=0), frames)

    def ensemble_from(self, analysis: Analysis, steps: int, members: int, seed: int) -> xr.DataArray:
        self.asked.append((members, seed))
        frames = analysis.frames.load()
        return forecast_array(self._members(frames, steps, members, seed), frames)

    def distributions_from(self, analysis: Analysis, steps: int) -> Iterator[OfMembers]:
        if not self.distribution:
            raise NotOfferedError("no distribution")
        members = self._members(analysis.frames.load(), steps, 40, 99)
        for lead in range(steps):
            yield OfMembers(members[:, lead])
