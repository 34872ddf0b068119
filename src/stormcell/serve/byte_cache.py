"""A cache of what publications are answered with, in bytes."""

from collections import OrderedDict
from collections.abc import Hashable

_PUBLICATIONS = 64  # with the observed frames of the last hours; older ones are asked for rarely


class ByteCache:
    """Byte strings by publication and key; those of the publication used longest ago are dropped first.

    Without a limit on the publications, a server would grow for days, by what is not asked for again.

    Args:
        limit: Largest total size in bytes. A larger string is not kept.
        publications: Number of publications whose strings are kept.

    Example:
        >>> cache = ByteCache(limit=5, publications=2)
        >>> cache.put("first", "a", b"123")
        >>> cache.put("second", "a", b"45")
        >>> cache.put("second", "b", b"6")
        >>> cache.get("first", "a"), cache.get("second", "a"), cache.size
        (None, b'45', 3)
    """

    def __init__(self, limit: int, publications: int = _PUBLICATIONS) -> None:
        self.size = 0
        self._limit = limit
        self._publications = publications
        self._kept: OrderedDict[Hashable, OrderedDict[Hashable, bytes]] = OrderedDict()

    def get(self, publication: Hashable, key: Hashable) -> bytes | None:
        """Return a string, None if it is not kept."""
        strings = self._kept.get(publication)
        if strings is None or key not in strings:
            return None
        self._kept.move_to_end(publication)
        strings.move_to_end(key)
        return strings[key]

    def put(self, publication: Hashable, key: Hashable, content: bytes) -> None:
        """Keep a string."""
        strings = self._kept.setdefault(publication, OrderedDict())
        self._kept.move_to_end(publication)
        self.size += len(content) - len(strings.pop(key, b""))
        strings[key] = content
        while self.size > self._limit or len(self._kept) > self._publications:
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        publication, strings = next(iter(self._kept.items()))
        self.size -= len(strings.popitem(last=False)[1])
        if not strings:
            del self._kept[publication]
