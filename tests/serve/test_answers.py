"""The headers of all answers that are made from a publication."""

import pytest
from tests.serve.publications import NAME, RUN, WET, place, publish_issue, square

from stormcell.published.manifest import Degraded

THERE = place(*WET)
CURRENT = [
    "/latest.json",
    "/collections/forecast",
    f"/point?lat={THERE['lat']}&lon={THERE['lon']}",
    "/tilejson/latest/rate.json",
    "/public/weather-maps.json",
    "/v2/coverage/0/256/7/72/36.png",
]
IMMUTABLE = [
    f"/{NAME}/manifest.json",
    f"/frames/{NAME[:14]}/{RUN}/rate/20261128T0330Z.png",
    f"/files/{NAME[:14]}/{RUN}/coverage.npy",
    f"/tiles/{NAME[:14]}/{RUN}/rate/20261128T0330Z/7/72/36.png",
    f"/v2/radar/{NAME}/rate/20261128T0330Z/256/7/72/36/1/0_0.png",
    f"/tilejson/{NAME[:14]}/{RUN}/rate/20261128T0330Z.json",
    f"/collections/forecast/instances/{NAME}",
    f"/collections/forecast/instances/{NAME}/position?coords=POINT({THERE['lon']} {THERE['lat']})",
]


@pytest.fixture(scope="module")
def degraded_once(tmp_path_factory):
    """A published folder with a degraded forecast, which no test changes."""
    folder = tmp_path_factory.mktemp("degraded")
    reason = 'The file "örebro.pt" is damaged: \\x00\nexpected 3 €. ' + "No. " * 100
    publish_issue(folder, degraded=Degraded(used="persistence", instead_of="nowcaster-1", reason=reason))
    return folder


@pytest.mark.parametrize("address", CURRENT + IMMUTABLE)
def test_answer_of_a_degraded_publication_says_why_in_its_headers(serve, degraded_once, address):
    client = serve(degraded_once)
    answer = client.get(address)
    assert answer.status_code == 200
    assert ("immutable" in answer.headers["cache-control"]) is (address in IMMUTABLE)
    for found in (answer, client.get(address, headers={"If-None-Match": answer.headers["etag"]})):
        assert found.headers["stormcell-issue"] == NAME
        degraded = found.headers["stormcell-degraded"]
        assert degraded.startswith(
            'persistence; instead-of="nowcaster-1"; '
            r'reason="The file \"\\xf6rebro.pt\" is damaged: \\\\x00\\nexpected 3 \\u20ac. No. No. '
        )
        assert degraded.endswith('"')
        assert len(degraded) < 300  # a long reason is cut


def test_answer_to_a_posted_area_says_that_it_is_degraded(serve, degraded_once):
    headers = serve(degraded_once).post("/area", json=square(*WET)).headers
    assert headers["stormcell-degraded"].startswith("persistence; ")


@pytest.mark.parametrize("address", CURRENT + IMMUTABLE)
def test_answer_of_the_wanted_forecast_is_not_degraded(client, address):
    headers = client.get(address).headers
    assert headers["stormcell-issue"] == NAME
    assert "stormcell-degraded" not in headers
