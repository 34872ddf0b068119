"""Write a forecast for other programs: NetCDF, Zarr or GeoTIFF, georeferenced, completely or not at all."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dask
import numpy as np
import xarray as xr
import zarr
from zarr.core.buffer import Buffer
from zarr.storage import LocalStore

from stormcell.atomic import replacing, write_file
from stormcell.errors import ArgumentError
from stormcell.forecast.cloud_geotiff import geotiff
from stormcell.forecast.layouts import BOUNDS, LAYOUTS, dataset

_SUFFIXES = (".nc", ".zarr", ".tif")
_ISSUE_TIME = "forecast_reference_time"  # of all layouts, and of no archive
# Of zlib, 1 … 9. Level 4 makes files of rain 4 % smaller, and takes 40 % longer.
_EFFORT = 1


def write(forecast: xr.DataArray, path: Path | str, *products: xr.DataArray, layout: str = "cf") -> None:
    """Write a forecast as ``.nc``, ``.zarr`` or ``.tif``, in place of any earlier one.

    The file is written atomically. Beyond the forecast, memory is needed for one frame only.

    Args:
        forecast: Rain rates in mm/h ``(time, y, x)`` or ``(realization, time, y, x)`` from a forecaster.
        path: Output path that ends in ``.nc`` (NetCDF 4), ``.zarr`` (Zarr 2, which GDAL reads too) or
            ``.tif`` (a cloud-optimized GeoTIFF with a band for each lead time).
        *products: Further products of the same forecast, such as probabilities and quantiles: fields of the
            same times and grid, which become further variables or bands.
        layout: Names and units of the variables in NetCDF and Zarr: one of
            :data:`~stormcell.forecast.layouts.LAYOUTS`.

    Raises:
        ArgumentError: The path ends in something else, or is a folder that is not a Zarr store; there is no
            such layout, or it has no place for a product; a GeoTIFF has no projection.
        OutputError: The disk is full, or the folder does not exist or is not writable.

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
    check(path, layout)
    if path.suffix == ".tif":
        write_file(path, geotiff([forecast, *products]))
        return
    ds = dataset(forecast, products, layout)
    # Amounts are computed one after another, as they are written.
    with replacing(path) as part, dask.config.set(scheduler="synchronous"):
        if path.suffix == ".zarr":
            _write_zarr(ds, part)
        else:
            _write_netcdf(ds, part)


def check(path: Path, layout: str) -> None:
    """Raise the :class:`~stormcell.errors.ArgumentError` of :func:`write` that does not need a forecast."""
    if path.suffix not in _SUFFIXES:
        raise ArgumentError(
            f"{path}: expected a name that ends in .nc, .zarr or .tif, found {path.suffix or 'another'}"
        )
    if layout not in LAYOUTS:
        raise ArgumentError(f'layout: expected {", ".join(LAYOUTS)}, found "{layout}"')
    if path.suffix == ".tif" and layout != "cf":
        raise ArgumentError(f'{path}: expected no layout for a GeoTIFF, found "{layout}"')
    if not path.parent.is_dir():
        found = "a file" if path.parent.exists() else "nothing"
        raise ArgumentError(f"{path}: expected {path.parent} to be a folder, found {found}")
    if path.is_dir() and not (path.suffix == ".zarr" and (path / _ISSUE_TIME).is_dir()):
        found = "another Zarr store" if (path / "zarr.json").is_file() else "a directory"
        raise ArgumentError(f"{path}: expected an earlier forecast or nothing to replace, found {found}")


class _HeldErrors:
    """The first error of a writer, held until the library that calls the writer has finished.

    If a write fails on a full disk, HDF5 crashes the process and Zarr leaves threads running. Therefore a
    failed write looks like a success to them. Later writes are dropped, and the error is raised at the end.
    """

    def __init__(self) -> None:
        self.first: OSError | None = None

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Hold an :class:`OSError` of the block."""
        try:
            yield
        except OSError as error:
            self.first = self.first or error

    @contextmanager
    def raise_at_end(self) -> Iterator[None]:
        """Raise the held error after the block, in place of any error that followed from it."""
        try:
            yield
        finally:
            if self.first is not None:
                raise self.first


class _HoldingFile(io.FileIO):
    """A file whose failed writes seem to succeed."""

    def __init__(self, path: Path, errors: _HeldErrors) -> None:
        super().__init__(path, "w+")
        self.errors = errors

    def write(self, data: Any) -> int:
        """Write all of ``data``, or drop it after an error."""
        rest = memoryview(data).cast("B")
        size = len(rest)
        with self.errors.hold():
            while len(rest) and self.errors.first is None:
                rest = rest[super().write(rest) :]
        return size

    def truncate(self, size: int | None = None) -> int:
        """Set the file's size, or leave it after an error."""
        with self.errors.hold():
            return super().truncate(size)
        return size or 0


class _HoldingStore(LocalStore):
    """A Zarr store in a folder, whose failed writes seem to succeed."""

    def __init__(self, path: Path, errors: _HeldErrors) -> None:
        super().__init__(path)
        self.errors = errors

    async def set(self, key: str, value: Buffer) -> None:
        """Write a chunk or metadata, or drop it after an error."""
        if self.errors.first is None:
            with self.errors.hold():
                await super().set(key, value)


def _write_netcdf(ds: xr.Dataset, path: Path) -> None:
    errors = _HeldErrors()
    with errors.raise_at_end(), _HoldingFile(path, errors) as file:
        ds.to_netcdf(file, engine="h5netcdf", encoding=_encoding(ds, is_zarr=False))


def _write_zarr(ds: xr.Dataset, path: Path) -> None:
    errors = _HeldErrors()
    path.mkdir()
    # One frame at a time. Format 2: only the newest versions of GDAL, and so of QGIS, read format 3.
    store = _HoldingStore(path, errors)
    with errors.raise_at_end(), zarr.config.set({"async.concurrency": 1}):
        ds.to_zarr(store, zarr_format=2, consolidated=False, encoding=_encoding(ds, is_zarr=True))
    with errors.raise_at_end():
        zarr.consolidate_metadata(store, zarr_format=2)


def _encoding(ds: xr.Dataset, *, is_zarr: bool) -> dict[Any, dict[str, Any]]:
    fields = [name for name, variable in ds.data_vars.items() if variable.ndim >= 3]

    def packing(name: Any) -> dict[str, Any]:
        frame = (*(1 for _ in ds[name].dims[:-2]), *ds[name].shape[-2:])
        return {"chunks": frame} if is_zarr else {"chunksizes": frame, "zlib": True, "complevel": _EFFORT}

    issued = str(ds[_ISSUE_TIME].values.astype("datetime64[s]")).replace("T", " ")
    instant = {"units": f"seconds since {issued}", "calendar": "standard", "dtype": "int64"}
    # CF allows no fill values in coordinates.
    complete = {name: {"_FillValue": None} for name in ds.coords}
    times = [name for name in ("time", BOUNDS, _ISSUE_TIME) if name in ds.variables]
    return {
        **{name: {**packing(name), "_FillValue": np.float32(np.nan)} for name in fields},
        **complete,
        **dict.fromkeys(times, instant),
        "forecast_period": {"units": "seconds", "dtype": "int64"},
    }
