from datetime import UTC, datetime

import pytest

from stormcell.errors import ArgumentError
from stormcell.serve import edr_query
from stormcell.serve.edr_query import Period

AT = datetime(2026, 11, 28, 3, 25, tzinfo=UTC)
LATER = datetime(2026, 11, 28, 4, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "period"),
    [
        (None, Period(None, None)),
        ("2026-11-28T03:25:00Z", Period(AT, AT)),
        ("2026-11-28T03:25", Period(AT, AT)),
        ("2026-11-28T05:25+02:00", Period(AT, AT)),
        ("2026-11-28T03:25Z/2026-11-28T04:00Z", Period(AT, LATER)),
        ("2026-11-28T03:25Z/..", Period(AT, None)),
        ("../2026-11-28T03:25Z", Period(None, AT)),
    ],
)
def test_period_forms_are_read(text, period):
    assert Period.parse(text) == period


@pytest.mark.parametrize(
    "text", ["now", "2026-11-28T04:00Z/2026-11-28T03:25Z", "2026-13-01", "a/b", "2026-11-28T03:25Z/x/y", ""]
)
def test_period_something_else_is_refused(text):
    with pytest.raises(ArgumentError, match="datetime: expected"):
        Period.parse(text)


@pytest.mark.parametrize("text", ["POINT(24.9 60.1)", " point ( 24.9  60.1 ) ", "POINT(2.49e1 6.01E+1)"])
def test_point_is_read(text):
    assert edr_query.point(text) == (24.9, 60.1)


@pytest.mark.parametrize("text", ["POINT(60)", "POINT(24 91)", "POINT(999 60)", "24,60", "POINT(a b)", ""])
def test_point_something_else_is_refused(text):
    with pytest.raises(ArgumentError, match="coords: expected a place"):
        edr_query.point(text)


def test_polygon_with_a_hole_is_read():
    text = "POLYGON((0 0, 4 0, 4 4, 0 0),(1 1,2 1,2 2,1 1))"
    found = edr_query.polygon(text)
    assert found["type"] == "Polygon"
    assert [len(ring) for ring in found["coordinates"]] == [4, 4]


def test_polygons_together_are_read():
    found = edr_query.polygon("MULTIPOLYGON(((0 0,1 0,1 1,0 0)),((5 5,6 5,6 6,5 5)))")
    assert found["type"] == "MultiPolygon"
    assert found["coordinates"][1][0][0] == [5.0, 5.0]


@pytest.mark.parametrize("text", ["", "POLYGON", "POINT(1 1)", "POLYGON((" + "1 1," * 100_000 + "1 1))"])
def test_polygon_something_else_is_refused(text):
    with pytest.raises(ArgumentError, match="coords: expected a polygon"):
        edr_query.polygon(text)


@pytest.mark.parametrize("text", ["24,60,25,61", "24,60,0,25,61,100"])
def test_box_is_read_without_heights(text):
    assert edr_query.box(text) == (24, 60, 25, 61)


@pytest.mark.parametrize("text", ["24,60,25", "25,60,24,61", "a,b,c,d", "24,60,25,nan", ""])
def test_box_something_else_is_refused(text):
    with pytest.raises(ArgumentError, match="bbox: expected"):
        edr_query.box(text)


def test_parameters_have_the_order_in_which_they_are_offered():
    assert edr_query.parameters("p90, rate", ["rate", "p10", "p90"]) == ["rate", "p90"]
    assert edr_query.parameters(None, ["rate", "p10"]) == ["rate", "p10"]
    with pytest.raises(ArgumentError, match='expected rate, found "snow"'):
        edr_query.parameters("snow", ["rate"])


def test_crs_other_than_degrees_is_refused():
    edr_query.expect_crs("CRS84")
    with pytest.raises(ArgumentError, match="crs: expected CRS84"):
        edr_query.expect_crs("EPSG:3067")
