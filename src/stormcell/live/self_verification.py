"""The job of the child process that scores published forecasts with the frames that arrive.

A frame scores all forecasts that were published for its time, with the statistics of ``stormcell verify``, at
pixels where it is observed and all forecasts are defined.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal

import numpy as np
import xarray as xr

from stormcell.data import archive, grid
from stormcell.live.archiving import moment
from stormcell.live.published_distribution import PublishedDistribution
from stormcell.live.published_forecasts import PublishedField, PublishedForecast, Rate, for_time
from stormcell.live.scored_hours import ScoredHour, hour_of, last, load_hours, save_hour, total
from stormcell.live.scoring_job import Scored
from stormcell.live.skill_warning import skill_warning
from stormcell.published.manifest import Scores
from stormcell.published.reading import Shelf
from stormcell.published.writing import utc, write_scores
from stormcell.verification.axes import Axes
from stormcell.verification.evaluate import THRESHOLDS
from stormcell.verification.products import LeadProducts, Products, defined_by_all
from stormcell.verification.scores import to_dict
from stormcell.verification.tally import Tally, View, tally_views

_PERIODS: dict[Literal["24h", "7d"], timedelta] = {"24h": timedelta(hours=24), "7d": timedelta(days=7)}
_AT_ONCE = 24  # frames; the rest is scored by the next call
_KEPT = (
    *("csi", "pod", "far", "bias", "mae", "rmse", "crps", "brier", "brier_reliability", "brier_resolution"),
    *("reliability_pixels", "reliability_probability", "reliability_frequency"),
    *("n_pixels", "n_forecasts", "n_events", "lead_minutes", "crps_of", "probability_of"),
)


def score_arrived(path: str, out: Path, folder: Path) -> Scored:
    """Score the forecasts for those frames of the last seven days that have not scored them yet.

    Args:
        path: The archive.
        out: The published folder, where ``scores.json`` is replaced if a forecast was scored.
        folder: Folder of the statistics.

    Raises:
        ArchiveError: The archive cannot be read.
        OutputError: Something cannot be written.
    """
    rain = archive.rain(archive.open(path))
    times = [utc(time) for time in rain["time"].values]
    newest, shelf = times[-1], Shelf(out)
    scored = 0
    start = last(_PERIODS["7d"], newest)
    hours = load_hours(folder, start)
    for time in (time for time in times if time >= start):
        if scored == _AT_ONCE:
            break
        hour = hours.get(hour_of(time)) or ScoredHour(hour_of(time), frozenset(), {})
        if time in hour.times or not (published := for_time(shelf, time)):
            continue
        hours[hour.hour] = hour.with_time(time, _tallies(rain, time, published))
        save_hour(folder, hours[hour.hour])
        scored += 1
    if scored:
        write_scores(out, [_scores(period, hours, newest) for period in _PERIODS])
    return Scored(scored, skill_warning(hours))


def _tallies(rain: xr.DataArray, time: datetime, published: Sequence[PublishedForecast]) -> dict[str, Tally]:
    """Return the statistics of all forecasts for a time, one row by forecaster.

    A row of a tally is usually an issue time and its lead times; here it is a valid time and its lead times.
    """
    observed = rain.sel(time=moment(time).astype("datetime64[ns]")).values.astype(np.float32, copy=False)
    leads = {round(one.lead_minutes, 3): one for one in published}
    step = min(one.manifest.step_seconds for one in published) / 60
    # All lead times that are published, also those that no forecast had yet: so all hours have the same.
    longest = max(one.longest_minutes for one in published)
    axis = tuple(step * k for k in range(1, round(longest / step) + 1))
    axes = Axes(axis, _thresholds(published), (), (), float(np.mean(grid.pixel_km(rain))))
    names = dict.fromkeys(name for one in published for name in one.forecasters)
    observation = np.broadcast_to(observed, (len(axis), *observed.shape))
    by_lead = [leads.get(round(lead, 3)) for lead in axis]
    products = _products(list(names), by_lead, axes, observed.shape)

    def views(lead: int, given: Mapping[str, LeadProducts]) -> list[View]:
        one = by_lead[lead]
        there = {name: given[name] for name in (() if one is None else one.forecasters)}
        return [(there, defined_by_all(there, ~np.isnan(observed)))]

    (tallies,) = tally_views(products, observation, views, issue_time=moment(time), axes=axes)
    return tallies


def _thresholds(published: Sequence[PublishedForecast]) -> tuple[float, ...]:
    """Return the thresholds of published probabilities; those of ``stormcell verify`` without any."""
    found = {
        product.threshold
        for one in published
        for product in one.manifest.products
        if product.threshold is not None
    }
    return tuple(sorted(found)) or THRESHOLDS


def _products(
    names: Sequence[str],
    leads: Sequence[PublishedForecast | None],
    axes: Axes,
    shape: tuple[int, ...],
) -> dict[str, Products]:
    """Return what each forecaster gave for each lead time; NaN where it gave nothing."""
    fields = [{} if one is None else one.fields() for one in leads]
    unknown = np.full(shape, np.nan, np.float32)
    found = {}
    for name in names:
        given = [field.get(name) for field in fields]
        rates = np.stack([unknown if one is None else one.rate for one in given])
        known = next(one for one in given if one is not None)
        members = _members(given, known, shape)
        distributions = _distributions(given, axes.thresholds, shape) if known.probabilities else None
        found[name] = Products(rates, members, distributions)
    return found


def _members(
    given: Sequence[PublishedField | None], known: PublishedField, shape: tuple[int, ...]
) -> Rate | None:
    if known.members is None:
        return None
    unknown = np.full((len(known.members), *shape), np.nan, np.float32)
    each = [unknown if one is None or one.members is None else one.members for one in given]
    return np.stack(each, axis=1)


def _distributions(
    given: Sequence[PublishedField | None], thresholds: tuple[float, ...], shape: tuple[int, ...]
) -> Iterator[PublishedDistribution]:
    unknown = np.full(shape, np.nan, np.float32)
    for one in given:
        known = {} if one is None else one.probabilities
        chances = np.stack([known.get(threshold, unknown) for threshold in thresholds])
        yield PublishedDistribution(unknown if one is None else one.rate, thresholds, chances)


def _scores(period: Literal["24h", "7d"], hours: Mapping[datetime, ScoredHour], newest: datetime) -> Scores:
    """Return the scores of a period that ends with the newest frame."""
    start = last(_PERIODS[period], newest)
    counted = [hour for time, hour in sorted(hours.items()) if time >= start]
    axes: dict[str, Axes] = {}
    for hour in counted:  # where settings changed, the newest count
        axes |= {name: tally.axes for name, tally in hour.tallies.items()}
    forecasters: dict[str, dict[str, object]] = {}
    for name, own in axes.items():
        every = to_dict(total(counted, name, own))
        forecasters[name] = {key: every[key] for key in _KEPT}
    longest = max((own.lead_minutes for own in axes.values()), key=len, default=())
    return Scores(period=period, start=start, end=newest, lead_minutes=longest, forecasters=forecasters)
