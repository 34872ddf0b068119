"""Output to terminals and files that cannot show every character."""

import codecs
import io
import sys
import unicodedata

from rich.console import Console
from rich.progress import Progress

_PLAIN = {
    "×": "x", "≥": ">=", "≤": "<=", "→": "->", "…": "...", "–": "-", "—": "-", "−": "-", "·": "*",
    "«": '"', "»": '"', "„": '"', "“": '"', "”": '"', "‘": "'", "’": "'", "°": " deg", "µ": "u",
}  # fmt: skip
_NAME = "stormcell-plain"


def never_fail() -> None:
    """Make standard output and error spell a character that they cannot encode in ASCII, or print ``?``.

    A terminal or a pipe may be ASCII (``LANG=C``, cron), and text from files and file names may contain bytes
    that are no character at all.
    """
    codecs.register_error(_NAME, spell)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_NAME)


def bar_on(console: Console, *, stays: bool = False) -> Progress:
    """Return a progress bar that is shown only on a terminal: in a log file it would be an empty line.

    Args:
        console: Where it is shown.
        stays: Whether it is left there at the end.
    """
    return Progress(console=console, transient=not stays, disable=not console.is_terminal)


def spell(error: UnicodeError) -> tuple[str, int]:
    """Return ASCII in place of characters that could not be encoded, and the position after them.

    Example:
        >>> codecs.register_error("example", spell)
        >>> "1 × 1 km, CSI ≥ 0.1, Météo".encode("ascii", "example")
        b'1 x 1 km, CSI >= 0.1, Meteo'
    """
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(_ascii, error.object[error.start : error.end])), error.end


def _ascii(character: str) -> str:
    base = unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode()
    return _PLAIN.get(character) or base or "?"
