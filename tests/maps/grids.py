"""Grids of several projections, for tests of maps."""

import numpy as np
import pyproj

from stormcell.data.grid import Grid


def square(crs: str, x: float, y: float, shape: tuple[int, int] = (60, 80), size: float = 1000.0) -> Grid:
    """Return a grid whose middle is at x, y."""
    rows, columns = shape
    return Grid.from_centres(
        pyproj.CRS.from_user_input(crs),
        x + size * (np.arange(columns) - (columns - 1) / 2),
        y - size * (np.arange(rows) - (rows - 1) / 2),
    )


GRIDS = {
    # The Netherlands: polar stereographic on an ellipsoid.
    "stereographic": square("+proj=stere +lat_0=90 +lat_ts=60 +lon_0=0 +a=6378140 +b=6356750", 4e5, -4.2e6),
    # The United States: Lambert's conformal conic, on a sphere.
    "lambert": square("+proj=lcc +lat_1=38.5 +lat_2=38.5 +lat_0=38.5 +lon_0=-97.5 +R=6371229", 8e5, 3e5),
    "utm": square("EPSG:3067", 5e5, 7e6),
    "degrees": square("EPSG:4326", 10.0, 52.0, size=0.01),
    # Rotated by more than a quarter: the top of the grid is in the south-west of the map.
    "rotated": square("+proj=stere +lat_0=90 +lat_ts=60 +lon_0=0", -2.5e6, 2.5e6),
    "south": square("+proj=laea +lat_0=-30 +lon_0=150 +ellps=WGS84", 0, 0),
    "antimeridian": square("EPSG:4326", 180.0, -17.0, size=0.01),
    "antimeridian-projected": square("+proj=laea +lat_0=-17 +lon_0=180 +ellps=WGS84", 1e4, 0),
}
