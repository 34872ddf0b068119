"""The levels of an ODIM_H5 file, and the attributes that they give.

A file has groups ``dataset1``, ``dataset2``, …, each with ``data1``, ``data2``, …. Their attributes stand in
groups ``what``, ``where`` and ``how`` of three levels (data, dataset, root), or at the level itself. The
innermost one counts.
"""

from typing import Any

import h5py

from stormcell.data.readers.hdf5 import attribute

Levels = tuple[h5py.Group, ...]


def find(levels: Levels, room: str, name: str) -> tuple[h5py.Group, str] | None:
    """Return the innermost group with an attribute, and the attribute's name; None if no level has it.

    Args:
        levels: Groups, the innermost first.
        room: Group in which the attribute should be: ``"what"``, ``"where"`` or ``"how"``.
        name: Name of the attribute.
    """
    for level in levels:
        for place in (level.get(room), level):
            if isinstance(place, h5py.Group) and name in place.attrs:
                return place, name
    return None


def value(levels: Levels, room: str, name: str) -> Any:
    """Return an attribute from the innermost level that has it; None if no level has it."""
    place = find(levels, room, name)
    return None if place is None else attribute(*place)


def numbered(group: h5py.Group, prefix: str) -> list[str]:
    """Return the subgroups whose names are a prefix and a number, by number."""
    names = [
        name
        for name in group
        if name.removeprefix(prefix).isdecimal() and name.startswith(prefix)
        if isinstance(group.get(name), h5py.Group)
    ]
    return sorted(names, key=lambda name: int(name.removeprefix(prefix)))
