"""Small radar files of each format, written byte by byte."""

import gzip
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import numpy as np
import pyproj
import pytest
import xarray as xr

ROWS, COLUMNS = 6, 5
STEREO = "+proj=stere +lat_0=90 +lon_0=25 +lat_ts=60 +R=6371288 +units=m +no_defs"


@pytest.fixture
def write_pgm(tmp_path: Path) -> Callable[..., Path]:
    """Write an FMI PGM, ``time`` as YYYYmmddHHMM, and return its path."""

    def write(
        time: str = "201609281445",
        values: np.ndarray | None = None,
        *,
        rows: int = ROWS,
        columns: int = COLUMNS,
        name: str | None = None,
        edit: Callable[[bytes], bytes] = lambda content: content,
    ) -> Path:
        if values is None:
            # Up to 68 dBZ, and 255 for no data: rates that are possible.
            values = np.random.default_rng(int(time)).integers(0, 256, (rows, columns))
            values[(values > 200) & (values < 240)] //= 2
            values[values >= 240] = 255
        inverse = pyproj.Proj(STEREO)
        left, bottom = -300_000.0, -3_300_000.0
        corners = [
            inverse(x, y, inverse=True)
            for x, y in ((left, bottom), (left + 50_000 * columns, bottom + 50_000 * rows))
        ]
        comments = [
            f"obstime {time}",
            "param CorrectedReflectivity",
            "metersperpixel_x 50000",
            "metersperpixel_y 50000",
            "projection radar {",
            "type stereographic",
            "centrallongitude 25",
            "centrallatitude 90",
            "truelatitude 60",
            "bottomleft {:.6f} {:.6f}".format(*corners[0]),
            "topright {:.6f} {:.6f}".format(*corners[1]),
            "}",
        ]
        header = "P5\n" + "".join(f"# {line}\n" for line in comments) + f"{columns} {rows}\n255\n"
        content = edit(header.encode() + values.astype(np.uint8).tobytes())
        path = tmp_path / (name or f"{time}.pgm.gz")
        path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
        return path

    return write


@pytest.fixture
def write_knmi(tmp_path: Path) -> Callable[..., Path]:
    """Write a KNMI HDF5 of a five-minute accumulation ending at ``end``, and return its path."""

    def write(
        values: np.ndarray,
        end: str = "26-AUG-2010;00:05:00.000",
        start: str = "26-AUG-2010;00:00:00.000",
        *,
        name: str = "knmi.h5",
        formula: str = "GEO=0.01*PV+0.0",
        parameter: str = "ACCUMULATED_PRECIPITATION_[MM]",
        proj: str = "+proj=stere +lat_0=90 +lon_0=0.0 +lat_ts=60.0 +a=6378.137 +b=6356.752 +x_0=0 +y_0=0",
    ) -> Path:
        path = tmp_path / name
        with h5py.File(path, "w") as file:
            overview = file.create_group("overview").attrs
            overview["product_datetime_start"] = np.bytes_(start)
            overview["product_datetime_end"] = np.bytes_(end)
            overview["product_group_name"] = np.bytes_("TEST")
            geographic = file.create_group("geographic")
            for key, value in {
                "column_offset": 0.0,
                "row_offset": 3650.0,
                "pixel_size_x": 1.0,
                "pixel_size_y": -1.0,
            }.items():
                geographic.attrs[f"geo_{key}"] = np.array([value], np.float32)
            geographic.attrs["geo_number_rows"] = np.array([values.shape[0]])
            geographic.attrs["geo_number_columns"] = np.array([values.shape[1]])
            geographic.attrs["geo_dim_pixel"] = np.bytes_("KM,KM")
            geographic.create_group("map_projection").attrs["projection_proj4_params"] = np.bytes_(proj)
            image = file.create_group("image1")
            image.attrs["image_geo_parameter"] = np.bytes_(parameter)
            image.create_dataset("image_data", data=values)
            calibration = image.create_group("calibration").attrs
            calibration["calibration_formulas"] = np.bytes_(formula)
            calibration["calibration_missing_data"] = np.array([65535])
            calibration["calibration_out_of_image"] = np.array([65535])
        return path

    return write


@pytest.fixture
def cf() -> Callable[..., xr.Dataset]:
    """Make a CF dataset of ``rain`` (time, y, x), projected, which the test changes and writes."""

    def make(
        values: np.ndarray, start: str = "2020-05-01T12:00", minutes: int = 5, **attributes: object
    ) -> xr.Dataset:
        times = np.datetime64(start, "ns") + np.arange(len(values)) * np.timedelta64(minutes, "m")
        _, rows, columns = values.shape
        return xr.Dataset(
            {
                "rain": (("time", "y", "x"), values, {"grid_mapping": "projection", **attributes}),
                "projection": ((), np.int32(0), pyproj.CRS(3067).to_cf()),
            },
            coords={
                "time": times,
                "y": ("y", 7_000_000.0 - 1000 * np.arange(rows), {"units": "m"}),
                "x": ("x", 300_000.0 + 1000 * np.arange(columns), {"units": "m"}),
            },
        )

    return make


@pytest.fixture(scope="session")
def s3_address() -> Iterator[str]:
    """The address of a server that speaks S3: moto's, in a thread of this process."""
    server = pytest.importorskip("moto.server").ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    try:
        yield "http://{}:{}".format(*server.get_host_and_port())
    finally:
        server.stop()


@pytest.fixture
def bucket(s3_address: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The address of an empty bucket, whose server and credentials are in the environment."""
    for name, value in {
        "AWS_ENDPOINT_URL": s3_address,
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    urllib.request.urlopen(urllib.request.Request(f"{s3_address}/moto-api/reset", method="POST")).close()
    urllib.request.urlopen(urllib.request.Request(f"{s3_address}/radar", method="PUT")).close()
    return "s3://radar"
