"""One forecast looked at: what was observed and what every forecaster said, side by side."""

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from stormcell.data.grid import pixel_km
from stormcell.data.time_axis import TimeAxis
from stormcell.forecast.contract import Forecaster
from stormcell.verification.evaluate import Evaluation, truth_at
from stormcell.verification.figures import (
    INK,
    MUTED,
    labels,
    line_colour,
    png,
    rain_map,
    rain_scale,
    scale_bar,
)

Rate = NDArray[np.float32]

_ZOOM_KM = 320.0  # what is wider is cut to this: on a page, showers of a continent are dust
_ROWS = 4
_WIDTH = 9.2  # inches
_HEADING: dict[str, Any] = {"fontsize": 11, "color": INK, "va": "center", "weight": "bold"}


@dataclass(frozen=True)
class Case:
    """A forecast and what came of it.

    Attributes:
        issue_time: When it was made.
        times: Valid times ``(lead,)``.
        lead_minutes: The same as lead times.
        newest: The frame of the issue time, mm/h ``(y, x)``.
        observed: mm/h ``(lead, y, x)``; NaN where, or when, nothing was observed.
        forecasts: mm/h ``(lead, y, x)`` by forecaster; of an ensemble the mean.
        pixel_km: Height and width of a pixel.
    """

    issue_time: np.datetime64
    times: NDArray[np.datetime64]
    lead_minutes: tuple[float, ...]
    newest: Rate
    observed: Rate
    forecasts: Mapping[str, Rate]
    pixel_km: tuple[float, float]


def most_rain(evaluation: Evaluation) -> np.datetime64:
    """The issue time that was followed by most rain: most observed events at about 1 mm/h, over all leads."""
    tally = next(iter(evaluation.as_dry.values()))
    moderate = int(np.argmin(np.abs(np.log(tally.layout.thresholds))))
    events = (tally.hits + tally.misses)[..., moderate].sum(axis=1)
    chosen: np.datetime64 = tally.issue_times[int(events.argmax())]
    return chosen


def case(
    rain: xr.DataArray, forecasters: Mapping[str, Forecaster], issue_time: np.datetime64, steps: int
) -> Case:
    """Make the forecasts of one issue time again, and set what was observed beside them."""
    known = rain["time"].values.astype("datetime64[ns]")
    axis = TimeAxis(known)
    frames = rain.isel(time=axis.run_to(issue_time))
    times = issue_time + axis.step * np.arange(1, steps + 1)
    forecasts = {}
    for name, forecaster in forecasters.items():
        forecast = forecaster(frames, steps)
        if "realization" in forecast.dims:
            forecast = forecast.mean("realization", skipna=False)
        forecasts[name] = np.asarray(forecast.values, np.float32)
    return Case(
        issue_time=issue_time,
        times=times,
        lead_minutes=tuple((times - issue_time) / np.timedelta64(1, "m")),
        newest=np.asarray(frames.isel(time=-1).values, np.float32),
        observed=truth_at(rain, times),
        forecasts=forecasts,
        pixel_km=pixel_km(rain),
    )


def case_figure(shown: Case, *, credit: str | None = None) -> Figure:
    """Draw observed and forecast rain side by side at up to four lead times, in the square with most rain."""
    crop = _zoom(shown)
    leads = np.unique(np.ceil(np.linspace(0, len(shown.times), _ROWS + 1)[1:]).astype(int) - 1)
    columns = _columns(shown)
    height, width = (part.stop - part.start for part in crop)
    left, foot, head, gap = 0.75, 0.75, 0.58, 0.06  # inches
    panel = (_WIDTH - left) / len(columns) - gap
    tall = panel * (height * shown.pixel_km[0]) / (width * shown.pixel_km[1])
    total = head + len(leads) * (tall + gap) + foot
    figure = Figure(figsize=(_WIDTH, total), dpi=110, facecolor="white")
    figure.text(0.012, 1 - 0.17 / total, f"forecasts of {_minute(shown.issue_time)} UTC", **_HEADING)
    for row, lead in enumerate(leads):
        for column, (name, fields) in enumerate(columns.items()):
            bottom = foot + (len(leads) - 1 - row) * (tall + gap)
            ax = _axes(figure, left + column * (panel + gap), bottom, panel, tall)
            rain_map(ax, fields[lead][crop], shown.pixel_km)
            if row == 0:
                ax.set_title(name, fontsize=9.5, color=_title_colour(column), pad=4)
            if column == 0:
                label = f"+{shown.lead_minutes[lead]:g} min\n{_minute(shown.times[lead])[-5:]}"
                ax.set_ylabel(label, rotation=0, ha="right", va="center", fontsize=8.5, color=INK, labelpad=6)
                if row == len(leads) - 1:
                    scale_bar(ax)
    _foot(figure, credit)
    return figure


