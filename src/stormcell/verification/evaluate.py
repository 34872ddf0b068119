"""Run forecasters over issue times and tally what they said against what fell."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from stormcell.data import grid
from stormcell.data.splits import Block
from stormcell.data.time_axis import TimeAxis, in_minutes
from stormcell.errors import ArgumentError
from stormcell.forecast.contract import Forecaster
from stormcell.verification.scores import to_dict
from stormcell.verification.spatial import window_pixels
from stormcell.verification.statistics import Rate, measure
from stormcell.verification.tally import Layout, Tally

THRESHOLDS = (0.1, 0.5, 1.0, 2.0, 5.0, 10.0)  # mm/h
SCALES = (2.0, 8.0, 16.0, 32.0)  # km
BANDS = (2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0)  # km

STRICT = "the truth is observed and every compared forecaster is defined"
AS_DRY = "the truth is observed; an undefined forecast counts as dry"

Times = NDArray[np.datetime64]


@dataclass(frozen=True)
class Evaluation:
    """How forecasters fared, at the same issue times and under the same masks.

    Attributes:
        strict: By forecaster, the tally where the truth is observed and every forecaster is defined.
        as_dry: By forecaster, the tally where the truth is observed, an undefined forecast being dry.
        about: By forecaster, what a reader of the scores should know; goes into the file as it is.
    """

    strict: Mapping[str, Tally]
    as_dry: Mapping[str, Tally]
    about: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def __add__(self, other: "Evaluation") -> "Evaluation":
        """Both evaluations together, which compare the same forecasters at different issue times.

        Raises:
            ArgumentError: The forecasters differ, or an issue time is in both.
        """
        if list(self.strict) != list(other.strict):
            raise ArgumentError(
                f"evaluation: expected forecasters {list(self.strict)}, found {list(other.strict)}"
            )
        return Evaluation(
            {name: tally + other.strict[name] for name, tally in self.strict.items()},
            {name: tally + other.as_dry[name] for name, tally in self.as_dry.items()},
            self.about,
        )

    @property
    def layout(self) -> Layout:
        """Lead times, thresholds and scales, the same for all."""
        return next(iter(self.strict.values())).layout

    @property
    def issue_times(self) -> Times:
        """When the forecasts were made."""
        return next(iter(self.strict.values())).issue_times

    def to_scores(self) -> dict[str, dict[str, Any]]:
        """What ``scores.json`` holds: by forecaster, scores by lead time; nothing undefined but ``None``.

        Beside the scores stand, under ``undefined_as_dry``, the same scores by the other rule and, under
        ``about``, the rules, the period and whatever else was said of the forecaster.
        """
        times = [str(np.datetime_as_string(time, unit="s")) for time in self.issue_times]
        about = {
            "mask": STRICT,
            "undefined_as_dry_mask": AS_DRY,
            "first_issue_time": times[0] if times else None,
            "last_issue_time": times[-1] if times else None,
            "n_issue_times": len(times),
            "pixel_km": self.layout.pixel_km,
            "fss_window_pixels": {f"{scale:g}km": window for scale, window in self.layout.windows},
        }
        return {
            name: {
                **to_dict(tally),
                "undefined_as_dry": to_dict(self.as_dry[name]),
                "about": about | dict(self.about.get(name, {})),
            }
            for name, tally in self.strict.items()
        }


def evaluate(
    rain: xr.DataArray,
    forecasters: Mapping[str, Forecaster],
    *,
    issue_times: Sequence[np.datetime64] | Times,
    steps: int,
    thresholds: Sequence[float] = THRESHOLDS,
    valid: Block | None = None,
    pixel_km: float | None = None,
    progress: Callable[[int], None] | None = None,
) -> Evaluation:
    """Score forecasters against the rain that fell.

    Every forecaster is given, at every issue time, all gap-free frames up to it, and all are scored on the
    same pixels. A lead time whose truth is not in ``rain``, or not in the period to be scored, is not
    counted; ``n_forecasts`` says so.

    Args:
        rain: Rain rates in mm/h ``(time, y, x)``, lazily or not, NaN where not observed.
        forecasters: By the name they shall have in the scores.
        issue_times: Times of ``rain``, each once; the order has no influence.
        steps: Lead times to score, ≥ 1, in time steps of ``rain``.
        thresholds: Rain rates in mm/h, > 0; an event is a rate at or above.
        valid: The period to be scored: truth outside it is not looked at. None takes all.
        pixel_km: Width of a pixel in km; None takes the mean of its height and width from the coordinates.
        progress: Called after every issue time with the number of those done.

    Raises:
        ArgumentError: No forecaster, no issue time, an issue time that is not in ``rain`` or is given twice,
            ``steps`` < 1, or a forecaster's answer is not what the contract says.
        FramesError: A forecaster cannot start from the frames there are.

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
    known = rain["time"].values.astype("datetime64[ns]")
    issued = np.sort(np.asarray(issue_times, dtype="datetime64[ns]"))
    _check(known, issued, forecasters, steps)
    axis = TimeAxis(known)
    step = axis.step
    km = float(np.mean(grid.pixel_km(rain))) if pixel_km is None else pixel_km
    layout = Layout(
        lead_minutes=tuple(in_minutes(k * step) for k in range(1, steps + 1)),
        thresholds=tuple(float(threshold) for threshold in thresholds),
        windows=tuple((scale, window_pixels(scale, km)) for scale in SCALES),
        bands=tuple(band for band in BANDS if band > 1.9 * km),  # no wave is shorter than two pixels
        pixel_km=km,
    )
    parts: dict[str, list[tuple[Tally, Tally]]] = {name: [] for name in forecasters}
    for done, time in enumerate(issued, start=1):
        frames = rain.isel(time=axis.run_to(time))
        times = time + step * np.arange(1, steps + 1)
        forecasts = {
            name: _values(forecaster(frames, steps), name, times, shape=rain.shape[1:])
            for name, forecaster in forecasters.items()
        }
        truth = truth_at(rain, times)
        if valid is not None:
            truth[~valid.contains(times)] = np.nan
        for name, pair in _tallies(forecasts, truth, time, layout).items():
            parts[name].append(pair)
        if progress is not None:
            progress(done)
    return Evaluation(
        {name: Tally.sum([strict for strict, _ in pairs]) for name, pairs in parts.items()},
        {name: Tally.sum([as_dry for _, as_dry in pairs]) for name, pairs in parts.items()},
    )


