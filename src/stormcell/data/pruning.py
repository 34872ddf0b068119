"""Keeping the newest frames of an archive, and dropping the others."""

import re
from os import PathLike
from typing import Literal

import numpy as np

from stormcell.data.archive_files import ROOT
from stormcell.data.archive_folder import files_of
from stormcell.data.object_store import location
from stormcell.data.store import writing
from stormcell.errors import ArchiveError, ArgumentError

_UNITS: dict[str, Literal["m", "h", "D", "W"]] = {"min": "m", "h": "h", "d": "D", "w": "W"}
_PERIOD = re.compile(rf"(\d{{1,6}}) ?({'|'.join(_UNITS)})")


def prune(
    path: str | PathLike[str], *, keep: str | None = None, before: str | None = None, durable: bool = False
) -> tuple[np.datetime64, ...]:
    """Drop the oldest frames of an archive, without rewriting the others, and return their times.

    The newest frame always stays. Frames that are dropped are not added again, even if their files are
    archived again. Readers that opened the archive before may still use the dropped frames. Their files are
    deleted by the next change of the archive other than appending, or by another prune.

    Args:
        path: An archive.
        keep: The period before the newest frame that is kept: ``"90min"``, ``"12h"``, ``"30d"`` or ``"2w"``.
        before: Instead, the time before which frames are dropped, in UTC, such as ``"2016-09-28T14:45"``.
        durable: Whether the change survives a power cut as soon as it is committed.

    Raises:
        ArgumentError: The period or time is malformed, or not exactly one of them is given.
        ArchiveError: ``path`` is not an archive, or another process is writing to it, or it cannot be
            written; it is intact.

    Example:
        >>> prune("rain.zarr", keep="soon")
        Traceback (most recent call last):
        ...
        stormcell.errors.ArgumentError: keep: expected a period such as 90min, 12h, 30d or 2w, found 'soon'
    """
    place = location(path)
    period = None if keep is None else _period(keep)
    moment = None if before is None else _moment(before)
    if (period is None) == (moment is None):
        found = "neither" if period is None else "both"
        raise ArgumentError(f"prune: expected --keep with a period or --before with a time, found {found}")
    if not files_of(place).exists(ROOT):
        raise ArchiveError(f"{path}: expected an archive, found none")
    with writing(place, durable=durable) as store:
        limit = moment if period is None else store.times[-1] - period
        assert limit is not None
        return tuple(store.prune(limit))


def _period(text: str) -> np.timedelta64:
    found = _PERIOD.fullmatch(text)
    if found is None or int(found[1]) == 0:
        raise ArgumentError(f"keep: expected a period such as 90min, 12h, 30d or 2w, found {text!r}")
    return np.timedelta64(int(found[1]), _UNITS[found[2]])


def _moment(text: str) -> np.datetime64:
    moment: np.datetime64
    try:
        moment = np.datetime64(text, "s")
    except ValueError:
        moment = np.datetime64("NaT", "s")
    if np.isnat(moment):
        raise ArgumentError(f"before: expected a time such as 2016-09-28T14:45, found {text!r}")
    return moment
