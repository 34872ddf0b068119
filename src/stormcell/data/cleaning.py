"""Rules for echoes that cannot be rain, applied to frames before they are archived.

Three rules, and each counts the pixels that it changed:

impossible
    A rate above a limit counts as not observed. By default the limit is the highest that has been measured on
    earth, so that nothing that can be rain is lost; a lower one is an option.
speckle
    A group of neighbouring wet pixels that is smaller than a limit counts as dry, because the pixels were
    observed and their echo is not rain. A group at the edge of the observed area is kept, because the rest of
    it may be unobserved. Off by default.
clutter
    The pixels of a mask, which :mod:`stormcell.data.static_clutter` finds by their frequency, count as not
    observed. Off by default.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from stormcell.data import schema
from stormcell.data.grid import Grid
from stormcell.data.rain_index import WET
from stormcell.data.static_clutter import ClutterMask, read_mask
from stormcell.errors import ArgumentError, InputError

RULES = ("impossible", "speckle", "clutter")

# 38 mm in a minute: Barot, Guadeloupe, 26 November 1970.
_MINUTE_RECORD = 38.0 * 60
_LARGEST_SPECKLE = 10_000  # pixels; anything larger is no speckle


@dataclass(frozen=True)
class Cleaning:
    """The rules that are applied.

    Attributes:
        max_rate: Highest possible rate in mm/h; ``"record"`` is :func:`highest_possible`, None no limit.
        min_group: Smallest group of wet pixels, of at least 0.1 mm/h, that is kept; 1 keeps all.
        clutter: File with a mask of static clutter, on the grid of the radar files.

    Raises:
        ArgumentError: A value is impossible.

    Example:
        >>> Cleaning().attributes({"accumulation_minutes": 60.0})
        {'highest_rate_kept': 421.6}
    """

    max_rate: float | Literal["record"] | None = "record"
    min_group: int = 1
    clutter: Path | None = None

    def __post_init__(self) -> None:
        if isinstance(self.max_rate, str):
            if self.max_rate != "record":
                raise ArgumentError(
                    f'highest rate: expected a rate in mm/h or "record", found "{self.max_rate}"'
                )
        elif self.max_rate is not None and not 0 < self.max_rate < np.inf:
            raise ArgumentError(f"highest rate: expected a rate above 0 mm/h, found {self.max_rate:g}")
        if not 1 <= self.min_group <= _LARGEST_SPECKLE:
            raise ArgumentError(
                f"smallest group: expected 1 to {_LARGEST_SPECKLE} pixels, found {self.min_group}"
            )

    def limit(self, measured: Mapping[str, Any]) -> float | None:
        """Return the highest rate that is kept, of frames whose rate has these attributes."""
        return highest_possible(measured) if self.max_rate == "record" else self.max_rate

    def attributes(self, measured: Mapping[str, Any]) -> dict[str, Any]:
        """Return the attributes of the archive's rate that describe the rules.

        Raises:
            InputError: The mask of static clutter cannot be read.
        """
        found: dict[str, Any] = {}
        limit = self.limit(measured)
        if limit is not None:
            found["highest_rate_kept"] = limit
        if self.min_group > 1:
            found["smallest_group_kept"] = self.min_group
        if self.clutter is not None:
            found["clutter_mask"] = _mask(self.clutter).digest
        return found


def highest_possible(measured: Mapping[str, Any]) -> float:
    """Return the highest mean rate in mm/h that is possible over the period of a measurement.

    The mean over an accumulation period of D hours is at most 421.6 D^−0.525: the envelope of the greatest
    rainfalls on earth, 421.6 D^0.475 mm (Paulhus 1965, doi:10.1175/1520-0493(1965)093<0331:IOATRS>2.3.CO;2).
    A rate of no period, and of any period up to two minutes, is at most the record for one minute, 38 mm.

    Args:
        measured: Attributes of the rate; only ``accumulation_minutes`` counts.

    Example:
        >>> [round(highest_possible({"accumulation_minutes": m})) for m in (5, 15, 60, 1440)]
        [1554, 873, 422, 80]
        >>> highest_possible({})
        2280.0
    """
    minutes = measured.get("accumulation_minutes")
    if not minutes or not minutes > 0:
        return _MINUTE_RECORD
    return float(min(_MINUTE_RECORD, round(421.6 * (minutes / 60) ** -0.525, 1)))


def clean(frames: xr.Dataset, cleaning: Cleaning) -> tuple[xr.Dataset, NDArray[np.int64]]:
    """Apply the rules to frames of the schema.

    Args:
        frames: Frames of the schema, which are not changed.
        cleaning: The rules.

    Returns:
        The frames, with the rules among the attributes of the rate, and the number of pixels that each rule
        changed, ``(time, rule)`` in the order of ``RULES``. A pixel counts only under the first rule that
        changed it, in the order clutter, impossible, speckle; an unobserved pixel is never changed.

    Raises:
        InputError: The mask of static clutter cannot be read, or has another grid.

    Example:
        >>> import pyproj
        >>> grid = Grid.from_centres(pyproj.CRS(3067), [0, 1000, 2000], [6_601_000, 6_600_000])
        >>> rate = [[[0.0, 9000.0, 0.0], [0.0, 0.0, 5.0]]]
        >>> frames = schema.build(rate, ["2016-09-28T14:45"], grid, measured={}, attributes={})
        >>> found, counts = clean(frames, Cleaning())
        >>> found.rainfall_rate.values.tolist(), counts.tolist()
        ([[[0.0, nan, 0.0], [0.0, 0.0, 5.0]]], [[1, 0, 0]])
    """
    rate = frames[schema.RATE]
    limit = cleaning.limit(rate.attrs)
    mask = None if cleaning.clutter is None else _mask_on(cleaning.clutter, frames)
    counts = np.zeros((rate.sizes["time"], len(RULES)), np.int64)
    values: NDArray[np.float32] = rate.values
    for position, original in enumerate(rate.values):
        changed = _clean_frame(original, limit, cleaning.min_group, mask, counts[position])
        if changed is not original:
            if values is rate.values or not values.flags.owndata:
                values = np.array(values)
            values[position] = changed
    attributes = {**rate.attrs, **cleaning.attributes(rate.attrs)}
    return frames.assign({schema.RATE: (rate.dims, values, attributes)}), counts


def describe(counts: NDArray[np.int64]) -> str:
    """Return the counts of several frames ``(time, rule)`` as text; empty if nothing was changed.

    Example:
        >>> describe(np.array([[3, 0, 0], [0, 0, 0], [1, 20, 0]]))
        '24 implausible pixels removed in 2 frames (4 impossible, 20 speckle)'
    """
    total = int(counts.sum())
    if not total:
        return ""
    frames = int((counts.sum(axis=1) > 0).sum())
    parts = ", ".join(
        f"{number} {rule}" for rule, number in zip(RULES, counts.sum(axis=0).tolist(), strict=True) if number
    )
    pixels = "1 implausible pixel" if total == 1 else f"{total} implausible pixels"
    return f"{pixels} removed in {frames} {'frame' if frames == 1 else 'frames'} ({parts})"


def _clean_frame(
    original: NDArray[np.float32],
    limit: float | None,
    min_group: int,
    mask: NDArray[np.bool_] | None,
    counts: NDArray[np.int64],
) -> NDArray[np.float32]:
    """Return the cleaned frame ``(y, x)``, or the same array if nothing is to be changed."""
    rate = original
    speckle = _small_groups(original, min_group) if min_group > 1 else None
    if mask is not None:
        hit = mask & ~np.isnan(original)
        counts[RULES.index("clutter")] = np.count_nonzero(hit)
        rate = np.where(hit, np.float32(np.nan), rate)
    if limit is not None:
        hit = (rate > limit) & (rate < np.inf)  # infinite values are no rates, and refused later
        counts[RULES.index("impossible")] = found = np.count_nonzero(hit)
        rate = np.where(hit, np.float32(np.nan), rate) if found else rate
    if speckle is not None:
        hit = speckle & (rate >= WET)  # what the other rules have removed is NaN
        counts[RULES.index("speckle")] = found = np.count_nonzero(hit)
        rate = np.where(hit, np.float32(0), rate) if found else rate
    return rate if counts.any() else original


def _small_groups(rate: NDArray[np.float32], min_group: int) -> NDArray[np.bool_]:
    """Return the pixels of groups smaller than ``min_group`` that touch only observed dry pixels.

    Pixels that share a side or a corner belong to one group.
    """
    wet = rate >= WET
    _, labels, statistics, _ = cv2.connectedComponentsWithStats(wet.astype(np.uint8), connectivity=8)
    small = statistics[:, cv2.CC_STAT_AREA] < min_group
    small[0] = False  # the background
    # Beside what is unobserved, and at the edge of the grid, the rest of a group may be unseen.
    unobserved = np.ones((rate.shape[0] + 2, rate.shape[1] + 2), np.uint8)
    unobserved[1:-1, 1:-1] = np.isnan(rate)
    beside = cv2.dilate(unobserved, np.ones((3, 3), np.uint8))[1:-1, 1:-1] > 0
    small[np.unique(labels[beside & wet])] = False
    found: NDArray[np.bool_] = small[labels]
    return found


@lru_cache(maxsize=4)
def _read(path: Path, changed: int) -> ClutterMask:  # noqa: ARG001 - a changed file is read again
    return read_mask(path)


def _mask(path: Path) -> ClutterMask:
    try:
        changed = path.stat().st_mtime_ns
    except OSError as error:
        raise InputError(f"{path}: expected a mask of static clutter: {error.strerror}") from None
    return _read(path, changed)


def _mask_on(path: Path, frames: xr.Dataset) -> NDArray[np.bool_]:
    mask = _mask(path)
    if differs := mask.grid.difference(Grid.of(frames)):
        raise InputError(f"clutter: {path}: {differs.replace('the archive', 'the mask')}")
    return mask.clutter
