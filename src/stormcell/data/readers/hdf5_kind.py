"""HDF5 files that have no reader: a line that says what they are."""

import h5py

from stormcell.data.readers import cf_roles
from stormcell.errors import InputError

_EXPECTED = (
    "gridded composites; put polar data and swaths on a grid first, for example with xradar or wradlib"
)
# Names in the root, and the formats that have them.
_KINDS = {
    ("scan1", "how"): "a polar volume in Rainbow's or GAMIC's HDF5",
    ("sweep_0",): "polar sweeps in CfRadial",
    ("sweep_start_ray_index",): "polar sweeps in CfRadial",
    ("NS",): "a swath of GPM",
    ("FS",): "a swath of GPM",
    ("S1",): "a swath of GPM",
}


def expect_grids(file: h5py.File) -> None:
    """Refuse files of a known kind that is not read, such as polar volumes.

    Raises:
        InputError: The file is one of them; the message says what it is.
    """
    conventions = cf_roles.text(file.attrs.get("Conventions"))
    if "radial" in conventions.lower():
        raise InputError(f"expected {_EXPECTED}; found {conventions[:60]}")
    for names, kind in _KINDS.items():
        if all(name in file for name in names):
            raise InputError(f"expected {_EXPECTED}; found {kind}")
