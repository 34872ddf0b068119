import re

import pytest

from stormcell.errors import ArgumentError
from stormcell.serve.basemap import Basemap
from stormcell.serve.pages import VIEWER


def test_map_and_its_files_may_only_load_from_here(client):
    for address in ("/", "/docs", "/viewer/main.js"):
        answer = client.get(address)
        assert answer.status_code == 200
        policy = answer.headers["content-security-policy"]
        assert "default-src 'self'" in policy
        assert "http" not in policy


def test_basemap_widens_the_policy_by_its_host_only(serve, published_once):
    basemap = Basemap("https://tiles.example.org/{z}/{x}/{y}.png", "© Example")
    client = serve(published_once, basemap=basemap)
    policy = client.get("/").headers["content-security-policy"]
    assert re.findall(r"https?://\S+?(?=[; ]|$)", policy) == ["https://tiles.example.org"]
    assert client.get("/site.json").json() == {"basemap": basemap.address, "credit": "© Example"}


@pytest.mark.parametrize(
    "address",
    [
        "tiles.example.org/{z}/{x}/{y}.png",
        "https://tiles.example.org/tiles.png",
        "https:///{z}/{x}/{y}",
        "https://*.org;script-src 'unsafe-inline'/{z}/{x}/{y}",
        "javascript:{z}{x}{y}",
    ],
)
def test_basemap_that_is_not_an_address_of_tiles_is_refused(address):
    with pytest.raises(ArgumentError, match="basemap: expected an address"):
        Basemap(address)


def test_viewer_files_outside_of_its_folder_are_not_served(client):
    assert (VIEWER.parent / "app.py").is_file()
    for path in ("../app.py", "..%2fapp.py", "%2e%2e/app.py"):
        assert client.get(f"/viewer/{path}").status_code == 404


def test_docs_page_names_every_address(client):
    page = client.get("/docs").text
    for path in client.get("/openapi.json").json()["paths"]:
        assert path.replace("{", "<i>").replace("}", "</i>") in page or path in page, path
    assert "<script" not in page
    assert not re.search(r'(?:src|href)="https?://', page)
