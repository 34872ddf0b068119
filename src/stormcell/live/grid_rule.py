"""A rule of alerts for the whole grid, with which a rehearsal looks for false all-clears."""

from math import sqrt

import xarray as xr

from stormcell.alerts.rules import Clear, Polygon, Rule, Rules
from stormcell.data.grid import Grid
from stormcell.maps.areas import MOST_CELLS
from stormcell.maps.places import outline

_RATE = 0.1  # mm/h; it is raised by little rain
_MARGIN = 0.9  # of the most cells: those that the polygon's edge crosses count as well


def grid_rule(rain: xr.DataArray) -> Rules:
    """Return a rule that is raised when it rains anywhere on a grid, and cleared as soon as it is dry.

    A large grid has too many cells for a rule. Then the place is a part in its middle.

    Args:
        rain: Rain rates of an archive in mm/h ``(time, y, x)``.
    """
    rows, columns = rain.shape[1:]
    part = min(1.0, sqrt(_MARGIN * MOST_CELLS / (rows * columns)))
    middle = rain.isel(y=_middle(rows, part), x=_middle(columns, part))
    ring = [list(vertex) for vertex in outline(Grid.of(middle.coords.to_dataset()))]
    place = Polygon(type="Polygon", coordinates=[ring])
    rule = Rule(
        name="rain",
        place=place,
        threshold=_RATE,
        within_minutes=0,
        clear=Clear(below=1.0, minutes=0),
    )
    return Rules(rules=(rule,))


def _middle(size: int, part: float) -> slice:
    length = max(2, round(part * size))
    start = (size - length) // 2
    return slice(start, start + length)
