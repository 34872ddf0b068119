"""The fields of published forecasts for a valid time."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from stormcell.errors import PrunedError
from stormcell.live.archiving import moment
from stormcell.live.contents import EXTRAPOLATION
from stormcell.published.manifest import NAME_OF_TIME, Manifest
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
    def forecasters(self) -> tuple[str, ...]:
        """Names of the forecasters: the published one, and the extrapolation beside it."""
        beside = any(product.name == EXTRAPOLATION for product in self.manifest.products)
        return (self.manifest.model, EXTRAPOLATION) if beside else (self.manifest.model,)

    def fields(self) -> dict[str, PublishedField]:
        """Read the fields, by forecaster."""
        with xr.open_dataset(self.path, engine="h5netcdf") as ds:
            at = ds.sel(time=moment(self.valid).astype("datetime64[ns]"))
            rate = at["rainfall_rate"].values
            members = rate if rate.ndim == 3 else None
            probabilities: dict[float, Rate] = {}
            if "rainfall_rate_probability" in at:
                chance = at["rainfall_rate_probability"]
                probabilities = dict(
                    zip(chance["threshold"].values.astype(float), chance.values, strict=True)
                )
            single = rate if members is None else members.mean(axis=0)
            found = {self.manifest.model: PublishedField(single, members, probabilities)}
            if len(self.forecasters) > 1:
                beside = at["rainfall_rate_extrapolation"].values
                found[EXTRAPOLATION] = PublishedField(beside, None, {})
        return found


def for_time(shelf: Shelf, valid: datetime) -> list[PublishedForecast]:
    """Return the forecasts that were published for a time: of each issue, the one that was made last.

    Preliminary forecasts and those that were made instead of another do not count: so a forecaster and the
    extrapolation beside it have the same issue times.
    """
    by_issue: dict[datetime, PublishedForecast] = {}
    for manifest in _issued(shelf, valid - _FURTHEST, valid):
        rates = [product for product in manifest.products if product.name == "rate"]
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
        if start <= datetime.strptime(issue, NAME_OF_TIME).replace(tzinfo=UTC) < end:
            yield shelf.manifest(issue, run)
