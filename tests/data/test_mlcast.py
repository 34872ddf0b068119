"""The native check of MLCast's requirements: each can be met, and each can fail."""

import numpy as np
import pyproj
import pytest
import xarray as xr
from zarr.codecs import BloscCodec, ZstdCodec

from stormcell.data import mlcast, mlcast_attributes, schema
from stormcell.data.grid import Grid
from stormcell.errors import ArchiveError

SIDE = 260
ZSTD = (ZstdCodec(),)
ATTRIBUTES = {
    "license": "CC-BY-4.0",
    "mlcast_created_on": "2024-01-01T00:00:00+00:00",
    "mlcast_created_by": "A. Person <a.person@example.org>",
    "mlcast_created_with": "https://github.com/mlcast-community/mlcast-dataset-fmi-composite@v1.0.0",
    "mlcast_dataset_version": "1.0.0",
    "mlcast_dataset_validator_version": "0.4.0",
    "mlcast_dataset_identifier": "FI-FMI-rain_rate",
}


def dataset(side=SIDE, km=1.0, days=400):
    """Four frames over more than three years, at a regular step, observed in the middle."""
    rate = np.ones((4, side, side), np.float32)
    rate[:, 0], rate[:3, 100, 100] = np.nan, np.nan
    times = np.datetime64("2020-01-01", "s") + np.arange(4) * np.timedelta64(days, "D")
    x, y = 1000 * km * np.arange(side), 7_000_000 - 1000 * km * np.arange(side)
    grid = Grid.from_centres(pyproj.CRS(3067), x, y)
    ds = schema.build(rate, times, grid, measured={}, attributes=ATTRIBUTES)
    return ds.assign({name: ds[name] for name in ds.variables}).set_coords(["lat", "lon"])


def stored(ds, path, *, chunks=None, compressors=ZSTD):
    """Write a dataset as Zarr and open it as the check does."""
    shape = ds["rainfall_rate"].shape
    encoding = {"rainfall_rate": {"chunks": chunks or (1, *shape[1:]), "compressors": compressors}}
    ds.to_zarr(path, mode="w", encoding=encoding, zarr_format=3, consolidated=True)
    return xr.open_zarr(path, chunks=None, consolidated=True)


# Zarr's consolidated metadata has no specification yet, and zarr-python warns of it.
pytestmark = pytest.mark.filterwarnings("ignore:Consolidated metadata:UserWarning")


def states(ds):
    return {result.requirement: result.state for result in mlcast.check(ds)}


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """The results of a store that meets every requirement."""
    return states(stored(dataset(), tmp_path_factory.mktemp("mlcast") / "a.zarr"))


def test_mlcast_good_store_passes_everything(good):
    assert set(good.values()) == {"pass"}  # EPSG:3067 has an area of use
    assert len(good) == 31


def without(name):
    def spoil(ds):
        return ds.drop_attrs(deep=False).assign_attrs({k: v for k, v in ds.attrs.items() if k != name})

    return spoil


def attribute(variable, name, value):
    def spoil(ds):
        ds = ds.copy()
        ds[variable].attrs = {k: v for k, v in ds[variable].attrs.items() if k != name}
        if value is not None:
            ds[variable].attrs[name] = value
        return ds

    return spoil


def stating(**attributes):
    return lambda ds: ds.assign_attrs(attributes)


def rates(change):
    def spoil(ds):
        ds = ds.copy(deep=True)
        change(ds["rainfall_rate"].values)
        return ds

    return spoil


def hide_all_but_a_part(values):
    values[:, 130] = np.nan


def gap(ds):
    """Leave one frame out, without naming it among the missing times."""
    return (
        ds.isel(time=[0, 1, 3]).drop_vars("missing_times").assign_coords(missing_times=ds["time"].values[:0])
    )


def whole_numbers(ds):
    return ds.assign(rainfall_rate=ds["rainfall_rate"].fillna(0).astype("int32"))


