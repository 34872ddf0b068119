import pytest

from stormcell.cli.data_options import unit_overrides
from stormcell.data.quantity import UnitOverrides
from stormcell.errors import ArgumentError


def test_unit_overrides_options_are_combined():
    assert unit_overrides("dbz", "dBZ", "200,1.6") == UnitOverrides(
        quantity="dbz", units="dBZ", zr=(200.0, 1.6)
    )
    assert unit_overrides(None, None, None) == UnitOverrides()


@pytest.mark.parametrize("zr", ["200", "200;1.6", "a,b", "0,1.6", "200,-1", "200,nan", "1,2,3"])
def test_unit_overrides_malformed_constants_raise(zr):
    with pytest.raises(ArgumentError, match=r"zr: expected two (positive )?numbers"):
        unit_overrides(None, None, zr)


def test_unit_overrides_unknown_quantity_raises():
    with pytest.raises(ArgumentError, match="quantity: expected one of rate, dbz, amount, found 'snow'"):
        unit_overrides("snow", None, None)
