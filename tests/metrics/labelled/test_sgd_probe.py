"""The probe by SGD: it learns what a linear model can, and depends on nothing but its arguments."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from sslmlflow.metrics.labelled.sgd_probe import sgd_probe

X, y = load_digits(return_X_y=True)
X = (X - X.mean(0)) / (X.std(0) + 0.1)
DIGITS = X[::2], y[::2], X[1::2], y[1::2]


def test_it_comes_near_what_a_solver_finds():
    best = LogisticRegression(max_iter=5000).fit(*DIGITS[:2]).score(*DIGITS[2:])
    assert sgd_probe(*DIGITS, epochs=100, batch=32) > best - 0.03


def test_names_of_classes_and_the_global_seed_have_no_part():
    names = np.array([f"digit {n}" for n in range(10)])
    torch.manual_seed(1)
    first = sgd_probe(*DIGITS, epochs=3)
    torch.manual_seed(2)
    assert sgd_probe(DIGITS[0], names[DIGITS[1]], DIGITS[2], names[DIGITS[3]], epochs=3) == first
    with torch.no_grad():
        assert sgd_probe(*(torch.from_numpy(part) for part in DIGITS), epochs=3) == first


def test_one_step_is_that_of_gradient_descent_with_momentum():
    """Two epochs of one batch, by hand: W grows by lr times the gradient, then by the momentum too."""
    Z, labels = np.eye(2), np.array([0, 1])
    gradient = np.array([[0.25, -0.25], [-0.25, 0.25]])  # of W = 0: half in each class, two rows
    W = 1e-2 * gradient
    logits = Z @ W.T
    P = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    second = (np.eye(2) - P).T @ Z / 2
    W = W + 1e-6 * (0.9 * gradient + second)
    assert sgd_probe(Z, labels, Z, labels, epochs=2) == np.mean((Z @ W.T).argmax(1) == labels) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({1: np.zeros(len(DIGITS[1]))}, "two classes"),
        ({0: np.full_like(DIGITS[0], np.nan)}, "not finite"),
        ({3: DIGITS[3][:-1]}, "one label per embedding"),
        ({2: DIGITS[2][:, :5]}, "not the same encoder"),
        ({0: 1e37 * DIGITS[0]}, "diverged"),
    ],
)
def test_bad_input_is_refused(change, message):
    data = [change.get(place, part) for place, part in enumerate(DIGITS)]
    with pytest.raises(ValueError, match=message):
        sgd_probe(*data, epochs=2)
