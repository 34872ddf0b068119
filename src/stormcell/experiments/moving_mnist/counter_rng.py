"""Random numbers by position: those of sequence k do not depend on the batch that it is in.

Philox (Salmon et al. 2011, doi:10.1145/2063384.2063405) is a function of a key and a counter. The key comes
from the seed and the counter from the sequence's number, so one call generates consecutive sequences. Only
the raw words are used: numpy guarantees these between versions, but not the numbers drawn from them.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from stormcell.errors import ArgumentError

Numbers = NDArray[np.float64]
WORDS = 4  # words of 64 bits that Philox generates for each value of the counter
ORDERS = 2**32 - 1  # the stream for shuffling; no generator uses it


def uniforms(seed: int, first: int, size: int, count: int, *, stream: int = 0) -> Numbers:
    """Return numbers uniform on [0, 1), one row for every sequence.

    Args:
        seed: Seed, ≥ 0.
        first: Number of the first sequence, ≥ 0.
        size: Number of sequences, ≥ 0.
        count: Numbers per sequence. A different count may give different numbers.
        stream: Number of the stream. Streams of the same seed have different numbers.

    Returns:
        ``(size, count)``; row k depends only on ``seed``, ``first + k``, ``count`` and ``stream``.

    Raises:
        ArgumentError: ``seed``, ``first`` or ``size`` is negative.

    Example:
        >>> whole = uniforms(7, first=0, size=5, count=3)
        >>> bool((uniforms(7, first=3, size=2, count=3) == whole[3:]).all())
        True
    """
    if min(seed, first, size) < 0:
        raise ArgumentError(
            f"sequences: expected seed, first and size of 0 or more, found {seed}, {first} and {size}"
        )
    blocks = -(-count // WORDS)
    key = np.random.SeedSequence(seed, spawn_key=(stream,)).generate_state(2, np.uint64)
    words = np.random.Philox(key=key, counter=first * blocks).random_raw(size * blocks * WORDS)
    rows = np.asarray(words, np.uint64).reshape(size, blocks * WORDS)[:, :count]
    return np.asarray(rows >> np.uint64(11), np.float64) * 2.0**-53  # a float64 has 53 bits


@lru_cache(maxsize=4)
def shuffled(seed: int, epoch: int, count: int) -> NDArray[np.int64]:
    """Return the numbers 0 to count - 1 in a random order for a seed and epoch, as a read-only array.

    Example:
        >>> sorted(shuffled(0, 1, 5).tolist())
        [0, 1, 2, 3, 4]
    """
    order = np.argsort(uniforms(seed, epoch, 1, count, stream=ORDERS)[0], kind="stable")
    order.flags.writeable = False
    return order
