"""Curves of scores against lead time. They follow from the registry of scores."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator
from numpy.typing import NDArray

from stormcell.verification.axes import AXES
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
from stormcell.verification.score import Score
from stormcell.verification.scores import SCORES
from stormcell.verification.tables import probabilistic

_COLUMNS = 3
_FEW = 1000  # pixels with an event; a score based on fewer has a warning

Scores = Mapping[str, Mapping[str, Any]]


def lead_time_figure(scores: Scores, *, credit: str | None = None) -> Figure:
    """Draw the scores that the registry chooses against lead time.

    Args:
        scores: As in ``scores.json``.
        credit: Source and license of the data, for the foot of the figure.

    Example:
        >>> from stormcell.verification.axes import Axes as TallyAxes
        >>> from stormcell.verification.scores import to_dict
        >>> from stormcell.verification.tally import Tally
        >>> nothing = to_dict(Tally.zero(TallyAxes((5.0, 10.0), (1.0,), ((16.0, 17),), (2.0, 4.0), 1.0)))
        >>> len(lead_time_figure({"persistence": nothing | {"about": {"title": "persistence"}}}).axes)
        6
    """
    first = next(iter(scores.values()))
    panels = list(_panels(scores))
    rows = -(-len(panels) // _COLUMNS)
    width, foot = 9.2, 0.05 + credit_height(credit, 9.2)  # inches
    titles = [found["about"]["title"] for found in scores.values()]
    height = 0.4 + legend_height(titles, width) + 2.15 * rows + foot
    layout = ConstrainedLayoutEngine(
        rect=(0.005, foot / height, 0.99, 1 - foot / height - 0.005), hspace=0.06, wspace=0.04
    )
    figure = Figure(figsize=(width, height), dpi=110, layout=layout, facecolor="white")
    grid = figure.subplots(rows, _COLUMNS, sharex=True, squeeze=False)
    for ax, panel in zip(grid.ravel(), [*panels, *[None] * (-len(panels) % _COLUMNS)], strict=True):
        if panel is None:
            ax.set_axis_off()
            continue
        score, path, title = panel
        _panel(ax, title, scores, path)
        if score.best == "one":
            _log_about_one(ax)
        else:
            begin_at_zero(ax)
        if path[0] == "csi":
            _note_events(ax, first, path[1])
    for column in grid.T:
        lowest = [ax for ax in column if ax.axison][-1]
        lowest.tick_params(labelbottom=True)
        lowest.set_xlabel("lead time, min", fontsize=8.5, color=INK)
    draw_legend(figure, titles, [line_colour(k) for k in range(len(scores))], "outside upper center")
    draw_credit(figure, credit)
    return figure


def _panels(scores: Scores) -> Iterator[tuple[Score, tuple[str, ...], str] | None]:
    """Yield score, keys and title of every panel; None for an empty place.

    A score with several panels begins in a new row. Scores that only probabilities or ensembles have are left
    out where no forecaster has them.
    """
    found, everything = next(iter(scores.values())), probabilistic(scores)
    places = 0
    for key, score in SCORES.items():
        # Without probabilities, the CRPS is the MAE.
        if score.drawn is None or ((score.probabilistic or key == "crps") and not everything):
            continue
        chosen: list[tuple[str, ...]] = [(key,)]
        for wanted in score.drawn:
            chosen = [(*path, entry) for path in chosen for entry in _some(list(_at(found, path)), wanted)]
        if score.probabilistic:
            chosen = [path for path in chosen if any(_has_values(one, path) for one in scores.values())]
        blank = -places % _COLUMNS if len(chosen) > 1 else 0
        yield from [None] * blank
        for path in chosen:
            title = ", ".join(
                [
                    score.symbol,
                    *(AXES[axis].title(entry) for axis, entry in zip(score.axes[1:], path[1:], strict=True)),
                ]
            )
            yield score, path, f"{title}, {score.unit}" if score.unit else title
        places += blank + len(chosen)


def _panel(ax: Axes, title: str, scores: Scores, path: Sequence[str]) -> Axes:
    """Draw one score of every forecaster; ``path`` has the keys that lead to it in a forecaster's scores."""
    ax.set_title(title, loc="left", fontsize=9.5, color=INK, pad=5)
    for k, score in enumerate(scores.values()):
        line = np.array([np.nan if value is None else value for value in _at(score, path)])
        limits = _limits(score, path)
        same = any(_at(other, path) == _at(score, path) for other in list(scores.values())[:k])
        if limits is not None and not same:
            low, high = limits
            ax.fill_between(
                score["lead_minutes"], low, high, color=line_colour(k), alpha=0.13, linewidth=0, zorder=2
            )
        # The first forecaster is usually the new one, so it is drawn on top.
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
    """Make the axis logarithmic, with labels at halves and doubles, and a line at 1, the best value."""
    ax.axhline(1, color=MUTED, linewidth=1, zorder=1)
    values = np.concatenate([np.asarray(line.get_ydata(), float) for line in ax.lines])
    values = values[np.isfinite(values) & (values > 0)]
    low, high = values.min(initial=1), values.max(initial=1)
    ax.set_yscale("log", base=2)
    ax.set_ylim(min(low / 1.15, 0.7), max(high * 1.15, 1.4))
    ticks = [0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20]
    ax.yaxis.set_major_locator(FixedLocator(ticks if high / low > 3 else [0.5, 0.6, 0.8, 1, 1.25, 1.5, 2]))
    ax.yaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _note_events(ax: Axes, score: Mapping[str, Any], threshold: str) -> None:
    """Print the number of observed events at the last lead time that is scored, red if they are few."""
    scored = np.flatnonzero(score["n_pixels"])
    events = score["n_events"][threshold][scored[-1]] if scored.size else 0
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


def _limits(found: Mapping[str, Any], path: Sequence[str]) -> NDArray[np.float64] | None:
    """Return lower and upper limits of a score by lead time, ``(2, lead)``; None without intervals."""
    if not found.get("intervals"):
        return None
    leaf = _at(found["intervals"], path)
    return np.array([leaf["low"], leaf["high"]], np.float64)  # None becomes NaN


def _has_values(found: Mapping[str, Any], path: Sequence[str]) -> bool:
    return any(value is not None for value in _at(found, path))


def _at(found: Any, path: Sequence[str]) -> Any:
    for key in path:
        found = found[key]
    return found


def _some(found: list[str], wanted: Sequence[str]) -> list[str]:
    """Return the wanted keys that were found, or else the first; all if none is wanted."""
    if not wanted:
        return found
    return [key for key in wanted if key in found] or found[:1]
