"""A small file of SEVIR, with its catalogue beside it."""

from pathlib import Path

import h5py
import numpy as np
import pyproj
import pytest

from stormcell.data.read_options import ReadOptions

OPTIONS = ReadOptions(quantity="rate", variable="S2")
CONTRADICTION = ReadOptions(quantity="amount", variable="S2")
PROJ = "+proj=laea +lat_0=38 +lon_0=-98 +units=m +a=6370997.0 +ellps=sphere"
COLUMNS = (
    "id,file_name,file_index,img_type,time_utc,minute_offsets,llcrnrlat,llcrnrlon,urcrnrlat,urcrnrlon,proj"
)


def write(path: Path, request: pytest.FixtureRequest) -> None:  # noqa: ARG001
    make(path)


def values() -> np.ndarray:
    """Numbers of three events, (event, y, x, time)."""
    return np.random.default_rng(0).integers(0, 256, (3, 6, 5, 4), np.uint8)


def make(path: Path, catalog: Path | None = None) -> Path:
    """Write three events of 6 × 5 pixels of 1 km, and their catalogue."""
    with h5py.File(path, "w") as file:
        file["vil"] = values()
        file["id"] = np.array([b"S1", b"S2", b"R3"])
    project = pyproj.Proj(PROJ)
    lines = [COLUMNS]
    for index, name in enumerate(("S1", "S2", "R3")):
        west, south = 300_000.0 + 50_000 * index, -400_000.0
        ll, ur = project(west, south, inverse=True), project(west + 5000, south + 6000, inverse=True)
        place = f"{ll[1]:.9f},{ll[0]:.9f},{ur[1]:.9f},{ur[0]:.9f},{PROJ}"
        lines += [f"{name},vis.h5,0,vis,2019-06-01 00:00:00,0:1,{place}"]
        lines += [f"{name},vil.h5,{index},vil,2019-06-0{index + 1} 12:34:00,-10:-5:0:5,{place}"]
    (catalog or path.parent / "CATALOG.csv").write_text("\n".join(lines) + "\n")
    return path
