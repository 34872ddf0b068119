"""Options for reading radar files: everything that the user may state because a file does not."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stormcell.data.grid import Grid, parse_crs
from stormcell.data.projection import in_metres
from stormcell.data.quantity import QUANTITIES, Quantity, unit
from stormcell.data.time_text import parse_step, parse_time
from stormcell.errors import ArgumentError, InputError


@dataclass(frozen=True)
class ReadOptions:
    """Statements of the user about radar files.

    Attributes:
        quantity: ``"rate"``, ``"dbz"`` (reflectivity) or ``"amount"`` (accumulated), if the metadata does not
            give it.
        units: For example ``"mm/h"``, ``"kg m-2 s-1"``, ``"dBZ"``; ``"mm/15min"`` is an amount and its
            period.
        zr: a and b of Z = a R^b, with Z in mm⁶ m⁻³ and R in mm/h.
        variable: Name of the rain variable, in files with several.
        min_quality: Pixels whose quality is lower count as not observed, and so do pixels with rain whose
            quality is missing. The scale is that of the file's
            quality field, which most formats define from 0 (worst) to 1 (best).
        nodata: Numbers that mean "not observed" where the file does not say so, as they are stored in it,
            before scale and offset. Formats that define their codes refuse them.
        start: Time of the first frame, UTC, for arrays without times.
        step: Time step such as ``"5min"``, for arrays without times.
        crs: Projection of arrays without one: WKT, a PROJ string or an EPSG code.
        bounds: Outer edges of arrays without coordinates: west, south, east, north, in units of ``crs``.
        format: Name of the format, which is then not detected; ``"pysteps:NAME"`` and ``"xarray:ENGINE"``
            use an importer of pysteps, or an engine of xarray.

    Raises:
        ArgumentError: A value is unknown, or quantity and units contradict each other.

    Example:
        >>> ReadOptions(quantity="rate", units="mm/h").units
        'mm/h'
    """

    quantity: Quantity | None = None
    units: str | None = None
    zr: tuple[float, float] | None = None
    variable: str | None = None
    min_quality: float | None = None
    nodata: tuple[float, ...] = ()
    start: str | None = None
    step: str | None = None
    crs: str | None = None
    bounds: tuple[float, float, float, float] | None = None
    format: str | None = None

    def __post_init__(self) -> None:
        if self.quantity is not None and self.quantity not in QUANTITIES:
            raise ArgumentError(f"quantity: expected one of {', '.join(QUANTITIES)}, found {self.quantity!r}")
        if self.zr is not None and not (len(self.zr) == 2 and all(np.isfinite(self.zr)) and min(self.zr) > 0):
            raise ArgumentError(f"zr: expected two positive numbers, a and b of Z = a R^b, found {self.zr!r}")
        if self.units is not None:
            try:
                kind, _, _ = unit(self.units)
            except InputError as error:
                raise ArgumentError(str(error)) from None
            if self.quantity is not None and kind != self.quantity:
                raise ArgumentError(
                    f"units: expected a unit of {self.quantity}, found {self.units!r}, a unit of {kind}"
                )
        if self.min_quality is not None and not np.isfinite(self.min_quality):
            raise ArgumentError(f"min_quality: expected a finite number, found {self.min_quality!r}")
        if not np.isfinite(self.nodata).all():
            raise ArgumentError(f"nodata: expected finite numbers, found {self.nodata!r}")
        try:
            if self.start is not None:
                parse_time(self.start)
            if self.step is not None:
                parse_step(self.step)
            if self.crs is not None:
                parse_crs(self.crs)
        except InputError as error:
            raise ArgumentError(str(error)) from None
        if self.bounds is not None:
            west, south, east, north = self.bounds
            if not (np.isfinite(self.bounds).all() and west < east and south < north):
                raise ArgumentError(
                    f"bounds: expected west < east and south < north, found {west:g}, {south:g}, "
                    f"{east:g}, {north:g} as west, south, east, north"
                )

    def expect_agreement(self, quantity: Quantity, units: str) -> None:
        """Check that the user does not contradict the file.

        Raises:
            InputError: The user stated another quantity, units of another kind, or another period.

        Example:
            >>> ReadOptions(units="mm/5min").expect_agreement("amount", "mm")
        """
        if self.quantity not in (None, quantity):
            raise InputError(
                f"quantity: expected the file's {quantity}, found {self.quantity} in the options"
            )
        if self.units is not None and unit(self.units)[:2] != unit(units)[:2]:
            raise InputError(f"units: expected the file's {units}, found {self.units} in the options")
        self.expect_period(unit(units)[2])

    def expect_period(self, hours: float | None) -> None:
        """Check that the user does not contradict the accumulation period of a file.

        Args:
            hours: The file's period in hours; None if it is unknown.

        Raises:
            InputError: The units that the user stated contain another.

        Example:
            >>> ReadOptions(units="mm/7min").expect_period(5 / 60)
            Traceback (most recent call last):
            ...
            stormcell.errors.InputError: units: expected the file's 5 min, found mm/7min in the options
        """
        stated = None if self.units is None else unit(self.units)[2]
        # Times in files are rounded, some to minutes.
        if stated is not None and hours is not None and abs(hours - stated) > 0.01 * stated:
            raise InputError(
                f"units: expected the file's {hours * 60:g} min, found {self.units} in the options"
            )

    def times(self, count: int) -> NDArray[np.datetime64]:
        """Return the times of frames that have no times of their own, ``(count,)``, UTC.

        Raises:
            InputError: The start, or the step of several frames, is missing.

        Example:
            >>> ReadOptions(start="2020-05-01T12:00", step="5min").times(2)[1]
            np.datetime64('2020-05-01T12:05:00')
        """
        if self.start is None:
            raise InputError("time: expected times in the file or its name, found none; give --start")
        if self.step is None:
            if count > 1:
                raise InputError(f"time: expected the time step of {count} frames, found none; give --step")
            return np.array([parse_time(self.start)])
        return parse_time(self.start) + np.arange(count) * parse_step(self.step)

    def grid(self, columns: int, rows: int) -> Grid:
        """Return the grid of an array that has no coordinates of its own.

        Raises:
            InputError: The projection or the bounds are missing, or do not fit together.

        Example:
            >>> options = ReadOptions(crs="EPSG:3067", bounds=(0.0, 0.0, 4000.0, 2000.0))
            >>> options.grid(4, 2).x
            array([ 500., 1500., 2500., 3500.])
        """
        if self.crs is None or self.bounds is None:
            missing = [name for name in ("crs", "bounds") if getattr(self, name) is None]
            raise InputError(
                "grid: expected the positions of the pixels, found none; give "
                + " and ".join(f"--{name}" for name in missing)
            )
        crs, factor = in_metres(parse_crs(self.crs))
        west, south, east, north = (edge * factor for edge in self.bounds)
        dx, dy = (east - west) / columns, (north - south) / rows
        x, y = west + dx * (np.arange(columns) + 0.5), north - dy * (np.arange(rows) + 0.5)
        return Grid.from_centres(crs, x, y)

    def expect_no_quality(self, format_name: str) -> None:
        """Check that no lowest quality is asked of a format without a quality field.

        Raises:
            InputError: ``min_quality`` is given.
        """
        if self.min_quality is not None:
            raise InputError(f"min_quality: expected a quality field, found {format_name}, which has none")
