"""Write a forecast where other programs find it: CF NetCDF or Zarr, georeferenced, all of it or nothing."""

from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from zarr.storage import MemoryStore

from stormcell.atomic import replacing
from stormcell.errors import ArgumentError

CONVENTIONS = "CF-1.11"

# What describes the rain; every other attribute of a forecast describes how it was made, and the file.
_OF_THE_RATE = ("standard_name", "long_name", "units", "grid_mapping", "cell_methods")


def write(forecast: xr.DataArray, path: Path | str) -> None:
    """Write a forecast as ``.nc`` or ``.zarr``; what was there before is replaced.

    The file appears under its name when it is whole, or not at all.

    Args:
        forecast: What a forecaster returned: ``(time, y, x)`` or ``(realization, time, y, x)``, mm/h.
        path: Where to, ending in ``.nc`` (NetCDF 4) or ``.zarr`` (Zarr 2, which GDAL reads too).

    Raises:
        ArgumentError: The name ends otherwise, or a directory there is no Zarr.
        OutputError: The disk is full, the directory is not there or not to be written to.

    Example:
        >>> import tempfile
        >>> from stormcell.data.synthetic import generate
        >>> from stormcell.forecast.baselines import baseline
        >>> forecast = baseline("extrapolation")(generate(seed=1, steps=3).rainfall_rate, steps=6)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write(forecast, f"{folder}/forecast.nc")
        ...     print(xr.load_dataset(f"{folder}/forecast.nc").rainfall_rate.shape)
        (6, 128, 128)
    """
    path = Path(path)
    if path.suffix not in (".nc", ".zarr"):
        raise ArgumentError(
            f"{path}: expected a name that ends in .nc or .zarr, found {path.suffix or 'neither'}"
        )
    zarr = path.suffix == ".zarr"
    if path.is_dir() and not (zarr and any((path / name).is_file() for name in (".zgroup", "zarr.json"))):
        raise ArgumentError(f"{path}: expected a file or nothing to replace, found a directory")
    ds = _dataset(forecast)
    # Through memory: on a full disk HDF5 crashes, and Zarr's threads go on writing when one has failed.
    with replacing(path) as part:
        if zarr:
            _write_zarr(ds, part)
        else:
            part.write_bytes(ds.to_netcdf(engine="h5netcdf", encoding=_encoding(ds, zarr=False)))


def _write_zarr(ds: xr.Dataset, path: Path) -> None:
    files: dict[str, Any] = {}
    # Format 2: GDAL, and with it QGIS, reads format 3 only in its newest versions.
    store = MemoryStore(files)
    ds.to_zarr(store, zarr_format=2, consolidated=True, encoding=_encoding(ds, zarr=True))
    for name, content in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content.to_bytes())


def _dataset(forecast: xr.DataArray) -> xr.Dataset:
    rate = forecast.copy(deep=False)
    rate.attrs = {key: value for key, value in forecast.attrs.items() if key in _OF_THE_RATE}
    ds = rate.to_dataset(name="rainfall_rate")
    if "crs" in ds.coords:
        # A grid mapping is a variable, to CF; as a coordinate xarray would list it as one.
        ds = ds.reset_coords("crs")
    made_by = f"stormcell {version('stormcell')}"
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    made = {key: value for key, value in forecast.attrs.items() if key not in _OF_THE_RATE}
    ds.attrs = {
        "Conventions": CONVENTIONS,
        "title": "Rain forecast",
        "source": made_by,
        "history": f"{now} written by {made_by}",
        **made,
    }
    # How the frames were stored in their archive is not how a forecast is.
    return ds.drop_encoding()


def _encoding(ds: xr.Dataset, *, zarr: bool) -> dict[Any, dict[str, Any]]:
    rate = ds["rainfall_rate"]
    frame = (*(1 for _ in rate.dims[:-2]), *rate.shape[-2:])
    packing: dict[str, Any] = (
        {"chunks": frame} if zarr else {"chunksizes": frame, "zlib": True, "complevel": 4}
    )
    issued = str(ds["forecast_reference_time"].values.astype("datetime64[s]")).replace("T", " ")
    instant = {"units": f"seconds since {issued}", "calendar": "standard", "dtype": "int64"}
    return {
        "rainfall_rate": {**packing, "_FillValue": np.float32(np.nan)},
        "time": instant,
        "forecast_reference_time": instant,
        "forecast_period": {"units": "seconds", "dtype": "int64"},
    }
