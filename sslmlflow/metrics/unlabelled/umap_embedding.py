"""A map of the embeddings in few dimensions, on which clusters and entropy are measured."""

import warnings
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sslmlflow.metrics.unlabelled.arrays import Array, as_matrix
from sslmlflow.metrics.unlabelled.neighbours import nearest_neighbours


def umap_embedding(Z: Array, seed: int, neighbours: int = 50, components: int = 3) -> NDArray[np.float32]:
    """UMAP of the rows of Z (n, d) to (n, components), with Euclidean distances and a minimum distance of 0.1.

    neighbours counts the row itself, as everywhere in UMAP, and is lowered to n - 1 where that is less. The graph of
    neighbours is exact at every n, where UMAP's own is approximate from 4,096 rows on, and is found much faster.
    Equal Z and seed give the equal map on one machine with one set of library versions. Axes, origin and scale of the
    map mean nothing, and of collapsed embeddings, too, a map is drawn: ask `collapsed` first. Raises ValueError
    for misshapen or non-finite Z, and when n or neighbours are below `2 components + 3`, the fewest rows of which
    UMAP finds its starting map.

    Source: McInnes, Healy and Melville 2018, arXiv 1802.03426; settings of Xu, Lowe and Trappenberg 2024,
    "Label-free Monitoring of Self-Supervised Learning Progress", section III, the minimum distance UMAP's default.
    """
    z = as_matrix(Z)
    n, fewest = len(z), 2 * components + 3
    if n < fewest or neighbours < fewest:
        raise ValueError(
            f"UMAP to {components} dimensions needs at least {fewest} embeddings and as many neighbours, "
            f"got {n} and {neighbours}"
        )
    neighbours = min(neighbours, n - 1)
    others = nearest_neighbours(z, neighbours - 1)
    # By UMAP's convention, every row is its own first neighbour at distance 0.
    indices = np.column_stack([np.arange(n), others.indices])
    distances = np.column_stack([np.zeros(n, np.float32), others.distances])

    import umap  # compiles for some ten seconds, so only for those who draw a map

    model: Any = umap.UMAP(
        n_components=components,
        n_neighbors=neighbours,
        min_dist=0.1,
        metric="euclidean",
        random_state=seed,
        n_jobs=1,
        precomputed_knn=(indices, distances),
    )
    threads = torch.get_num_threads()
    with warnings.catch_warnings():
        # It says that without a search index new rows cannot be added to the map; none are.
        warnings.filterwarnings("ignore", message=r"precomputed_knn\[2\]")
        # Of embeddings that lie in groups far apart; UMAP then places the groups one by one.
        warnings.filterwarnings("ignore", message="Graph is not fully connected")
        embedding: NDArray[np.float32] = model.fit_transform(z.detach().float().numpy(force=True))
    # numba sets the threads of OpenMP, which torch uses, too: one too many on busy cores, and other last bits.
    torch.set_num_threads(threads)
    return embedding
