import pytest

from stormcell.cli.data_options import read_options
from stormcell.data.read_options import ReadOptions
from stormcell.errors import ArgumentError


def test_read_options_options_are_combined():
    assert read_options("dbz", "dBZ", "200,1.6") == ReadOptions(quantity="dbz", units="dBZ", zr=(200.0, 1.6))
    assert read_options(None, None, None) == ReadOptions()


@pytest.mark.parametrize("zr", ["200", "200;1.6", "a,b", "0,1.6", "200,-1", "200,nan", "1,2,3"])
def test_read_options_malformed_constants_raise(zr):
    with pytest.raises(ArgumentError, match=r"zr: expected two (positive )?numbers"):
        read_options(None, None, zr)


def test_read_options_unknown_quantity_raises():
    with pytest.raises(ArgumentError, match="quantity: expected one of rate, dbz, amount, found 'snow'"):
        read_options("snow", None, None)
