"""Options for reading radar files: everything that the user may state because a file does not."""

from dataclasses import dataclass

import numpy as np

from stormcell.data.quantity import QUANTITIES, Quantity, unit
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
        min_quality: Pixels whose quality is lower count as not observed. The scale is that of the file's
            quality field, which most formats define from 0 (worst) to 1 (best).
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

    def expect_agreement(self, quantity: Quantity, units: str) -> None:
        """Check that the user does not contradict the file.

        Raises:
            InputError: The user stated another quantity, or units of another kind.

        Example:
            >>> ReadOptions(units="mm/5min").expect_agreement("amount", "mm")
        """
        if self.quantity not in (None, quantity):
            raise InputError(
                f"quantity: expected the file's {quantity}, found {self.quantity} in the options"
            )
        if self.units is not None and unit(self.units)[:2] != unit(units)[:2]:
            raise InputError(f"units: expected the file's {units}, found {self.units} in the options")
