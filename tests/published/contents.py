"""Contents of publications, for tests."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import xarray as xr

from stormcell.data import schema
from stormcell.data.synthetic import generate
from stormcell.published.manifest import Product
from stormcell.published.runs import run_hash
from stormcell.published.writing import Content

ISSUE = datetime(2026, 11, 28, 3, 25, tzinfo=UTC)
STEP = timedelta(minutes=5)


def frames(issue: datetime = ISSUE, shape: tuple[int, int] = (24, 40)) -> xr.DataArray:
    """Return two observed frames and three that follow."""
    start = np.datetime64((issue - STEP).replace(tzinfo=None), "m")
    return generate(seed=1, steps=5, shape=shape, start=start)[schema.RATE]


def content(issue: datetime = ISSUE, *, model: str = "extrapolation", forecast: bool = True) -> Content:
    """Return what is published: an observed frame, three lead times of the rate and of a probability."""
    rain = frames(issue)
    wet = (rain[2:] >= 1).where(np.isfinite(rain[2:])).astype(np.float32)
    products = [
        (Product(name="rate", title="Rain", kind="rate", times=(), variable="rainfall_rate"), rain[2:]),
        (Product(name="above-1.0", title="Rain of 1 mm/h", kind="probability", threshold=1, times=()), wet),
    ]
    return Content(
        issue=issue,
        run=run_hash(str(issue), model),
        created=issue + timedelta(seconds=40),
        model=model,
        model_title=model.title(),
        step_seconds=300,
        observed=rain[1:2],
        products=products,
        often_observed=np.isfinite(rain[0].values),
        attributes={"license": "CC-BY-4.0"},
        write_forecast=write_forecast if forecast else None,
    )


def write_forecast(path: Path) -> None:
    """Write something in place of a forecast."""
    path.write_bytes(b"forecast")


def tree(root: Path) -> dict[str, bytes]:
    """Return the contents of all files of a folder by path."""
    return {
        path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()
    }