def animation(shown: Case) -> bytes:
    """Draw the whole map, observed and forecast, from the issue time on, as an animated GIF."""
    columns = _columns(shown)
    across = len(columns) if len(columns) <= 4 else -(-len(columns) // 2)
    down = -(-len(columns) // across)
    height, width = (size * km for size, km in zip(shown.newest.shape, shown.pixel_km, strict=True))
    foot, head, gap = 0.5, 0.45, 0.28  # inches
    panel = min(_WIDTH / across, 5.0 * width / height) - 0.08
    tall = panel * height / width
    size = (across * (panel + 0.08), head + down * (tall + gap) + foot)
    pictures = []
    for lead in range(-1, len(shown.times)):
        figure = Figure(figsize=(max(size[0], 5.5), size[1]), dpi=90, facecolor="white")
        time = shown.issue_time if lead < 0 else shown.times[lead]
        ahead = "issue time" if lead < 0 else f"+{shown.lead_minutes[lead]:g} min"
        figure.text(0.012, 1 - 0.22 / size[1], f"{_minute(time)} UTC   {ahead}", **_HEADING)
        for place, (name, fields) in enumerate(columns.items()):
            row, column = divmod(place, across)
            bottom = foot + (down - 1 - row) * (tall + gap)
            ax = _axes(figure, 0.04 + column * (panel + 0.08), bottom, panel, tall)
            rain_map(ax, shown.newest if lead < 0 else fields[lead], shown.pixel_km)
            ax.set_title(name, fontsize=9.5, color=_title_colour(place), pad=3)
            if place == 0:
                scale_bar(ax)
        _foot(figure, None)
        pictures.append(Image.open(io.BytesIO(png(figure))).convert("RGB"))
    return _gif(pictures)


def _gif(pictures: list[Image.Image]) -> bytes:
    """Pictures as a GIF that runs for ever and rests on its last one, all in one palette."""
    # The palette is taken from the last and the first together: by itself neither need have all colours.
    both = Image.new("RGB", (pictures[0].width, pictures[0].height * 2))
    both.paste(pictures[0], (0, 0))
    both.paste(pictures[-1], (0, pictures[0].height))
    palette = both.quantize(128, dither=Image.Dither.NONE)
    indexed = [picture.quantize(palette=palette, dither=Image.Dither.NONE) for picture in pictures]
    buffer = io.BytesIO()
    indexed[0].save(
        buffer,
        format="GIF",
        save_all=True,
        append_images=indexed[1:],
        duration=[900, *[350] * (len(indexed) - 2), 1600],
        loop=0,
        optimize=True,
    )
    return buffer.getvalue()


def _columns(shown: Case) -> dict[str, Rate]:
    """What is shown beside each other, by its title."""
    titles = labels(list(shown.forecasts))
    return {"observed": shown.observed} | {titles[name]: rate for name, rate in shown.forecasts.items()}


def _title_colour(column: int) -> str:
    return INK if column == 0 else line_colour(column - 1)


def _axes(figure: Figure, left: float, bottom: float, width: float, height: float) -> Axes:
    """Axes at a place given in inches."""
    w, h = figure.get_size_inches()
    return figure.add_axes((left / w, bottom / h, width / w, height / h))


def _foot(figure: Figure, credit: str | None) -> None:
    width, _ = figure.get_size_inches()
    rain_scale(figure, _axes(figure, 0.95, 0.27, width * 0.5, 0.12))
    if credit:
        figure.text(0.995, 0.004, credit, ha="right", va="bottom", fontsize=7, color=MUTED)


def _zoom(shown: Case) -> tuple[slice, slice]:
    """The square of at most ``_ZOOM_KM`` in which it rained most widely, the dry and unobserved left out."""
    wet = np.mean(shown.observed >= 0.5, axis=0, dtype=np.float64)
    sides = [min(round(_ZOOM_KM / km), size) for km, size in zip(shown.pixel_km, wet.shape, strict=True)]
    area = np.pad(wet.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    h, w = sides
    inside = area[h:, w:] - area[:-h, w:] - area[h:, :-w] + area[:-h, :-w]
    top, left = np.unravel_index(int(inside.argmax()), inside.shape)
    return slice(int(top), int(top) + h), slice(int(left), int(left) + w)


def _minute(time: np.datetime64) -> str:
    return str(np.datetime_as_string(time, unit="m")).replace("T", " ")
