"""Entity tags, by which caches know a content again."""

import hashlib


def weak_tag(content: bytes) -> str:
    """Return the tag of a content that may be sent compressed or not.

    Example:
        >>> weak_tag(b"{}")
        'W/"44136fa355b3678a"'
    """
    return f'W/"{hashlib.sha256(content).hexdigest()[:16]}"'
