"""Random numbers as a function of their place: they depend on no order, no block and no other number."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_STEP, _FIRST, _SECOND = (np.uint64(n) for n in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))


def uniforms(key: Sequence[int], rows: NDArray[np.int64], columns: int) -> NDArray[np.float64]:
    """Uniform numbers in [0, 1): each is a function of the key, the number of columns, its row and its column alone.

    Args:
        key: Numbers of at least 0, for example a seed and an epoch.
        rows: (n,) numbers of the wanted rows, in any order.
        columns: How many numbers a row has.

    Returns:
        (n, columns), the same on every machine.

    Source: SplitMix64 (Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators"), whose state is a
    counter.
    """
    (start,) = np.random.SeedSequence(key).generate_state(1, np.uint64)
    places = rows.astype(np.uint64)[:, None] * np.uint64(columns) + np.arange(1, columns + 1, dtype=np.uint64)
    mixed = places * _STEP + start
    mixed = (mixed ^ (mixed >> np.uint64(30))) * _FIRST
    mixed = (mixed ^ (mixed >> np.uint64(27))) * _SECOND
    mixed ^= mixed >> np.uint64(31)
    drawn: NDArray[np.float64] = (mixed >> np.uint64(11)) * 2.0**-53
    return drawn
