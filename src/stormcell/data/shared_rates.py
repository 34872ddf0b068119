"""A check that a worker process reads the same archive as the process that sent it there."""

import hashlib
from weakref import WeakValueDictionary

import xarray as xr

from stormcell.data.parallel import in_worker
from stormcell.errors import ArchiveChangedError, WorkerError

# Arrays of this process that were found to be the same, by id. A later array can have the id of one that
# is gone.
_SAME: WeakValueDictionary[int, xr.DataArray] = WeakValueDictionary()


def digest(rate: xr.DataArray) -> str:
    """Return a SHA-256 of the first and the last frame of an archive's rates ``(time, y, x)``.

    A frame that is damaged, and cannot be read, counts as no bytes.

    Raises:
        ArchiveChangedError: The archive must be opened again.
    """
    found = hashlib.sha256()
    for position in (0, -1):
        try:
            found.update(rate[position].values.tobytes())
        except ArchiveChangedError:
            raise
        except Exception:  # codecs raise errors of many kinds
            continue
    return found.hexdigest()


def expect_same(rate: xr.DataArray, expected: str) -> None:
    """In a worker process, check once that an array has the digest that it has in the first process.

    Where a store cannot be reached, Zarr may read every frame as not observed.

    Raises:
        WorkerError: It has another.
    """
    if not in_worker() or _SAME.get(id(rate)) is rate:
        return
    if digest(rate) != expected:
        raise WorkerError(
            "workers: expected that they read the same archive, found other rates; an archive must lie in a "
            "folder or an object store that all workers reach by the same name"
        )
    _SAME[id(rate)] = rate
