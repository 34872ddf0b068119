"""Run forecasters at issue times, and tally their forecasts against the observations."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import xarray as xr

from stormcell.data import grid
from stormcell.data.splits import Block
from stormcell.data.time_axis import TimeAxis, Times, in_minutes
from stormcell.errors import ArgumentError
from stormcell.forecast.contract import Analysis, Forecaster
from stormcell.forecast.frames import expect_frames
from stormcell.forecast.requested import check_ensemble, check_steps
from stormcell.verification.axes import Axes
from stormcell.verification.case_study import Case
from stormcell.verification.close_up import CloseUp, moderate
from stormcell.verification.evaluation import Description, Evaluation
from stormcell.verification.products import LeadProducts, Products, Rate, defined_by_all, products_of
from stormcell.verification.spatial import window_pixels
from stormcell.verification.tally import Tally, View, tally_views

THRESHOLDS = (0.1, 0.5, 1.0, 2.0, 5.0, 10.0)  # mm/h
SCALES = (2.0, 8.0, 16.0, 32.0)  # km
BANDS = (2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0)  # km
AREAS = (10.0, 30.0)  # km
DURATIONS = (15.0, 60.0)  # minutes


def evaluate(
    rain: xr.DataArray,
    forecasters: Mapping[str, Forecaster],
    *,
    issue_times: Sequence[np.datetime64] | Times,
    steps: int,
    thresholds: Sequence[float] = THRESHOLDS,
    valid: Block | None = None,
    pixel_km: float | None = None,
    members: int | None = None,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> Evaluation:
    """Score forecasters against the observed rain.

    At every issue time, every forecaster is given all gap-free frames up to it, and all are scored on the
    same pixels. Forecasters that describe themselves share one analysis with its motion field. A lead time
    is not counted if its observation is not in ``rain`` or not in the period to score; see ``n_forecasts``.

    The distributions of a :class:`~stormcell.forecast.probabilistic.DistributionForecaster` are always
    scored, and the members of an :class:`~stormcell.forecast.probabilistic.EnsembleForecaster` if ``members``
    is given. The members of all forecasters are in memory together: a gigabyte for 20 members, 12 lead times
    and a million pixels.

    Args:
        rain: Rain rates in mm/h ``(time, y, x)``, possibly lazy, NaN where not observed, with coordinates.
        forecasters: By their name in the scores.
        issue_times: Times of ``rain``, each once, in any order.
        steps: Number of lead times, ≥ 1, in time steps of ``rain``.
        thresholds: Rain rates in mm/h, > 0; an event is a rate at or above the threshold.
        valid: The period to score; None for all times.
        pixel_km: Width of a pixel in km; None for the mean of its height and width by the coordinates.
        members: Number of members to ask every ensemble forecaster for, ≥ 1; None for no ensembles except
            those that a forecaster returns as its forecast.
        seed: Seed of the members.
        progress: Called after every issue time with the number of those done.

    Raises:
        ArgumentError: There is no forecaster or issue time, an issue time is not in ``rain`` or given twice,
            ``steps`` or ``members`` < 1, or a forecast does not have the form that the contract prescribes.
        FramesError: The frames do not meet a forecaster's needs.

    Example:
        >>> from stormcell.forecast.contract import forecast_array
        >>> times = np.datetime64("2024-06-01T00:00", "ns") + np.arange(6) * np.timedelta64(5, "m")
        >>> grid = {"y": 1000.0 * np.arange(4)[::-1], "x": 1000.0 * np.arange(4)}
        >>> rain = xr.DataArray(np.full((6, 4, 4), 2.0), {"time": times, **grid}, ("time", "y", "x"))
        >>> last = lambda frames, steps: forecast_array(frames.values[-1:].repeat(steps, axis=0), frames)
        >>> evaluation = evaluate(rain, {"persistence": last}, issue_times=times[1:4], steps=3)
        >>> scores = evaluation.to_scores()["persistence"]
        >>> scores["csi"]["1.0"], scores["csi"]["10.0"], scores["n_forecasts"]
        ([1.0, 1.0, 1.0], [None, None, None], [3, 3, 2])
    """
    expect_frames(rain)
    axis = TimeAxis(rain["time"].values.astype("datetime64[ns]"))
    issued = np.sort(np.asarray(issue_times, dtype="datetime64[ns]"))
    _check(axis, issued, forecasters, steps)
    if members is not None:
        check_ensemble(members, seed)
    sides = grid.pixel_km(rain)
    km = float(np.mean(sides)) if pixel_km is None else pixel_km
    axes = Axes(
        lead_minutes=tuple(in_minutes(k * axis.step) for k in range(1, steps + 1)),
        thresholds=tuple(float(threshold) for threshold in thresholds),
        windows=tuple((scale, window_pixels(scale, km)) for scale in SCALES),
        bands=tuple(band for band in BANDS if band > 1.9 * km),  # no wave is shorter than two pixels
        pixel_km=km,
        areas=tuple((size, max(1, round(size / km))) for size in AREAS),
        durations=_durations(in_minutes(axis.step), steps),
    )
    parts: dict[str, list[tuple[Tally, Tally]]] = {name: [] for name in forecasters}
    described = {name: Description.of(name, forecaster) for name, forecaster in forecasters.items()}
    case: Case | None = None
    for done, time in enumerate(issued, start=1):
        analysis = Analysis(rain.isel(time=axis.run_to(time)))
        times = time + axis.step * np.arange(1, steps + 1)
        products = {
            name: products_of(one, analysis, times, name=name, members=members, seed=seed)
            for name, one in forecasters.items()
        }
        described = {name: replace(one, seed=products[name].seed) for name, one in described.items()}
        observation = _observation(rain, times)
        events = int(np.count_nonzero(observation >= axes.thresholds[moderate(axes.thresholds)]))
        wettest = case is None or events > case.events
        close_up = CloseUp(observation, axes.thresholds, sides) if wettest else None
        for name, pair in _tallies(products, observation, time, axes, close_up).items():
            parts[name].append(pair)
        if close_up is not None:
            newest = np.asarray(analysis.frames.isel(time=-1).values, np.float32)
            forecasts = {name: one.forecast for name, one in products.items()}
            case = close_up.added_to(
                Case.of(time, times, newest, observation, forecasts, pixel_km=sides, events=events)
            )
        if progress is not None:
            progress(done)
    assert case is not None
    return Evaluation(
        {name: Tally.sum([strict for strict, _ in pairs]) for name, pairs in parts.items()},
        {name: Tally.sum([as_dry for _, as_dry in pairs]) for name, pairs in parts.items()},
        described,
        case,
        () if valid is None else (valid,),
        *_origin(rain),
    )


def _tallies(
    products: Mapping[str, Products],
    observation: Rate,
    time: np.datetime64,
    axes: Axes,
    close_up: CloseUp | None,
) -> dict[str, tuple[Tally, Tally]]:
    """Return the tallies of one issue time under both masks, by forecaster.

    A close-up, if given, takes its maps while the products of a lead time are there.
    """

    def views(lead: int, given: Mapping[str, LeadProducts]) -> list[View]:
        if close_up is not None:
            close_up.add(lead, given)
        observed = ~np.isnan(observation[lead])
        defined = defined_by_all(given, observed)
        if np.array_equal(defined, observed):
            return [(given, defined), (given, defined)]
        filled = {name: one.filled(observation[lead]) for name, one in given.items()}
        return [(given, defined), (filled, observed)]

    strict, as_dry = tally_views(products, observation, views, issue_time=time, axes=axes)
    return {name: (strict[name], as_dry[name]) for name in products}


def _durations(step: float, steps: int) -> tuple[int, ...]:
    """Return the numbers of time steps that are nearest to the durations of amounts, each once."""
    found = {max(1, round(minutes / step)) for minutes in DURATIONS}
    return tuple(sorted(count for count in found if count <= steps))


def _observation(rain: xr.DataArray, times: Times) -> Rate:
    """Return the observed rain at the given times, mm/h ``(lead, y, x)``; NaN if there is no frame."""
    observation = np.full((len(times), *rain.shape[1:]), np.nan, np.float32)
    known = rain["time"].values.astype("datetime64[ns]")
    present = np.isin(times, known)
    observation[present] = rain.isel(time=np.searchsorted(known, times[present])).values
    return observation


def _origin(rain: xr.DataArray) -> tuple[str, str | None]:
    """Return a digest of the grid and the source, and the credit."""
    origin = [str(rain.attrs[key]) for key in ("source", "license") if key in rain.attrs]
    # A source that ends a sentence is followed by another; "modified., CC-BY-4.0" would be wrong.
    credit = (" " if origin and origin[0].endswith(".") else ", ").join(origin)
    digest = hashlib.sha256(", ".join(origin).encode())
    for name in ("y", "x"):
        digest.update(np.asarray(rain[name].values, np.float64).tobytes())
    return digest.hexdigest()[:8], credit or None


def _check(axis: TimeAxis, issued: Times, forecasters: Mapping[str, Forecaster], steps: int) -> None:
    if not forecasters:
        raise ArgumentError("forecasters: expected at least one, found none")
    check_steps(steps)
    if len(axis) < 2 or (np.diff(axis.times) <= np.timedelta64(0)).any():
        raise ArgumentError(f"rain: expected at least 2 frames in time order, found {len(axis)}")
    if not issued.size:
        raise ArgumentError("issue times: expected at least one, found none")
    absent = issued[~np.isin(issued, axis.times)]
    if absent.size:
        raise ArgumentError(f"issue time {absent[0]}: expected a time of the archive, found no frame then")
