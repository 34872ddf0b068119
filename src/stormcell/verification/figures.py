"""How rain is drawn: one colour scale, one kind of map, one colour per forecaster."""

import io
from collections.abc import Iterable, Sequence
from pathlib import PurePath

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colorbar import Colorbar
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

# Rain rates in mm/h at which the colour changes, and the colours between them: pale to blue for what
# wets a road, green, yellow and red for what floods it, violet for what is hail or an error.
LEVELS = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0)
_COLOURS = ("#d3e6f5", "#a3cdea", "#61a8d8", "#2272b5", "#2a9d5c", "#f7d93e", "#f4982b", "#de3b2f", "#8f2f86")
_DRY, _UNKNOWN, _EXTREME = "#ffffff", "#d4d4d4", "#3d0f45"

RAIN_COLOURS = ListedColormap(list(_COLOURS)).with_extremes(bad=_UNKNOWN, under=_DRY, over=_EXTREME)
RAIN_NORM = BoundaryNorm(LEVELS, len(_COLOURS))

_MODEL = ".safetensors"

INK, MUTED, GRID = "#22282e", "#68727c", "#e3e6e9"
_LINES = ("#1764ab", "#d1495b", "#e09f1f", "#3a8f6b", "#7b5aa6", "#68727c", "#a0522d", "#14a3b8")


def line_colour(position: int) -> str:
    """The colour of the forecaster at a position, the same in every figure and table."""
    return _LINES[position % len(_LINES)]


def labels(names: Sequence[str]) -> dict[str, str]:
    """What to call forecasters in figures and tables: a model file "ConvLSTM", all others by their name.

    Of several model files each is called after its folder as well, which is its run; where that does not
    tell them apart, every forecaster keeps its whole name.

    Example:
        >>> labels(["runs/a/model.safetensors", "sprog"])
        {'runs/a/model.safetensors': 'ConvLSTM', 'sprog': 'sprog'}
        >>> list(labels(["runs/a/model.safetensors", "runs/b/model.safetensors"]).values())
        ['ConvLSTM a', 'ConvLSTM b']
    """
    models = [name for name in names if name.endswith(_MODEL)]
    folders = {name: PurePath(name).parent.name if len(models) > 1 else "" for name in models}
    found = {name: f"ConvLSTM {folders[name]}".rstrip() if name in folders else name for name in names}
    return found if len(set(found.values())) == len(names) else {name: name for name in names}


def rain_map(
    ax: Axes, rate: NDArray[np.floating], pixel_km: tuple[float, float], *, pixels: int = 400
) -> None:
    r"""Draw a rain field, north up, in true proportion.

    Dry is white, not observed is grey, a colour is a rate between two of ``LEVELS``.

    Args:
        ax: Where to draw.
        rate: Rain rate in mm/h, ``(y, x)``, row 0 northernmost, NaN where not observed.
        pixel_km: Height and width of a pixel in km.
        pixels: About how many pixels the map will have on the screen; a finer field is averaged to that.

    Example:
        >>> figure = Figure(figsize=(3, 2))
        >>> rain_map(figure.subplots(), np.float32([[0, 1], [np.nan, 20]]), (1.0, 1.0))
        >>> png(figure)[:4]
        b'\x89PNG'
    """
    height, width = rate.shape[0] * pixel_km[0], rate.shape[1] * pixel_km[1]
    ax.imshow(
        _averaged(rate, max(1, max(rate.shape) // pixels)),
        cmap=RAIN_COLOURS,
        norm=RAIN_NORM,
        extent=(0, width, 0, height),
        origin="upper",
        interpolation="nearest",
        aspect="equal",
    )
    ax.set(xlim=(0, width), ylim=(0, height), xticks=[], yticks=[], facecolor=_UNKNOWN)
    for spine in ax.spines.values():
        spine.set(color="#b8bec4", linewidth=0.6)


def scale_bar(ax: Axes, size: float = 7) -> None:
    """A bar of a round number of km, about a quarter as wide as the map, in its lower left corner."""
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
    """Draw the colour scale of rain, with its unit, lying down."""
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
        "grey: not observed",
        transform=cax.transAxes,
        ha="left",
        va="center",
        fontsize=8,
        color=MUTED,
    )
    return scale


def png(figure: Figure) -> bytes:
    """The figure as a PNG file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def gif(figures: Iterable[Figure], *, first: int, each: int, last: int) -> bytes:
    """Return figures of one size as an animated GIF that repeats for ever.

    Args:
        figures: The figures, in order.
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


def _averaged(rate: NDArray[np.floating], by: int) -> NDArray[np.floating]:
    """Means over the observed pixels of ``by`` × ``by``; what is left over at the edges is dropped."""
    if by == 1:
        return rate
    height, width = (size // by for size in rate.shape)
    blocks = rate[: height * by, : width * by].reshape(height, by, width, by)
    known = ~np.isnan(blocks)
    count = known.sum(axis=(1, 3))
    total = np.where(known, blocks, 0).sum(axis=(1, 3))
    return np.asarray(np.divide(total, count, where=count > 0, out=np.full(total.shape, np.nan)))
