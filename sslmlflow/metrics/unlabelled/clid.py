"""CLID: how many dimensions embeddings fill (ID), and how easily their clusters are learned (CL)."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from sslmlflow.metrics.partition import Partition, as_partition
from sslmlflow.metrics.unlabelled.arrays import Array, near_one, rescaled
from sslmlflow.metrics.unlabelled.neighbours import BLOCK, nearest_neighbours, squared_distances

KEPT = 0.9  # of the ratios, as in the paper of the estimator: the largest are the least reliable


def intrinsic_dimension(Z: Array) -> float:
    """TwoNN estimate of the dimension of the manifold that the rows of Z (n, d) lie on, above 0.

    From the ratio mu of each row's distances to its second and its first neighbour: the slope through the origin of
    `-log(1 - F(mu))` over log mu, the largest tenth left out. Rows with a duplicate say nothing and are left out.
    Too low where n is small for the dimension. Time n^2 d. Raises ValueError for misshapen or non-finite Z, fewer than
    10 rows without duplicates, and where all these have both neighbours equally far.

    Source: Facco et al. 2017, "Estimating the intrinsic dimension of datasets by a minimal neighborhood information".
    """
    z = near_one(Z)
    distances = nearest_neighbours(z, 2).distances.astype(np.float64) if len(z) > 2 else np.zeros((0, 2))
    distances = distances[distances[:, 0] > 0]
    n = len(distances)
    if n < 10:
        raise ValueError(f"Z needs at least 10 rows without a duplicate, got {n}")
    ratios = np.sort(np.log(distances[:, 1] / distances[:, 0]))[: int(n * KEPT)]
    if not ratios[-1] > 0:
        raise ValueError("every row of Z has its two neighbours equally far: there is no dimension to read off")
    tail = -np.log1p(-np.arange(1, len(ratios) + 1) / n)
    return float(ratios @ tail / (ratios @ ratios))


def cluster_learnability(Z: Array, clusters: Partition, seed: int = 0) -> float:
    """How often the nearest of the rows before it, in a random order, is of a row's own cluster: 0 to 1.

    Z: (n, d), compared by Euclidean distance; clusters: one whole number a row, found without labels, by k-means for
    one. The share over all rows but the first, in the order that `seed` draws: how fast a nearest-neighbour
    classifier learns. Fewer or larger clusters are easier. Time n^2 d, bounded memory. Raises ValueError for misshapen
    or non-finite Z, n < 2, and other than one whole number >= 0 a row.

    Source: Lu et al. 2023, arXiv 2206.01251, section 3.2.
    """
    z, _ = rescaled(Z)
    n, given = len(z), as_partition(clusters, "clusters")
    if n < 2 or len(given) != n:
        raise ValueError(f"Z needs at least 2 rows, and clusters one number a row, got {n} and {len(given)}")
    order = np.random.default_rng(seed).permutation(n)
    z -= z.mean(0)
    z, own = z[torch.from_numpy(order).to(z.device)], given[order]
    nearest = np.zeros(n, np.int64)
    for start in range(0, n, max(1, BLOCK // n)):
        stop = min(start + max(1, BLOCK // n), n)
        squared = squared_distances(z[start:stop], z[:stop])
        later = torch.arange(stop, device=z.device) >= torch.arange(start, stop, device=z.device)[:, None]
        nearest[start:stop] = squared.masked_fill_(later, torch.inf).argmin(1).numpy(force=True)
    return float(np.mean(own[nearest[1:]] == own[1:]))


def clid(dimensions: Sequence[float], learnabilities: Sequence[float]) -> NDArray[np.float64]:
    """CLID of several encoders: intrinsic dimension plus cluster learnability, each scaled to 0..1 over them.

    One of the two that is equal for all adds 0. Values compare within one call only. Raises ValueError for sequences of
    different lengths.

    Source: Lu et al. 2023, arXiv 2206.01251, section 3.3.

    >>> clid([5.0, 10.0, 20.0], [0.9, 0.8, 0.9]).round(3).tolist()
    [1.0, 0.333, 2.0]
    """
    if len(dimensions) != len(learnabilities):
        raise ValueError(
            f"dimensions and learnabilities must be one each an encoder, got {len(dimensions)}, {len(learnabilities)}"
        )
    total = np.zeros(len(dimensions))
    for values in (np.asarray(dimensions, float), np.asarray(learnabilities, float)):
        spread = float(np.ptp(values)) if len(values) else 0.0
        total += (values - values.min()) / spread if spread > 0 else 0.0
    return total
