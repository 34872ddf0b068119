"""The case study of a report: maps of the observed rain and of every forecast of one issue time."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from stormcell.verification.figures import (
    INK,
    average,
    credit_height,
    draw_credit,
    gif,
    line_colour,
    rain_map,
    rain_scale,
    scale_bar,
)

Rate = NDArray[np.float32]

_CLOSE_UP_KM = 320.0  # a whole continent on a page would show showers as dots
_ROWS = 4
PIXELS = 400  # of a map on the page; finer fields are averaged
_WIDTH = 9.2  # inches
_HEADING: dict[str, Any] = {"fontsize": 11, "color": INK, "va": "center", "weight": "bold"}


@dataclass(frozen=True)
class Maps:
    """Observed and forecast rain at some lead times, no finer than pictures need.

    Attributes:
        leads: Positions of the lead times.
        observed: mm/h ``(lead, y, x)``; NaN where nothing was observed.
        forecasts: mm/h ``(lead, y, x)`` by forecaster; of an ensemble, the mean.
        size_km: Height and width of the area.
    """

    leads: tuple[int, ...]
    observed: Rate
    forecasts: Mapping[str, Rate]
    size_km: tuple[float, float]

    @classmethod
    def of(
        cls,
        leads: Sequence[int],
        observed: Rate,
        forecasts: Mapping[str, Rate],
        pixel_km: tuple[float, float],
        area: tuple[slice, slice],
    ) -> "Maps":
        """Return the maps of an area and of some lead times."""

        def reduced(rate: Rate) -> Rate:
            return np.stack([average(rate[lead][area], PIXELS) for lead in leads])

        height, width = (part.stop - part.start for part in area)
        return cls(
            tuple(leads),
            reduced(observed),
            {name: reduced(rate) for name, rate in forecasts.items()},
            (height * pixel_km[0], width * pixel_km[1]),
        )

    def columns(self, titles: Mapping[str, str]) -> dict[str, Rate]:
        """Return the observed and all forecast rain, by the title of its column."""
        return {"observed": self.observed} | {titles[name]: rate for name, rate in self.forecasts.items()}


@dataclass(frozen=True)
class Case:
    """The forecasts of one issue time, and the rain that was observed.

    Attributes:
        issue_time: Issue time.
        times: Valid times ``(lead,)``.
        events: Observed events of moderate rain, at all lead times; a report shows the case with the most.
        newest: The frame of the issue time, mm/h, of the whole area.
        whole: Maps of the whole area at all lead times.
        close_up: Maps of the square with the most rain at up to four lead times.
        threshold: The event of the probabilities in mm/h.
        probabilities: By forecaster that gives them, probabilities ``(lead, y, x)`` at the places and lead
            times of the close-up.
        members: By forecaster that gives them, the first members ``(realization, lead, y, x)``, as above.
    """

    issue_time: np.datetime64
    times: NDArray[np.datetime64]
    events: int
    newest: Rate
    whole: Maps
    close_up: Maps
    threshold: float = 1.0
    probabilities: Mapping[str, Rate] = field(default_factory=dict)
    members: Mapping[str, Rate] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        issue_time: np.datetime64,
        times: NDArray[np.datetime64],
        newest: Rate,
        observed: Rate,
        forecasts: Mapping[str, Rate],
        *,
        pixel_km: tuple[float, float],
        events: int = 0,
    ) -> "Case":
        """Return a case.

        Args:
            issue_time: Issue time.
            times: Valid times.
            newest: The frame of the issue time, mm/h ``(y, x)``.
            observed: Observed rain, mm/h ``(lead, y, x)``; NaN where nothing was observed.
            forecasts: By forecaster, mm/h ``(lead, y, x)`` or ``(realization, lead, y, x)``.
            pixel_km: Height and width of a pixel.
            events: Observed events of moderate rain.
        """
        means = {name: rate if rate.ndim == 3 else rate.mean(axis=0) for name, rate in forecasts.items()}
        everything = (slice(0, newest.shape[0]), slice(0, newest.shape[1]))
        rows = close_up_leads(observed)
        return cls(
            issue_time,
            times,
            events,
            average(newest, PIXELS),
            Maps.of(range(len(times)), observed, means, pixel_km, everything),
            Maps.of(rows, observed, means, pixel_km, wettest(observed, pixel_km)),
        )

    def rank(self) -> tuple[int, int]:
        """Return a number that is greater for a case with more rain; of equal cases, for the earlier one."""
        return self.events, -int(self.issue_time.astype("datetime64[ns]").astype(np.int64))

    def label(self, position: int) -> str:
        """Return a lead time and its valid time as text."""
        return f"{self.lead(position)}\n{_minute(self.times[position])[-5:]}"

    def lead(self, position: int) -> str:
        """Return a lead time as text."""
        return f"+{(self.times[position] - self.issue_time) / np.timedelta64(1, 'm'):g} min"


def case_figure(case: Case, titles: Mapping[str, str], *, credit: str | None = None) -> Figure:
    """Draw observed and forecast rain at up to four lead times, in the square with the most rain."""
    maps = case.close_up
    columns = maps.columns(titles)
    cells = [[(rain_map, rates[row]) for rates in columns.values()] for row in range(len(maps.leads))]
    rows = [case.label(lead) for lead in maps.leads]
    headings = [(name, _title_colour(column)) for column, name in enumerate(columns)]
    figure, _ = map_grid(case, cells, rows, headings, foot=0.65 + credit_height(credit, _WIDTH))
    _foot(figure, credit)
    return figure


Cell = tuple[Callable[[Axes, Rate, tuple[float, float]], None], Rate]
"""A map in a figure: what draws it, and its field."""


def map_grid(
    case: Case,
    cells: Sequence[Sequence[Cell]],
    rows: Sequence[str],
    headings: Sequence[tuple[str, str]],
    *,
    foot: float,
    title: str = "",
) -> tuple[Figure, float]:
    """Draw maps of the square with the most rain in rows and columns.

    Args:
        case: The case.
        cells: A map for each row and column.
        rows: Labels of the rows.
        headings: Texts and colours of the headings of the columns.
        foot: Space for colour scales and the credit, in inches.
        title: Text after the issue time.

    Returns:
        The figure and its width in inches.
    """
    size = case.close_up.size_km
    letters = max(len(line) for label in rows for line in label.splitlines())
    left, head, gap = max(0.75, 0.16 + 0.068 * letters), 0.58, 0.06  # inches
    panel = (_WIDTH - left) / len(headings) - gap
    tall = panel * size[0] / size[1]
    total = head + len(cells) * (tall + gap) + foot
    figure = Figure(figsize=(_WIDTH, total), dpi=110, facecolor="white")
    text = f"forecasts of {_minute(case.issue_time)} UTC{title}"
    figure.text(0.012, 1 - 0.17 / total, text, **_HEADING)
    for row, maps in enumerate(cells):
        bottom = foot + (len(cells) - 1 - row) * (tall + gap)
        for column, (draw, values) in enumerate(maps):
            ax = axes_at(figure, left + column * (panel + gap), bottom, panel, tall)
            draw(ax, values, size)
            if row == 0:
                name, colour = headings[column]
                ax.set_title(name, fontsize=9.5, color=colour, pad=4)
            if column == 0:
                ax.set_ylabel(
                    rows[row], rotation=0, ha="right", va="center", fontsize=8.5, color=INK, labelpad=6
                )
                if row == len(cells) - 1:
                    scale_bar(ax)
    return figure, _WIDTH


def animation(case: Case, titles: Mapping[str, str]) -> bytes:
    """Draw the whole map from the issue time on, observed and forecast, as an animated GIF."""
    columns = case.whole.columns(titles)
    across = len(columns) if len(columns) <= 4 else -(-len(columns) // 2)
    down = -(-len(columns) // across)
    height, width = case.whole.size_km
    foot, head, gap = 0.5, 0.45, 0.28  # inches
    panel = min(_WIDTH / across, 5.0 * width / height) - 0.08
    tall = panel * height / width
    size = (across * (panel + 0.08), head + down * (tall + gap) + foot)
    figure = Figure(figsize=(max(size[0], 5.5), size[1]), dpi=90, facecolor="white")
    heading = figure.text(0.012, 1 - 0.22 / size[1], "", **_HEADING)
    maps = []
    for place, name in enumerate(columns):
        row, column = divmod(place, across)
        bottom = foot + (down - 1 - row) * (tall + gap)
        ax = axes_at(figure, 0.04 + column * (panel + 0.08), bottom, panel, tall)
        rain_map(ax, case.newest, case.whole.size_km)
        ax.set_title(name, fontsize=9.5, color=_title_colour(place), pad=3)
        if place == 0:
            scale_bar(ax)
        maps.append(ax.images[0])
    _foot(figure, None)

    def stills() -> Iterator[Figure]:
        heading.set_text(f"{_minute(case.issue_time)} UTC   issue time")
        yield figure
        for lead, time in enumerate(case.times):
            heading.set_text(f"{_minute(time)} UTC   {case.lead(lead)}")
            for shown, rates in zip(maps, columns.values(), strict=True):
                shown.set_data(rates[lead])
            yield figure

    return gif(stills(), first=900, each=350, last=1600)


def close_up_leads(observed: Rate) -> list[int]:
    """Return the positions of up to four lead times, the last one included.

    They are among those for which something was observed, if there are any.

    Args:
        observed: Observed rain ``(lead, y, x)``.
    """
    leads = [lead for lead, rate in enumerate(observed) if np.isfinite(rate).any()] or range(len(observed))
    shown = np.unique(np.ceil(np.linspace(0, len(leads), _ROWS + 1)[1:]).astype(int) - 1)
    return [leads[position] for position in shown]


def _title_colour(column: int) -> str:
    return INK if column == 0 else line_colour(column - 1)


def axes_at(figure: Figure, left: float, bottom: float, width: float, height: float) -> Axes:
    """Add axes at a place in inches."""
    w, h = figure.get_size_inches()
    return figure.add_axes((left / w, bottom / h, width / w, height / h))


def _foot(figure: Figure, credit: str | None) -> None:
    width, _ = figure.get_size_inches()
    rain_scale(figure, axes_at(figure, 0.95, 0.27 + credit_height(credit, width), width * 0.5, 0.12))
    draw_credit(figure, credit)


def wettest(observed: Rate, pixel_km: tuple[float, float]) -> tuple[slice, slice]:
    """Return the square, at most ``_CLOSE_UP_KM`` wide, with the largest area of rain over all lead times."""
    wet = np.mean(observed >= 0.5, axis=0, dtype=np.float64)
    h, w = (min(round(_CLOSE_UP_KM / km), size) for km, size in zip(pixel_km, wet.shape, strict=True))
    area = np.pad(wet.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    inside = area[h:, w:] - area[:-h, w:] - area[h:, :-w] + area[:-h, :-w]
    top, left = np.unravel_index(int(inside.argmax()), inside.shape)
    return slice(int(top), int(top) + h), slice(int(left), int(left) + w)


def _minute(time: np.datetime64) -> str:
    return str(np.datetime_as_string(time, unit="m")).replace("T", " ")
