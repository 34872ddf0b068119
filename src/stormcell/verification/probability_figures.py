"""Figures of probabilities and ensembles: reliability, ROC, ranks, spread against error."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, NullLocator, PercentFormatter
from numpy.typing import NDArray

from stormcell.verification.figures import (
    GRID,
    INK,
    MUTED,
    begin_at_zero,
    credit_height,
    draw_credit,
    line_colour,
)
from stormcell.verification.legend import draw_legend, legend_height

Scores = Mapping[str, Mapping[str, Any]]

_WANTED = ("0.1", "1.0", "5.0")  # thresholds, if they are scored
_WIDTH = 9.2  # inches
_FEW = 100  # pixels of a class; its frequency is drawn as an open circle


class _Classes(NamedTuple):
    """Pixels by class of probability, of all lead times together."""

    pixels: NDArray[np.float64]
    events: NDArray[np.float64]
    probability: NDArray[np.float64]


def probabilities_figure(scores: Scores, *, credit: str | None = None) -> Figure:
    """Draw reliability diagrams with the number of pixels, and ROC curves, at up to three thresholds.

    All lead times together are shown. Of a single forecast there is only its point in the ROC diagram.

    Args:
        scores: As in ``scores.json``.
        credit: Source and license of the data, for the foot of the figure.
    """
    first = next(iter(scores.values()))
    known = list(first["reliability_pixels"])
    thresholds = [key for key in _WANTED if key in known] or known[:3]
    figure, grid = _figure(scores, (2.6, 0.9, 2.6), len(thresholds), credit)
    for column, threshold in enumerate(thresholds):
        ax, counts, roc = (figure.add_subplot(grid[row, column]) for row in range(3))
        of = {name: _classes(found, threshold) for name, found in scores.items()}
        _reliability(ax, scores, of, f"reliability, ≥ {float(threshold):g} mm/h")
        _counts(counts, scores, of)
        _roc(roc, scores, of, threshold)
        if column == 0:
            ax.set_ylabel("observed frequency, %", fontsize=8.5, color=INK)
            counts.set_ylabel("pixels", fontsize=8.5, color=INK)
            roc.set_ylabel("probability of detection, %", fontsize=8.5, color=INK)
    draw_credit(figure, credit)
    return figure


def ensembles_figure(scores: Scores, *, credit: str | None = None) -> Figure:
    """Draw the rank histogram of every ensemble, and spread and error by lead time.

    Args:
        scores: As in ``scores.json``.
        credit: Source and license of the data, for the foot of the figure.
    """
    names = [name for name, found in scores.items() if found["rank_histogram"]]
    colours = {name: line_colour(k) for k, name in enumerate(scores)}
    panels = len(names) + 1
    columns = min(3, panels)
    figure, grid = _figure(
        {name: scores[name] for name in names},
        (2.3,) * -(-panels // columns),
        columns,
        credit,
        colours=[colours[name] for name in names],
    )
    for k, name in enumerate(names):
        ax = figure.add_subplot(grid[divmod(k, columns)])
        ranks = np.array(list(scores[name]["rank_histogram"].values()), np.float64).sum(axis=1)
        share = ranks * len(ranks) / max(ranks.sum(), 1)
        ax.bar(np.arange(1, len(ranks) + 1), share, width=0.86, color=colours[name], alpha=0.85)
        ax.axhline(1, color=INK, linewidth=1)
        _frame(ax, f"ranks, {scores[name]['about']['title']}")
        ax.set(xlim=(0.3, len(ranks) + 0.7), ylim=(0, max(2, 1.08 * share.max())))
        ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        ax.set_xlabel("rank of the observation", fontsize=8.5, color=INK)
        if k % columns == 0:
            ax.set_ylabel("frequency / flat", fontsize=8.5, color=INK)
    ax = figure.add_subplot(grid[divmod(len(names), columns)])
    for name in names:
        found = scores[name]
        ax.plot(found["lead_minutes"], _floats(found["ensemble_rmse"]), color=colours[name], linewidth=1.8)
        ax.plot(
            found["lead_minutes"],
            _floats(found["spread"]),
            color=colours[name],
            linewidth=1.8,
            linestyle="--",
        )
    _frame(ax, "spread and error, mm/h")
    begin_at_zero(ax)
    ax.set_xlabel("lead time, min", fontsize=8.5, color=INK)
    handles = [Line2D([], [], color=MUTED), Line2D([], [], color=MUTED, linestyle="--")]
    ax.legend(handles, ["RMSE of the mean", "spread"], fontsize=7.5, frameon=False, labelcolor=INK)
    draw_credit(figure, credit)
    return figure


def _figure(
    scores: Scores,
    heights: Sequence[float],
    columns: int,
    credit: str | None,
    *,
    colours: Sequence[str] | None = None,
) -> tuple[Figure, GridSpec]:
    """Return a figure with a legend, and a grid of places for panels."""
    titles = [found["about"]["title"] for found in scores.values()]
    foot, head, gap = 0.5 + credit_height(credit, _WIDTH), 0.5 + legend_height(titles, _WIDTH), 0.72
    total = head + sum(heights) + gap * (len(heights) - 1) + foot
    figure = Figure(figsize=(_WIDTH, total), dpi=110, facecolor="white")
    grid = figure.add_gridspec(
        len(heights),
        columns,
        height_ratios=heights,
        left=0.075,
        right=0.978,
        bottom=foot / total,
        top=1 - head / total,
        hspace=gap * len(heights) / sum(heights),
        wspace=0.22,
    )
    draw_legend(figure, titles, colours or [line_colour(k) for k in range(len(scores))], "upper center")
    return figure, grid


def _classes(found: Mapping[str, Any], threshold: str) -> _Classes:
    pixels, probability, frequency = (
        np.array([_floats(values) for values in found[f"reliability_{kind}"][threshold].values()])
        for kind in ("pixels", "probability", "frequency")
    )
    return _Classes(
        pixels.sum(axis=1),
        np.nansum(pixels * frequency, axis=1),
        np.nansum(pixels * probability, axis=1),
    )


def _reliability(ax: Axes, scores: Scores, of: Mapping[str, _Classes], title: str) -> None:
    ax.plot([0, 1], [0, 1], color=MUTED, linewidth=1)
    any_classes = next(iter(of.values()))
    rate = any_classes.events.sum() / max(any_classes.pixels.sum(), 1)
    ax.axhline(rate, color=MUTED, linewidth=0.8, linestyle=":")
    ax.text(0.99, rate + 0.015, "base rate", ha="right", va="bottom", fontsize=7, color=MUTED)
    for k, (name, found) in enumerate(of.items()):
        if scores[name]["probability_of"] == "forecast":
            continue
        some = found.pixels > 0
        x, y = (values[some] / found.pixels[some] for values in (found.probability, found.events))
        few = found.pixels[some] < _FEW
        colour = line_colour(k)
        ax.plot(x[~few], y[~few], color=colour, linewidth=1.6, marker="o", markersize=3, zorder=20 - k)
        ax.plot(
            x[few], y[few], linestyle="", marker="o", markersize=3, mfc="white", mec=colour, zorder=20 - k
        )
    _frame(ax, title)
    ax.set(xlim=(0, 1), ylim=(0, 1))
    ax.set_xticks([0, 0.25, 0.5, 0.75, 1], labels=[])
    ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=""))


def _counts(ax: Axes, scores: Scores, of: Mapping[str, _Classes]) -> None:
    """Draw the number of pixels at the mean probability of each class."""
    for k, (name, found) in enumerate(of.items()):
        if scores[name]["probability_of"] == "forecast":
            continue
        some = found.pixels > 0
        x = found.probability[some] / found.pixels[some]
        ax.step(x, found.pixels[some], where="mid", color=line_colour(k), linewidth=1.2, zorder=20 - k)
    _frame(ax, "")
    ax.set_yscale("log")
    ax.yaxis.set_minor_locator(NullLocator())
    ax.set(xlim=(0, 1))
    ax.set_xticks([0, 0.25, 0.5, 0.75, 1], labels=["0", "25", "50", "75", "100"])
    ax.set_xlabel("forecast probability, %", fontsize=8.5, color=INK)


def _roc(ax: Axes, scores: Scores, of: Mapping[str, _Classes], threshold: str) -> None:
    ax.plot([0, 1], [0, 1], color=MUTED, linewidth=1)
    for k, (name, found) in enumerate(of.items()):
        events, others = found.events, found.pixels - found.events
        pod, pofd = (
            np.append(values[::-1].cumsum()[::-1], 0) / max(values.sum(), 1) for values in (events, others)
        )
        single = scores[name]["probability_of"] == "forecast"
        ax.plot(
            pofd[1:-1] if single else pofd,
            pod[1:-1] if single else pod,
            color=line_colour(k),
            linewidth=1.6,
            marker="o",
            markersize=5 if single else 2.4,
            zorder=20 - k,
        )
    _frame(ax, f"ROC, ≥ {float(threshold):g} mm/h")
    ax.set(xlim=(0, 1), ylim=(0, 1))
    ax.set_xticks([0, 0.25, 0.5, 0.75, 1], labels=["0", "25", "50", "75", "100"])
    ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=""))
    ax.set_xlabel("probability of false detection, %", fontsize=8.5, color=INK)


def _frame(ax: Axes, title: str) -> None:
    ax.set_title(title, loc="left", fontsize=9.5, color=INK, pad=5)
    ax.grid(color=GRID, linewidth=0.8)
    ax.set_axisbelow(True)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        ax.spines[side].set_color("#b8bec4")
    ax.tick_params(labelsize=8, colors=MUTED, length=0, labelcolor=INK)


def _floats(values: Sequence[float | None]) -> NDArray[np.float64]:
    return np.array(values, np.float64)  # None becomes NaN
