"""The series of a place: observed rates of the last hours, then the forecast with all its products."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from itertools import pairwise
from typing import Any

from stormcell.maps.levels import MISSING
from stormcell.published.manifest import RATE, Product, time_text
from stormcell.serve.place_levels import Around, reader
from stormcell.serve.publication import Publication
from stormcell.serve.rain_events import Sample
from stormcell.serve.watch import Newest


@dataclass(frozen=True)
class Step:
    """Which layers a valid time of the forecast has.

    Attributes:
        time: The valid time.
        step: Time since the one before.
        text: The same, as in JSON.
        rate: Layer of the rate.
        extrapolation: Layer of the extrapolation.
        quantiles: Layers by level.
        probabilities: Layers by threshold.
        members: Layers of the members.
    """

    time: datetime
    step: timedelta
    text: str
    rate: int | None
    extrapolation: int | None
    quantiles: dict[str, int]
    probabilities: dict[str, int]
    members: tuple[int, ...]


@dataclass(frozen=True)
class Series:
    """Values at a place.

    Attributes:
        observed: Observed rates, ascending; the last is at the issue time.
        forecast: Forecast rates.
        details: Of each forecast rate, further values by name.
    """

    observed: tuple[Sample, ...]
    forecast: tuple[Sample, ...]
    details: tuple[dict[str, Any], ...]

    @property
    def last_observed(self) -> datetime | None:
        """Time of the newest frame that observed the place; None if no frame did."""
        return next((sample.time for sample in reversed(self.observed) if sample.rate is not None), None)


def series(newest: Newest, row: int, column: int, cells: Around | None = None) -> Series:
    """Return the series of a cell, or of the highest values around it."""
    publication = newest.publication
    read = reader(row, column, cells)
    levels = read(publication.cells).tolist()
    rates, shares = publication.values["rate"], publication.values["probability"]
    step = timedelta(seconds=newest.latest.step_seconds)
    observed = tuple(Sample(seen.time, rates[int(read(seen.levels))], step) for seen in newest.observed)
    forecast, details = [], []
    for at in steps(publication):
        rate = None if at.rate is None else rates[levels[at.rate]]
        forecast.append(Sample(at.time, rate, at.step))
        found: dict[str, Any] = {"precipitation_rate": rate}
        if at.extrapolation is not None:
            found["extrapolation"] = rates[levels[at.extrapolation]]
        if at.quantiles:
            found["quantiles"] = {name: rates[levels[layer]] for name, layer in at.quantiles.items()}
        if at.probabilities:
            found["probabilities"] = {name: shares[levels[n]] for name, n in at.probabilities.items()}
        if at.members:
            found["members"] = [rates[levels[layer]] for layer in at.members]
        details.append(found)
    return Series(observed, tuple(forecast), tuple(details))


def coverage(newest: Newest, row: int, column: int, *, stale: bool) -> str:
    """Return whether the radar sees a cell now, in the words of MET Norway."""
    if not stale and newest.observed[-1].levels[row, column] != MISSING:
        return "ok"
    sometimes = stale and newest.observed[-1].levels[row, column] != MISSING
    sometimes = sometimes or bool(newest.publication.often_observed[row, column])
    return "temporarily unavailable" if sometimes else "no coverage"


@lru_cache(maxsize=4)
def steps(publication: Publication) -> tuple[Step, ...]:
    """Return the valid times of a forecast with their layers."""
    times = (publication.manifest.issue, *publication.times)
    return tuple(_step(publication, time, time - before) for before, time in pairwise(times))


def _step(publication: Publication, time: datetime, step: timedelta) -> Step:
    here: list[tuple[Product, int]] = []
    for product in publication.forecasts:
        layer = product.layer(time)
        if layer is not None:
            here.append((product, layer))
    named = {product.name: layer for product, layer in here}
    return Step(
        time=time,
        step=step,
        text=time_text(time),
        rate=named.get(RATE),
        extrapolation=named.get("extrapolation"),
        quantiles={f"{product.quantile:g}": n for product, n in here if product.quantile is not None},
        probabilities={str(product.threshold): n for product, n in here if product.threshold is not None},
        members=tuple(n for product, n in here if product.realization is not None),
    )
