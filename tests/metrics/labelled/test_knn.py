import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.neighbors import KNeighborsClassifier

from sslmlflow.metrics.labelled import knn
from sslmlflow.metrics.labelled.knn import knn_accuracy, weighted_knn_accuracy


def blobs(seed, n=400, d=16, classes=10, dtype=np.float64):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, classes, size=n)
    centres = rng.normal(size=(classes, d))
    return (centres[y] + 1.5 * rng.normal(size=(n, d)) + 20).astype(dtype), y


def by_scikit_learn(train_Z, train_y, test_Z, test_y, k):
    model = KNeighborsClassifier(k, algorithm="brute").fit(train_Z, train_y)
    return model.score(test_Z, test_y)


@pytest.mark.parametrize("k", [1, 2, 4, 5, 50])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_agrees_with_scikit_learn(k, dtype):
    Z, y = blobs(0, dtype=dtype)
    data = Z[:300], y[:300], Z[300:], y[300:]
    expected = by_scikit_learn(*data, k)
    assert 0.1 < expected <= 1
    assert knn_accuracy(*data, k=k) == expected
    assert knn_accuracy(*(torch.from_numpy(part) for part in data), k=k) == expected


def test_neither_a_far_origin_nor_a_far_row_nor_a_wide_feature_hides_the_others():
    Z, y = blobs(0)
    data = Z[:300], y[:300], Z[300:], y[300:]
    assert knn_accuracy(Z[:300] + 1e8, y[:300], Z[300:] + 1e8, y[300:]) == by_scikit_learn(*data, 5)
    far = np.vstack([np.full((1, 16), 1e12), Z[1:300]])
    assert knn_accuracy(far, y[:300], Z[300:], y[300:]) == by_scikit_learn(far, y[:300], Z[300:], y[300:], 5)
    wide = np.hstack([Z, 1e5 * np.sign(np.random.default_rng(1).normal(size=(400, 1)))]).astype(np.float32)
    exact = wide.astype(np.float64)
    expected = by_scikit_learn(exact[:300], y[:300], exact[300:], y[300:], 5)
    assert knn_accuracy(wide[:300], y[:300], wide[300:], y[300:]) == expected > 0.3


def test_classes_are_told_apart_near_collapse_too():
    Z, y = blobs(0)
    near = (np.random.default_rng(1).normal(size=16) + 1e-5 * (Z - 20)).astype(np.float32)
    found = weighted_knn_accuracy(near[:300], y[:300], near[300:], y[300:], k=1)
    assert found == pytest.approx(by_scikit_learn(Z[:300], y[:300], Z[300:], y[300:], 1), abs=0.05)


@pytest.mark.parametrize("function", [knn_accuracy, weighted_knn_accuracy])
@pytest.mark.parametrize(
    ("missing", "place"),
    [
        (np.array([0.0, 1.0, np.nan]), 2),
        (np.array(["a", None, "b"], dtype=object), 1),
        (["a", np.nan, "b"], 1),
        ([0, pd.NA, 1], 1),
        (np.ma.array([0, 1, 2], mask=[1, 0, 0]), 0),
        (torch.tensor([0.0, torch.nan, 1.0]), 1),
    ],
)
def test_an_image_without_a_class_is_refused(function, missing, place):
    with pytest.raises(ValueError, match=f"train_y has no class for 1 images, image {place} first"):
        function(np.eye(3), missing, np.eye(3), np.array([0, 1, 0]), k=1)


@pytest.mark.parametrize("function", [knn_accuracy, weighted_knn_accuracy])
def test_one_class_has_no_accuracy_nor_have_complex_and_structured_labels(function):
    for labels in (np.zeros(3), np.array(["a", "a", "a"])):
        with pytest.raises(ValueError, match="at least two classes"):
            function(np.eye(3), labels, np.eye(3), labels, k=1)
    for labels in (np.array([0, 1j, 2]), np.zeros(3, "i4,i4")):
        with pytest.raises(ValueError, match="must be one class label per image"):
            function(np.eye(3), labels, np.eye(3), labels, k=1)


