"""Answers of EDR as CF NetCDF, on the radar's grid."""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from stormcell.serve.edr_selection import Block, Group
from stormcell.serve.edr_source import FORECAST, Source
from stormcell.serve.publication import scale

MEDIA_TYPE = "application/x-netcdf"


def netcdf(source: Source, block: Block, groups: Sequence[Group]) -> bytes:
    """Return a block of the grid ``(time, y, x)`` as a NetCDF file, NaN where it was not observed.

    Parameters whose times differ have time coordinates of their own.
    """
    grid, manifest = source.grid, source.manifest
    coordinates: dict[str, Any] = {
        "y": ("y", grid.y[block.rows], _axis("y", degrees=grid.degrees)),
        "x": ("x", grid.x[block.columns], _axis("x", degrees=grid.degrees)),
    }
    if source.collection == FORECAST:
        issue = np.datetime64(manifest.issue.replace(tzinfo=None), "ns")
        coordinates["forecast_reference_time"] = ((), issue, {"standard_name": "forecast_reference_time"})
    fields: dict[str, Any] = {"crs": ((), np.int32(0), grid.crs_attributes())}
    for number, group in enumerate(groups):
        axis = "time" if number == 0 else f"time_{number}"
        instants = np.array([time.replace(tzinfo=None) for time in group.times], "datetime64[ns]")
        coordinates[axis] = (axis, instants, {"standard_name": "time", "axis": "T"})
        for parameter, levels in zip(group.parameters, group.levels, strict=True):
            attributes = {
                "long_name": parameter.product.title,
                "units": "mm h-1" if parameter.product.kind == "rate" else "1",
                "grid_mapping": "crs",
            }
            if parameter.product.kind == "rate":
                attributes["standard_name"] = "rainfall_rate"
            values = scale(parameter.encoding).decode(levels)
            fields[_variable(parameter.product.name)] = ((axis, "y", "x"), values, attributes)
    degraded = "" if manifest.degraded is None else manifest.degraded.reason
    about = {
        "Conventions": "CF-1.11",
        "title": f"Rain, {source.collection}",
        "source": manifest.model_title,
        "stormcell_run": manifest.run,
        **({"stormcell_degraded": degraded} if degraded else {}),
    }
    ds = xr.Dataset(fields, coordinates, about)
    times = {
        str(name): {"units": "seconds since 1970-01-01", "dtype": "int64"}
        for name in coordinates
        if name not in "yx"
    }
    return bytes(ds.to_netcdf(engine="h5netcdf", encoding=times))


def _variable(product: str) -> str:
    """Return a name of letters, digits and underscores, as CF recommends."""
    return re.sub(r"\W", "_", product)


def _axis(name: str, *, degrees: bool) -> dict[str, str]:
    if degrees:
        long = {"y": "latitude", "x": "longitude"}[name]
        return {
            "standard_name": long,
            "units": {"y": "degrees_north", "x": "degrees_east"}[name],
            "axis": name.upper(),
        }
    return {"standard_name": f"projection_{name}_coordinate", "units": "m", "axis": name.upper()}
