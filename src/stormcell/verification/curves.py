"""Scores against lead time, drawn."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from stormcell.verification.figures import GRID, INK, MUTED, labels, line_colour

_COLUMNS = 3
_FEW = 1000  # pixels with an event; a score that rests on fewer is drawn pale

Scores = Mapping[str, Mapping[str, Any]]


def lead_time_figure(scores: Scores, *, credit: str | None = None) -> Figure:
    """Draw CSI at every threshold, frequency bias, FSS, MAE and sharpness against lead time.

    Args:
        scores: As ``scores.json`` holds them.
        credit: A line for the foot of the figure: whose data this is.

    Example:
        >>> from stormcell.verification.scores import to_dict
        >>> from stormcell.verification.tally import Layout, Tally
        >>> nothing = to_dict(Tally.zero(Layout((5.0, 10.0), (1.0,), ((16.0, 17),), (2.0, 4.0), 1.0)))
        >>> len(lead_time_figure({"persistence": nothing}).axes)
        9
    """
    first = next(iter(scores.values()))
    thresholds = list(first["csi"])
    shown = _some(thresholds, ("0.5", "1.0", "5.0"))
    middle = _some(thresholds, ("1.0",))[0]
    scale = _some(list(first["fss"][middle]), ("16km",))[0]
    rows = -(-len(thresholds) // _COLUMNS) + 2
    layout = ConstrainedLayoutEngine(rect=(0.005, 0.015, 0.99, 0.98), hspace=0.06, wspace=0.04)
    figure = Figure(figsize=(9.2, 0.6 + 2.15 * rows), dpi=110, layout=layout, facecolor="white")
    grid = figure.subplots(rows, _COLUMNS, sharex=True, squeeze=False)
    panels = iter(grid.ravel())
    for threshold in thresholds:
        ax = _panel(next(panels), f"CSI, ≥ {float(threshold):g} mm/h", scores, ("csi", threshold))
        ax.set_ylim(bottom=0)
        _note_events(ax, first, threshold)
    _blank(panels, -len(thresholds) % _COLUMNS)
    for threshold in shown:
        ax = _panel(next(panels), f"frequency bias, ≥ {float(threshold):g} mm/h", scores, ("bias", threshold))
        _log_about_one(ax)
    _blank(panels, _COLUMNS - len(shown))
    ax = _panel(
        next(panels),
        f"FSS in {scale.removesuffix('km')} km, ≥ {float(middle):g} mm/h",
        scores,
        ("fss", middle, scale),
    )
    ax.set_ylim(bottom=0)
    ax = _panel(next(panels), "mean absolute error, mm/h", scores, ("mae",))
    ax.set_ylim(bottom=0)
    bands = list(first["power_ratio"])
    if bands:
        band = _some(bands, ("4-8km",))[0]
        name = band.replace("-", "–").removesuffix("km")
        ax = _panel(next(panels), f"sharpness: power at {name} km", scores, ("power_ratio", band))
        _log_about_one(ax)
    _blank(panels, _COLUMNS)
    for ax in grid[-1]:
        ax.set_xlabel("lead time, min", fontsize=8.5, color=INK)
    names = labels(list(scores))
    figure.legend(
        [Line2D([], [], color=line_colour(k), linewidth=2.4) for k in range(len(scores))],
        list(names.values()),
        loc="outside upper center",
        ncols=min(len(scores), 5),
        frameon=False,
        fontsize=10,
        labelcolor=[line_colour(k) for k in range(len(scores))],
    )
    if credit:
        figure.text(0.995, 0.004, credit, ha="right", va="bottom", fontsize=7, color=MUTED)
    return figure


def _panel(ax: Axes, title: str, scores: Scores, path: Sequence[str]) -> Axes:
    """One score of every forecaster against lead time; ``path`` leads to it from a forecaster's scores."""
    ax.set_title(title, loc="left", fontsize=9.5, color=INK, pad=5)
    for k, score in enumerate(scores.values()):
        values: Any = score
        for key in path:
            values = values[key]
        line = np.array([np.nan if value is None else value for value in values])
        # The first is the one in question: it lies on top.
        ax.plot(
            score["lead_minutes"],
            line,
            color=line_colour(k),
            linewidth=2.2 if k == 0 else 1.6,
            marker="o",
            markersize=2.6,
            zorder=20 - k,
        )
    ax.grid(axis="y", color=GRID, linewidth=0.8)
    ax.set_axisbelow(True)
    for side in ("top", "right", "left"):
        ax.spines[side].set_visible(False)
    ax.spines["bottom"].set_color("#b8bec4")
    ax.tick_params(labelsize=8, colors=MUTED, length=0, labelcolor=INK)
    ax.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 1.5, 2, 3, 5, 10], integer=True))
    ax.yaxis.set_major_locator(MaxNLocator(5))
    return ax


def _log_about_one(ax: Axes) -> None:
    """A logarithmic axis with its labels at halves and doubles, and a line at 1, the best."""
    ax.axhline(1, color=MUTED, linewidth=1, zorder=1)
    values = np.concatenate([np.asarray(line.get_ydata(), float) for line in ax.lines])
    values = values[np.isfinite(values) & (values > 0)]
    low, high = values.min(), values.max()
    ax.set_yscale("log", base=2)
    ax.set_ylim(min(low / 1.15, 0.7), max(high * 1.15, 1.4))
    ticks = [0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20]
    ax.yaxis.set_major_locator(FixedLocator(ticks if high / low > 3 else [0.5, 0.6, 0.8, 1, 1.25, 1.5, 2]))
    ax.yaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _note_events(ax: Axes, score: Mapping[str, Any], threshold: str) -> None:
    """Print how many observed events the last lead time rests on, and warn where they are few."""
    events = score["n_events"][threshold][-1]
    few = events < _FEW
    ax.text(
        0.99,
        0.97,
        f"{'only ' if few else ''}{events:,} events".replace(",", "\u202f"),
        transform=ax.transAxes,
        ha="right",
        va="top",
        fontsize=7.5,
        color="#b3261e" if few else MUTED,
    )


def _some(found: Sequence[str], wanted: Sequence[str]) -> list[str]:
    """Those of the wanted keys that there are, or else the first."""
    return [key for key in wanted if key in found] or list(found[:1])


def _blank(panels: Any, count: int) -> None:
    for _ in range(count):
        ax = next(panels, None)
        if ax is not None:
            ax.set_axis_off()