def test_five_neighbours_are_the_default():
    Z, y = blobs(0)
    data = Z[:300], y[:300], Z[300:], y[300:]
    assert knn_accuracy(*data) == by_scikit_learn(*data, 5) != by_scikit_learn(*data, 1)


def test_agrees_with_scikit_learn_on_digits():
    X, y = load_digits(return_X_y=True)
    data = X[:1200], y[:1200], X[1200:], y[1200:]
    assert knn_accuracy(*data) == pytest.approx(by_scikit_learn(*data, 5), abs=0.002)  # equal distances occur


def test_smallest_label_wins_equal_votes():
    train = np.array([[0.0], [1.0], [2.0], [3.0]])
    labels = np.array([7, 3, 7, 3])
    assert knn_accuracy(train, labels, np.array([[1.4]]), np.array([3]), k=4) == 1
    assert knn_accuracy(train, labels[::-1], np.array([[1.4]]), np.array([3]), k=4) == 1


def test_blocks_do_not_change_the_answer(monkeypatch):
    Z, y = blobs(1)
    data = Z[:300], y[:300], Z[300:], y[300:]
    whole = knn_accuracy(*data)
    monkeypatch.setattr(knn, "BLOCK", 1000)
    assert knn_accuracy(*data) == whole


def test_distances_are_between_raw_embeddings():
    train, labels = np.array([[1.0, 1.0], [0.0, 5.0]]), np.array([0, 1])
    query = np.array([[5.0, 5.5]])  # in direction the first is nearer, in place the second
    assert knn_accuracy(train, labels, query, np.array([1]), k=1) == 1


def test_labels_may_be_names():
    train, labels = np.array([[0.0], [1.0]]), np.array(["cat", "dog"])
    assert knn_accuracy(train, labels, np.array([[0.1], [0.9]]), np.array(["cat", "bee"]), k=1) == 0.5


@pytest.mark.parametrize("k", [0, -1, 5])
def test_impossible_k_is_refused(k):
    with pytest.raises(ValueError, match="between 1 and the number"):
        knn_accuracy(np.eye(4), np.arange(4), np.eye(4), np.arange(4), k=k)


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [
        (np.full((4, 2), np.nan), np.ones((4, 2)), "not finite"),
        (np.ones((4, 2)), np.ones((4, 3)), "features"),
        (np.ones((4, 2)), np.ones((5, 2)), "one label per embedding"),
        (1e-200 * np.ones((4, 1)), 1e200 * np.ones((4, 1)), "too far from train_Z"),
    ],
)
def test_bad_input_is_refused(train, test, message):
    with pytest.raises(ValueError, match=message):
        knn_accuracy(train, np.arange(4), test, np.arange(4), k=1)


@pytest.mark.parametrize("k", [1, 7, 200, 1000])
@pytest.mark.parametrize("temperature", [0.07, 1e-4])
def test_the_weighted_vote_is_that_of_scikit_learn(monkeypatch, k, temperature):
    monkeypatch.setattr(knn, "BLOCK", 3000)
    Z, y = blobs(1)
    Z = Z - 20
    data = Z[:300], y[:300], Z[300:], y[300:]

    # scikit-learn weights by cosine distance, 1 less the cosine; shifted so that the nearest weighs 1.
    def weights(distance):
        return np.exp(-(distance - distance.min(1, keepdims=True)) / temperature)

    model = KNeighborsClassifier(min(k, 300), weights=weights, metric="cosine", algorithm="brute").fit(*data[:2])
    expected = model.score(*data[2:])
    assert weighted_knn_accuracy(*data, k=k, temperature=temperature) == pytest.approx(expected)
    scaled = 7 * data[0], data[1], 1e-3 * data[2], data[3]
    assert weighted_knn_accuracy(*scaled, k=k, temperature=temperature) == pytest.approx(expected)


def test_bad_settings_of_the_weighted_vote_are_refused():
    Z, y = blobs(1)
    with pytest.raises(ValueError, match="temperature"):
        weighted_knn_accuracy(Z, y, Z, y, temperature=0.0)
    with pytest.raises(ValueError, match="k must be"):
        weighted_knn_accuracy(Z, y, Z, y, k=0)
