"""What was measured, put into the pages of the docs."""

from pathlib import Path

from stormcell.atomic import write_file
from stormcell.errors import OutputError


def fill(page: Path, name: str, text: str | None) -> None:
    """Put a text between the markers ``<!-- name -->`` and ``<!-- /name -->`` of a page.

    Args:
        page: Whose markers are there already.
        name: Of the markers.
        text: Markdown; None only to see whether it can be done.

    Raises:
        OutputError: There is no such page, or it has no markers.
    """
    start, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    before, found, rest = (page.read_text() if page.exists() else "").partition(start)
    _, last, after = rest.partition(end)
    if not (found and last):
        raise OutputError(f"{page}: expected the lines {start} and {end}, found none")
    if text is not None:
        write_file(page, f"{before}{start}\n\n{text.strip()}\n\n{end}{after}".encode())
