"""Small publications to serve: a turned grid of 24 × 30 pixels in southern Finland."""

import math
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyproj
import xarray as xr

from stormcell.data.grid import Grid
from stormcell.forecast import export
from stormcell.published.manifest import Manifest, ObservedFrame, Product
from stormcell.published.writing import Content, point_to, publish

ISSUE = datetime(2026, 11, 28, 3, 25, tzinfo=UTC)
STEP = timedelta(minutes=5)
RUN = "0a1b2c3d"
NAME = f"20261128T0325Z-{RUN}"
AHEAD = 12
ROWS, COLUMNS = 24, 30
GRID = Grid.from_centres(
    pyproj.CRS(3067), 300_000 + 2000.0 * np.arange(COLUMNS), 6_700_000 - 2000.0 * np.arange(ROWS)
)
# Cells with what the tests look for; the rain elsewhere is random.
NEVER_SEEN, UNSEEN_NOW, WET, DRY = (0, 0), (0, 1), (5, 5), (6, 6)
WET_RATE = 12.0
FAR_AWAY = {"lat": 10.0, "lon": 10.0}


def place(row: int, column: int) -> dict[str, float]:
    """Return latitude and longitude of a cell's centre as queries have them."""
    lat, lon = GRID.lat_lon()
    return {"lat": round(float(lat[row, column]), 4), "lon": round(float(lon[row, column]), 4)}


def square(row: int, column: int, size: float = 0.5) -> dict[str, object]:
    """Return a square around a cell's centre, whose sides are ``size`` cells away: by default the cell."""
    x, y = GRID.x[column], GRID.y[row]
    to_degrees = pyproj.Transformer.from_crs(3067, 4326, always_xy=True)
    corners = [(-1, -1), (1, -1), (1, 1), (-1, 1), (-1, -1)]
    ring = [to_degrees.transform(x + 2000 * size * right, y + 2000 * size * up) for right, up in corners]
    return {"type": "Polygon", "coordinates": [[list(corner) for corner in ring]]}


def times(first: datetime, count: int) -> list[datetime]:
    return [first + k * STEP for k in range(count)]


def field(values: np.ndarray, valid: Sequence[datetime]) -> xr.DataArray:
    """Return rates or probabilities ``(time, y, x)`` with the coordinates of an archive."""
    instants = np.array([time.replace(tzinfo=None) for time in valid], "datetime64[ns]")
    coords = {
        "time": instants,
        "y": ("y", GRID.y, {"units": "m", "standard_name": "projection_y_coordinate"}),
        "x": ("x", GRID.x, {"units": "m", "standard_name": "projection_x_coordinate"}),
        "crs": ((), 0, GRID.crs_attributes()),
    }
    attributes = {"units": "mm/h", "grid_mapping": "crs"}
    return xr.DataArray(np.asarray(values, np.float32), coords, ("time", "y", "x"), attrs=attributes)


def rain(seed: int, steps: int) -> np.ndarray:
    """Return rates, about half of them dry."""
    noise = np.random.default_rng(seed).normal(size=(steps, ROWS, COLUMNS))
    return np.where(noise > 0, 10**noise - 1, 0).clip(0, 100)


def observed_rain(issue: datetime, steps: int = 3) -> np.ndarray:
    rates = rain(int(issue.timestamp()) // 300, steps)
    rates[:, *NEVER_SEEN] = math.nan
    rates[-1, *UNSEEN_NOW] = math.nan
    rates[:, *WET] = WET_RATE
    rates[:, *DRY] = 0
    return rates


def publish_issue(
    published: Path,
    issue: datetime = ISSUE,
    run: str = RUN,
    *,
    frames: int = 3,
    full: bool = False,
    **changes: object,
) -> Manifest:
    """Publish an issue and make it the newest; keywords change the content.

    Without ``full``, only the rate is published, which is quicker.
    """
    ahead = times(issue + STEP, AHEAD)
    seed = int(issue.timestamp()) // 300 + 1000
    rates = rain(seed, AHEAD)
    rates[:, *NEVER_SEEN] = math.nan
    rates[:, *WET] = [WET_RATE, 6, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0]
    rates[:, *DRY] = 0
    shares = np.where(np.isnan(rates), np.nan, np.minimum(rates / 20, 1))
    period = np.arange(1, AHEAD + 1) * np.timedelta64(300, "s").astype("timedelta64[ns]")
    written = field(rates, ahead).assign_coords(
        forecast_reference_time=np.datetime64(issue.replace(tzinfo=None), "ns"),
        forecast_period=("time", period),
    )
    written.name = "rainfall_rate"

    def product(name: str, values: np.ndarray, kind: str = "rate", **what: object):
        title = f"Rain: {name}"
        return Product(name=name, title=title, kind=kind, times=(), **what), field(values, ahead)

    content = {
        "issue": issue,
        "run": run,
        "created": issue + timedelta(seconds=40),
        "model": "nowcaster-1",
        "model_title": "Nowcaster",
        "step_seconds": 300,
        "observed": field(observed_rain(issue, frames), times(issue - (frames - 1) * STEP, frames)),
        "products": [product("rate", rates, variable="rainfall_rate")],
        "often_observed": often_observed(),
    }
    if full:

        def write_forecast(path: Path) -> None:
            export.write(written, path)
            export.write(written, path.with_suffix(".tif"))

        content["write_forecast"] = write_forecast
        content["products"] += [
            product("extrapolation", rates * 0.5),
            product("p10", rates * 0.2, quantile=0.1),
            product("p90", rates * 1.5, quantile=0.9),
            product("above-0.1", shares, kind="probability", threshold=0.1),
            product("member-1", rates, realization=1),
            product("member-2", rates * 0, realization=2),
        ]
    manifest = publish(published, Content(**{**content, **changes}))
    show(published, manifest)
    return manifest


def often_observed() -> np.ndarray:
    often = np.ones((ROWS, COLUMNS), bool)
    often[NEVER_SEEN] = False
    return often


def show(published: Path, *manifests: Manifest) -> None:
    """Make the last of some publications the newest, with the observed frames of all."""
    *earlier, newest = manifests
    frames = {
        time: ObservedFrame(time=time, issue=manifest.issue, run=manifest.run)
        for manifest in manifests
        for time in manifest.products[0].times
    }
    point_to(
        published,
        newest,
        expected=newest.issue + timedelta(minutes=6),
        observed=[frames[time] for time in sorted(frames)],
        earlier=[(manifest.issue, manifest.run) for manifest in reversed(earlier)],
        now=newest.issue + timedelta(minutes=1),
        allow_older=True,
    )
