from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from tests.serve.publications import ISSUE, publish_issue

from stormcell.published.manifest import Status
from stormcell.published.writing import write_status
from stormcell.serve.app import create_app

Serve = Callable[..., TestClient]


@pytest.fixture(scope="session")
def published_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A published folder that no test changes."""
    folder = tmp_path_factory.mktemp("once")
    publish_issue(folder, full=True)
    write_status(folder, Status(updated=ISSUE, state="waiting", files={"added": 3}, stages={"read": 0.2}))
    return folder


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """A published folder that does not exist yet."""
    return tmp_path / "published"


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Starts a server of a folder, at a time."""
    clients = []

    def started(folder: Path, now: datetime = ISSUE + timedelta(minutes=2), **options: object) -> TestClient:
        client = TestClient(create_app(folder, clock=lambda: now, **options), follow_redirects=False)
        clients.append(client.__enter__())
        return client

    yield started
    for client in clients:
        client.__exit__(None, None, None)


@pytest.fixture
def client(serve: Serve, published_once: Path) -> TestClient:
    """A server of one publication, two minutes after its issue time."""
    return serve(published_once)
