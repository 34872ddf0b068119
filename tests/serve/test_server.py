import socket
import threading
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import urlopen

import pytest
import uvicorn
import yaml
from fastapi.testclient import TestClient
from tests.serve.publications import ISSUE

from stormcell.errors import ArgumentError
from stormcell.serve import server
from stormcell.serve.server import running

COMPOSE = Path(__file__).parents[2] / "deploy" / "compose.yaml"
BRIDGE = "172.18.0.1"  # of Docker


def test_running_server_answers_and_ends_with_the_block(tmp_path):
    before = set(threading.enumerate())
    with (
        running(tmp_path, "127.0.0.1", 0, clock=lambda: ISSUE) as address,
        urlopen(f"{address}healthz") as answer,
    ):
        assert answer.status == 200
    assert set(threading.enumerate()) <= before


@pytest.mark.parametrize(("address", "status"), [("healthz", 200), ("nothing", 404)])
def test_running_server_dates_answers_once_by_the_clock_it_was_given(tmp_path, address, status):
    with running(tmp_path, "127.0.0.1", 0, clock=lambda: ISSUE) as served:
        place = urlsplit(served)
        with closing(HTTPConnection(place.hostname, place.port)) as connection:
            connection.request("GET", f"/{address}")
            answer = connection.getresponse()
            dates = answer.headers.get_all("date")
    assert answer.status == status
    assert dates == ["Sat, 28 Nov 2026 03:25:00 GMT"]


def test_running_server_at_a_port_in_use_names_it(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with (
            pytest.raises(ArgumentError, match=f"port {port}: expected a free port"),
            running(tmp_path, "127.0.0.1", port, clock=lambda: ISSUE),
        ):
            pass


def host_in_links(published, monkeypatch, sender):
    """Return the host that an answer names to a proxy that was itself asked by HTTPS."""
    started = []
    monkeypatch.setattr(uvicorn.Server, "run", lambda self: started.append(self.config))
    server.run(published, "0.0.0.0", 8000)
    (config,) = started
    config.load()
    proxied = {"Host": "radar.example.org", "X-Forwarded-Proto": "https"}
    with TestClient(config.loaded_app, client=(sender, 50000)) as client:
        return client.get("/public/weather-maps.json", headers=proxied).json()["host"]


def test_links_behind_a_proxy_of_compose_are_https(published_once, monkeypatch):
    service = yaml.safe_load(COMPOSE.read_text("utf-8"))["services"]["serve"]
    assert service["ports"] == ["127.0.0.1:8000:8000"]  # else any host could pretend to be a proxy
    for name, value in service["environment"].items():
        monkeypatch.setenv(name, value)
    assert host_in_links(published_once, monkeypatch, BRIDGE) == "https://radar.example.org"


def test_links_by_default_follow_a_proxy_of_this_machine_only(published_once, monkeypatch):
    monkeypatch.delenv("FORWARDED_ALLOW_IPS", raising=False)
    assert host_in_links(published_once, monkeypatch, "127.0.0.1") == "https://radar.example.org"
    assert host_in_links(published_once, monkeypatch, BRIDGE) == "http://radar.example.org"