ELSEWHERE = "https://github.com/other/mlcast-dataset-a-b@1"
NAMES = "rainfall_rate: name, standard_name, long_name, units"
SPOILED = [
    (lambda _: dataset(km=1.02), "pixels of 1 km or finer", "fail"),
    (lambda _: dataset(side=250), "256 × 256 pixels", "fail"),
    (lambda _: dataset(days=300), "three years", "fail"),
    (rates(hide_all_but_a_part), "256 × 256 observed pixels", "fail"),
    (gap, "missing_times", "fail"),
    (gap, "consistent_timestep_start", "fail"),
    (lambda ds: gap(ds).assign_attrs(consistent_timestep_start="2020-01-01T00:00"), "missing_times", "fail"),
    (lambda ds: gap(ds).assign_attrs(consistent_timestep_start="x"), "missing_times", "fail"),
    (lambda ds: ds.drop_vars("lat"), "coordinate lat", "fail"),
    (attribute("x", "axis", None), "coordinate x", "fail"),
    (attribute("y", "units", "degrees"), "coordinate y", "fail"),
    (attribute("lon", "standard_name", "projection_x_coordinate"), "coordinate lon", "fail"),
    (attribute("rainfall_rate", "long_name", None), NAMES, "fail"),
    (attribute("rainfall_rate", "standard_name", "rain"), NAMES, "fail"),
    (attribute("rainfall_rate", "units", "dBZ"), NAMES, "fail"),
    (attribute("rainfall_rate", "units", "mm h-1"), NAMES, "warning"),
    (attribute("rainfall_rate", "grid_mapping", "nothing"), "grid mapping", "fail"),
    (attribute("crs", "spatial_ref", None), "grid mapping", "fail"),
    (attribute("crs", "grid_mapping_name", None), "positions by CF attributes", "fail"),
    (attribute("crs", "longitude_of_central_meridian", 27.001), "positions by CF attributes", "fail"),
    (attribute("crs", "crs_wkt", pyproj.CRS(32636).to_wkt()), "positions by crs_wkt", "fail"),
    (attribute("crs", "crs_wkt", "nonsense"), "GeoTIFF by GDAL", "fail"),
    (attribute("crs", "crs_wkt", "nonsense"), "plate carrée", "fail"),
    (whole_numbers, "rainfall_rate: floating point", "fail"),
    (without("license"), "license", "fail"),
    (stating(license="free for all"), "license", "fail"),
    (stating(license="CC-BY-NC-4.0"), "license", "warning"),
    (stating(license="MIT"), "license", "warning"),
    (without("mlcast_created_on"), "mlcast_created_on", "fail"),
    (stating(mlcast_created_on="yesterday"), "mlcast_created_on", "fail"),
    (without("mlcast_created_by"), "mlcast_created_by", "fail"),
    (stating(mlcast_created_by="A. Person"), "mlcast_created_by", "fail"),
    (stating(mlcast_created_with="stormcell 0.1.0"), "mlcast_created_with", "cannot"),
    (stating(mlcast_created_with=ELSEWHERE), "mlcast_created_with", "cannot"),
    (without("mlcast_dataset_version"), "mlcast_dataset_version", "fail"),
    (stating(mlcast_dataset_version="first"), "mlcast_dataset_version", "fail"),
    (without("mlcast_dataset_validator_version"), "mlcast_dataset_validator_version", "fail"),
    (stating(mlcast_dataset_validator_version="0.2.0"), "mlcast_dataset_validator_version", "warning"),
    (stating(mlcast_dataset_identifier="fi-FMI-rain"), "mlcast_dataset_identifier", "fail"),
    (stating(mlcast_dataset_identifier="FI-FMI-_rain"), "mlcast_dataset_identifier", "fail"),
    (stating(mlcast_dataset_identifier_format="{entity}"), "mlcast_dataset_identifier", "fail"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("spoil", "requirement", "state"),
    SPOILED,
    ids=[f"{number}-{case[1]}" for number, case in enumerate(SPOILED)],
)
def test_mlcast_spoiled_store_has_the_state(good, spoil, requirement, state, tmp_path):
    assert good.get(requirement, "pass") == "pass"
    assert states(stored(spoil(dataset()), tmp_path / "b.zarr"))[requirement] == state


def test_mlcast_chunks_and_compressors_are_those_of_the_store(tmp_path):
    found = states(stored(dataset(), tmp_path / "a.zarr", chunks=(1, SIDE // 2, SIDE)))
    assert found["rainfall_rate: one chunk per frame"] == "fail"
    found = states(stored(dataset(), tmp_path / "b.zarr", chunks=(2, SIDE, SIDE)))
    assert found["rainfall_rate: one chunk per frame"] == "fail"
    found = states(stored(dataset(), tmp_path / "c.zarr", compressors=None))
    assert found["rainfall_rate: compressed"] == "fail"
    found = states(stored(dataset(), tmp_path / "d.zarr", compressors=(BloscCodec(cname="zstd"),)))
    assert found["rainfall_rate: compressed"] == "warning"


def test_mlcast_other_data_variables_are_checked_too(tmp_path):
    ds = dataset().assign(index=("time", np.arange(4)))
    found = states(stored(ds, tmp_path / "a.zarr"))
    assert found["index: (time, y, x)"] == "fail"
    # As a coordinate it is not among the data variables.
    found = states(stored(ds.set_coords("index"), tmp_path / "b.zarr"))
    assert "index: (time, y, x)" not in found


def test_mlcast_gap_that_is_listed_passes(tmp_path):
    ds = gap(dataset()).drop_vars("missing_times").assign_coords(missing_times=dataset()["time"].values[2:3])
    assert states(stored(ds, tmp_path / "a.zarr"))["missing_times"] == "pass"


def test_mlcast_store_without_frames_raises():
    with pytest.raises(ArchiveError, match=r"expected a data variable \(time, y, x\)"):
        mlcast.check(xr.Dataset({"a": ("x", [1.0])}))


@pytest.mark.parametrize(
    ("identifier", "state"),
    [("NL-KNMI-rain_rate-PT5M-composite", "pass"), ("NL-KNMI-rain_rate-5M-composite", "fail")],
)
def test_mlcast_identifier_in_a_format_with_further_parts(identifier, state):
    attributes = ATTRIBUTES | {
        "mlcast_dataset_identifier": identifier,
        "mlcast_dataset_identifier_format": mlcast_attributes.FORMAT + "-{time_resolution}-{common_name}",
    }
    results = {r.requirement: r.state for r in mlcast_attributes.check(attributes, variable_step=False)}
    assert results["mlcast_dataset_identifier"] == state
