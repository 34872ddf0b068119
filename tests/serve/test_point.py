import pytest
from tests.serve.conftest import place


def test_point_observed_rain_has_the_shape_of_met_norway(client):
    answer = client.get("/point", params=place(5, 5))
    assert answer.status_code == 200
    feature = answer.json()
    assert feature["type"] == "Feature"
    properties = feature["properties"]
    assert properties["meta"]["radar_coverage"] == "ok"
    assert properties["meta"]["units"]["precipitation_rate"] == "mm/h"
    assert properties["observed"]["rate"] == pytest.approx(12, rel=0.02)
    assert properties["raining_now"] is True
    assert len(properties["timeseries"]) == 7
