"""The label-free side of an evaluation: a map of the held-out images, its clusters, its entropy."""

import time
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from sslmlflow.config.evaluate import EvaluationOptions
from sslmlflow.data.source import Images
from sslmlflow.digests import digest
from sslmlflow.metrics.catalogue import (
    AGREEMENT,
    DIMENSION,
    ENTROPY,
    LEARNABILITY,
    OUTLIERS,
    ROBUST_ENTROPY,
    SILHOUETTE,
)
from sslmlflow.metrics.failures import FAILURES, why
from sslmlflow.metrics.partition import agreement, silhouettes
from sslmlflow.metrics.results import Results
from sslmlflow.metrics.unlabelled.clid import cluster_learnability, intrinsic_dimension
from sslmlflow.metrics.unlabelled.clustering import spherical_kmeans
from sslmlflow.metrics.unlabelled.collapse import collapsed
from sslmlflow.metrics.unlabelled.entropy import far_from_the_rest, histogram_entropy
from sslmlflow.metrics.unlabelled.umap_embedding import umap_embedding
from sslmlflow.rules import versions

NUMBERS = (2, 3, 5, 7, 10, 14, 20)  # numbers of clusters, each tried with its double


@dataclass(frozen=True)
class ByNumber:
    """Silhouette of k clusters and their agreement with 2k, by k."""

    silhouette: dict[int, float] = field(default_factory=dict)
    agreement: dict[int, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Found:
    """The map (n, 3) and the clusters (n,) of the held-out images, None where they are undefined."""

    results: Results
    map: NDArray[np.float32] | None = None
    clusters: NDArray[np.int64] | None = None
    by_k: ByNumber | None = None


@dataclass(frozen=True)
class HeldOut:
    """Held-out images, and how they are mapped and clustered (Xu, Lowe and Trappenberg, section III-C)."""

    images: Images
    options: EvaluationOptions

    @property
    def digest(self) -> str:
        """Values with different digests are not to be compared."""
        return digest(
            {
                "images_fingerprint": self.images.fingerprint,
                "clusters": self.options.clusters,
                "entropy_width": self.options.entropy_width,
                "seed": self.options.evaluation_seed,
                "rules": versions("metrics"),
            }
        )

    def measure(self, last: Tensor) -> Found:
        """Measure the last layer's embeddings (n, d) of the images."""
        return map_and_cluster(last, self.options)


def map_and_cluster(last: Tensor, options: EvaluationOptions) -> Found:
    """The map, the clusters and the entropy of embeddings (n, d), and the two parts of CLID."""
    results, seed = Results(), options.evaluation_seed
    of_map = AGREEMENT, SILHOUETTE, ENTROPY, ROBUST_ENTROPY
    try:
        if reason := collapsed(last):
            raise ValueError(f"collapsed: {reason}")
    except FAILURES as error:
        results.fail((*of_map, DIMENSION, LEARNABILITY), why(error))
        return Found(results)
    results.add(DIMENSION, lambda: intrinsic_dimension(last))
    results.add(LEARNABILITY, lambda: _learnability(last, options))
    started = time.perf_counter()
    try:
        z3 = umap_embedding(last, seed)
    except FAILURES as error:
        results.fail(of_map, why(error))
        return Found(results)
    results.time("umap", started)
    results.add(ENTROPY, lambda: histogram_entropy(z3, options.entropy_width))
    results.add(ROBUST_ENTROPY, lambda: histogram_entropy(z3, options.entropy_width, robust=True))
    results.add(OUTLIERS, lambda: float(far_from_the_rest(z3).sum()))
    try:
        return _clustered(last, z3, options, results)
    except FAILURES as error:
        results.fail((AGREEMENT, SILHOUETTE), why(error))
        return Found(results, z3)


def _learnability(last: Tensor, options: EvaluationOptions) -> float:
    """Of clusters of the embeddings themselves, not of those of the map."""
    clusters = spherical_kmeans(last, options.clusters, options.evaluation_seed).assignment
    return cluster_learnability(last, clusters, options.evaluation_seed)


def _clustered(last: Tensor, z3: NDArray[np.float32], options: EvaluationOptions, results: Results) -> Found:
    k, n = options.clusters, len(z3)
    if 2 * k >= n:
        raise ValueError(f"{n} images are too few for {k} and {2 * k} clusters")
    started = time.perf_counter()
    numbers = sorted(j for j in {k, *NUMBERS} if 2 * j < n)
    partitions = {
        # Each run of k-means has a seed of its own: C1 and C2 of the paper are independent.
        j: spherical_kmeans(z3, j, options.evaluation_seed + j).assignment
        for j in sorted({*numbers, *(2 * j for j in numbers)})
    }
    results.time("clusters", started)
    started = time.perf_counter()
    scores = silhouettes(last, {str(j): partitions[j] for j in numbers})
    results.time("silhouette", started)
    by_k = ByNumber(
        {j: scores[str(j)] for j in numbers}, {j: agreement(partitions[j], partitions[2 * j]) for j in numbers}
    )
    results.values[SILHOUETTE] = by_k.silhouette[k]
    results.values[AGREEMENT] = by_k.agreement[k]
    return Found(results, z3, partitions[k], by_k)
