"""Radar files, archives, splits and generated radar, without torch."""

import os
import sys
from contextlib import suppress
from importlib import import_module


def _import_proj_beside_eccodes() -> None:
    """Import pyproj and rasterio so that each uses its own PROJ, in a process that has imported ecCodes.

    The wheel of ecCodes makes the symbols of its PROJ global. Libraries that are loaded later would call it
    instead of their own, and fail ("no database context specified") or crash. Libraries that were loaded
    earlier are safe.
    """
    flags = sys.getdlopenflags()
    sys.setdlopenflags(os.RTLD_NOW | os.RTLD_DEEPBIND)
    try:
        for name in ("pyproj", "rasterio"):
            with suppress(ImportError):  # the modules that need them say so
                import_module(name)
    finally:
        sys.setdlopenflags(flags)


if "gribapi" in sys.modules and "pyproj" not in sys.modules and hasattr(os, "RTLD_DEEPBIND"):
    _import_proj_beside_eccodes()
