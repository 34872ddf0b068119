"""The legend of a figure's forecasters, in as many rows as their titles need."""

from collections.abc import Sequence
from typing import Literal

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from stormcell.verification.figures import letter_width

_SIZE = 10  # points
_LINE_AND_GAPS, _ROW = 4.8 * _SIZE / 72, 0.21  # inches
_MOST_COLUMNS = 5


def legend_columns(titles: Sequence[str], width: float) -> int:
    """Return how many titles fit beside each other.

    Args:
        titles: Titles of the forecasters.
        width: Width of the figure in inches.

    Example:
        >>> legend_columns(["S-PROG", "extrapolation"], 9.2)
        2
        >>> legend_columns(["S-PROG", "a network without one of its parts"] * 2, 9.2)
        2
    """
    longest = letter_width(_SIZE) * max(map(len, titles), default=0) + _LINE_AND_GAPS
    return max(1, min(len(titles), _MOST_COLUMNS, int(width / longest)))


def legend_height(titles: Sequence[str], width: float) -> float:
    """Return the height in inches that :func:`draw_legend` needs."""
    return _ROW * -(-len(titles) // legend_columns(titles, width))


def draw_legend(
    figure: Figure,
    titles: Sequence[str],
    colours: Sequence[str],
    place: Literal["upper center", "outside upper center"],
) -> None:
    """Draw a line and a title for each forecaster above a figure.

    Args:
        figure: The figure.
        titles: Titles of the forecasters.
        colours: Their colours.
        place: ``"outside upper center"`` with a constrained layout, which makes room for it.
    """
    figure.legend(
        [Line2D([], [], color=colour, linewidth=2.4) for colour in colours],
        titles,
        loc=place,
        ncols=legend_columns(titles, float(figure.get_size_inches()[0])),
        frameon=False,
        fontsize=_SIZE,
        labelcolor=colours,
    )
