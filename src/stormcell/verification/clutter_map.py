"""The map of static clutter: where pixels are wet more often than the pixels around them."""

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray

from stormcell.data.grid import pixel_km
from stormcell.data.static_clutter import FREQUENCY, MASK
from stormcell.verification.figures import INK, MUTED, average, credit_height, draw_credit, scale_bar

_WIDTH, _PANEL, _FOOT, _HEAD = 9.2, 4.5, 0.62, 0.55  # inches
_PIXELS = 600  # of a map; finer fields are averaged
_CLOSE_UP_KM = 300.0
_COLOURS, _UNKNOWN, _CLUTTER = "YlGnBu", "#d4d4d4", "#d1495b"


def clutter_map(found: xr.Dataset, *, credit: str | None = None) -> Figure:
    """Draw wet frequency and clutter: of the whole grid, and of the square with the most clutter, if any.

    Args:
        found: A dataset of :func:`stormcell.data.static_clutter.find`.
        credit: Source and license of the data.
    """
    frequency, clutter = found[FREQUENCY].values, found[MASK].values == 1
    below = credit_height(credit, _WIDTH)
    total = _HEAD + _PANEL + _FOOT + below
    figure = Figure(figsize=(_WIDTH, total), dpi=110, facecolor="white")
    start, end = (found.attrs[f"period_{name}"][:16].replace("T", " ") for name in ("start", "end"))
    title = (
        f"static clutter: {int(clutter.sum())} of {int(np.isfinite(frequency).sum())} pixels, "
        f"{found.attrs['frames']} frames, {start} to {end} UTC"
    )
    figure.text(0.012, 1 - 0.2 / total, title, fontsize=10.5, color=INK, va="center", weight="bold")
    panels = {"whole grid": (slice(None), slice(None))}
    if clutter.any():
        panels["where clutter is densest"] = _densest(clutter, pixel_km(found[FREQUENCY]))
    margin = (_WIDTH - len(panels) * (_PANEL + 0.1) + 0.1) / 2
    for number, (name, area) in enumerate(panels.items()):
        left = margin + number * (_PANEL + 0.1)
        shape = (left / _WIDTH, (_FOOT + below) / total, (_PANEL - 0.1) / _WIDTH, _PANEL / total)
        ax = figure.add_axes(shape)
        ax.set_title(name, loc="left", fontsize=8.5, color=INK, pad=4)
        _draw(ax, frequency[area], clutter[area], pixel_km(found[FREQUENCY]), dot=1.5 if number == 0 else 5)
    norm = Normalize(0, 1)
    bar = figure.colorbar(
        ScalarMappable(norm, _COLOURS),
        cax=figure.add_axes((1.6 / _WIDTH, (0.34 + below) / total, 3.2 / _WIDTH, 0.12 / total)),
        orientation="horizontal",
    )
    bar.ax.tick_params(labelsize=8, length=2, colors=INK)
    middle = (0.40 + below) / total
    note: dict[str, Any] = {"fontsize": 8, "va": "center"}
    figure.text(1.5 / _WIDTH, middle, "wet frequency", ha="right", color=INK, **note)
    figure.text(5.0 / _WIDTH, middle, "red: static clutter", color=_CLUTTER, **note)
    figure.text(6.3 / _WIDTH, middle, "grey: too few observed frames", color=MUTED, **note)
    draw_credit(figure, credit)
    return figure


def _draw(
    ax: Axes,
    frequency: NDArray[np.float32],
    clutter: NDArray[np.bool_],
    km: tuple[float, float],
    *,
    dot: float,
) -> None:
    height, width = frequency.shape[0] * km[0], frequency.shape[1] * km[1]
    ax.imshow(
        average(frequency, _PIXELS),
        cmap=_COLOURS,
        vmin=0,
        vmax=1,
        extent=(0, width, 0, height),
        origin="upper",
        interpolation="nearest",
        aspect="equal",
    )
    y, x = np.nonzero(clutter)
    ax.plot((x + 0.5) * km[1], height - (y + 0.5) * km[0], "s", color=_CLUTTER, markersize=dot, mew=0)
    ax.set(xlim=(0, width), ylim=(0, height), xticks=[], yticks=[], facecolor=_UNKNOWN)
    for spine in ax.spines.values():
        spine.set(color="#b8bec4", linewidth=0.6)
    scale_bar(ax)


def _densest(clutter: NDArray[np.bool_], km: tuple[float, float]) -> tuple[slice, slice]:
    """Return the square of at most 300 km with the most clutter; of several, that in their middle."""
    high, wide = (
        min(max(1, round(_CLOSE_UP_KM / side)), size) for side, size in zip(km, clutter.shape, strict=True)
    )
    count = np.pad(clutter.cumsum(0, dtype=np.int64).cumsum(1), ((1, 0), (1, 0)))
    inside = count[high:, wide:] - count[:-high, wide:] - count[high:, :-wide] + count[:-high, :-wide]
    most = np.argwhere(inside == inside.max())
    top, left = map(int, most[np.abs(most - most.mean(axis=0)).sum(axis=1).argmin()])
    return slice(top, top + high), slice(left, left + wide)
