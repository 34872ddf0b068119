"""Maps of rain, colours of forecasters, and pictures as files."""

import io
import textwrap
from collections.abc import Iterable

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colorbar import Colorbar
from matplotlib.colors import BoundaryNorm, Colormap, ListedColormap
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

# Rain rates in mm/h at which the colour changes, and the colours between them: pale to blue for light rain,
# green, yellow and red for heavy rain, violet for hail or errors.
LEVELS = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0)
_COLOURS = ("#d3e6f5", "#a3cdea", "#61a8d8", "#2272b5", "#2a9d5c", "#f7d93e", "#f4982b", "#de3b2f", "#8f2f86")
_DRY, _UNKNOWN, _EXTREME = "#ffffff", "#d4d4d4", "#3d0f45"

# Probabilities at which the colour changes, from white to dark violet.
PROBABILITIES = (0.02, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
_LIKELY = (
    *("#efedf5", "#dcd9ea", "#c6c3df", "#b0aad2", "#9c8fc3"),
    *("#8a74b4", "#7a58a5", "#6a3d96", "#552583", "#3b0f63"),
)

RAIN_COLOURS = ListedColormap(list(_COLOURS)).with_extremes(bad=_UNKNOWN, under=_DRY, over=_EXTREME)
RAIN_NORM = BoundaryNorm(LEVELS, len(_COLOURS))
PROBABILITY_COLOURS = ListedColormap(list(_LIKELY)).with_extremes(bad=_UNKNOWN, under=_DRY, over=_LIKELY[-1])
PROBABILITY_NORM = BoundaryNorm(PROBABILITIES, len(_LIKELY))

INK, MUTED, GRID = "#22282e", "#68727c", "#e3e6e9"
_CREDIT_SIZE, _CREDIT_LINE = 7, 0.14  # points; inches from line to line
_LINES = ("#1764ab", "#d1495b", "#e09f1f", "#3a8f6b", "#7b5aa6", "#68727c", "#a0522d", "#14a3b8")


def line_colour(position: int) -> str:
    """Return the colour of the forecaster at a position, the same in every figure and table."""
    return _LINES[position % len(_LINES)]


def rain_map(ax: Axes, rate: NDArray[np.floating], size_km: tuple[float, float]) -> None:
    r"""Draw a rain field, north up, in true proportion.

    Dry is white, not observed is grey, and each colour stands for a rate between two of ``LEVELS``.

    Args:
        ax: Axes to draw in.
        rate: Rain rate in mm/h, ``(y, x)``, row 0 northernmost, NaN where not observed.
        size_km: Height and width of the area in km.

    Example:
        >>> figure = Figure(figsize=(3, 2))
        >>> rain_map(figure.subplots(), np.float32([[0, 1], [np.nan, 20]]), (2.0, 2.0))
        >>> png(figure)[:4]
        b'\x89PNG'
    """
    _map(ax, rate, size_km, RAIN_COLOURS, RAIN_NORM)


def probability_map(ax: Axes, probability: NDArray[np.floating], size_km: tuple[float, float]) -> None:
    """Draw probabilities as :func:`rain_map` draws rates; below 2 %, they are white.

    Args:
        ax: Axes to draw in.
        probability: 0 to 1, ``(y, x)``, row 0 northernmost, NaN where undefined.
        size_km: Height and width of the area in km.
    """
    _map(ax, probability, size_km, PROBABILITY_COLOURS, PROBABILITY_NORM)


def _map(
    ax: Axes,
    field: NDArray[np.floating],
    size_km: tuple[float, float],
    colours: Colormap,
    norm: BoundaryNorm,
) -> None:
    height, width = size_km
    ax.imshow(
        field,
        cmap=colours,
        norm=norm,
        extent=(0, width, 0, height),
        origin="upper",
        interpolation="nearest",
        aspect="equal",
    )
    ax.set(xlim=(0, width), ylim=(0, height), xticks=[], yticks=[], facecolor=_UNKNOWN)
    for spine in ax.spines.values():
        spine.set(color="#b8bec4", linewidth=0.6)


def begin_at_zero(ax: Axes) -> None:
    """Let the vertical axis begin at 0, with room above the highest value."""
    top = ax.dataLim.y1  # not finite without values
    ax.set_ylim(0, 1.05 * top if 0 < top < np.inf else 1)


def scale_bar(ax: Axes, size: float = 7) -> None:
    """Draw a bar of a round number of km, up to a quarter of the map's width, in the lower left corner."""
    (_, width), (_, height) = ax.get_xlim(), ax.get_ylim()
    magnitude = 10 ** np.floor(np.log10(width / 4))
    length = max(step for step in (1, 2, 5) if step * magnitude <= width / 4) * magnitude
    left, low = 0.05 * width, 0.05 * height
    ax.plot([left, left + length], [low, low], color="white", linewidth=3.4, solid_capstyle="butt")
    ax.plot([left, left + length], [low, low], color=INK, linewidth=1.4, solid_capstyle="butt")
    ax.text(
        left + length / 2,
        low + 0.02 * height,
        f"{length:g} km",
        ha="center",
        va="bottom",
        fontsize=size,
        color=INK,
        bbox={"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 0.8},
    )


def rain_scale(figure: Figure, cax: Axes) -> Colorbar:
    """Draw the colour scale of rain, horizontally, with its unit."""
    scale = figure.colorbar(
        ScalarMappable(RAIN_NORM, RAIN_COLOURS),
        cax=cax,
        orientation="horizontal",
        extend="max",
        spacing="uniform",
    )
    scale.set_ticks(list(LEVELS), labels=[f"{level:g}" for level in LEVELS])
    scale.ax.tick_params(labelsize=8, length=2, colors=INK)
    scale.ax.text(
        -0.02, 0.5, "rain, mm/h", transform=cax.transAxes, ha="right", va="center", fontsize=8, color=INK
    )
    scale.ax.text(
        1.06,
        0.5,
        "grey: not observed or undefined",
        transform=cax.transAxes,
        ha="left",
        va="center",
        fontsize=8,
        color=MUTED,
    )
    return scale


def probability_scale(figure: Figure, cax: Axes, threshold: float) -> Colorbar:
    """Draw the colour scale of probabilities, horizontally, with the event and the unit below it."""
    scale = figure.colorbar(
        ScalarMappable(PROBABILITY_NORM, PROBABILITY_COLOURS),
        cax=cax,
        orientation="horizontal",
        spacing="uniform",
    )
    scale.set_ticks(list(PROBABILITIES), labels=[f"{100 * level:.0f}" for level in PROBABILITIES])
    scale.ax.tick_params(labelsize=8, length=2, colors=INK)
    scale.ax.set_title(f"probability of {threshold:g} mm/h or more, %", fontsize=8, color=INK, pad=3)
    return scale


def letter_width(size: float) -> float:
    """Return the mean width in inches of the letters of a font of some points: about half its height."""
    return 0.55 * size / 72


def credit_lines(credit: str | None, width: float) -> list[str]:
    """Break a credit into the lines that fit into a figure.

    Args:
        credit: Source and license of the data.
        width: Width of the figure in inches.

    Example:
        >>> credit_lines("Institute A; modified. CC-BY-4.0", 9.2)
        ['Institute A; modified. CC-BY-4.0']
    """
    return textwrap.wrap(credit or "", int(width / letter_width(_CREDIT_SIZE)))


def credit_height(credit: str | None, width: float) -> float:
    """Return the height in inches that :func:`draw_credit` needs at the foot of a figure."""
    return _CREDIT_LINE * len(credit_lines(credit, width))


def draw_credit(figure: Figure, credit: str | None) -> None:
    """Write source and license of the data at the foot of a figure, on lines of their own."""
    width, height = figure.get_size_inches()
    for number, line in enumerate(reversed(credit_lines(credit, width))):
        low = (0.03 + number * _CREDIT_LINE) / height
        figure.text(0.995, low, line, ha="right", va="bottom", fontsize=_CREDIT_SIZE, color=MUTED)


def png(figure: Figure) -> bytes:
    """Return the figure as a PNG file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def gif(figures: Iterable[Figure], *, first: int, each: int, last: int) -> bytes:
    """Return figures of one size as an animated GIF that repeats for ever.

    Args:
        figures: The figures, in order. Each is drawn before the next is taken, so it may be one figure that
            changes, which takes less time than a figure for each.
        first: Milliseconds for which the first is shown.
        each: Milliseconds for which every other is shown.
        last: Milliseconds for which the last is shown.
    """
    stills = [Image.open(io.BytesIO(png(figure))).convert("RGB") for figure in figures]
    # The palette is made from the first and the last together, because each of them may lack colours.
    both = Image.new("RGB", (stills[0].width, stills[0].height * 2))
    both.paste(stills[0], (0, 0))
    both.paste(stills[-1], (0, stills[0].height))
    palette = both.quantize(128, dither=Image.Dither.NONE)
    indexed = [still.quantize(palette=palette, dither=Image.Dither.NONE) for still in stills]
    durations = [first, *[each] * (len(indexed) - 2), last][-len(indexed) :]
    buffer = io.BytesIO()
    indexed[0].save(
        buffer,
        format="GIF",
        save_all=True,
        append_images=indexed[1:],
        duration=durations,
        loop=0,
        optimize=True,
    )
    return buffer.getvalue()


def average(rate: NDArray[np.floating], pixels: int) -> NDArray[np.float32]:
    """Average a field over squares of pixels, to at least ``pixels`` along its longer side.

    Means are over observed pixels. Rows and columns that do not fill a square are dropped.

    Example:
        >>> average(np.float32([[1, 3], [np.nan, 5]]), 1).tolist()
        [[3.0]]
    """
    by = max(1, max(rate.shape) // pixels)
    if by == 1:
        return np.asarray(rate, np.float32)
    height, width = (size // by for size in rate.shape)
    squares = rate[: height * by, : width * by].reshape(height, by, width, by)
    known = ~np.isnan(squares)
    count = known.sum(axis=(1, 3))
    total = np.where(known, squares, 0).sum(axis=(1, 3))
    means = np.divide(total, count, where=count > 0, out=np.full(total.shape, np.nan))
    return np.asarray(means, np.float32)