def _tallies(
    forecasts: Mapping[str, Rate], truth: Rate, time: np.datetime64, layout: Layout
) -> dict[str, tuple[Tally, Tally]]:
    """The tallies of one issue time by the strict rule and by the other, by forecaster."""
    observed = ~np.isnan(truth)
    defined = observed.copy()
    for forecast in forecasts.values():
        # A pixel that any member of an ensemble leaves open is open.
        defined &= ~np.isnan(forecast if forecast.ndim == 3 else forecast.max(axis=0))
    strict = measure(forecasts, truth, defined, issue_time=time, layout=layout)
    if np.array_equal(defined, observed):
        return {name: (tally, tally) for name, tally in strict.items()}
    filled = {name: np.where(np.isnan(rate), np.float32(0), rate) for name, rate in forecasts.items()}
    as_dry = measure(filled, truth, observed, issue_time=time, layout=layout)
    return {name: (strict[name], as_dry[name]) for name in forecasts}


def truth_at(rain: xr.DataArray, times: Times) -> Rate:
    """What fell at the given times, mm/h ``(lead, y, x)``; NaN where there is no such frame."""
    truth = np.full((len(times), *rain.shape[1:]), np.nan, np.float32)
    known = rain["time"].values.astype("datetime64[ns]")
    present = np.isin(times, known)
    truth[present] = rain.isel(time=np.searchsorted(known, times[present])).values
    return truth


def _values(forecast: xr.DataArray, name: str, times: Times, *, shape: tuple[int, ...]) -> Rate:
    """A forecaster's answer as numbers, once it is shown to be for the times and the grid asked for."""
    dims = ("time", "y", "x")
    if forecast.dims not in (dims, ("realization", *dims)):
        raise ArgumentError(
            f"{name}: expected a forecast (time, y, x), found ({', '.join(map(str, forecast.dims))})"
        )
    if forecast.shape[-2:] != shape:
        raise ArgumentError(f"{name}: expected a forecast on a grid of {shape}, found {forecast.shape[-2:]}")
    answered = forecast["time"].values.astype("datetime64[ns]")
    if not np.array_equal(answered, times):
        found = f"{len(answered)} from {answered[0]}" if len(answered) else "none"
        raise ArgumentError(
            f"{name}: expected a forecast for {len(times)} times from {times[0]}, found {found}"
        )
    return np.asarray(forecast.values, dtype=np.float32)


def _check(known: Times, issued: Times, forecasters: Mapping[str, Forecaster], steps: int) -> None:
    if not forecasters:
        raise ArgumentError("forecasters: expected at least one, found none")
    if steps < 1:
        raise ArgumentError(f"steps: expected at least 1, found {steps}")
    if len(known) < 2 or (np.diff(known) <= np.timedelta64(0)).any():
        raise ArgumentError(f"rain: expected at least 2 frames in the order of time, found {len(known)}")
    if not issued.size:
        raise ArgumentError("issue times: expected at least one, found none")
    absent = issued[~np.isin(issued, known)]
    if absent.size:
        raise ArgumentError(f"issue time {absent[0]}: expected a time of the archive, found no frame then")
