"""Gray pixels of more than 8 bits to 8: which range of values is black to white.

X-ray, microscope and depth images are stored in 16 bits (or 32) and use 10 or 12 of them. Scaled as if they used all,
they would keep 5 or 17 gray levels.
"""

import numpy as np
from numpy.typing import NDArray

from sslmlflow.data.bad_image import BadImage

DEPTHS = (8, 10, 12, 16)
FULL = 16
LARGEST = 2**FULL - 1


class TooDeep(BadImage):
    """An image whose values need more bits than it is to be read with."""

    def __init__(self, largest: int, bit_depth: int) -> None:
        super().__init__(f"values up to {largest}, more than bit_depth={bit_depth} holds (0..{2**bit_depth - 1})")
        self.needed = needed(largest)


def needed(largest: int) -> int:
    """Return the smallest bit depth that holds the value `largest` (0..65535).

    >>> [needed(value) for value in (0, 255, 256, 1023, 4095, 4096)]
    [8, 8, 10, 10, 12, 16]
    """
    return next(depth for depth in DEPTHS if largest < 2**depth)


def scaled(values: NDArray[np.integer], bit_depth: int) -> NDArray[np.uint8]:
    """Return integers 0..2^bit_depth - 1 as 0..255, rounded.

    Raises TooDeep where a value is larger, and BadImage where values lie outside of 0..65535. `bit_depth` 0 holds 0
    only: every image that is not black raises.
    """
    low, high = int(values.min()), int(values.max())
    if low < 0 or high > LARGEST:
        raise BadImage(f"integer pixels from {low} to {high}: they must lie within 0..{LARGEST}")
    if high >= 2**bit_depth:
        raise TooDeep(high, bit_depth)
    largest = max(2**bit_depth - 1, 1)
    pixels: NDArray[np.uint8] = ((510 * values.astype(np.int32) + largest) // (2 * largest)).astype(np.uint8)
    return pixels
