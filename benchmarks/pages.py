"""Results of benchmarks in the pages of the docs."""

from pathlib import Path

from stormcell.atomic import write_file
from stormcell.errors import OutputError


def fill(page: Path, name: str, text: str | None) -> None:
    """Write a text between the markers ``<!-- name -->`` and ``<!-- /name -->`` of a page.

    Args:
        page: A page with the markers.
        name: Name of the markers.
        text: Markdown; None only checks that the page has the markers.

    Raises:
        OutputError: The page does not exist or does not have the markers.
    """
    start, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    before, found, rest = (page.read_text() if page.exists() else "").partition(start)
    _, last, after = rest.partition(end)
    if not (found and last):
        raise OutputError(f"{page}: expected the lines {start} and {end}, found none")
    if text is not None:
        write_file(page, f"{before}{start}\n\n{text.strip()}\n\n{end}{after}".encode())
