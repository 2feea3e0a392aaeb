"""Cyclic shifts that put the views of different images together."""

from math import gcd


def mismatches(shift: int, v: int, n: int) -> bool:
    """Tell whether moving view k of n images by k * shift rows, k < v, leaves no two views of an image together.

    >>> mismatches(1, 2, 4), mismatches(2, 3, 4)
    (True, False)
    """
    return all(k * shift % n for k in range(1, v))


def fixed_shifts(v: int, n: int) -> tuple[int, int, int]:
    """Choose three shifts that mismatch all of v views of n images: a function of v and n alone.

    They lie near 0.15 n, 0.24 n and 0.38 n (powers of the golden ratio), so that images stored class by class are
    mismatched across classes, for a third and a fourth view too. At most n/2, because for two views n - s pairs
    the same images as s; without a factor in common with n, so that a periodic order of images does not meet itself.
    Where n is too small for that, these wishes give way in the reverse order.

    >>> fixed_shifts(2, 1000), fixed_shifts(2, 4)
    ((147, 237, 381), (1, 2, 3))
    """
    valid = [s for s in range(1, n) if mismatches(s, v, n)]
    if len(valid) < 3:
        raise ValueError(f"{n} images are too few for three ways of mismatching {v} views")
    chosen: list[int] = []
    for target in (0.146 * n, 0.236 * n, 0.382 * n):
        free = (s for s in valid if s not in chosen)
        chosen.append(min(free, key=lambda s: (2 * s > n, gcd(s, n) > 1, abs(s - target))))
    return chosen[0], chosen[1], chosen[2]
