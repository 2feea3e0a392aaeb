"""A metric over random halves of the images: its interval, and that of the difference of two encoders."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.stats import t as students_t


class Interval(NamedTuple):
    """The value on all images, in nats, and the ends of its interval."""

    value: float
    low: float
    high: float


class Halves(NamedTuple):
    """The value on all images, in nats, and by how much it may be off, once for each random half of them.

    The deviations have a mean of 0. Those of two encoders belong together, one by one, if they come from the same
    images in the same order, the same seed and the same number of halves.
    """

    value: float
    deviations: tuple[float, ...]


def interval(halves: Halves, level: float = 0.95) -> Interval:
    """Return the interval that encloses the share `level`, within (0, 1), of the deviations."""
    check_level(level)
    low, high = np.quantile(halves.deviations, [(1 - level) / 2, (1 + level) / 2])
    return Interval(halves.value, halves.value + float(low), halves.value + float(high))


def difference(first: Halves, second: Halves, level: float = 0.95) -> Interval:
    """Return how much higher the first value is than the second, with its interval, from the same halves of images.

    What the images do to both cancels. The interval is that of Student's t for the standard deviation of the
    differences over the halves: quantiles of some dozens of differences would lie too far inside.

    Args:
        first, second: Of two encoders on the same images, by the same seed.
        level: Within (0, 1).

    Raises:
        ValueError: The numbers of halves differ, or are below 2; a level outside (0, 1).

    >>> difference(Halves(3.0, (-0.5, 0.0, 0.5)), Halves(2.0, (-0.5, 0.0, 0.5)))
    Interval(value=1.0, low=1.0, high=1.0)
    """
    check_level(level)
    counts = len(first.deviations), len(second.deviations)
    if counts[0] != counts[1] or counts[0] < 2:
        raise ValueError(f"needs equally many halves of both, at least 2, got {counts[0]} and {counts[1]}")
    value = first.value - second.value
    spread = np.std(np.subtract(first.deviations, second.deviations), ddof=1)
    width = float(students_t.ppf((1 + level) / 2, counts[0] - 1) * spread)
    return Interval(value, value - width, value + width)


def mean_of(several: Sequence[Halves]) -> Halves:
    """Return the mean over encoders that were measured on the same halves, of trainings with several seeds for one."""
    return Halves(
        float(np.mean([one.value for one in several])),
        tuple(np.mean([one.deviations for one in several], axis=0).tolist()),
    )


def check_level(level: float) -> None:
    """ValueError for a level outside (0, 1)."""
    if not 0 < level < 1:
        raise ValueError(f"needs a level within (0, 1), got {level}")
