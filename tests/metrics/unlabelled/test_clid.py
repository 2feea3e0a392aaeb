"""CLID: dimensions that are known, and learnability written out."""

import numpy as np
import pytest

from sslmlflow.metrics.unlabelled import clid as module
from sslmlflow.metrics.unlabelled.clid import clid, cluster_learnability, intrinsic_dimension
from sslmlflow.metrics.unlabelled.clustering import spherical_kmeans


@pytest.mark.parametrize("dimension", [1, 2, 5])
def test_the_dimension_of_a_flat_manifold_is_found_in_a_wider_space(dimension):
    random = np.random.default_rng(0)
    Z = random.uniform(size=(2000, dimension)) @ random.normal(size=(dimension, 20))
    assert intrinsic_dimension(Z) == pytest.approx(dimension, rel=0.1)


def test_the_dimension_is_the_slope_of_the_paper():
    Z = np.random.default_rng(1).normal(size=(300, 3))
    distances = np.linalg.norm(Z[:, None] - Z, axis=-1)
    nearest = np.sort(distances, 1)[:, 1:3]
    mu = np.sort(nearest[:, 1] / nearest[:, 0])[:270]
    F = np.arange(1, 271) / 300
    slope, *_ = np.linalg.lstsq(np.log(mu)[:, None], -np.log(1 - F), rcond=None)
    assert intrinsic_dimension(Z) == pytest.approx(slope[0], rel=1e-5)


def test_duplicates_scale_and_shift_have_no_part():
    Z = np.random.default_rng(2).normal(size=(400, 4))
    expected = intrinsic_dimension(Z)
    assert intrinsic_dimension(1e6 * Z + 5) == pytest.approx(expected, rel=1e-3)
    assert intrinsic_dimension(1e-50 * Z) == pytest.approx(expected, rel=1e-5)
    with_duplicates = np.vstack([Z, np.repeat(Z[:1] + 100, 50, 0)])
    assert intrinsic_dimension(with_duplicates) == pytest.approx(expected, rel=1e-3)


def test_learnability_is_that_of_a_nearest_neighbour_that_sees_one_row_more_each_time(monkeypatch):
    monkeypatch.setattr(module, "BLOCK", 500)
    random = np.random.default_rng(3)
    Z, clusters = random.normal(size=(90, 3)), random.integers(0, 3, 90)
    order = np.random.default_rng(7).permutation(90)
    right = [
        clusters[min(order[:i], key=lambda j: np.linalg.norm(Z[j] - Z[order[i]]))] == clusters[order[i]]
        for i in range(1, 90)
    ]
    assert cluster_learnability(Z, clusters, seed=7) == pytest.approx(np.mean(right))


def test_separate_clusters_are_learned_more_easily_than_those_found_in_noise():
    random = np.random.default_rng(4)
    noise = random.normal(size=(500, 10))
    separate = 8 * np.eye(10)[random.integers(0, 10, 500)] + noise
    learned = [cluster_learnability(Z, spherical_kmeans(Z, 10, seed=0).assignment) for Z in (noise, separate)]
    assert learned[0] < 0.75
    assert learned[1] > 0.95


def test_clid_adds_what_is_scaled_over_encoders():
    assert clid([1.0, 1.0], [0.2, 0.4]).tolist() == [0.0, 1.0]
    assert clid([], []).tolist() == []
    with pytest.raises(ValueError, match="one each an encoder"):
        clid([1.0], [0.1, 0.2])


@pytest.mark.parametrize("Z", [np.ones((30, 2)), np.zeros((2, 3)), np.eye(30), np.ones((1, 1))])
def test_no_dimension_is_told(Z):
    with pytest.raises(ValueError, match=r"at least 10 rows|equally far"):
        intrinsic_dimension(Z)


def test_learnability_needs_a_cluster_a_row():
    for clusters, message in (
        ([0, 1], "got 3 and 2"),
        ([0, np.nan, 1], "whole number"),
        (np.eye(3, dtype=int), "shape"),
    ):
        with pytest.raises(ValueError, match=message):
            cluster_learnability(np.ones((3, 2)), clusters)
