"""What every score is made of: statistics that can be added."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stormcell.errors import ArgumentError

Counts = NDArray[np.int64]
Sums = NDArray[np.float64]
Times = NDArray[np.datetime64]


@dataclass(frozen=True)
class Layout:
    """What the rows and columns of a tally stand for; only tallies of one layout can be added.

    Attributes:
        lead_minutes: Lead times in minutes, ascending, > 0.
        thresholds: Rain rates in mm/h; an event is a rate at or above.
        windows: Width in pixels (odd) of the FSS window, by its scale in km.
        bands: Wavelengths in km that part the spectrum, ascending; band ``k`` ends where ``k + 1`` begins.
        pixel_km: Width of a pixel in km.

    Raises:
        ArgumentError: A threshold or lead time is not above 0, or a window has no centre pixel.
    """

    lead_minutes: tuple[float, ...]
    thresholds: tuple[float, ...]
    windows: tuple[tuple[float, int], ...]
    bands: tuple[float, ...]
    pixel_km: float

    def __post_init__(self) -> None:
        for name in ("lead_minutes", "thresholds"):
            values = getattr(self, name)
            if not values or any(not value > 0 for value in values):
                raise ArgumentError(f"{name}: expected numbers above 0, found {values}")
            # A threshold at or below 0 would make an event of every dry pixel.
        for scale, window in self.windows:
            if window < 1 or window % 2 == 0:
                raise ArgumentError(
                    f"FSS window of {scale:g} km: expected an odd number of pixels, found {window}"
                )

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of every array of a tally, without its leading axis of issue times."""
        lead = (len(self.lead_minutes),)
        events = (*lead, len(self.thresholds))
        windows = (*events, len(self.windows))
        bands = (*lead, max(len(self.bands) - 1, 0))
        return {
            "hits": events,
            "misses": events,
            "false_alarms": events,
            "correct_negatives": events,
            "pixels": lead,
            "forecasts": lead,
            "absolute_error": lead,
            "squared_error": lead,
            "crps": lead,
            "fss_numerator": windows,
            "fss_denominator": windows,
            "forecast_power": bands,
            "observed_power": bands,
        }


@dataclass(frozen=True, eq=False)
class Tally:
    """Summable statistics of forecasts, one row per issue time, in the order of time.

    Counts are int64; real sums are kept per issue time and only ever reduced in time order, so that
    neither the order in which parts arrive nor how the work was shared out can change a bit of any score.
    ``+`` is associative and commutative, and ``zero`` is its neutral element.

    Attributes:
        layout: What the axes stand for.
        issue_times: ``(issue,)``, strictly ascending, ``datetime64[ns]``.
        hits: Forecast and observed, ``(issue, lead, threshold)``.
        misses: Observed only, ``(issue, lead, threshold)``.
        false_alarms: Forecast only, ``(issue, lead, threshold)``.
        correct_negatives: Neither, ``(issue, lead, threshold)``.
        pixels: Pixels inside the mask, ``(issue, lead)``.
        forecasts: 1 where at least one pixel was scored, ``(issue, lead)``.
        absolute_error: Σ|forecast − observed| in mm/h, ``(issue, lead)``.
        squared_error: Σ(forecast − observed)² in mm²/h², ``(issue, lead)``.
        crps: Σ CRPS in mm/h; of one member it is the absolute error, ``(issue, lead)``.
        fss_numerator: Σ(forecast fraction − observed fraction)², ``(issue, lead, threshold, scale)``.
        fss_denominator: Σ(forecast fraction² + observed fraction²), ``(issue, lead, threshold, scale)``.
        forecast_power: Spectral power of the forecast by band of wavelength, ``(issue, lead, band)``.
        observed_power: The same of the truth.

    Raises:
        ArgumentError: Two tallies of different layout, or sharing an issue time, are added.

    Example:
        >>> layout = Layout((5.0,), (1.0,), ((2.0, 3),), (), 1.0)
        >>> (Tally.zero(layout) + Tally.zero(layout)).total("hits").tolist()
        [[0]]
    """

    layout: Layout
    issue_times: Times
    hits: Counts
    misses: Counts
    false_alarms: Counts
    correct_negatives: Counts
    pixels: Counts
    forecasts: Counts
    absolute_error: Sums
    squared_error: Sums
    crps: Sums
    fss_numerator: Sums
    fss_denominator: Sums
    forecast_power: Sums
    observed_power: Sums

    def __post_init__(self) -> None:
        for name, shape in self.layout.shapes().items():
            array = getattr(self, name)
            expected = (len(self.issue_times), *shape)
            if array.shape != expected:
                raise ArgumentError(f"tally {name}: expected shape {expected}, found {array.shape}")
            array.flags.writeable = False

    @classmethod
    def zero(cls, layout: Layout) -> "Tally":
        """The tally of no forecast at all."""
        return cls.of(layout, np.empty(0, "datetime64[ns]"), {})

    @classmethod
    def of(cls, layout: Layout, issue_times: Times, statistics: Mapping[str, Counts | Sums]) -> "Tally":
        """A tally of the given arrays (see the attributes for their shapes); those not given are zero."""
        unknown = set(statistics) - set(layout.shapes())
        if unknown:
            raise ArgumentError(
                f"tally: expected {', '.join(layout.shapes())}, found {', '.join(sorted(unknown))}"
            )
        arrays: dict[str, Any] = {
            name: np.array(statistics[name], dtype=_dtype(name))
            if name in statistics
            else np.zeros((len(issue_times), *shape), _dtype(name))
            for name, shape in layout.shapes().items()
        }
        return cls(layout, np.array(issue_times, dtype="datetime64[ns]"), **arrays)

    @classmethod
    def sum(cls, tallies: "Sequence[Tally]") -> "Tally":
        """All of them together, in whatever order they come: ``+`` for many, at least one."""
        layout = tallies[0].layout
        for tally in tallies:
            if tally.layout != layout:
                raise ArgumentError(f"tally: expected {layout} on both sides of +, found {tally.layout}")
        times = np.concatenate([tally.issue_times for tally in tallies])
        order = np.argsort(times)
        twice = times[order][1:][np.diff(times[order]) == np.timedelta64(0)]
        if twice.size:
            # Counting a forecast twice would weigh it double and look like more evidence.
            raise ArgumentError(f"tally: expected every issue time once, found {twice[0]} twice")
        joined = {
            name: np.concatenate([getattr(tally, name) for tally in tallies])[order]
            for name in layout.shapes()
        }
        return cls.of(layout, times[order], joined)

    def __add__(self, other: "Tally") -> "Tally":
        return Tally.sum([self, other])

    def __eq__(self, other: object) -> bool:
        """Equal to the bit."""
        if not isinstance(other, Tally):
            return NotImplemented
        return self.layout == other.layout and all(
            np.array_equal(getattr(self, name), getattr(other, name))
            for name in ("issue_times", *self.layout.shapes())
        )

    __hash__ = None  # type: ignore[assignment]

    def total(self, statistic: str) -> Any:
        """One of the statistics summed over issue times: int64 or float64, the axes after ``issue``."""
        rows = getattr(self, statistic)
        result = np.zeros(rows.shape[1:], rows.dtype)
        for row in rows:  # one after the other: the order of additions is the order of time
            result += row
        return result

    @property
    def n_events(self) -> Counts:
        """Observed events: hits and misses, ``(lead, threshold)``."""
        return self.total("hits") + self.total("misses")  # type: ignore[no-any-return]


def _dtype(statistic: str) -> type:
    annotation = {field.name: field.type for field in fields(Tally)}[statistic]
    return np.int64 if annotation is Counts else np.float64
