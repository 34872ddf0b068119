"""A small stack of rates, with times, coordinates and projection."""

from pathlib import Path

import numpy as np
import pytest

from stormcell.data.read_options import ReadOptions

CONTRADICTION = ReadOptions(units="dBZ")


def write(path: Path, request: pytest.FixtureRequest) -> None:
    del request
    with path.open("wb") as file:
        np.savez_compressed(
            file,
            rate=np.random.default_rng(0).gamma(1, 2, (3, 6, 5)).astype(np.float32),
            time=np.datetime64("2020-05-01T12:00", "s") + 300 * np.arange(3),
            x=300_000.0 + 1000 * np.arange(5),
            y=7_000_000.0 - 1000 * np.arange(6),
            crs="EPSG:3067",
            units="mm/h",
        )
