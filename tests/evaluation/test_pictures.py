"""The pictures of a milestone: which there are, and that clusters keep their numbers from milestone to milestone."""

import numpy as np
import torch

from sslmlflow.data.source import ArrayImages
from sslmlflow.evaluation.clusters import ByNumber, Found
from sslmlflow.evaluation.pictures import pictures, renumbered
from sslmlflow.metrics.results import Results


def test_the_same_clusters_get_their_old_numbers_back() -> None:
    before = np.array([0, 0, 1, 1, 2, 2, 2])
    assert renumbered(np.array([2, 2, 0, 0, 1, 1, 1]), before).tolist() == before.tolist()


def test_a_cluster_takes_the_number_of_the_one_it_shares_most_images_with() -> None:
    before, now = np.array([0, 0, 0, 1, 1, 1]), np.array([1, 1, 0, 0, 0, 0])
    assert renumbered(now, before).tolist() == [0, 0, 1, 1, 1, 1]


def test_the_first_clusters_and_another_number_of_them_stay_as_they_are() -> None:
    clusters = np.array([2, 1, 0])
    assert renumbered(clusters, None).tolist() == [2, 1, 0]
    assert renumbered(clusters, np.array([0, 1, 1])).tolist() == [2, 1, 0]


def names(n: int, found: Found) -> list[str]:
    images = ArrayImages(np.zeros((n, 1, 8, 8), dtype=np.uint8))
    last = torch.tensor(np.random.default_rng(0).normal(size=(n, 5)), dtype=torch.float32)
    return [name for name, _ in pictures(4, found, last, images)]


def test_what_is_undefined_has_no_picture() -> None:
    z3 = np.random.default_rng(0).normal(size=(30, 3)).astype(np.float32)
    clusters = np.arange(30) % 2
    by_k = ByNumber({2: 0.5}, {2: 0.4})
    assert names(30, Found(Results())) == []
    assert names(30, Found(Results(), z3)) == ["umap", "neighbours", "outliers"]
    everything = ["umap", "neighbours", "outliers", "clusters", "number_of_clusters"]
    assert names(30, Found(Results(), z3, clusters, by_k)) == everything
