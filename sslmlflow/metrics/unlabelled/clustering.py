"""Clusters of directions: k-means by cosine distance."""

from typing import NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.sparse import csr_array

from sslmlflow.metrics.unlabelled.arrays import Array, as_matrix, to_float64

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

ITERATIONS = 300
TOLERANCE = 1e-6  # stop when no centre has moved by more, as an angle in radians


class Clusters(NamedTuple):
    """The cluster of every row (n,), 0 to k - 1; the centres (k, d), unit rows; the sum of cosine distances."""

    assignment: Indices
    centres: Floats
    loss: float


def spherical_kmeans(Z: Array, k: int, seed: int, center: bool = False, n_init: int = 10) -> Clusters:
    """Cluster the rows of Z (n, d) into k groups by cosine distance, the best of n_init runs by the loss.

    Rows are scaled to norm 1, `x = z / |z|`, so only their directions matter; the loss is the sum of `1 - x.mu`,
    between 0 and 2n, mu being the centre of x, the normalised mean of its rows. Directions are those seen from the
    origin, or from the mean of Z with center=True. Each run starts from k-means++ and takes at most 300 iterations;
    it ends when no centre moves by more than 1e-6 radians, in practice when no row changes its cluster. No cluster
    is empty: one that falls empty restarts from the row worst fitted. Computed in float64; equal Z and seed give
    equal clusters. Raises ValueError for misshapen or non-finite Z, for a row without a direction (zero, or equal
    to the mean with center=True), unless 1 <= k <= n, and for n_init < 1.

    Source: Dhillon and Modha 2001, "Concept decompositions for large sparse text data using clustering", section 3;
    start of Arthur and Vassilvitskii 2007, "k-means++", with the cosine distance, half the squared Euclidean one.

    >>> import numpy as np
    >>> found = spherical_kmeans(np.array([[1.0, 0.0], [0.0, 1.0], [9.0, 0.0]]), k=2, seed=0)
    >>> bool(found.assignment[0] == found.assignment[2] != found.assignment[1])
    True
    """
    x = _directions(to_float64(as_matrix(Z).detach()).numpy(force=True), center)
    if not 1 <= k <= len(x):
        raise ValueError(f"k must lie between 1 and {len(x)}, the number of rows, got {k}")
    if n_init < 1:
        raise ValueError(f"n_init, the number of runs, must be at least 1, got {n_init}")
    random = np.random.default_rng(seed)
    runs = (refine(x, spread_out(x, k, random)) for _ in range(n_init))
    return min(runs, key=lambda run: run.loss)


def spread_out(x: Floats, k: int, random: Generator) -> Floats:
    """Draw k of the unit rows x, each with probability proportional to its distance from those drawn before."""
    drawn = [int(random.integers(len(x)))]
    distance = np.full(len(x), np.inf)
    for _ in range(k - 1):
        distance = np.minimum(distance, _cosine_distance(x @ x[drawn[-1]]))
        cumulated = distance.cumsum()
        # The search never lands on a distance of 0 unless all are, and then on the last row.
        at = int(np.searchsorted(cumulated, random.uniform(0, cumulated[-1]), side="right"))
        drawn.append(min(at, len(x) - 1))
    return x[drawn]


def refine(x: Floats, centres: Floats) -> Clusters:
    """Alternate between assigning the unit rows x to the nearest centre and moving the centres to the means."""
    for _ in range(ITERATIONS):
        cosines = x @ centres.T
        assignment = cosines.argmax(1)
        _fill_empty(assignment, cosines.max(1), len(centres))
        before, centres = centres, _means(x, assignment, centres)
        if np.linalg.norm(centres - before, axis=1).max() <= TOLERANCE:
            break
    loss = _cosine_distance((x * centres[assignment]).sum(1)).sum()
    return Clusters(assignment, centres, float(loss))


def _directions(z: Floats, center: bool) -> Floats:
    """Scale rows to norm 1, by way of their largest entry so that squares stay in range."""
    # A row equal to the mean differs from it by rounding alone, which has no direction either.
    floor = 4 * np.finfo(np.float64).eps * np.abs(z).max() if center else 0.0
    z = z - z.mean(0) if center else z
    largest = np.abs(z).max(1, keepdims=True)
    if (largest <= floor).any():
        what = "equals the mean of all" if center else "is zero"
        raise ValueError(f"row {int(largest.argmin())} {what}: it has no direction and no cosine distance")
    z = z / largest
    unit: Floats = z / np.linalg.norm(z, axis=1, keepdims=True)
    return unit


def _cosine_distance(cosines: Floats) -> Floats:
    return np.maximum(1 - cosines, 0)


def _fill_empty(assignment: Indices, fit: Floats, k: int) -> None:
    """Give each empty cluster, in place, the worst-fitted row that is not alone in its cluster."""
    sizes = np.bincount(assignment, minlength=k)
    for empty in np.flatnonzero(sizes == 0):
        worst = int(np.where(sizes[assignment] > 1, fit, np.inf).argmin())
        sizes[[assignment[worst], empty]] += [-1, 1]
        assignment[worst] = empty


def _means(x: Floats, assignment: Indices, centres: Floats) -> Floats:
    """Normalised mean of every cluster; a mean of zero has no direction, every centre fits as well: it stays."""
    n, k = len(x), len(centres)
    members = csr_array((np.ones(n), assignment, np.arange(n + 1)), shape=(n, k))
    means = (members.T @ x) / np.bincount(assignment, minlength=k)[:, None]
    norms = np.linalg.norm(means, axis=1, keepdims=True)
    defined = norms > 1e-12
    result: Floats = np.where(defined, means / np.where(defined, norms, 1), centres)
    return result
