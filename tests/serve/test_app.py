import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from tests.serve.publications import ISSUE, STEP, WET, place, publish_issue

from stormcell.published.manifest import Status
from stormcell.published.writing import write_status
from stormcell.serve.app import create_app

CHECKS = (not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance)


# The stream of events never ends.
OPERATIONS = [
    (path, method)
    for path, methods in create_app(Path("nowhere")).openapi()["paths"].items()
    for method in methods
    if path != "/events"
]


@pytest.fixture(scope="module")
def described(published_once):
    app = create_app(published_once, clock=lambda: ISSUE + timedelta(minutes=2))
    app.state.site.watch.look()
    return schemathesis.openapi.from_asgi("/openapi.json", app)


# Not by schemathesis's own decorator, which pytest 9 does not know.
@pytest.mark.parametrize(("path", "method"), OPERATIONS)
def test_answers_are_as_openapi_describes_them(described, path, method):
    @settings(
        max_examples=4,
        derandomize=True,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=described[path][method.upper()].as_strategy())
    def check(case):
        case.call_and_validate(checks=CHECKS)

    check()


def test_serve_imports_no_torch():
    code = (
        "import sys, stormcell.serve.server; print([m for m in ('torch', 'lightning') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_publications_during_requests_disturb_nobody(serve, published):
    publish_issue(published)
    write_status(published, Status(updated=ISSUE, state="working"))
    client = serve(published)

    def ask(_: int) -> list[int]:
        latest = client.get("/latest.json")
        issue = latest.json()["issue"].replace("-", "").replace(":", "")[:13] + "Z"
        run = latest.json()["run"]
        valid = latest.json()["observed"][-1]["time"].replace("-", "").replace(":", "")[:13] + "Z"
        frame = client.get(f"/frames/{issue}/{run}/observed/{valid}.png")
        point = client.get("/point", params=place(*WET))
        return [latest.status_code, frame.status_code, point.status_code]

    with ThreadPoolExecutor(2) as pool:
        asked = [pool.submit(ask, k) for k in range(20)]
        for k in range(1, 4):
            publish_issue(published, ISSUE + k * STEP, f"0000000{k}", frames=1, products=[])
            client.app.state.site.watch.look()
            asked += [pool.submit(ask, k) for _ in range(10)]
        statuses = {status for answer in asked for status in answer.result()}
    assert statuses == {200}
