"""The basemap of a site: tiles of another server in place of the map's own coasts and borders."""

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from stormcell.errors import ArgumentError


@dataclass(frozen=True)
class Basemap:
    """Tiles of another server.

    Attributes:
        address: Of the tiles, with ``{z}``, ``{x}`` and ``{y}``.
        credit: Whose they are, as the map's credits say it.

    Raises:
        ArgumentError: The address is not one of tiles on the web.

    Example:
        >>> Basemap("https://tiles.example.org/{z}/{x}/{y}.png", "© Example").origin
        'https://tiles.example.org'
    """

    address: str
    credit: str = ""

    def __post_init__(self) -> None:
        parts = urlsplit(self.address)
        is_host = re.fullmatch(r"[A-Za-z0-9.-]+(:\d+)?", parts.netloc) is not None
        has_tiles = all(f"{{{name}}}" in self.address for name in "zxy")
        if parts.scheme not in ("https", "http") or not is_host or not has_tiles:
            raise ArgumentError(
                f"basemap: expected an address such as https://tiles.example.org/{{z}}/{{x}}/{{y}}.png, "
                f'found "{self.address}"'
            )

    @property
    def origin(self) -> str:
        """Scheme and host of the tiles."""
        parts = urlsplit(self.address)
        return f"{parts.scheme}://{parts.netloc}"
