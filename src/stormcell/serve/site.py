"""All that the routes share: the published folder, caches and the site's options."""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field

from stormcell.errors import NotPublishedError
from stormcell.maps.areas import Area
from stormcell.published.manifest import time_name
from stormcell.serve.basemap import Basemap
from stormcell.serve.byte_cache import ByteCache
from stormcell.serve.metrics import Metrics
from stormcell.serve.publication import Publication
from stormcell.serve.tile_maker import TileMaker
from stormcell.serve.watch import Watch

_PICTURES = 2**28  # bytes
_OPENED = 16


@dataclass
class Site:
    """The published folder with all that routes need to serve it.

    Attributes:
        watch: The published folder.
        metrics: Counts of requests.
        tiles: Tiles of the pictures.
        basemap: Another basemap; None for the viewer's.
        areas: Areas of the site by name.
        pictures: Files as they are, by publication.
    """

    watch: Watch
    metrics: Metrics
    tiles: TileMaker
    basemap: Basemap | None = None
    areas: Mapping[str, Area] = field(default_factory=dict)
    pictures: ByteCache = field(default_factory=lambda: ByteCache(_PICTURES))
    _opened: OrderedDict[tuple[str, str], Publication] = field(default_factory=OrderedDict)

    def publication(self, issue: str, run: str) -> Publication:
        """Return a publication by the names of its issue time and run.

        Raises:
            NotPublishedError: There is no such publication.
            PrunedError: It is no longer kept.
            PublicationError: It is damaged.
        """
        newest = self.watch.newest
        if (issue, run) == (time_name(newest.latest.issue), newest.latest.run):
            return newest.publication
        found = self._opened.get((issue, run)) or Publication.load(self.watch.shelf, issue, run)
        self._opened[issue, run] = found
        while len(self._opened) > _OPENED:
            self._opened.popitem(last=False)
        return found

    def instance(self, name: str) -> Publication:
        """Return a publication by the name of its folder.

        Raises:
            NotPublishedError: There is no such publication.
            PrunedError: It is no longer kept.
        """
        issue, dash, run = name.partition("-")
        if not dash:
            raise NotPublishedError(
                f"publication: expected one such as 20261128T0325Z-0a1b2c3d, found {name[:40]!r}"
            )
        return self.publication(issue, run)
