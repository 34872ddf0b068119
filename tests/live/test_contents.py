import numpy as np
import pytest
import xarray as xr
from tests.live.conftest import Rig

from stormcell.live import contents
from stormcell.live.making import Wanted
from stormcell.motion import optical_flow


def test_contents_probabilities_have_two_decimals_quantiles_three_and_rates_all(monkeypatch):
    def third(first):
        return xr.DataArray(np.full((2, 1, 1, 1), 1 / 3, np.float32), dims=(first, "time", "y", "x"))

    products = [third("realization"), third("threshold"), third("quantile")]
    monkeypatch.setattr(contents, "make_products", lambda *_, **__: products)
    monkeypatch.setattr(contents, "ProductForecaster", object)
    made = contents._made(object(), None, 1, Wanted())
    assert [float(array.values.flat[0]) for array in made] == pytest.approx([1 / 3, 0.33, 0.333], rel=1e-6)


def test_contents_preliminary_forecast_and_the_next_share_their_motion(tmp_path, monkeypatch):
    estimate, calls = optical_flow.estimate, []

    def counted(frames, **options):
        calls.append(frames)
        return estimate(frames, **options)

    monkeypatch.setattr(optical_flow, "estimate", counted)
    rig = Rig(tmp_path, model="sprog")
    rig.arrive(0, 1, 2)
    assert len(rig.folders) == 2
    assert len(calls) == 1
    rig.arrive(3)
    assert len(calls) == 2
    assert not np.array_equal(calls[0], calls[1], equal_nan=True)
    assert contents._kept == {}


def test_contents_are_written_in_further_layouts_that_the_manifest_names(tmp_path):
    rig = Rig(tmp_path, model="nowcaster-1", wanted=Wanted(steps=2, members=2, layouts=("fews", "pysteps")))
    rig.arrive(0, 1, 2)
    files = sorted(name for name in rig.newest.files if name.startswith("forecast"))
    assert files == ["forecast-fews.nc", "forecast-pysteps.nc", "forecast.nc", "forecast.tif"]
    folder = rig.out / rig.newest.folder
    with (
        xr.open_dataset(folder / "forecast.nc", engine="h5netcdf") as cf,
        xr.open_dataset(folder / "forecast-fews.nc", engine="h5netcdf") as fews,
        xr.open_dataset(folder / "forecast-pysteps.nc", engine="h5netcdf") as pysteps,
    ):
        assert cf.rainfall_rate.dims == ("realization", "time", "y", "x")
        member = cf.rainfall_rate.values[1]
        # Five minutes are a twelfth of an hour.
        np.testing.assert_allclose(fews.rainfall_amount_member_2.values, member / 12, rtol=1e-6)
        assert {array.ndim for array in fews.data_vars.values()} <= {0, 2, 3}
        assert "rainfall_rate_probability_above_0_5" in fews
        np.testing.assert_array_equal(pysteps.precip_intensity.values[1], member)


def test_contents_of_an_archive_that_changed_its_step_have_the_step_of_the_last_hour(tmp_path):
    rig = Rig(tmp_path)
    for k in [*range(0, 24, 2), *range(24, 31)]:  # every ten minutes, then every five
        rig.put(k)
    rig.arrive(31)
    assert rig.newest.degraded is None
    assert rig.newest.step_seconds == 300
