"""Scores of partitions: of the same rows by their distances (silhouette), and of one against another (AMI).

A partition is one whole number, at least 0, per row: rows of equal number belong together.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import adjusted_mutual_info_score
from torch import Tensor

from sslmlflow.metrics.unlabelled.arrays import Array, matmul, rescaled
from sslmlflow.metrics.unlabelled.neighbours import BLOCK, squared_distances

Partition = Array | Sequence[int]


def silhouettes(Z: Array, partitions: Mapping[str, Partition]) -> dict[str, float]:
    """Mean silhouette of each of several partitions of the rows of Z (n, d), by Euclidean distance, in [-1, 1].

    The silhouette of a row is `(b - a) / max(a, b)`: a its mean distance from the others of its own cluster, b the
    mean distance from the cluster nearest to it; 0 for a row alone in its cluster and where a = b = 0. All partitions
    share one pass over the distances, in float64 on the device of Z, which takes time n^2 d and memory for one number
    a row and cluster: thousands of clusters need as much as an n x n matrix. Raises ValueError for misshapen or
    non-finite Z and for a partition that is none of n rows, or that has fewer than 2 or more than n - 1 clusters.

    Source: Rousseeuw 1987, "Silhouettes", section 2.

    >>> import numpy as np
    >>> Z = np.array([[0.0], [0.0], [4.0], [4.0]])
    >>> silhouettes(Z, {"halves": [0, 0, 1, 1], "mixed": [0, 1, 0, 1]})
    {'halves': 1.0, 'mixed': -0.5}
    """
    z, _ = rescaled(Z)
    own = {name: _clusters(given, name, len(z)).to(z.device) for name, given in partitions.items()}
    if not own:
        return {}
    members = [torch.nn.functional.one_hot(cluster).to(z.dtype) for cluster in own.values()]
    z -= z.mean(0)
    sums = _summed_distances(z, torch.cat(members, 1))
    parts = torch.split(sums, [m.shape[1] for m in members], 1)
    return {name: _mean_silhouette(part, own[name]) for name, part in zip(own, parts, strict=True)}


def agreement(a: Partition, b: Partition) -> float:
    """Adjusted mutual information of two partitions of the same rows, over the arithmetic mean of their entropies.

    1 for the same partition, whatever its numbers, and about 0, perhaps below, for independent ones. Its ceiling is
    lower where the numbers of clusters differ: k equal clusters, each cut in two, reach `ln k / (ln k + ln(2)/2)`
    with many more than k^2 rows, 0.869 for k = 10, and a little less with fewer. Two partitions of one cluster each
    agree fully. Raises ValueError for partitions of different length, or of no rows.

    Source: Vinh, Epps and Bailey 2010, "Information theoretic measures for clusterings comparison", section 4.

    >>> agreement([0, 0, 1, 1], [7, 7, 3, 3])
    1.0
    """
    first, second = as_partition(a, "the first partition"), as_partition(b, "the second partition")
    if len(first) != len(second) or len(first) == 0:
        raise ValueError(f"two partitions of the same rows are needed, got {len(first)} and {len(second)} rows")
    return float(adjusted_mutual_info_score(first, second, average_method="arithmetic"))


def as_partition(given: Partition, name: str) -> NDArray[Any]:
    """Give whole numbers >= 0, one per row, as a NumPy array; raises ValueError for anything else."""
    numbers = given.numpy(force=True) if isinstance(given, Tensor) else np.asarray(given)
    if numbers.ndim != 1 or (numbers.dtype.kind not in "iu" and len(numbers) > 0):
        raise ValueError(f"{name} must be one whole number per row, got {numbers.dtype} of shape {numbers.shape}")
    if (numbers < 0).any():
        raise ValueError(f"{name} holds negative numbers; leave out rows that belong to no cluster")
    return numbers


def _clusters(given: Partition, name: str, n: int) -> Tensor:
    """Number the clusters of a partition of n rows from 0 without gaps."""
    numbers = as_partition(given, f"partition {name!r}")
    if len(numbers) != n:
        raise ValueError(f"partition {name!r} is of {len(numbers)} rows, and there are {n} embeddings")
    found, cluster = np.unique(numbers, return_inverse=True)
    if not 2 <= len(found) < n:
        raise ValueError(
            f"partition {name!r} has {len(found)} clusters of {n} rows: "
            "a silhouette needs at least 2 and fewer than there are rows"
        )
    return torch.from_numpy(cluster)


def _summed_distances(z: Tensor, members: Tensor) -> Tensor:
    """Sum of the distances of every row from all rows of every cluster, (n, k), each pair of rows visited once."""
    n = len(z)
    rows = max(1, BLOCK // n)
    sums = torch.zeros_like(members)
    for start in range(0, n, rows):
        stop = min(start + rows, n)
        distances = squared_distances(z[start:stop], z[start:]).sqrt_()
        distances.diagonal().zero_()
        sums[start:stop] += matmul(distances, members[start:])
        sums[stop:] += matmul(distances[:, stop - start :].T, members[start:stop])
    return sums


def _mean_silhouette(sums: Tensor, own: Tensor) -> float:
    sizes = own.bincount()
    index = own[:, None]
    a = sums.gather(1, index)[:, 0] / (sizes[own] - 1).clamp_min(1)
    b = (sums / sizes).scatter(1, index, torch.inf).amin(1)
    larger = torch.maximum(a, b)
    defined = (sizes[own] > 1) & (larger > 0)
    return float(torch.where(defined, (b - a) / larger, 0).mean())
