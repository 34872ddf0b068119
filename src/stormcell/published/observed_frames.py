"""The observed frames of the last hours, from the publications that ``latest.json`` names."""

from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from stormcell.errors import NotPublishedError, PublicationError
from stormcell.published.manifest import OBSERVED, Latest, time_name
from stormcell.published.reading import Shelf, product_of


@dataclass(frozen=True, eq=False)
class SeenFrame:
    """An observed frame.

    Attributes:
        time: Its time.
        levels: Its levels ``(y, x)``, a view of a memory map.
    """

    time: datetime
    levels: NDArray[np.uint8]


def observed_frames(shelf: Shelf, latest: Latest) -> tuple[SeenFrame, ...]:
    """Return the observed frames, ascending; the last is that of the issue time.

    A frame whose publication is gone, or is on another grid, is left out: it is not known.

    Raises:
        PublicationError: The newest publication is not there, or is damaged.
    """
    places = {frame.time: (time_name(frame.issue), frame.run) for frame in latest.observed}
    places[latest.issue] = (time_name(latest.issue), latest.run)
    grid = shelf.manifest(*places[latest.issue]).grid
    found = []
    for time in sorted(places):
        try:
            manifest = shelf.manifest(*places[time])
            if manifest.grid != grid:
                continue
            layer = product_of(manifest, OBSERVED).layer(time)
            if layer is None:
                raise NotPublishedError(
                    f"{manifest.folder}: expected the observed frame of {time_name(time)}, found none"
                )
            # As plain arrays: those of the class memmap take longer to index.
            found.append(SeenFrame(time, np.asarray(shelf.cells(manifest))[..., layer]))
        except PublicationError:
            if time == latest.issue:
                raise
    return tuple(found)
