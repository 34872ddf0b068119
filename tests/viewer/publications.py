"""Small publications for tests of the map: a block of rain in the open North Sea."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyproj
import xarray as xr

from stormcell.data.grid import Grid
from stormcell.published.manifest import Latest, ObservedFrame, Product, Status
from stormcell.published.runs import run_hash
from stormcell.published.writing import Content, point_to, publish, write_status

STEP = timedelta(minutes=5)
PIXEL = 2000  # metres of the map
# On the projection of the map, the picture has the cells of the grid, and the block's edges are exact.
MIDDLE = (334_000, 7_361_000)  # 3° E, 55° N: neither coasts nor names of places
GRID = Grid.from_centres(
    pyproj.CRS(3857),
    MIDDLE[0] + PIXEL * (np.arange(120) - 59.5),
    MIDDLE[1] - PIXEL * (np.arange(100) - 49.5),
)
BLOCK = (slice(40, 56), slice(50, 70))  # rows and columns
UNSEEN = (slice(0, 20), slice(None))  # which the radar never sees
STEPS = 4


def recent() -> datetime:
    """Return the time of a frame that is not stale."""
    now = datetime.now(UTC)
    return now.replace(minute=now.minute // 5 * 5, second=0, microsecond=0)


def rain(rate: float, unseen: tuple[slice, slice] = UNSEEN) -> np.ndarray:
    """Return a frame with a block of rain."""
    frame = np.zeros((GRID.rows, GRID.columns), np.float32)
    frame[BLOCK] = rate
    frame[UNSEEN] = np.nan
    frame[unseen] = np.nan
    return frame


def fields(start: datetime, frames: list[np.ndarray], grid: Grid = GRID) -> xr.DataArray:
    """Return frames at successive times as an archive has them."""
    times = [np.datetime64((start + k * STEP).replace(tzinfo=None), "ns") for k in range(len(frames))]
    return xr.DataArray(
        np.stack(frames),
        dims=("time", "y", "x"),
        coords={"time": times, "y": grid.y, "x": grid.x, "crs": ((), 0, grid.crs_attributes())},
    )


def products(issue: datetime) -> list[tuple[Product, xr.DataArray]]:
    """Return a product of each sort, with other rates at each time."""

    def product(name: str, kind: str, values: list[float], **more: object) -> tuple[Product, xr.DataArray]:
        made = Product.model_validate({"name": name, "title": name, "kind": kind, "times": (), **more})
        return made, fields(issue + STEP, [rain(value) for value in values])

    return [
        product("rate", "rate", [10, 6, 3, 0]),
        product("extrapolation", "rate", [12, 12, 12, 12]),
        product("above-1.0", "probability", [0.9, 0.7, 0.5, 0], threshold=1.0),
        product("p10", "rate", [5, 2, 1, 0], quantile=0.1),
        product("p90", "rate", [20, 15, 9, 2], quantile=0.9),
        product("member-1", "rate", [11, 7, 2, 1], realization=1),
    ]


def add(root: Path, issue: datetime, newest: np.ndarray | None = None, **changes: object) -> Latest:
    """Publish three observed frames and a forecast, and make them the newest.

    Args:
        root: The published folder.
        issue: Issue time.
        newest: The newest observed frame, if it is not the usual one.
        changes: Of the content.
    """
    observed = fields(issue - 2 * STEP, [rain(1), rain(4), rain(20) if newest is None else newest])
    content: dict = {
        "issue": issue,
        "run": run_hash(f"{issue} {sorted(changes)}", "test"),
        "created": issue,
        "model": "nowcaster-1",
        "model_title": "Nowcaster 1",
        "step_seconds": int(STEP.total_seconds()),
        "observed": observed,
        "products": products(issue),
        "often_observed": np.isfinite(rain(0)),
        "attributes": {"source": "Weather radar of the tests", "license": "CC0-1.0"},
        **changes,
    }
    manifest = publish(root, Content(**content))
    frames = [ObservedFrame(time=issue - k * STEP, issue=issue, run=manifest.run) for k in (2, 1, 0)]
    write_status(root, Status(updated=datetime.now(UTC), state="waiting", step_seconds=300))
    return point_to(root, manifest, observed=frames, expected=issue + STEP)
