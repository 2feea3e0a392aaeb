"""Pictures of a milestone's embeddings, for people without labels."""

from collections.abc import Iterator

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from sklearn.metrics.cluster import contingency_matrix
from torch import Tensor

from sslmlflow.data.source import Images
from sslmlflow.evaluation.clusters import Found
from sslmlflow.figures.by_k import by_k_figure
from sslmlflow.figures.pictures import clusters_figure, neighbours_figure, outliers_figure
from sslmlflow.figures.scatter import scatter_figure
from sslmlflow.metrics.unlabelled.neighbours import nearest_neighbours

QUERIES, NEIGHBOURS, OUTLIERS, THUMBNAILS = 8, 8, 40, 10


def pictures(epoch: int, found: Found, last: Tensor, images: Images) -> Iterator[tuple[str, Figure]]:
    """Figures by name: the map, images of each cluster, nearest neighbours, outliers, the number of clusters."""
    if found.map is None:
        return
    yield "umap", scatter_figure(found.map, found.clusters, f"UMAP of the held-out images, epoch {epoch}")
    if len(images) > NEIGHBOURS:
        near = nearest_neighbours(last, NEIGHBOURS)
        queries = np.linspace(0, len(images) - 1, QUERIES).astype(np.int64)
        shown = images.read(near.indices[queries].ravel()).reshape(len(queries), NEIGHBOURS, *images.shape)
        yield "neighbours", neighbours_figure(images.read(queries), shown, f"Nearest neighbours, epoch {epoch}")
        distance = near.distances.mean(axis=1)
        furthest = np.sort(np.argsort(-distance, kind="stable")[:OUTLIERS])
        yield "outliers", outliers_figure(images.read(furthest), distance[furthest])
    if found.clusters is not None and found.by_k is not None:
        typical = [_typical(last.numpy(), np.flatnonzero(found.clusters == c)) for c in range(found.clusters.max() + 1)]
        yield (
            "clusters",
            clusters_figure(
                [images.read(members) for members in typical],
                [f"cluster {c}" for c in range(len(typical))],
                f"Typical images of each cluster, epoch {epoch}",
                np.bincount(found.clusters).tolist(),
            ),
        )
        by_k = found.by_k
        scores = {
            "silhouette": list(by_k.silhouette.values()),
            "AMI of k and 2k clusters": list(by_k.agreement.values()),
        }
        yield "number_of_clusters", by_k_figure(list(by_k.silhouette), scores, len(typical))


def renumbered(clusters: NDArray[np.int64], before: NDArray[np.int64] | None) -> NDArray[np.int64]:
    """The same clusters under the numbers of those of `before` that they share most images with.

    Both are of the same images and hold as many clusters, each number from 0 on at least once. Numbers, and so
    colours, then hold still from milestone to milestone of one evaluation.
    """
    if before is None or before.max() != clusters.max():
        return clusters
    now, then = linear_sum_assignment(contingency_matrix(clusters, before), maximize=True)
    number = np.empty(len(now), dtype=np.int64)
    number[now] = then
    result: NDArray[np.int64] = number[clusters]
    return result


def _typical(last: NDArray[np.float32], members: NDArray[np.int64]) -> NDArray[np.int64]:
    """The members nearest to the mean of all."""
    z = last[members]
    return members[np.argsort(np.linalg.norm(z - z.mean(axis=0), axis=1), kind="stable")[:THUMBNAILS]]
