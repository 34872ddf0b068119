"""A trained network as a forecaster of distributions, ensembles and single forecasts."""

import collections
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
import xarray as xr

from stormcell.errors import ModelFileError
from stormcell.forecast.anchored_rain import AnchoredRain
from stormcell.forecast.contract import DEFAULT_STEPS, Analysis, Needs
from stormcell.forecast.ensemble import ensemble_of
from stormcell.forecast.hindcast import hindcast_frames, hindcast_slopes
from stormcell.forecast.inflow import Inflow
from stormcell.forecast.known_archives import archives_like
from stormcell.forecast.lead_fields import LeadFields, probabilities, quantiles, rates
from stormcell.forecast.network_probabilities import lead_distributions, recent_frames
from stormcell.forecast.requested import check_steps
from stormcell.models import model_file
from stormcell.models.nowcaster import LEAST_INPUTS, Nowcaster


@dataclass(frozen=True)
class NetworkForecaster:
    """A forecaster that runs a trained network; see :func:`stormcell.load`.

    The network forecasts the probabilities of exceeding some rates in coordinates that move with the rain.
    All else follows from them.

    Attributes:
        nowcaster: The network.
        card: The model file's description of itself.
        digest: SHA-256 of the model file.
        inflow: Rain from where nothing was observed: ``"mean"`` of the probabilities around, or ``"nan"``;
            see :mod:`~stormcell.forecast.inflow`.
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
        """Number of frames that the network needs; if there are more, it uses up to ``card.inputs``."""
        return Needs(LEAST_INPUTS)

    @property
    def default_steps(self) -> None:
        """None: the network was trained on lead times in minutes, not on a number of steps."""
        return

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
        return replace(self, archives=archives_like(self._nowcasting.archives, rain))

    def __call__(self, frames: xr.DataArray, steps: int = DEFAULT_STEPS) -> xr.DataArray:
        """Forecast the frames that follow.

        Args:
            frames: Rain rates in mm/h ``(time, y, x)``, row 0 northernmost, the newest last, NaN where not
                observed. The network uses the last ones, at least three.
            steps: Number of lead times, ≥ 1.

        Returns:
            Rain rates in mm/h ``(time, y, x)``, NaN where the newest frame was not observed.

        Raises:
            ArgumentError: ``steps`` is less than 1.
            FramesError: The frames are too few, have a gap, or their time step or pixels are out of range.
        """
        return self.forecast_from(Analysis(frames), steps)

    def probability(
        self, frames: xr.DataArray, steps: int = DEFAULT_STEPS, *, thresholds: Sequence[float]
    ) -> xr.DataArray:
        """Forecast probabilities of rates at or above thresholds.

        Args:
            frames: As in a call.
            steps: Number of lead times, ≥ 1.
            thresholds: Rain rates in mm/h, > 0.

        Returns:
            ``(threshold, time, y, x)``, 0 to 1, NaN where the newest frame was not observed.

        Raises:
            ArgumentError: ``steps`` is less than 1, or a threshold is not above 0.
            FramesError: As for a call.
        """
        (made,) = self._collected(Analysis(frames), steps, probabilities(thresholds))
        return made

    def quantile(
        self, frames: xr.DataArray, steps: int = DEFAULT_STEPS, *, levels: Sequence[float]
    ) -> xr.DataArray:
        """Forecast quantiles of the rain rate.

        Args:
            frames: As in a call.
            steps: Number of lead times, ≥ 1.
            levels: Probabilities of not exceeding the quantile, above 0 and below 1.

        Returns:
            Rain rates in mm/h ``(quantile, time, y, x)``, NaN where the newest frame was not observed.

        Raises:
            ArgumentError: ``steps`` is less than 1, or a level is not between 0 and 1.
            FramesError: As for a call.
        """
        (made,) = self._collected(Analysis(frames), steps, quantiles(levels))
        return made

    def ensemble(
        self,
        frames: xr.DataArray,
        steps: int = DEFAULT_STEPS,
        *,
        members: int = 20,
        seed: int = 0,
        placed: bool = False,
    ) -> xr.DataArray:
        """Forecast an ensemble; see :func:`~stormcell.forecast.ensemble.draw_members`.

        Args:
            frames: As in a call.
            steps: Number of lead times, ≥ 1.
            members: Number of members, ≥ 1. A member does not depend on it, unless ``placed``.
            seed: Seed of the members.
            placed: Whether members are placed at the quantiles that represent the distribution best.

        Returns:
            Rain rates in mm/h ``(realization, time, y, x)``, NaN where the newest frame was not observed.

        Raises:
            ArgumentError: ``steps`` or ``members`` is less than 1.
            FramesError: As for a call.
        """
        return self.ensemble_from(Analysis(frames), steps, members, seed, placed=placed)

    def forecast_from(self, analysis: Analysis, steps: int) -> xr.DataArray:
        """Forecast as a call does, from an analysis that other forecasters may share."""
        (made,) = self._collected(analysis, steps, rates())
        return made

    def products_from(
        self,
        analysis: Analysis,
        steps: int,
        *,
        members: int | None = None,
        seed: int = 0,
        thresholds: Sequence[float] = (),
        levels: Sequence[float] = (),
    ) -> list[xr.DataArray]:
        """Forecast several products, for which the network runs once.

        It is a :class:`~stormcell.forecast.probabilistic.ProductForecaster`.
        """
        further = []
        if thresholds:
            further.append(probabilities(thresholds))
        if levels:
            further.append(quantiles(levels))
        if members is None:
            return self._collected(analysis, steps, rates(), *further)
        distributions = _put_into(further, self.distributions_from(analysis, steps), steps)
        ensemble = ensemble_of(distributions, analysis, steps=steps, members=members, seed=seed)
        return [ensemble.assign_attrs(self._provenance()), *self._arrays(analysis, further)]

    def distributions_from(self, analysis: Analysis, steps: int) -> Iterator[AnchoredRain]:
        """Yield the distribution of each lead time; one is in memory at a time.

        It is a :class:`~stormcell.forecast.probabilistic.DistributionForecaster`.

        Raises:
            ArgumentError: ``steps`` is less than 1.
            FramesError: As for a call.
        """
        check_steps(steps)
        tested = hindcast_frames(analysis, self.card.inputs)  # first, so that all frames are read at once
        recent = recent_frames(analysis, self.card.inputs)
        if not _raining(recent):
            thresholds, newest = self.nowcaster.thresholds, recent.values[-1]
            dry = np.zeros((len(thresholds), *newest.shape), np.float32)
            dry[:, np.isnan(newest)] = np.nan
            yield from (AnchoredRain(thresholds, dry, [0.0] * len(thresholds)) for _ in range(steps))
            return
        motion = analysis.motion()
        slopes = hindcast_slopes(self.nowcaster, tested, motion, self.threads)
        yield from lead_distributions(
            self.nowcaster, recent, motion, steps, self.inflow, slopes=slopes, threads=self.threads
        )

    def ensemble_from(
        self, analysis: Analysis, steps: int, members: int, seed: int, *, placed: bool = False
    ) -> xr.DataArray:
        """Forecast an ensemble from an analysis that other forecasters may share; see :meth:`ensemble`."""
        distributions = self.distributions_from(analysis, steps)
        made = ensemble_of(distributions, analysis, steps=steps, members=members, seed=seed, placed=placed)
        return made.assign_attrs(self._provenance())

    def _collected(self, analysis: Analysis, steps: int, *wanted: LeadFields) -> list[xr.DataArray]:
        collections.deque(_put_into(wanted, self.distributions_from(analysis, steps), steps), maxlen=0)
        return self._arrays(analysis, wanted)

    def _arrays(self, analysis: Analysis, collected: Sequence[LeadFields]) -> list[xr.DataArray]:
        return [one.array(analysis.frames).assign_attrs(self._provenance()) for one in collected]

    def _provenance(self) -> dict[str, Any]:
        return {
            "stormcell_model": self.card.model,
            "stormcell_model_sha256": self.digest,
            "stormcell_training_data_sha256": self.card.data_hash,
            "source": f"{self.title}, Stormcell {version('stormcell')}",
        }


def _put_into(
    collected: Sequence[LeadFields], distributions: Iterator[AnchoredRain], steps: int
) -> Iterator[AnchoredRain]:
    """Yield distributions, each after its fields were collected."""
    number = 0
    while (rain := next(distributions, None)) is not None:  # enumerate would keep what it yielded last
        for one in collected:
            one.put(rain, number, steps)
        yield rain
        del rain  # before the next is computed
        number += 1


def _raining(frames: xr.DataArray) -> bool:
    return bool(np.nanmax(frames.values, initial=0.0) > 0)
