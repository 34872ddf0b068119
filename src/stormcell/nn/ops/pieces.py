"""What is worked through together, so that it stays in the caches."""

_PIECE = 16 << 20  # bytes that it may have


def pieces(count: int, each: int) -> list[slice]:
    """Cut so many samples, or steps, of so many bytes each into pieces."""
    return cut(count, max(1, _PIECE // each))


def cut(count: int, size: int) -> list[slice]:
    """Cut so many into pieces of a size; the last may be smaller."""
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]
