"""Publications with known rain, and rules for them: a grid in degrees of 8 × 8 pixels, a tenth wide."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import xarray as xr

from stormcell.alerts.rules import Rule
from stormcell.data.grid import Grid
from stormcell.published.manifest import Manifest, ObservedFrame, Product
from stormcell.published.writing import Content, point_to, publish

ISSUE = datetime(2026, 11, 28, 12, 0, tzinfo=UTC)
STEP = timedelta(minutes=5)
RUN = "0a1b2c3d"
GRID = Grid.from_centres(pyproj.CRS(4326), 10 + 0.1 * np.arange(8), 52 - 0.1 * np.arange(8))
SPOT = {"lat": 51.8, "lon": 10.3}  # the cell in row 2 and column 3
# Rows 2 and 3, columns 3 and 4.
SQUARE = {
    "type": "Polygon",
    "coordinates": [[[10.25, 51.65], [10.45, 51.65], [10.45, 51.85], [10.25, 51.85], [10.25, 51.65]]],
}


def rule(**settings: Any) -> Rule:
    """Return a rule of 10 mm/h at the spot in the next 15 minutes, with other settings."""
    given = {"name": "depot", "place": SPOT, "threshold": 10.0, "within_minutes": 15, "for_issues": 1}
    return Rule.model_validate({**given, **settings})


def frame(values: float | np.ndarray, time: datetime) -> xr.DataArray:
    rates = np.broadcast_to(np.asarray(values, np.float32), (8, 8))
    coords = {
        "time": [np.datetime64(time.replace(tzinfo=None), "ns")],
        "y": ("y", GRID.y, {"units": "degrees_north", "standard_name": "latitude"}),
        "x": ("x", GRID.x, {"units": "degrees_east", "standard_name": "longitude"}),
        "crs": ((), 0, GRID.crs_attributes()),
    }
    return xr.DataArray(rates[None].copy(), coords, ("time", "y", "x"), attrs={"units": "mm/h"})


def issue(
    root: Path,
    observed: Sequence[float | np.ndarray] = (0.0,),
    ahead: Sequence[float | np.ndarray] = (0.0, 0.0, 0.0),
    *,
    at: datetime = ISSUE,
    run: str = RUN,
    chances: Mapping[float, Sequence[float]] | None = None,
    members: Sequence[Sequence[float]] = (),
    preliminary: bool = False,
) -> Manifest:
    """Publish observed frames until the issue time, and a forecast of the steps after it."""

    def series(values: Sequence[float | np.ndarray], first: datetime) -> xr.DataArray:
        return xr.concat([frame(value, first + k * STEP) for k, value in enumerate(values)], "time")

    products = []
    if len(ahead):
        products.append((Product(name="rate", title="Rain", kind="rate", times=()), series(ahead, at + STEP)))
    for threshold, values in (chances or {}).items():
        product = Product(
            name=f"above-{threshold}", title="≥", kind="probability", threshold=threshold, times=()
        )
        products.append((product, series(values, at + STEP)))
    for k, values in enumerate(members, start=1):
        product = Product(name=f"member-{k}", title=str(k), kind="rate", realization=k, times=())
        products.append((product, series(values, at + STEP)))
    content = Content(
        issue=at,
        run=run,
        created=at,
        model="nowcaster-1",
        model_title="Nowcaster",
        step_seconds=300,
        observed=series(observed, at - (len(observed) - 1) * STEP),
        products=products,
        often_observed=np.ones((8, 8), bool),
        preliminary=preliminary,
    )
    manifest = publish(root, content)
    seen = next(one for one in manifest.products if one.name == "observed")
    frames = [ObservedFrame(time=time, issue=at, run=run) for time in seen.times]
    point_to(root, manifest, expected=at + STEP, observed=frames, now=at)
    return manifest
