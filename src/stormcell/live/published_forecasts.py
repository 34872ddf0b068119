"""The fields of published forecasts for a valid time."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from stormcell.errors import PrunedError
from stormcell.published.manifest import EXTRAPOLATION, RATE, Manifest, time_of_name
from stormcell.published.reading import Shelf

_FURTHEST = timedelta(hours=6)  # lead time that is looked for

Rate = NDArray[np.float32]


@dataclass(frozen=True)
class PublishedField:
    """A forecaster's fields of one publication, for one valid time.

    Attributes:
        rate: The single forecast, mm/h ``(y, x)``; of an ensemble, the mean of its members.
        members: mm/h ``(realization, y, x)``; None without.
        probabilities: By threshold in mm/h, ``(y, x)``; empty without.
    """

    rate: Rate
    members: Rate | None
    probabilities: dict[float, Rate]


@dataclass(frozen=True)
class PublishedForecast:
    """A publication with a forecast for a valid time.

    Attributes:
        manifest: Its manifest.
        path: Its ``forecast.nc``.
        valid: The valid time.
    """

    manifest: Manifest
    path: Path
    valid: datetime

    @property
    def lead_minutes(self) -> float:
        """Lead time in minutes."""
        return (self.valid - self.manifest.issue) / timedelta(minutes=1)

    @property
    def longest_minutes(self) -> float:
        """The longest lead time of the publication, in minutes."""
        last = max(product.times[-1] for product in self.manifest.products)
        return (last - self.manifest.issue) / timedelta(minutes=1)

    @property
    def forecasters(self) -> tuple[str, ...]:
        """Names of the forecasters: the published one, and the extrapolation beside it."""
        beside = any(product.name == EXTRAPOLATION for product in self.manifest.products)
        return (self.manifest.model, EXTRAPOLATION) if beside else (self.manifest.model,)

    def fields(self) -> dict[str, PublishedField]:
        """Read the fields, by forecaster."""
        products = self.manifest.products
        thresholds = [product.threshold for product in products if product.threshold is not None]
        times = next(product.times for product in products if product.name == RATE)
        # xarray would read all variables first, which takes most of the time of scoring.
        with h5py.File(self.path) as file:

            def at_time(variable: str) -> Rate:
                return np.asarray(file[variable][..., times.index(self.valid), :, :], np.float32)

            rate = at_time("rainfall_rate")
            chances = at_time("rainfall_rate_probability") if thresholds else ()
            members = rate if rate.ndim == 3 else None
            single = rate if members is None else members.mean(axis=0)
            probabilities = dict(zip(thresholds, chances, strict=True))
            found = {self.manifest.model: PublishedField(single, members, probabilities)}
            if len(self.forecasters) > 1:
                found[EXTRAPOLATION] = PublishedField(at_time("rainfall_rate_extrapolation"), None, {})
        return found


def for_time(shelf: Shelf, valid: datetime) -> list[PublishedForecast]:
    """Return the forecasts that were published for a time: of each issue, the one that was made last.

    Preliminary forecasts and those that were made instead of another do not count: so a forecaster and the
    extrapolation beside it have the same issue times.
    """
    by_issue: dict[datetime, PublishedForecast] = {}
    for manifest in _issued(shelf, valid - _FURTHEST, valid):
        rates = [product for product in manifest.products if product.name == RATE]
        instead = manifest.preliminary or manifest.degraded is not None
        if instead or not any(valid in product.times for product in rates):
            continue
        known = by_issue.get(manifest.issue)
        if known is not None and known.manifest.created > manifest.created:
            continue
        try:
            path = shelf.forecast(manifest)
        except PrunedError:
            continue
        by_issue[manifest.issue] = PublishedForecast(manifest, path, valid)
    return list(by_issue.values())


def _issued(shelf: Shelf, start: datetime, end: datetime) -> Iterator[Manifest]:
    """Yield the manifests of the publications that were issued from ``start`` until before ``end``."""
    for issue, run in shelf.publications():
        if start <= time_of_name(issue) < end:
            yield shelf.manifest(issue, run)
