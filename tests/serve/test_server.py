import socket
import threading
from urllib.request import urlopen

import pytest
from tests.serve.publications import ISSUE

from stormcell.errors import ArgumentError
from stormcell.serve.server import running


def test_running_server_answers_and_ends_with_the_block(tmp_path):
    before = threading.active_count()
    with (
        running(tmp_path, "127.0.0.1", 0, clock=lambda: ISSUE) as address,
        urlopen(f"{address}healthz") as answer,
    ):
        assert answer.status == 200
    assert threading.active_count() == before


def test_running_server_at_a_port_in_use_names_it(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with (
            pytest.raises(ArgumentError, match=f"port {port}: expected a free port"),
            running(tmp_path, "127.0.0.1", port, clock=lambda: ISSUE),
        ):
            pass
