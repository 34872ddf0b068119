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
