import numpy as np
import pytest

from stormcell.data.readers.packing import Packing
from stormcell.errors import InputError


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32, np.float32, np.float64])
def test_packing_numbers_become_rates_in_every_type(dtype):
    numbers = np.array([[0, 1, 110], [64, 255, 120]], dtype)
    packing = Packing("dBZ", zr=(223.0, 1.53), scale=0.5, offset=-32, nodata=(255,), undetect=(0,))
    rates, measured = packing.rates(numbers)
    # By hand: 110 is 23 dBZ, (10^2.3 / 223)^(1 / 1.53); 1 is −31.5 dBZ, which no radar detects.
    expected = [[0, 0, 0.92988], [0.029185, np.nan, 1.97345]]
    np.testing.assert_allclose(rates, expected, rtol=1e-5)
    assert measured == {"source_quantity": "dbz", "zr_a": 223.0, "zr_b": 1.53, "cell_methods": "time: point"}


def test_packing_amount_is_divided_by_its_period():
    rates, measured = Packing("mm", hours=5 / 60, scale=0.01).rates(np.array([[0, 254]], np.int16))
    np.testing.assert_allclose(rates, [[0, 30.48]], rtol=1e-6)
    assert measured["accumulation_minutes"] == pytest.approx(5)


def test_packing_code_of_float32_is_found():
    rates, _ = Packing("mm/h", nodata=(-3.4e38,)).rates(np.array([[-3.4e38, 1]], np.float32))
    np.testing.assert_array_equal(rates, [[np.nan, 1]])


def test_packing_blocks_join_without_a_seam(monkeypatch):
    monkeypatch.setattr("stormcell.data.readers.packing._BLOCK", 7)
    values = np.random.default_rng(0).gamma(1, 2, (3, 4, 5)).astype(np.float32)
    np.testing.assert_array_equal(Packing("mm/h").rates(values)[0], values)


def test_packing_negative_rate_raises():
    with pytest.raises(InputError, match=r"rain: expected 0 or more, found -9999 mm/h; is it a code"):
        Packing("mm/h").rates(np.array([[-9999, 1]], np.float32))


def test_packing_rate_that_resampling_made_slightly_negative_is_dry():
    numbers = np.array([[-1e-6, -4e-4, 1, np.nan]], np.float32)
    np.testing.assert_array_equal(Packing("mm/h").rates(numbers)[0], [[0, 0, 1, np.nan]])
    with pytest.raises(InputError, match="rain: expected 0 or more"):
        Packing("mm/h").rates(np.array([[-1e-3, 1]], np.float32))
