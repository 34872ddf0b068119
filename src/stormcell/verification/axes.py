"""The axes of a tally: lead times, thresholds, scales, bands, ranks, classes, areas and durations."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Literal

from stormcell.errors import ArgumentError

Source = Literal["members", "distribution", "forecast"]

# Each share k/20 of an ensemble has a class of its own; probabilities below 1 % and above 99 % have several.
# All are multiples of 0.001, so that a table gives the class of a probability.
CLASSES = (0.0, 0.001, 0.003, 0.01, *((25 + 50 * k) / 1000 for k in range(20)), 0.99, 0.999)
NO_OR_YES = (0.0, 0.999)  # the classes of a single forecast, which says 0 or 1


@dataclass(frozen=True)
class Axes:
    """The values along the axes of a tally; only tallies with the same axes can be added.

    Attributes:
        lead_minutes: Lead times in minutes, ascending, > 0.
        thresholds: Rain rates in mm/h, > 0; an event is a rate at or above the threshold.
        windows: Scale in km and width in pixels (odd) of each window of the fractions skill score.
        bands: Wavelengths in km, ascending; a band of the spectrum is from one to the next.
        pixel_km: Width of a pixel in km.
        members: Number of members that are scored; 0 without an ensemble.
        distribution: Whether a predictive distribution is scored.
        areas: Size in km and width in pixels of the squares over which amounts are averaged.
        durations: Numbers of time steps over which amounts are added, ascending.

    Raises:
        ArgumentError: A threshold or lead time is not above 0, or a window's width is even.
    """

    lead_minutes: tuple[float, ...]
    thresholds: tuple[float, ...]
    windows: tuple[tuple[float, int], ...]
    bands: tuple[float, ...]
    pixel_km: float
    members: int = 0
    distribution: bool = False
    areas: tuple[tuple[float, int], ...] = ()
    durations: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        for name in ("lead_minutes", "thresholds"):
            values = getattr(self, name)
            # A threshold of 0 would make an event of every dry pixel.
            if not values or any(not value > 0 for value in values):
                raise ArgumentError(f"{name}: expected numbers above 0, found {values}")
        for scale, window in self.windows:
            if window < 1 or window % 2 == 0:
                raise ArgumentError(
                    f"FSS window of {scale:g} km: expected an odd number of pixels, found {window}"
                )

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Axes":
        """Return axes from what ``dataclasses.asdict`` and JSON made of them."""
        return cls(
            tuple(map(float, values["lead_minutes"])),
            tuple(map(float, values["thresholds"])),
            tuple((float(scale), int(window)) for scale, window in values["windows"]),
            tuple(map(float, values["bands"])),
            float(values["pixel_km"]),
            int(values["members"]),
            bool(values["distribution"]),
            tuple((float(size), int(width)) for size, width in values["areas"]),
            tuple(map(int, values["durations"])),
        )

    def of(self, *, members: int, distribution: bool) -> "Axes":
        """Return the axes of a forecaster with this number of members, and with a distribution or without."""
        return replace(self, members=members, distribution=distribution)

    @property
    def crps_of(self) -> Source:
        """Source of the CRPS: the members, else the distribution, else the single forecast."""
        return "members" if self.members else "distribution" if self.distribution else "forecast"

    @property
    def probability_of(self) -> Source:
        """Source of probabilities: the distribution, else the members, else the single forecast."""
        return "distribution" if self.distribution else "members" if self.members else "forecast"

    @property
    def classes(self) -> tuple[float, ...]:
        """The lowest probability of each class, ascending from 0."""
        return NO_OR_YES if self.probability_of == "forecast" else CLASSES

    def shape(self, names: tuple[str, ...]) -> tuple[int, ...]:
        """Return the shape of an array with the named axes."""
        return tuple(len(AXES[name].keys(self)) for name in names)


@dataclass(frozen=True)
class Axis:
    """A kind of axis.

    Attributes:
        keys: Function of the axes that returns the key in ``scores.json`` of every entry along the axis.
        label: Function of a key that returns its text in the heading of a column.
        unit: Unit of a label, where no heading gives it.
    """

    keys: Callable[[Axes], list[str]]
    label: Callable[[str], str]
    unit: str = ""

    def title(self, key: str) -> str:
        """Return the text of a key with its unit."""
        return f"{self.label(key)} {self.unit}".rstrip()


AXES: dict[str, Axis] = {
    "lead": Axis(lambda axes: [f"{lead:g}" for lead in axes.lead_minutes], lambda key: f"{key} min"),
    "threshold": Axis(
        lambda axes: [str(float(value)) for value in axes.thresholds],
        lambda key: f"≥ {float(key):g}",
        unit="mm/h",
    ),
    "scale": Axis(
        lambda axes: [f"{scale:g}km" for scale, _ in axes.windows],
        lambda key: f"{key.removesuffix('km')} km",
    ),
    "band": Axis(
        lambda axes: [
            f"{low:g}-{high:g}km" for low, high in zip(axes.bands[:-1], axes.bands[1:], strict=True)
        ],
        lambda key: f"{key.removesuffix('km').replace('-', '–')} km",
    ),
    "rank": Axis(
        lambda axes: [str(rank) for rank in range(1, axes.members + 2)] if axes.members else [],
        lambda key: f"rank {key}",
    ),
    "class": Axis(
        lambda axes: [f"{low:g}-{high:g}" for low, high in pairwise((*axes.classes, 1.0))],
        lambda key: key.replace("-", "–"),
    ),
    "area": Axis(
        lambda axes: [f"{size:g}km" for size, _ in axes.areas],
        lambda key: f"{key.removesuffix('km')} km",
    ),
    "duration": Axis(
        lambda axes: [f"{steps * axes.lead_minutes[0]:g}min" for steps in axes.durations],
        lambda key: f"{key.removesuffix('min')} min",
    ),
}
"""A statistic or a score can be given by any of these axes. A new kind of axis is one more entry."""
