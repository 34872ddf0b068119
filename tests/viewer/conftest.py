"""A browser, a published folder and its server for the tests of the map."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.viewer.publications import add, recent
from tests.viewer.serving import Server

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

# What the page did that it must not do.
WATCH = """
window.violations = [];
addEventListener("securitypolicyviolation", ({ violatedDirective, blockedURI }) => {
  violations.push(`${violatedDirective} ${blockedURI}`);
});
"""


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    """Debian's Chromium, one for all tests of a module."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("the browser chromium is not installed")
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A server of a folder in which nothing is published yet."""
    with Server(tmp_path / "published") as started:
        yield started


@pytest.fixture(scope="module")
def rainy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of one publication, which no test changes."""
    root = tmp_path_factory.mktemp("published")
    add(root, recent())
    with Server(root) as started:
        yield started


@pytest.fixture
def open_page(browser: "Browser") -> Iterator[Callable[..., "Page"]]:
    """Open the map; in the end, the page must have kept the rules: no error, and nothing from elsewhere."""
    contexts, problems = [], list[str]()

    def opened(
        server: Server,
        address: str = "",
        *,
        wait: bool = True,
        route: tuple[str, Callable[..., None]] | None = None,
        **options: Any,
    ) -> "Page":
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 800}, **options})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(10_000)
        page.add_init_script(WATCH)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("request", lambda request: request.url.startswith(server.url) or problems.append(request.url))
        if route is not None:
            page.route(*route)
        page.goto(f"{server.url}{address}")
        if wait:
            page.wait_for_selector("canvas.rain[data-frame]")
        return page

    yield opened
    for context in contexts:
        for page in context.pages:
            problems += page.evaluate("violations")
        context.close()
    assert not problems
