"""A cache of byte strings with a limit on their total size; what was used longest ago is dropped first."""

from collections import OrderedDict
from collections.abc import Hashable


class ByteCache:
    """Byte strings by key.

    Args:
        limit: Largest total size in bytes. A larger string is not kept.

    Example:
        >>> cache = ByteCache(limit=5)
        >>> cache.put("a", b"123")
        >>> cache.put("b", b"45")
        >>> cache.put("c", b"6")
        >>> cache.get("a"), cache.get("b"), cache.size
        (None, b'45', 3)
    """

    def __init__(self, limit: int) -> None:
        self.size = 0
        self._limit = limit
        self._kept: OrderedDict[Hashable, bytes] = OrderedDict()

    def get(self, key: Hashable) -> bytes | None:
        """Return a string, None if it is not kept."""
        found = self._kept.get(key)
        if found is not None:
            self._kept.move_to_end(key)
        return found

    def put(self, key: Hashable, content: bytes) -> None:
        """Keep a string."""
        self.size += len(content) - len(self._kept.pop(key, b""))
        self._kept[key] = content
        while self.size > self._limit:
            self.size -= len(self._kept.popitem(last=False)[1])
