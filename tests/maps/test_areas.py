import json

import numpy as np
import pyproj
import pytest

from stormcell.data.grid import Grid
from stormcell.errors import ArgumentError, InputError, OutsideGridError, TooLargeError
from stormcell.maps.areas import areas_of, covered, read_areas

# A degree is ten cells.
DEGREES = Grid.from_centres(pyproj.CRS(4326), 20.05 + 0.1 * np.arange(20), 59.95 - 0.1 * np.arange(10))
METRES = Grid.from_centres(
    pyproj.CRS(3067), 300_500 + 1000.0 * np.arange(40), 6_700_500 - 1000.0 * np.arange(30)
)


def polygon(*rings):
    return json.dumps({"type": "Polygon", "coordinates": [list(map(list, ring)) for ring in rings]})


def box(west, south, east, north):
    return [(west, south), (east, south), (east, north), (west, north), (west, south)]


def in_degrees(ring):
    """Return a ring on the projected grid in degrees."""
    transformer = pyproj.Transformer.from_crs(3067, 4326, always_xy=True)
    return [transformer.transform(x, y) for x, y in ring]


def weights(grid, geometry):
    found = covered(grid, geometry)
    field = np.zeros((grid.rows, grid.columns))
    field[found.rows, found.columns] = found.weights
    return field


def test_covered_cells_in_part_count_with_their_part():
    found = weights(METRES, polygon(in_degrees(box(302_000, 6_697_250, 304_500, 6_699_000))))
    expected = np.zeros_like(found)
    expected[2, 2:4], expected[2, 4] = 1, 0.5
    expected[3, 2:4], expected[3, 4] = 0.75, 0.375
    # The corners are exact; a side between them bends by less than a metre of a kilometre.
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_covered_hole_does_not_count():
    outer, inner = box(302_000, 6_690_000, 306_000, 6_694_000), box(303_000, 6_691_000, 304_000, 6_692_000)
    assert weights(METRES, polygon(in_degrees(outer), in_degrees(inner))).sum() == pytest.approx(15, abs=0.01)


def test_covered_cells_in_degrees_are_smaller_in_the_north():
    found = covered(DEGREES, polygon(box(20.1, 59.1, 20.2, 59.9)))
    assert found.weights == pytest.approx(np.cos(np.deg2rad(DEGREES.y[1:9])), rel=1e-6)


@pytest.mark.parametrize("turn", [-360, 0, 360])
def test_covered_longitudes_may_be_a_turn_away(turn):
    found = covered(DEGREES, polygon(box(20.1 + turn, 59.1, 20.2 + turn, 59.9)))
    assert set(found.columns) == {1}


def test_covered_share_of_the_polygon_in_the_grid_is_known():
    found = covered(METRES, polygon(in_degrees(box(299_000, 6_690_000, 303_000, 6_691_000))))
    assert found.grid_share == pytest.approx(0.75, abs=1e-3)


def test_covered_open_ring_is_closed():
    ring = in_degrees(box(302_000, 6_690_000, 306_000, 6_694_000))
    assert covered(METRES, polygon(ring[:-1])).weights.sum() == pytest.approx(16, abs=0.01)


def test_covered_polygon_far_away_is_outside():
    with pytest.raises(OutsideGridError, match="inside of the radar's grid"):
        covered(METRES, polygon(box(0, 0, 1, 1)))


def test_covered_polygon_beside_a_turned_grid_is_outside():
    # Within the grid's bounds in degrees, but beyond its corner.
    corner = in_degrees(box(299_000, 6_700_600, 299_900, 6_701_000))
    with pytest.raises(OutsideGridError):
        covered(METRES, polygon(corner))


def test_covered_polygon_around_half_of_the_world_is_refused():
    with pytest.raises(ArgumentError, match="vertices within 10°"):
        covered(METRES, polygon([(-60, 10), (90, 10), (24, 80), (-60, 10)]))


def test_covered_too_many_cells_are_refused():
    fine = Grid.from_centres(
        pyproj.CRS(3067), 300_000 + 10.0 * np.arange(900), 6_700_000 - 10.0 * np.arange(900)
    )
    whole = in_degrees(box(300_000, 6_691_000, 309_000, 6_700_000))
    with pytest.raises(TooLargeError, match="at most 200000 cells"):
        covered(fine, polygon(whole))


def test_areas_of_features_have_names():
    square = json.loads(polygon(box(20, 59, 21, 60)))
    features = [
        {"id": 7, "geometry": square},
        {"properties": {"name": "Vantaa"}, "geometry": square},
        {"properties": None, "geometry": square},
    ]
    assert [area.name for area in areas_of({"type": "FeatureCollection", "features": features})] == [
        "7",
        "Vantaa",
        "3",
    ]


def test_read_areas_names_must_differ(tmp_path):
    file = tmp_path / "areas.json"
    feature = {"id": "a", "type": "Feature", "geometry": json.loads(polygon(box(20, 59, 21, 60)))}
    file.write_text(json.dumps({"type": "FeatureCollection", "features": [feature, feature]}))
    with pytest.raises(InputError, match="same name twice"):
        read_areas(file)
    file.write_text(json.dumps(feature))
    assert list(read_areas(file)) == ["a"]
    file.write_text("{")
    with pytest.raises(InputError, match="expected a GeoJSON file"):
        read_areas(file)
