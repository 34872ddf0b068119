"""Publications of random showers."""

import itertools
import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyproj
import xarray as xr

from stormcell.data.grid import Grid
from stormcell.published.manifest import LATEST, Manifest, ObservedFrame, Product, Status, time_name
from stormcell.published.reading import Shelf
from stormcell.published.retention import prune
from stormcell.published.writing import Content, point_to, publish, write_status

STEP = timedelta(minutes=5)
KEPT = 10  # publications


class Showers:
    """A published folder with random showers: a rate and a probability.

    Args:
        root: The folder; it is made.
        first: Issue time of the first publication.
        side: Rows and columns of the grid.
        steps: Lead times.
    """

    def __init__(self, root: Path, first: datetime, *, side: int, steps: int = 12) -> None:
        self.root, self.first, self.side, self.steps = root / "published", first, side, steps
        self._prepared = root / "prepared"
        self._grid = Grid.from_centres(
            pyproj.CRS(3067), 200_000 + 1000.0 * np.arange(side), 7_400_000 - 1000.0 * np.arange(side)
        )
        coarse = np.random.default_rng(0).normal(size=(steps + 1, side // 16 + 1, side // 16 + 1))
        fine = coarse.repeat(16, axis=1).repeat(16, axis=2)[:, :side, :side]
        self._rates = np.where(fine > 0.7, 10 ** (fine - 1), 0).astype(np.float32)

    def prepare(self, count: int) -> None:
        """Write the first publications, so that publishing them takes no computing."""
        for number in range(count):
            publish(self._prepared, self._content(number))

    def publish(self, number: int) -> Manifest:
        """Publish the issue of a number, from 0, and drop old ones."""
        issue = self.first + number * STEP
        folder = f"{time_name(issue)}-{number:08x}"
        if (self._prepared / folder).is_dir():
            self.root.mkdir(exist_ok=True)
            os.replace(self._prepared / folder, self.root / folder)
            manifest = Shelf(self.root).manifest(*folder.split("-"))
        else:
            manifest = publish(self.root, self._content(number))
        now = datetime.now(UTC)
        write_status(self.root, Status(updated=now, state="waiting", stale_after_seconds=10**9))
        seen = [ObservedFrame(time=issue, issue=issue, run=manifest.run)]
        point_to(self.root, manifest, expected=now + STEP, observed=seen)
        prune(self.root, KEPT * STEP, KEPT * STEP, issue)
        return manifest

    def _content(self, number: int) -> Content:
        issue, run = self.first + number * STEP, f"{number:08x}"
        rates = np.roll(self._rates, number, axis=2)
        rate = Product(name="rate", title="Rain rate", kind="rate", times=())
        share = Product(name="above-1.0", title="1 mm/h or more", kind="probability", threshold=1.0, times=())
        return Content(
            issue=issue,
            run=run,
            created=issue,
            model="random",
            model_title="Random showers",
            step_seconds=int(STEP.total_seconds()),
            observed=self._field(rates[:1], issue),
            products=[
                (rate, self._field(rates[1:], issue + STEP)),
                (share, self._field(np.minimum(rates[1:] / 10, 1), issue + STEP)),
            ],
            often_observed=np.ones((self.side, self.side), bool),
        )

    def publish_at(self, number: int) -> float:
        """Publish an issue, and return when it became the newest: seconds since 1970."""
        self.publish(number)
        return (self.root / LATEST).stat().st_mtime

    def publish_often(self, every: float) -> None:
        """Publish again and again, until ended."""
        for number in itertools.count(1):
            start = time.monotonic()
            self.publish(number)
            time.sleep(max(0.0, every - (time.monotonic() - start)))

    def _field(self, values: np.ndarray, start: datetime) -> xr.DataArray:
        times = [np.datetime64((start + k * STEP).replace(tzinfo=None), "ns") for k in range(len(values))]
        coords = {
            "time": times,
            "y": self._grid.y,
            "x": self._grid.x,
            "crs": ((), 0, self._grid.crs_attributes()),
        }
        return xr.DataArray(values, coords, ("time", "y", "x"))
