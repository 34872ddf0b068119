import math
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyproj
import pytest
import xarray as xr
from fastapi.testclient import TestClient

from stormcell.data.grid import Grid
from stormcell.forecast import export
from stormcell.published.manifest import Manifest, ObservedFrame, Product, Status
from stormcell.published.writing import Content, point_to, publish, write_status
from stormcell.serve.app import create_app

ISSUE = datetime(2026, 11, 28, 3, 25, tzinfo=UTC)
STEP = timedelta(minutes=5)
RUN = "0a1b2c3d"
ROWS, COLUMNS = 24, 30
# 2 km pixels in southern Finland; the grid is turned against the meridians.
GRID = Grid.from_centres(
    pyproj.CRS(3067), 300_000 + 2000.0 * np.arange(COLUMNS), 6_700_000 - 2000.0 * np.arange(ROWS)
)


def times(first: datetime, count: int) -> list[datetime]:
    return [first + k * STEP for k in range(count)]


def field(values: np.ndarray, valid: list[datetime]) -> xr.DataArray:
    """Return rates or probabilities ``(time, y, x)`` as forecasters return them."""
    instants = np.array([time.replace(tzinfo=None) for time in valid], "datetime64[ns]")
    crs = xr.DataArray(0, attrs=GRID.crs_attributes())
    coords = {"time": instants, "y": GRID.y, "x": GRID.x, "crs": crs}
    array = xr.DataArray(np.asarray(values, np.float32), coords, ("time", "y", "x"), attrs={"units": "mm/h"})
    array["x"].attrs.update(units="m", standard_name="projection_x_coordinate")
    array["y"].attrs.update(units="m", standard_name="projection_y_coordinate")
    return array


def rain(seed: int, steps: int) -> np.ndarray:
    """Return rates of which about a half are dry."""
    noise = np.random.default_rng(seed).normal(size=(steps, ROWS, COLUMNS))
    return np.where(noise > 0, 10**noise - 1, 0).clip(0, 100)


def observed_rain(steps: int = 1, seed: int = 1) -> np.ndarray:
    """Return rates with what the tests look for: not observed at (0, 0) and (0, 1), rain at (5, 5)."""
    rates = rain(seed, steps)
    rates[:, 0, :2] = math.nan
    rates[:, 5, 5] = 12.0
    rates[:, 6, 6] = 0.0
    return rates


Publish = Callable[..., Manifest]


@pytest.fixture
def published(tmp_path: Path) -> Path:
    return tmp_path / "published"


@pytest.fixture
def publish_one(published: Path) -> Publish:
    """Publishes an issue, three observed frames with the first; keywords change the content."""

    def one(issue: datetime = ISSUE, run: str = RUN, **changes: object) -> Manifest:
        ahead = times(issue + STEP, 6)
        seed = int(issue.timestamp()) // 300
        often = np.ones((ROWS, COLUMNS), bool)
        often[0, 0] = False
        rates = field(rain(seed, 6), ahead).assign_coords(
            forecast_reference_time=np.datetime64(issue.replace(tzinfo=None), "ns"),
            forecast_period=("time", np.arange(1, 7) * np.timedelta64(300, "s").astype("timedelta64[ns]")),
        )
        rates.name = "rainfall_rate"
        rates[:, 0, 0] = math.nan
        shares = field((rain(seed, 6) / 101), ahead)
        fields = {
            "issue": issue,
            "run": run,
            "created": issue + timedelta(seconds=40),
            "model": "nowcaster-1",
            "model_title": "Nowcaster",
            "step_seconds": 300,
            "observed": field(observed_rain(3), times(issue - 2 * STEP, 3)),
            "products": [
                (Product(name="rate", title="Rain", kind="rate", times=(), variable="rainfall_rate"), rates),
                (Product(name="extrapolation", title="Extrapolation", kind="rate", times=()), rates * 0.5),
                (Product(name="p10", title="10 %", kind="rate", quantile=0.1, times=()), rates * 0.2),
                (Product(name="p90", title="90 %", kind="rate", quantile=0.9, times=()), rates * 2),
                (Product(name="above-0.1", title="≥", kind="probability", threshold=0.1, times=()), shares),
                (Product(name="member-1", title="1", kind="rate", realization=1, times=()), rates),
                (Product(name="member-2", title="2", kind="rate", realization=2, times=()), rates * 0),
            ],
            "often_observed": often,
            "write_forecast": lambda path: export.write(rates, path),
            **changes,
        }
        manifest = publish(published, Content(**fields))
        frames = [
            ObservedFrame(time=time, issue=issue, run=run)
            for time in next(one.times for one in manifest.products if one.name == "observed")
        ]
        point_to(
            published,
            manifest,
            expected=issue + timedelta(minutes=6),
            observed=frames,
            now=issue + timedelta(minutes=1),
        )
        return manifest

    return one


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = ISSUE + timedelta(minutes=2)

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def empty_client(published: Path, clock: Clock) -> Iterator[TestClient]:
    """A server of a folder in which nothing has been published."""
    with TestClient(create_app(published, clock=clock), raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def client(published: Path, publish_one: Publish, clock: Clock) -> Iterator[TestClient]:
    """A server of one publication."""
    publish_one()
    write_status(published, Status(updated=ISSUE, state="waiting", stale_after_seconds=900))
    with TestClient(create_app(published, clock=clock)) as client:
        yield client


def place(row: int, column: int) -> dict[str, float]:
    """Return latitude and longitude of a cell's centre as the query has them."""
    lat, lon = GRID.lat_lon()
    return {"lat": float(lat[row, column]), "lon": float(lon[row, column])}
