"""Small files of ODIM_H5."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import h5py
import numpy as np
import pyproj
import pytest

from stormcell.data.read_options import ReadOptions

CONTRADICTION = ReadOptions(units="dBZ")
LAEA = "+proj=laea +lat_0=55.0 +lon_0=10.0 +x_0=1950000.0 +y_0=-2100000.0 +units=m +ellps=WGS84"

What = Mapping[str, object]


def write(path: Path, request: pytest.FixtureRequest) -> None:  # noqa: ARG001
    values = np.random.default_rng(0).integers(0, 255, (6, 5)).astype(np.uint8)
    make(path, [{"quantity": "RATE", "gain": 0.5, "offset": 0, "nodata": 255, "undetect": 0}], [values])


def attach(group: h5py.Group, attributes: What) -> None:
    for name, value in attributes.items():
        group.attrs[name] = np.bytes_(value) if isinstance(value, str) else value


def make(
    path: Path,
    whats: Sequence[What],
    values: Sequence[np.ndarray],
    *,
    level: str = "data",
    root: What | None = None,
    where: What | None = None,
    proj: str = LAEA,
    west: float = 500_000.0,
    north: float = -1_000_000.0,
    scale: float = 2000.0,
    decimals: int = 12,
) -> Path:
    """Write a composite with an image for each ``what``.

    Args:
        level: Where ``what`` stands: "data" (dataset1/data1/what), "dataset" (dataset1/what), "group"
            (attributes of dataset1/data1 itself), "one" (dataset1/data1/what, dataset1/data2/what, …).
        decimals: Decimals of the corners in degrees.
    """
    rows, columns = values[0].shape
    with h5py.File(path, "w") as file:
        file.attrs["Conventions"] = np.bytes_("ODIM_H5/V2_2")
        attach(
            file.create_group("what"),
            {
                "object": "COMP",
                "version": "H5rad 2.2",
                "date": "20240601",
                "time": "120000",
                "source": "ORG:82",
                **(root or {}),
            },
        )
        place = file.create_group("where")
        corners = corners_of(proj, west, north, scale, rows, columns)
        attach(place, {"projdef": proj, "xsize": columns, "ysize": rows, "xscale": scale, "yscale": scale})
        attach(place, {name: round(value, decimals) for name, value in corners.items()})
        for name, value in (where or {}).items():
            if value is None:
                del place.attrs[name]
            else:
                attach(place, {name: value})
        for index, (what, codes) in enumerate(zip(whats, values, strict=True), 1):
            dataset = file.require_group("dataset1" if level == "one" else f"dataset{index}")
            data = dataset.create_group(f"data{index}" if level == "one" else "data1")
            data["data"] = codes
            if level == "group":
                attach(data, what)
            else:
                attach((dataset if level == "dataset" else data).create_group("what"), what)
    return path


def corners_of(
    proj: str, west: float, north: float, scale: float, rows: int, columns: int
) -> dict[str, float]:
    """Return the outer corners in degrees."""
    east, south = west + scale * columns, north - scale * rows
    project = pyproj.Proj(proj)
    found = {}
    for name, x, y in (("LL", west, south), ("UL", west, north), ("UR", east, north), ("LR", east, south)):
        lon, lat = (x, y) if project.crs.is_geographic else project(x, y, inverse=True)
        found |= {f"{name}_lon": lon, f"{name}_lat": lat}
    return found
