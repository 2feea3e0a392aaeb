"""How far the adjusted coding rate reduction would move with other images from the same source."""

import numpy as np
import torch

from sslmlflow.metrics.unlabelled.arrays import Views, as_views
from sslmlflow.metrics.unlabelled.coding_rate import adjusted_of
from sslmlflow.metrics.unlabelled.determinants import check_eps
from sslmlflow.metrics.unlabelled.halves import Halves, Interval, check_level, interval


@torch.no_grad()
def adjusted_halves(
    views: Views, eps: float = 0.5, resamples: int = 100, seed: int = 0, kept: int | None = None
) -> Halves:
    """Return the adjusted coding rate reduction, in nats, and how it varies over random halves of the images.

    Both views of an image always stay together. One seed gives the same halves for every array of n images, so that
    encoders are compared on the same ones (`difference`).

    Why halves: drawn without replacement, the mean of n/2 out of n values varies just as the mean of n fresh values
    does. Drawing n with replacement would repeat images, which lowers the rank as fewer images do and moves even pure
    noise away from 0; reweighting the n mismatched pairs would take them as independent, and the interval could come
    out half as wide as it should. Why deviations from their mean: n/2 images have less rank to show than n. The value
    at n keeps its own bias of this kind, so that only equal n, d, eps and number of views compare.

    Args:
        views: v >= 2 arrays (n, d) or one (v, n, d) array, rows on the unit sphere.
        eps: Distortion, above 0.
        resamples: Number of halves, at least 2.
        seed: Seed of the halves.
        kept: Take that many images each time in place of half, for large n. Deviations of `kept` of n images are
            `sqrt(n / kept - 1)` times as wide as those of n fresh images, and are divided by that.

    Returns:
        The value, which is the mean of `adjusted_mean_and_resolution`, and `resamples` deviations.

    Raises:
        ValueError: Where `adjusted_mean_and_resolution` raises it, for halves too small for three shifts (2 views need
            8 images), for resamples < 2 and for kept above n/2.

    Source: Shao and Wu 1989, "A general theory for jackknife variance estimation", for the delete-d jackknife.
    """
    check_eps(eps)
    if resamples < 2:
        raise ValueError(f"needs resamples >= 2, got {resamples}")
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
    deviations = np.array(values) - np.mean(values)
    if kept is not None:
        deviations /= (n / kept - 1) ** 0.5
    return Halves(value, tuple(deviations.tolist()))


def adjusted_interval(
    views: Views,
    eps: float = 0.5,
    resamples: int = 100,
    seed: int = 0,
    level: float = 0.95,
    kept: int | None = None,
) -> Interval:
    """Return the adjusted coding rate reduction, in nats, and its interval for n images drawn anew.

    It encloses the share `level` of the deviations of `adjusted_halves`. In simulations with n several times d the
    width was right within a quarter: rather wide where the views of an image nearly agree, rather narrow where a few
    rare images make up the spread. With n near d, or n below d, it is only a guide. To compare two encoders, use
    `difference`: intervals of values that rise and fall together overlap too often.

    Args:
        views, eps, resamples, seed, kept: As of `adjusted_halves`.
        level: Within (0, 1).

    Raises:
        ValueError: Where `adjusted_halves` raises it, and for a level outside (0, 1).
    """
    check_level(level)
    return interval(adjusted_halves(views, eps, resamples, seed, kept), level)
