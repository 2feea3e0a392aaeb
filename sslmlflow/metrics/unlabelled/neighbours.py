"""Exact nearest neighbours among embeddings, and the squared distances behind them."""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sslmlflow.metrics.unlabelled.arrays import Array, matmul, rescaled

BLOCK = 2**21  # numbers of 8 bytes held at once, some three times over; the memory of larger blocks is cleared anew

# Part of |a|^2 + |b|^2 that rounding can leave of a distance 0. In distance it is 3e-7, what float32 resolves.
ROUNDING = 1e-13


class Neighbours(NamedTuple):
    """Row i holds the neighbours of row i, nearest first: their indices (n, k) and distances (n, k)."""

    indices: NDArray[np.int64]
    distances: NDArray[np.float32]


def nearest_neighbours(Z: Array, k: int) -> Neighbours:
    """Find the k nearest other rows of every row of Z (n, d), 1 <= k < n, by Euclidean distance.

    A row is never its own neighbour, its duplicates are, at distance 0. Found in float64, in time n^2 d and bounded
    memory, on the device of Z. Of neighbours at equal distance the lower index comes first; where more of them than
    there is room for tie at the k-th place, which of these are taken is arbitrary, and rows nearer to each other than
    3e-7 of their distance from the mean tie. The distances of those taken are exact to float32. Raises
    ValueError for misshapen or non-finite Z, for k out of range and for distances too large for float32.

    >>> import numpy as np
    >>> nearest_neighbours(np.array([[0.0], [1.0], [3.0]]), k=1).indices.tolist()
    [[1], [0], [1]]
    """
    z, scale = rescaled(Z)
    n, d = z.shape
    if not 1 <= k < n:
        raise ValueError(f"k must lie between 1 and {n - 1}, the number of other rows, got {k}")
    # Distances do not change under a shift; without the common mean, less is lost to cancellation.
    z -= z.mean(0)
    rows = max(1, BLOCK // max(n, k * d))
    # Made at once: small results kept from between large blocks would keep these from being given back.
    indices = torch.empty((n, k), dtype=torch.int64, device=z.device)
    exact = torch.empty((n, k), dtype=torch.float64, device=z.device)
    for start in range(0, n, rows):
        stop = min(start + rows, n)
        indices[start:stop], exact[start:stop] = _nearest(z, start, stop, k)
    distances = (exact * scale).float()
    if not bool(torch.isfinite(distances).all()):
        raise ValueError("distances are too large for float32: scale the embeddings down")
    return Neighbours(indices.numpy(force=True), distances.numpy(force=True))


def squared_distances(a: Tensor, b: Tensor) -> Tensor:
    """Squared distances (p, n) between the rows of a (p, d) and b (n, d), float64; what may be rounding is 0."""
    # Of a norm nothing of the size of b is made, as the sum of squares would.
    own, others = (torch.linalg.vector_norm(x, dim=1).square() for x in (a, b))
    norms: Tensor = own[:, None] + others
    squared = matmul(a, b.T).mul_(-2).add_(norms)
    return squared.masked_fill_(squared <= norms.mul_(ROUNDING), 0)


def _nearest(z: Tensor, start: int, stop: int, k: int) -> tuple[Tensor, Tensor]:
    """Neighbours and distances of the rows from start to stop."""
    block = z[start:stop]
    squared = squared_distances(block, z)
    squared.diagonal(start).fill_(torch.inf)  # the row itself, and not its duplicates
    index = squared.topk(k, largest=False).indices.sort(1).values
    # Once more from the differences, which for near rows are far more precise than the products.
    distance = torch.cdist(block[:, None], z[index], compute_mode="donot_use_mm_for_euclid_dist")[:, 0]
    distance, order = distance.sort(dim=1, stable=True)
    return index.gather(1, order), distance
