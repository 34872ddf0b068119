import gzip
import hashlib
import json
import shutil
from datetime import timedelta

import pytest
from tests.serve.publications import ISSUE, NAME, RUN, STEP, publish_issue

from stormcell.maps import palettes, pictures

FRAME = f"/frames/20261128T0325Z/{RUN}/rate/20261128T0330Z.png"


def test_frame_is_the_file_for_ever(client, published_once):
    answer = client.get(FRAME)
    content = (published_once / NAME / "frames" / "rate" / "20261128T0330Z.png").read_bytes()
    assert answer.content == content
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert answer.headers["etag"] == f'"{hashlib.sha256(content).hexdigest()}"'
    assert "content-encoding" not in answer.headers


@pytest.mark.parametrize("known", ["{}", "W/{}", '"other", {}', "*"])
def test_frame_that_the_client_has_is_304(client, known):
    etag = client.get(FRAME).headers["etag"]
    answer = client.get(FRAME, headers={"If-None-Match": known.format(etag)})
    assert (answer.status_code, answer.content) == (304, b"")
    assert answer.headers["etag"] == etag


def test_frame_in_other_colours_has_the_same_levels(client):
    plain, dark = client.get(FRAME), client.get(FRAME, params={"palette": "dark"})
    assert dark.content == pictures.recolour(plain.content, palettes.palette("dark"))
    assert dark.headers["etag"] != plain.headers["etag"]


@pytest.mark.parametrize(
    ("address", "status", "words"),
    [
        (FRAME + "?palette=pink", 400, "palette: expected rain, dark, vivid"),
        (FRAME.replace("/rate/", "/snow/"), 404, "expected a product of observed, rate"),
        (FRAME.replace("0330Z", "0332Z"), 404, "expected a time of rate from 20261128T0330Z"),
        (FRAME.replace("0330Z", "0330Z-4"), 404, "expected an overview of 1"),
        (FRAME.replace("0330Z", "now"), 404, "time: expected one such as"),
        (FRAME.replace(RUN, "ffffffff"), 404, "expected a publication"),
        (FRAME.replace(RUN, "..%2f.."), 404, "expected"),
        ("/frames/20201128T0325Z/0a1b2c3d/rate/20201128T0330Z.png", 410, "no longer kept"),
    ],
)
def test_frame_that_is_not_there_says_why(client, address, status, words):
    answer = client.get(address)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert words in answer.json()["detail"]


def test_frame_that_was_pruned_is_410(serve, published):
    publish_issue(published)
    client = serve(published)
    shutil.rmtree(published / NAME / "frames")
    assert client.get(FRAME).status_code == 410


@pytest.mark.parametrize(("product", "valid"), [("observed", "0325"), ("rate", "0330")])
def test_latest_frame_leads_to_the_newest_and_is_not_kept(client, product, valid):
    answer = client.get(f"/frames/latest/{product}.png")
    assert (answer.status_code, answer.headers["cache-control"]) == (302, "no-store")
    assert client.get(answer.next_request.url).status_code == 200
    assert str(answer.next_request.url).endswith(f"{RUN}/{product}/20261128T{valid}Z.png")


def test_latest_may_be_kept_until_the_next_issue(client, serve, published_once):
    answer = client.get("/latest.json")
    assert answer.json()["run"] == RUN
    assert answer.headers["cache-control"] == "public, max-age=30, stale-if-error=300"
    assert answer.headers["last-modified"] == "Sat, 28 Nov 2026 03:26:00 GMT"
    assert answer.headers["stormcell-issue"] == NAME
    same = client.get("/latest.json", headers={"If-None-Match": answer.headers["etag"]})
    assert same.status_code == 304
    due = serve(published_once, ISSUE + timedelta(minutes=6)).get("/latest.json")
    assert due.headers["cache-control"].startswith("public, max-age=2,")


def test_manifest_is_the_file(client, published_once):
    answer = client.get(f"/{NAME}/manifest.json")
    assert answer.json() == json.loads((published_once / NAME / "manifest.json").read_text())
    assert "immutable" in answer.headers["cache-control"]


def test_json_is_packed_and_pictures_are_not(client):
    packed = client.get(f"/{NAME}/manifest.json", headers={"Accept-Encoding": "gzip"})
    assert packed.headers["content-encoding"] == "gzip"
    assert "Accept-Encoding" in packed.headers["vary"]
    small = client.get("/healthz", headers={"Accept-Encoding": "gzip"})
    assert "content-encoding" not in small.headers
    assert gzip.compress(b"") != client.get(FRAME).content


def test_file_is_sent_in_parts(client, published_once):
    whole = (published_once / NAME / "forecast.nc").read_bytes()
    address = f"/files/20261128T0325Z/{RUN}/forecast.nc"
    answer = client.get(address)
    assert answer.content == whole
    assert answer.headers["content-type"] == "application/x-netcdf"
    part = client.get(address, headers={"Range": "bytes=10-19", "If-Range": answer.headers["etag"]})
    assert (part.status_code, part.content) == (206, whole[10:20])
    assert part.headers["content-range"] == f"bytes 10-19/{len(whole)}"
    assert client.get(address, headers={"If-None-Match": answer.headers["etag"]}).status_code == 304


@pytest.mark.parametrize("path", ["manifest.json", "../latest.json", "..%2flatest.json", "%2fetc%2fpasswd"])
def test_file_that_the_manifest_does_not_list_is_404(client, path):
    assert client.get(f"/files/20261128T0325Z/{RUN}/{path}").status_code == 404


def test_head_has_the_headers_of_get_without_the_content(client):
    head, get = client.head(FRAME), client.get(FRAME)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers == get.headers


def test_new_publication_does_not_disturb_the_one_before(serve, published):
    publish_issue(published)
    client = serve(published)
    publish_issue(published, ISSUE + STEP, "00000002")
    client.app.state.site.watch.look()
    assert client.get("/latest.json").json()["run"] == "00000002"
    assert client.get(FRAME).status_code == 200
