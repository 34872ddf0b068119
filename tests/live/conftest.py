"""A live loop on a small grid, with a clock that is set by hand and jobs that run in this process."""

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np
import pyproj
import pytest

from stormcell.data import archive
from stormcell.data.processing import Processing
from stormcell.data.read_options import ReadOptions
from stormcell.data.synthetic import generate
from stormcell.live.invariants import Watch
from stormcell.live.live_loop import LiveLoop
from stormcell.live.live_settings import Settings
from stormcell.live.making import Wanted
from stormcell.live.scoring_job import Scored, ScoreForecasts
from stormcell.live.service import choose
from stormcell.published.manifest import Manifest, time_name
from stormcell.published.reading import Shelf
from stormcell.published.retention import clear_parts

STEP = timedelta(minutes=5)
NO_WAIT = timedelta(0)
START = datetime(2024, 6, 1, tzinfo=UTC)
FRAMES = generate(seed=7, shape=(32, 32), steps=40).rainfall_rate
HEADER = """P5
# obstime {time:%Y%m%d%H%M}
# param CorrectedReflectivity
# metersperpixel_x 1000
# metersperpixel_y 1000
# projection radar {{
# type stereographic
# centrallongitude 25
# centrallatitude 90
# truelatitude 60
# bottomleft {west:.6f} {south:.6f}
# topright {east:.6f} {north:.6f}
# }}
{columns} {rows}
255
"""


def reading():
    return ReadOptions(), Processing(attributes={"license": "CC0-1.0"})


def frame(
    k: int, *, dated: datetime | None = None, factor: float = 1.0, columns: int = FRAMES.sizes["x"]
) -> bytes:
    """The k-th frame as an image of reflectivity, perhaps with another time, other rates or fewer columns."""
    rate = FRAMES.values[k, :, :columns] * factor
    with np.errstate(divide="ignore"):
        reflectivity = 10 * np.log10(223 * rate**1.53)
    levels = np.where(np.isnan(rate), 255, np.clip(2 * (reflectivity + 32), 0, 250))
    rows = len(levels)
    place = pyproj.Proj("+proj=stere +lat_0=90 +lon_0=25 +lat_ts=60 +R=6371288")
    west, south = place(0, -3_000_000, inverse=True)
    east, north = place(1000 * columns, -3_000_000 + 1000 * rows, inverse=True)
    time = dated or START + k * STEP
    header = HEADER.format(**locals())
    return header.encode() + levels.astype(np.uint8).tobytes()


def issue(k: int) -> str:
    """The time of the k-th frame, as in the name of a publication."""
    return time_name(START + k * STEP)


class Rig:
    """A live loop with its feed.

    Attributes:
        watch: What looks at the published folder after each turn.
        damaged: Whether the test damages what is published, so that the watch finds something wrong.
        now: The time that the loop's clock shows.
        lines: The loop's log.
        before: Called with each job before it runs; an error that it raises is the job's.
    """

    made: ClassVar[list["Rig"]] = []  # in the present test

    def __init__(self, root: Path, **settings) -> None:
        self.made.append(self)
        self.feed, self.out = root / "feed", root / "published"
        self.feed.mkdir(parents=True, exist_ok=True)
        self.out.mkdir(exist_ok=True)
        clear_parts(self.out)
        self.watch, self.damaged = Watch(self.out), False
        given = {
            "model": "extrapolation",
            "wanted": Wanted(steps=3),
            "least_free": 0,
            "grace": NO_WAIT,
        } | settings
        self.settings = Settings(str(self.feed), str(root / "a.zarr"), self.out, reading, **given)
        self.now, self.lines, self.scores = START, list[str](), False
        self.before: Callable[[object], None] = lambda _: None

    def __call__(self, job, *, seconds):  # noqa: ARG002 - part of the protocol
        self.before(job)
        return Scored() if isinstance(job, ScoreForecasts) and not self.scores else job()

    @cached_property
    def loop(self) -> LiveLoop:
        choice, watched, _ = choose(self.settings, self)
        return LiveLoop(
            self.settings,
            choice,
            self,
            clock=lambda: self.now,
            log=self.lines.append,
            model_file=watched,
            free=lambda path: self.free(path),
        )

    def free(self, path: Path) -> int:
        return shutil.disk_usage(path).free

    def restart(self, **settings) -> None:
        """Begin a new loop with the same stores."""
        self.settings = replace(self.settings, **settings)
        self.__dict__.pop("loop", None)

    def put(self, k: int, name: str | None = None, *, cut: float = 1.0, **changes) -> Path:
        """Put the k-th frame into the feed, as one that was renamed into it."""
        path, content = self.feed / (name or f"radar_{k:03d}.pgm"), frame(k, **changes)
        path.write_bytes(content[: round(cut * len(content))])
        os.utime(path, (0, 1_700_000_000 + k))
        return path

    def arrive(self, *ks: int, **changes) -> None:
        """Put frames into the feed, set the clock to shortly after the last, and take turns."""
        for k in ks:
            self.put(k, **changes)
        self.now = max(self.now, START + ks[-1] * STEP + timedelta(seconds=40))
        self.turns()

    def turns(self, count: int = 2) -> None:
        for _ in range(count):
            self.loop.turn()
            self.watch.look()
            self.now += timedelta(seconds=1)

    @property
    def settings_archive(self) -> Path:
        return Path(self.settings.archive)

    @property
    def counts(self) -> dict[str, int]:
        return {name: count for name, count in self.loop.intake.counts.items() if count}

    @property
    def newest(self) -> Manifest:
        found = self.loop.publisher.newest()
        assert found is not None
        return found

    def manifest(self, folder: str) -> Manifest:
        return Shelf(self.out).manifest(*folder.split("-"))

    @property
    def folders(self) -> list[str]:
        return ["-".join(name) for name in Shelf(self.out).publications()]

    @property
    def times(self) -> list[int]:
        """Numbers of the frames that are in the archive."""
        times = archive.open(self.settings.archive)["time"].values
        return [round(one / np.timedelta64(5, "m")) for one in times - np.datetime64("2024-06-01")]


@pytest.fixture(scope="module", autouse=True)
def _disk():
    """Do not flush files to the disk: it would take most of the time, and no test cuts the power."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        yield


@pytest.fixture(scope="module")
def small_files():
    """Write no NetCDF, which would take a third of the time, for tests that read no ``forecast.nc``."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("stormcell.live.contents.export.write", lambda _, path, *__: path.write_bytes(b"1"))
        yield


@pytest.fixture(autouse=True)
def _invariants():
    """Check that no loop of the test has broken a promise."""
    yield
    rigs = list(Rig.made)
    Rig.made.clear()
    for rig in rigs:
        assert rig.damaged or rig.watch.found == {}


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)
