"""Random numbers by position: sequence k of a seed has its own, whichever way the sequences are cut.

Philox (Salmon et al. 2011, doi:10.1145/2063384.2063405) is a function of a key and a counter. The key is the
seed's, the counter the sequence's, so that a stretch of sequences is one call. Only the raw words are used,
which numpy keeps the same from version to version; what its generators make of them it does not promise.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from stormcell.errors import ArgumentError

Numbers = NDArray[np.float64]
WORDS = 4  # that Philox gives for each count
ORDERS = 2**32 - 1  # the stream of orders, which is no generator's


def uniforms(seed: int, first: int, size: int, count: int, *, stream: int = 0) -> Numbers:
    """Numbers uniform on [0, 1), a row of its own for every sequence.

    Args:
        seed: ≥ 0.
        first: The first sequence, ≥ 0.
        size: How many sequences, ≥ 0.
        count: How many numbers for each. Another count may give other numbers.
        stream: Another stream of the same seed gives other numbers.

    Returns:
        ``(size, count)``; row k is a function of ``seed``, ``first + k``, ``count`` and ``stream``.

    Raises:
        ArgumentError: Something is negative.

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
    return np.asarray(rows >> np.uint64(11), np.float64) * 2.0**-53  # the 53 bits that a float64 holds


@lru_cache(maxsize=4)
def shuffled(seed: int, epoch: int, count: int) -> NDArray[np.int64]:
    """The numbers 0 … count-1 in an order drawn from seed and epoch; not to be written to.

    Example:
        >>> sorted(shuffled(0, 1, 5).tolist())
        [0, 1, 2, 3, 4]
    """
    order = np.argsort(uniforms(seed, epoch, 1, count, stream=ORDERS)[0], kind="stable")
    order.flags.writeable = False
    return order
