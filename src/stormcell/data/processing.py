"""The steps between a decoded frame and the archive: cleaning, regridding and stated attributes."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import xarray as xr

from stormcell.data import archive_files, schema
from stormcell.data.cleaning import Cleaning, clean
from stormcell.data.grid import Grid
from stormcell.data.regrid import Target, regrid
from stormcell.errors import ArgumentError

# Attributes that Stormcell writes.
_OWN = {"Conventions", "coordinates", "mlcast_created_on", "mlcast_created_with", "pruned_before"}


@dataclass(frozen=True)
class Processing:
    """The steps that every frame goes through after it is decoded and before it is archived.

    Frames are cleaned on the grid of their file, and then regridded. The instance can be sent to other
    processes.

    Attributes:
        cleaning: Rules for echoes that cannot be rain.
        grid: The archive's grid, or the projection and resolution from which it follows; None keeps the
            file's.
        attributes: Attributes of the archive that replace those of the files, such as ``license``.
        whole_frames: Whether a new archive has one chunk per frame, without tiles.

    Raises:
        ArgumentError: An attribute has no name, or one that Stormcell writes.

    Example:
        >>> import pyproj
        >>> grid = Grid.from_centres(pyproj.CRS(3067), [500, 1500], [7_001_500, 7_000_500])
        >>> rate = [[[9000.0, 1.0], [2.0, 3.0]]]
        >>> frames = schema.build(rate, ["2016-09-28T14:45"], grid, measured={}, attributes={"title": "a"})
        >>> found = Processing(grid=Target("EPSG:3067", 2000), attributes={"title": "b"})(frames)
        >>> found.rainfall_rate.values[0, 0, 0].item(), found.attrs["title"]
        (2.0, 'b')
        >>> found.cleaned_pixels.values.tolist()
        [[1, 0, 0]]
    """

    cleaning: Cleaning = field(default_factory=Cleaning)
    grid: Target | Grid | None = None
    attributes: Mapping[str, str] = field(default_factory=dict)
    whole_frames: bool = False

    def __post_init__(self) -> None:
        for name in self.attributes:
            if not name or name in _OWN:
                raise ArgumentError(
                    f'attribute: expected a name that Stormcell does not write, found "{name}"'
                )

    def __call__(self, frames: xr.Dataset) -> xr.Dataset:
        """Return the processed frames, and in ``cleaned_pixels (time, rule)`` what each rule changed.

        Raises:
            InputError: A mask of static clutter has another grid, or the grids do not overlap.
        """
        cleaned, counts = clean(frames, self.cleaning)
        if self.grid is not None:
            cleaned = regrid(cleaned, self.grid)
        if self.whole_frames:
            cleaned[schema.RATE].encoding[archive_files.WHOLE_FRAMES] = True
        cleaned = cleaned.assign_attrs(schema.readable(self.attributes))
        return cleaned.assign(cleaned_pixels=(("time", "rule"), counts))
