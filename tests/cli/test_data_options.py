import pytest

from stormcell.cli.data_options import told
from stormcell.data.quantity import Told
from stormcell.errors import ArgumentError


def test_what_is_said_is_passed_on():
    assert told("dbz", "dBZ", "200,1.6") == Told(quantity="dbz", units="dBZ", zr=(200.0, 1.6))
    assert told(None, None, None) == Told()


@pytest.mark.parametrize("zr", ["200", "200;1.6", "a,b", "0,1.6", "200,-1", "200,nan", "1,2,3"])
def test_constants_that_are_none(zr):
    with pytest.raises(ArgumentError, match=r"zr: expected two (positive )?numbers"):
        told(None, None, zr)


def test_a_quantity_that_is_none():
    with pytest.raises(ArgumentError, match="quantity: expected one of rate, dbz, amount, found 'snow'"):
        told("snow", None, None)
