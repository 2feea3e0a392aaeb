"""How far clusters and classes are the same partition, by the scores that papers print."""

from typing import NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment
from sklearn.metrics import adjusted_mutual_info_score, adjusted_rand_score, normalized_mutual_info_score
from sklearn.metrics.cluster import contingency_matrix

from sslmlflow.metrics.partition import Partition, as_partition


class ClusteringScores(NamedTuple):
    """1 for the same partition each; `ami_max` is AMI over the larger entropy, the others over the mean of the two."""

    nmi: float
    ari: float
    ami: float
    ami_max: float
    acc: float


def clustering_scores(classes: Partition, clusters: Partition) -> ClusteringScores:
    """Scores of clusters (n,) against classes (n,), whole numbers >= 0: NMI, ARI, AMI and accuracy.

    NMI is 0 to 1 and grows with the number of clusters even by chance; ARI and AMI are about 0 by chance.
    The accuracy is that of the best one-to-one match of clusters with classes, found on these very rows; clusters
    left over count as wrong. Memory is that of a table of classes by clusters. Raises ValueError for other than whole
    numbers >= 0 of equal, non-zero length.

    Source: Vinh, Epps and Bailey 2010 (NMI, AMI); Hubert and Arabie 1985 (ARI); the match is Kuhn's, the Hungarian one.

    >>> clustering_scores([0, 0, 1, 1], [7, 7, 3, 3]).acc
    1.0
    """
    truth, found = as_partition(classes, "classes"), as_partition(clusters, "clusters")
    if len(truth) != len(found) or len(truth) == 0:
        raise ValueError(f"a class and a cluster a row are needed, got {len(truth)} classes and {len(found)} clusters")
    table = contingency_matrix(truth, found)
    matched = table[linear_sum_assignment(table, maximize=True)].sum()
    return ClusteringScores(
        nmi=float(normalized_mutual_info_score(truth, found)),
        ari=float(adjusted_rand_score(truth, found)),
        ami=float(adjusted_mutual_info_score(truth, found)),
        ami_max=float(adjusted_mutual_info_score(truth, found, average_method="max")),
        acc=float(matched / np.int64(len(truth))),
    )
