"""How far the adjusted coding rate reduction would move with other images from the same source."""

from typing import NamedTuple

import numpy as np
import torch

from sslmlflow.metrics.unlabelled.arrays import Views, as_views
from sslmlflow.metrics.unlabelled.coding_rate import adjusted_of
from sslmlflow.metrics.unlabelled.determinants import check_eps


class Interval(NamedTuple):
    """The value on all images, in nats, and the ends of its interval."""

    value: float
    low: float
    high: float


@torch.no_grad()
def adjusted_interval(
    views: Views,
    eps: float = 0.5,
    resamples: int = 100,
    seed: int = 0,
    level: float = 0.95,
    kept: int | None = None,
) -> Interval:
    """Value of the adjusted coding rate reduction, in nats, and its interval for n images drawn anew.

    views: v >= 2 arrays (n, d) or one (v, n, d) array, rows on the unit sphere, as `adjusted_mean_and_resolution`
    takes them; the value is its mean. The interval comes from random halves of the images, both views of an image
    always together, and encloses the share `level` of their values, moved so that their mean falls on the value.
    One seed gives the same halves for every array of n images, so that milestones are compared on the same ones.

    Why halves: drawn without replacement, the mean of n/2 out of n values varies just as the mean of n fresh values
    does. Drawing n with replacement would repeat images, which lowers the rank as fewer images do and moves even pure
    noise away from 0; reweighting the n mismatched pairs would take them as independent, and the interval could come
    out half as wide as it should. Why moved: n/2 images have less rank to show than n. The value at n keeps its own
    bias of this kind, so that only intervals of equal n, d, eps and number of views compare. In simulations with n
    several times d the width was right within a quarter: rather wide where the views of an image nearly agree, rather
    narrow where a few rare images make up the spread. With n near d, or n below d, it is only a guide.

    `kept` < n/2 takes that many images each time in place of half, for large n: deviations of `kept` of n images are
    `sqrt(n / kept - 1)` times as wide as those of n fresh images, and are divided by that.

    Raises ValueError where `adjusted_mean_and_resolution` does, for halves too small for three shifts (2 views need
    8 images), for resamples < 2, for a level outside (0, 1) and for kept above n/2.

    Source: Shao and Wu 1989, "A general theory for jackknife variance estimation", for the delete-d jackknife.
    """
    check_eps(eps)
    if resamples < 2 or not 0 < level < 1:
        raise ValueError(f"needs resamples >= 2 and a level within (0, 1), got {resamples} and {level}")
    z = as_views(views)
    n = z.shape[1]
    half = n // 2 if kept is None else kept
    if not 0 < half <= n // 2:
        raise ValueError(f"kept must be at least 1 and at most half of the {n} images, got {kept}")
    value = float(adjusted_of(z, eps).mean)
    generator = np.random.default_rng(seed)
    values = []
    for _ in range(resamples):
        # In their own order: images stored class by class are then mismatched across classes, as among all images.
        rows = torch.from_numpy(np.sort(generator.permutation(n)[:half])).to(z.device)
        values.append(float(adjusted_of(z, eps, rows).mean))
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2]) - np.mean(values)
    if kept is not None:
        low, high = np.array([low, high]) / (n / kept - 1) ** 0.5
    return Interval(value, value + float(low), value + float(high))
