"""The label-free side of an evaluation: what it finds, and what it says of images that are too few or all alike."""

import numpy as np
import pytest
import torch
from sklearn.metrics import adjusted_mutual_info_score, silhouette_score
from torch import Tensor

from sslmlflow.config.evaluate import EvaluationOptions
from sslmlflow.data.source import ArrayImages
from sslmlflow.evaluation.clusters import Found, HeldOut
from sslmlflow.metrics.catalogue import (
    AGREEMENT,
    DIMENSION,
    ENTROPY,
    LEARNABILITY,
    OUTLIERS,
    ROBUST_ENTROPY,
    SILHOUETTE,
)
from sslmlflow.metrics.unlabelled.clustering import spherical_kmeans
from sslmlflow.metrics.unlabelled.entropy import far_from_the_rest, histogram_entropy

ALL = {AGREEMENT, SILHOUETTE, ENTROPY, ROBUST_ENTROPY, DIMENSION, LEARNABILITY}


def measure(last: Tensor, clusters: int = 3, seed: int = 0) -> Found:
    images = ArrayImages(np.zeros((len(last), 1, 2, 2), dtype=np.uint8))
    return HeldOut(images, EvaluationOptions(clusters=clusters, evaluation_seed=seed)).measure(last)


@pytest.fixture(scope="module")
def three_heaps() -> Tensor:
    """Ninety embeddings in three heaps far from each other."""
    random = np.random.default_rng(0)
    centres = 20 * np.eye(8)[:3].repeat(30, axis=0)
    return torch.tensor(centres + random.normal(size=(90, 8)), dtype=torch.float32)


def test_heaps_are_found_and_scored_as_scikit_learn_scores_them(three_heaps: Tensor) -> None:
    found = measure(three_heaps)
    assert found.map is not None
    assert found.map.shape == (90, 3)
    assert found.clusters is not None
    assert adjusted_mutual_info_score(np.repeat([0, 1, 2], 30), found.clusters) == pytest.approx(1)
    values = found.results.values
    assert values[SILHOUETTE] == pytest.approx(silhouette_score(three_heaps.numpy(), found.clusters), rel=1e-5)
    assert 0 < values[AGREEMENT] < 1
    assert 0 < values[ENTROPY] <= np.log(90)
    assert not found.results.undefined
    assert values[LEARNABILITY] > 0.9
    assert 3 < values[DIMENSION] < 12
    assert found.by_k is not None
    assert list(found.by_k.silhouette) == [2, 3, 5, 7, 10, 14, 20]
    # The heaps are three: so many clusters score best.
    assert max(found.by_k.silhouette, key=found.by_k.silhouette.__getitem__) == 3


def test_the_seed_decides(three_heaps: Tensor) -> None:
    first, again, other = (measure(three_heaps, seed=seed).results.values[ENTROPY] for seed in (0, 0, 1))
    assert first == again
    assert first != other


@pytest.mark.parametrize("n", [1, 3, 4, 8])
def test_too_few_images_for_a_map_leave_what_needs_one_undefined(three_heaps: Tensor, n: int) -> None:
    found = measure(three_heaps[:n])
    values = {LEARNABILITY} if n >= 4 else set()  # of clusters of the embeddings themselves
    assert found.results.undefined.keys() == ALL - values
    assert all("at least" in reason for reason in found.results.undefined.values())
    assert found.results.values.keys() & ALL == values
    assert found.map is None


def test_too_few_images_for_the_clusters_leave_the_entropy(three_heaps: Tensor) -> None:
    found = measure(three_heaps[::5], clusters=10)
    assert found.results.undefined == dict.fromkeys(
        (AGREEMENT, SILHOUETTE), "18 images are too few for 10 and 20 clusters"
    )
    assert found.results.values[ENTROPY] > 0
    assert found.map is not None
    assert found.clusters is None


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (torch.ones(40, 8), "collapsed: all 40 embeddings are the same"),
        (torch.linspace(0, 1, 40)[:, None] * torch.ones(8), "collapsed: the 40 embeddings lie on a line"),
        (torch.full((40, 8), torch.nan), "NaN"),
    ],
)
def test_what_is_collapsed_or_not_finite_scores_nothing(broken: Tensor, reason: str) -> None:
    results = measure(broken).results
    assert results.undefined.keys() == ALL
    assert all(reason in why for why in results.undefined.values())
    assert not results.values.keys() & ALL


def test_every_setting_that_changes_a_value_changes_the_digest() -> None:
    images, others = (ArrayImages(np.full((9, 1, 2, 2), level, dtype=np.uint8)) for level in (0, 1))
    changed = [{}, {"clusters": 5}, {"entropy_width": 0.8}, {"evaluation_seed": 1}]
    digests = {HeldOut(images, EvaluationOptions(**options)).digest for options in changed}
    digests |= {HeldOut(others, EvaluationOptions()).digest}
    assert len(digests) == 5
    assert HeldOut(images, EvaluationOptions(labels="none")).digest == HeldOut(images, EvaluationOptions()).digest


def test_values_are_those_of_the_map_and_the_clusters_that_are_told(three_heaps: Tensor) -> None:
    found = measure(three_heaps)
    assert found.map is not None
    assert found.by_k is not None
    values = found.results.values
    assert values[ENTROPY] == histogram_entropy(found.map, 0.4)
    assert values[ROBUST_ENTROPY] == histogram_entropy(found.map, 0.4, robust=True) != values[ENTROPY]
    assert values[OUTLIERS] == far_from_the_rest(found.map).sum() < 90
    halves = [spherical_kmeans(found.map, k, seed=k).assignment for k in (3, 6)]
    assert values[AGREEMENT] == pytest.approx(adjusted_mutual_info_score(*halves))
    assert (values[AGREEMENT], values[SILHOUETTE]) == (found.by_k.agreement[3], found.by_k.silhouette[3])
