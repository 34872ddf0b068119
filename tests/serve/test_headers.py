from tests.serve.publications import WET, place


def test_every_answer_may_be_read_by_pages_of_other_sites(client):
    for address in ("/latest.json", "/nothing", "/healthz", "/frames/latest/rate.png"):
        headers = client.get(address).headers
        assert headers["access-control-allow-origin"] == "*"
        assert "Stormcell-Issue" in headers["access-control-expose-headers"]
        assert headers["x-content-type-options"] == "nosniff"
        assert "set-cookie" not in headers


def test_browsers_question_before_a_post_is_answered(client):
    asked = {"Origin": "https://example.org", "Access-Control-Request-Method": "POST"}
    answer = client.options("/area", headers=asked)
    assert answer.status_code == 204
    assert "POST" in answer.headers["access-control-allow-methods"]
    assert "Content-Type" in answer.headers["access-control-allow-headers"]


def test_other_methods_are_refused(client):
    answer = client.delete("/latest.json")
    assert answer.status_code == 405
    assert answer.headers["content-type"] == "application/problem+json"


def test_expires_follows_the_next_issue(client):
    headers = client.get("/point", params=place(*WET)).headers
    assert headers["expires"] == "Sat, 28 Nov 2026 03:27:30 GMT"  # the clock, and half a minute
