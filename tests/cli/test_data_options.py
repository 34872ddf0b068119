import pytest

from stormcell.cli.data_options import read_options
from stormcell.data.read_options import ReadOptions
from stormcell.errors import ArgumentError, InputError


def test_read_options_options_are_combined():
    assert read_options("dbz", "dBZ", "200,1.6") == ReadOptions(quantity="dbz", units="dBZ", zr=(200.0, 1.6))
    assert read_options(None, None, None) == ReadOptions()
    rest = {"variable": "rr", "min_quality": 0.5, "start": "2020-05-01T12:00", "step": "5min"}
    more = {"crs": "EPSG:3067", "format": "geotiff"}
    found = read_options(None, None, None, **rest, **more, bounds="-1,-2,3e3,4")
    assert found == ReadOptions(**rest, **more, bounds=(-1.0, -2.0, 3000.0, 4.0))


@pytest.mark.parametrize("zr", ["200", "200;1.6", "a,b", "0,1.6", "200,-1", "200,nan", "1,2,3"])
def test_read_options_malformed_constants_raise(zr):
    with pytest.raises(ArgumentError, match=r"zr: expected two (positive )?numbers"):
        read_options(None, None, zr)


def test_read_options_unknown_quantity_raises():
    with pytest.raises(ArgumentError, match="quantity: expected one of rate, dbz, amount, found 'snow'"):
        read_options("snow", None, None)


@pytest.mark.parametrize("bounds", ["1,2,3", "1,2,3,4,5", "a,b,c,d", "", "1 2 3 4"])
def test_read_options_malformed_bounds_raise(bounds):
    with pytest.raises(ArgumentError, match="--bounds: expected four numbers WEST,SOUTH,EAST,NORTH"):
        read_options(None, None, None, bounds=bounds)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"bounds": "3,0,1,1"}, "bounds: expected west < east and south < north, found 3, 0, 1, 1"),
        ({"bounds": "0,0,nan,1"}, "bounds: expected west < east"),
        ({"start": "noon"}, "time: expected one such as 2016-09-28T14:45, found 'noon'"),
        ({"step": "5"}, "step: expected one such as 5min or 1h"),
        ({"crs": "here"}, "projection: expected"),
        ({"min_quality": float("nan")}, "min_quality: expected a finite number"),
    ],
)
def test_read_options_impossible_value_raises(given, reason):
    with pytest.raises(ArgumentError, match=reason):
        read_options(None, None, None, **given)


def test_read_options_name_a_format_that_does_not_exist_before_any_file_is_read():
    assert read_options(format="knmi hdf5").format == "knmi hdf5"
    with pytest.raises(InputError, match=r"format: expected FMI PGM, .* found 'knmii'"):
        read_options(format="knmii")
