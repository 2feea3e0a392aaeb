import numpy as np
import pytest
import torch
from sklearn.neighbors import NearestNeighbors

from sslmlflow.metrics.unlabelled import neighbours
from sslmlflow.metrics.unlabelled.neighbours import nearest_neighbours


def neighbours_from_the_definition(Z, k):
    """All distances from differences, one pair at a time; rows sorted by distance, then index."""
    indices, distances = [], []
    for i, row in enumerate(Z):
        others = sorted((float(np.sqrt(np.sum((row - other) ** 2))), j) for j, other in enumerate(Z) if j != i)
        indices.append([j for _, j in others[:k]])
        distances.append([distance for distance, _ in others[:k]])
    return np.array(indices), np.array(distances)


@pytest.mark.parametrize("make", [np.asarray, torch.from_numpy], ids=["numpy", "torch"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_neighbours_are_those_of_scikit_learn(make, dtype):
    Z = np.random.default_rng(0).normal(size=(700, 20)).astype(dtype)
    distances, indices = NearestNeighbors(n_neighbors=12, algorithm="brute").fit(Z.astype(np.float64)).kneighbors()
    found = nearest_neighbours(make(Z), 12)
    assert (found.indices.dtype, found.distances.dtype) == (np.int64, np.float32)
    np.testing.assert_array_equal(found.indices, indices)
    np.testing.assert_allclose(found.distances, distances, rtol=1e-6)


def test_blocks_of_rows_join_up(monkeypatch):
    Z = np.random.default_rng(0).normal(size=(53, 4))
    monkeypatch.setattr(neighbours, "BLOCK", 53 * 7)
    found = nearest_neighbours(Z, 5)
    indices, distances = neighbours_from_the_definition(Z, 5)
    np.testing.assert_array_equal(found.indices, indices)
    np.testing.assert_allclose(found.distances, distances, rtol=1e-6)


def test_a_row_is_not_its_neighbour_but_its_duplicates_are():
    Z = np.random.default_rng(0).normal(size=(20, 6)).astype(np.float32)
    Z = np.concatenate([Z, Z, Z]) + 100
    found = nearest_neighbours(Z, 4)
    own = np.arange(60)[:, None]
    assert (found.indices != own).all()
    duplicates = np.sort(np.concatenate([(own + 20) % 60, (own + 40) % 60], 1), 1)
    np.testing.assert_array_equal(found.indices[:, :2], duplicates)
    assert (found.distances[:, :2] == 0).all()
    assert (found.distances[:, 2:] > 0.1).all()


def test_rows_that_are_all_the_same_have_distance_zero():
    found = nearest_neighbours(np.full((9, 3), 0.1), 8)
    assert (found.distances == 0).all()
    np.testing.assert_array_equal(found.indices, [[j for j in range(9) if j != i] for i in range(9)])


def test_near_rows_far_from_the_origin_are_told_apart():
    Z = np.arange(40.0)[:, None] ** 1.01 * np.array([[1e-4, 2e-4]]) + 1e3
    found = nearest_neighbours(Z, 2)
    indices, distances = neighbours_from_the_definition(Z, 2)
    np.testing.assert_array_equal(found.indices, indices)
    np.testing.assert_allclose(found.distances, distances, rtol=1e-6)


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_squares_stay_in_range(scale):
    Z = np.random.default_rng(0).normal(size=(30, 3)).astype(np.float32)
    found, plain = nearest_neighbours(np.float32(scale) * Z, 3), nearest_neighbours(Z, 3)
    np.testing.assert_array_equal(found.indices, plain.indices)
    np.testing.assert_allclose(found.distances / np.float32(scale), plain.distances, rtol=1e-5)


@pytest.mark.parametrize(
    ("Z", "k", "message"),
    [
        (np.eye(4), 0, "between 1 and 3"),
        (np.eye(4), 4, "between 1 and 3"),
        (np.ones((1, 3)), 1, "k must lie"),
        (np.full((4, 3), np.nan), 1, "not finite"),
        (np.ones(4), 1, "must be"),
        (1e200 * np.eye(4), 1, "too large"),
    ],
)
def test_bad_input_is_refused(Z, k, message):
    with pytest.raises(ValueError, match=message):
        nearest_neighbours(Z, k)
