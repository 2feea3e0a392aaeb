"""A metric over random halves of the images: its interval, and that of the difference of two encoders."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit


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


def over_halves(
    value: float,
    measure: Callable[[NDArray[np.int64]], float],
    n: int,
    resamples: int = 100,
    seed: int = 0,
    kept: int | None = None,
) -> Halves:
    """Return how a metric varies over random halves of n images.

    One seed gives the same halves for all metrics and encoders of n images. Why halves: drawn without replacement, the
    mean of n/2 out of n values varies just as the mean of n fresh values does. Why deviations from their mean: many
    metrics of n/2 images are lower or higher than those of n.

    Args:
        value: The metric of all images.
        measure: Gives the metric of the images with these numbers, ascending.
        n: Number of images.
        resamples: Number of halves, at least 2.
        seed: Seed of the halves.
        kept: Take that many images each time in place of half. Deviations of `kept` of n images are
            `sqrt(n / kept - 1)` times as wide as those of n fresh images, and are divided by that.

    Raises:
        ValueError: resamples < 2, and kept above n/2.

    Source: Shao and Wu 1989, "A general theory for jackknife variance estimation", for the delete-d jackknife.
    """
    if resamples < 2:
        raise ValueError(f"needs resamples >= 2, got {resamples}")
    half = n // 2 if kept is None else kept
    if not 0 < half <= n // 2:
        raise ValueError(f"kept must be at least 1 and at most half of the {n} images, got {kept}")
    generator = np.random.default_rng(seed)
    # In their own order: images stored class by class are then mismatched across classes, as among all images.
    values = [measure(np.sort(generator.permutation(n)[:half])) for _ in range(resamples)]
    deviations = np.array(values) - np.mean(values)
    if kept is not None:
        deviations /= (n / kept - 1) ** 0.5
    return Halves(value, tuple(deviations.tolist()))


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
    spread = float(np.std(np.subtract(first.deviations, second.deviations), ddof=1))
    return _students(first.value - second.value, spread, counts[0], level)


def gap(first: Halves, second: Halves, level: float = 0.95) -> Interval:
    """Return how much higher the first value is than the second, with its interval, of different images.

    The variances over the halves of each add up. The interval is that of Student's t.

    Args:
        first, second: On equally many images from one source, at least 2 halves of each.
        level: Within (0, 1).

    Raises:
        ValueError: Fewer halves, or a level outside (0, 1).

    >>> [round(end, 3) for end in gap(Halves(3.0, (-0.5, 0.0, 0.5)), Halves(2.0, (-0.5, 0.0, 0.5)))]
    [1.0, -2.042, 4.042]
    """
    check_level(level)
    least = min(len(first.deviations), len(second.deviations))
    if least < 2:
        raise ValueError(f"needs at least 2 halves of both, got {least}")
    spread = float(np.hypot(np.std(first.deviations, ddof=1), np.std(second.deviations, ddof=1)))
    return _students(first.value - second.value, spread, least, level)


def _students(value: float, spread: float, count: int, level: float) -> Interval:
    """The interval of Student's t around a value whose standard deviation was estimated from `count` numbers."""
    width = float(stdtrit(count - 1, (1 + level) / 2)) * spread
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
