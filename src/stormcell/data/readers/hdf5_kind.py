"""HDF5 files that have no reader: a line that says what they are."""

import h5py

from stormcell.data.readers import cf_roles
from stormcell.errors import InputError

_POLAR = "gridded composites; grid polar data with xradar or wradlib first"
# Names in the root, and the formats that have them.
_KINDS = {
    ("Data", "Navigation"): "a satellite product",
    ("scan1", "how"): "a polar volume in Rainbow's or GAMIC's HDF5",
    ("sweep_0",): "polar sweeps in CfRadial",
    ("sweep_start_ray_index",): "polar sweeps in CfRadial",
    ("NS", "FileHeader"): "a swath of GPM",
    ("FS",): "a swath of GPM",
    ("S1",): "a swath of GPM",
    ("overview", "geographic"): "KNMI HDF5 without a readable image",
}
_ODIM_OBJECTS = {
    "PVOL": "a polar volume",
    "CVOL": "a Cartesian volume",
    "SCAN": "a polar scan",
    "RAY": "a polar ray",
    "AZIM": "an azimuthal object",
    "ELEV": "an elevation object",
    "VP": "a vertical profile",
    "XSEC": "a vertical cross section",
    "PIC": "a picture",
}


def expect_grids(file: h5py.File) -> None:
    """Refuse files of a known kind that is not read, such as polar volumes.

    Raises:
        InputError: The file is one of them; the message says what it is.
    """
    conventions = cf_roles.text(file.attrs.get("Conventions"))
    if conventions.upper().startswith("ODIM") or ("what" in file and "object" in file["what"].attrs):
        found = cf_roles.text(file["what"].attrs.get("object")) if "what" in file else ""
        kind = _ODIM_OBJECTS.get(found, f"the object {found or 'without a name'}")
        raise InputError(f"expected {_POLAR}, found {kind} in {conventions or 'ODIM_H5'}")
    if (
        conventions.startswith(("Cf/Radial", "CF/Radial", "Cf-Radial", "ARTMO"))
        or "instrument_parameters" in conventions
    ):
        raise InputError(f"expected {_POLAR}, found {conventions[:60]}")
    for names, kind in _KINDS.items():
        if all(name in file for name in names):
            raise InputError(f"expected {_POLAR}, found {kind}")
