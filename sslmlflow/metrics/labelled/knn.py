"""Nearest-neighbour accuracy of embeddings."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sslmlflow.metrics.labelled.inputs import check_part, check_widths
from sslmlflow.metrics.unlabelled.arrays import Array, matmul, rescaled, to_float64
from sslmlflow.metrics.unlabelled.coding_rate import directions

BLOCK = 2**23  # distances held at once


def knn_accuracy(train_Z: Array, train_y: Array, test_Z: Array, test_y: Array, k: int = 5) -> float:
    """Accuracy in [0, 1] on the test part of a majority vote among the k nearest training embeddings.

    train_Z, test_Z: (n, d) raw embeddings, compared by Euclidean distance; train_y, test_y: n class labels. Among
    classes with equally many votes the smallest label wins, as in scikit-learn's KNeighborsClassifier. Computed in
    float64 on the device of train_Z, by products: a feature 1e8 times as wide as the others hides them. Raises
    ValueError for misshapen or non-finite input, for labels that are missing, for fewer than two training classes and
    for k outside 1..n_train.
    """
    train, train_labels = check_part(train_Z, train_y, "train_Z", "train_y")
    test, test_labels = check_part(test_Z, test_y, "test_Z", "test_y")
    check_widths(train, test)
    if not 1 <= k <= len(train):
        raise ValueError(f"k must lie between 1 and the number of training embeddings, {len(train)}, got {k}")
    classes, index = _classes(train_labels)
    train, scale = rescaled(train, "train_Z")
    # Distances do not change under a shift; without what rows have in common, less is lost to cancellation. A mean
    # would go with a single row that is far away.
    middle = train.median(0).values
    train, test = train.sub_(middle), (to_float64(test.detach()).to(train) / (scale or 1.0)).sub_(middle)
    votes_of = torch.from_numpy(index).to(train.device)
    squares = torch.linalg.vector_norm(train, dim=1).square()
    predicted = []
    for block in torch.split(test, max(1, BLOCK // len(train))):
        # The squared norm of the query changes no order.
        near = matmul(block, train.T).mul_(-2).add_(squares).topk(k, largest=False)
        if not bool(torch.isfinite(near.values).all()):
            raise ValueError("test_Z is too far from train_Z for float64: not the same encoder")
        predicted.append(_vote(votes_of[near.indices], len(classes)))
    return float(np.mean(classes[torch.cat(predicted).numpy(force=True)] == test_labels))


def weighted_knn_accuracy(
    train_Z: Array, train_y: Array, test_Z: Array, test_y: Array, k: int = 200, temperature: float = 0.07
) -> float:
    """Accuracy in [0, 1] of a vote among the k training embeddings nearest by cosine, weighted by similarity.

    A neighbour with the cosine s to the test embedding votes with `exp(s / temperature)` for its class; among equal
    sums the smallest label wins. Arguments as those of `knn_accuracy`; rows are scaled to norm 1. k is lowered to the
    number of training embeddings where that is less. Raises ValueError where `knn_accuracy` does, and for a
    temperature of 0 or less.

    Source: Wu et al. 2018, arXiv 1805.01978, section 3.4, with its k and temperature.
    """
    if not temperature > 0:
        raise ValueError(f"temperature must be above 0, got {temperature}")
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    train, train_labels = check_part(train_Z, train_y, "train_Z", "train_y")
    test, test_labels = check_part(test_Z, test_y, "test_Z", "test_y")
    check_widths(train, test)
    classes, index = _classes(train_labels)
    train = directions(to_float64(train.detach()))
    test = directions(to_float64(test.detach()).to(train.device))
    votes_of = torch.from_numpy(index).to(train.device)
    predicted = []
    for block in torch.split(test, max(1, BLOCK // len(train))):
        near = matmul(block, train.T).topk(min(k, len(train)))
        votes = torch.zeros(len(block), len(classes), dtype=torch.float64, device=train.device)
        # Less the largest: weights are at most 1 at any temperature.
        weights = ((near.values - near.values[:, :1]).double() / temperature).exp()
        predicted.append(votes.scatter_add_(1, votes_of[near.indices], weights).argmax(1))
    return float(np.mean(classes[torch.cat(predicted).numpy(force=True)] == test_labels))


def _classes(labels: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """The classes, and the place of every label among them; of one class everything would be right."""
    classes, index = np.unique(labels, return_inverse=True)
    if len(classes) < 2:
        raise ValueError("neighbours need training labels of at least two classes to vote for")
    return classes, index


def _vote(votes: Tensor, classes: int) -> Tensor:
    counts = torch.zeros(len(votes), classes, dtype=torch.long, device=votes.device)
    counts.scatter_add_(1, votes, torch.ones_like(votes))
    # Counting down by class within equal counts makes the largest unique, and it is the smallest class.
    return (counts * classes - torch.arange(classes, device=votes.device)).argmax(1)
