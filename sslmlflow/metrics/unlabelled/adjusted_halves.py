"""How far the adjusted coding rate reduction would move with other images from the same source."""

import numpy as np
import torch
from numpy.typing import NDArray

from sslmlflow.metrics.unlabelled.arrays import Views, as_views
from sslmlflow.metrics.unlabelled.coding_rate import adjusted_of
from sslmlflow.metrics.unlabelled.determinants import check_eps
from sslmlflow.metrics.unlabelled.halves import Halves, Interval, check_level, interval, over_halves


@torch.no_grad()
def adjusted_halves(
    views: Views, eps: float = 0.5, resamples: int = 100, seed: int = 0, kept: int | None = None
) -> Halves:
    """Return the adjusted coding rate reduction, in nats, and how it varies over random halves of the images.

    Both views of an image always stay together. One seed gives the same halves for every array of n images, so that
    encoders are compared on the same ones (`difference`).

    Why not otherwise: drawing n with replacement would repeat images, which lowers the rank as fewer images do and
    moves even pure noise away from 0; reweighting the n mismatched pairs would take them as independent, and the
    interval could come out half as wide as it should. n/2 images have less rank to show than n, so deviations are taken
    from the mean of the halves. The value at n keeps its own bias of this kind, so that only equal n, d, eps and number
    of views compare.

    Args:
        views: v >= 2 arrays (n, d) or one (v, n, d) array, rows on the unit sphere.
        eps: Distortion, above 0.
        resamples, seed, kept: As of `over_halves`.

    Returns:
        The value, which is the mean of `adjusted_mean_and_resolution`, and `resamples` deviations.

    Raises:
        ValueError: Where `adjusted_mean_and_resolution` or `over_halves` raises it, and for halves too small for three
            shifts (2 views need 8 images).
    """
    check_eps(eps)
    z = as_views(views)

    def measure(rows: NDArray[np.int64]) -> float:
        return float(adjusted_of(z, eps, torch.from_numpy(rows).to(z.device)).mean)

    return over_halves(float(adjusted_of(z, eps).mean), measure, z.shape[1], resamples, seed, kept)


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
