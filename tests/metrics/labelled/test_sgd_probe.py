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
    assert sgd_probe(*DIGITS, epochs=100, batch=32).top1 > best - 0.03


def test_the_top_5_are_the_five_likeliest_classes():
    found = sgd_probe(*DIGITS, epochs=3)
    assert found.top1 < found.top5 < 1
    swapped = sgd_probe(DIGITS[0], DIGITS[1], DIGITS[2], (DIGITS[3] + 5) % 10, epochs=3)
    assert swapped.top1 < 0.1
    five = DIGITS[1] < 5, DIGITS[3] < 5
    assert sgd_probe(DIGITS[0][five[0]], DIGITS[1][five[0]], DIGITS[2], DIGITS[3], epochs=3).top5 == np.mean(five[1])


def test_names_of_classes_and_the_global_seed_have_no_part():
    names = np.array([f"digit {n}" for n in range(10)])
    torch.manual_seed(1)
    first = sgd_probe(*DIGITS, epochs=3)
    torch.manual_seed(2)
    assert sgd_probe(DIGITS[0], names[DIGITS[1]], DIGITS[2], names[DIGITS[3]], epochs=3) == first
    with torch.no_grad():
        assert sgd_probe(*(torch.from_numpy(part) for part in DIGITS), epochs=3) == first


def test_the_rate_falls_by_one_factor_an_epoch(monkeypatch):
    seen = []

    class Spy(torch.optim.SGD):
        def step(self, closure=None):
            group = self.param_groups[0]
            seen.append((group["lr"], group["momentum"], group["weight_decay"]))
            return super().step(closure)

    monkeypatch.setattr(torch.optim, "SGD", Spy)
    sgd_probe(*DIGITS, epochs=5)
    rates = [1e-2, 1e-3, 1e-4, 1e-5, 1e-6]
    assert seen == [(pytest.approx(rate), 0.9, 0.0) for rate in rates for _ in range(4)], "899 images in batches of 256"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({1: np.zeros(len(DIGITS[1]))}, "two classes"),
        ({0: np.full_like(DIGITS[0], np.nan)}, "not finite"),
        ({3: DIGITS[3][:-1]}, "one label per embedding"),
        ({2: DIGITS[2][:, :5]}, "not the same encoder"),
        ({"epochs": 0}, "epochs and batch must be at least 1"),
        ({"batch": 0}, "epochs and batch must be at least 1"),
        ({0: 1e37 * DIGITS[0]}, "diverged"),
    ],
)
def test_bad_input_is_refused(change, message):
    data = [change.get(place, part) for place, part in enumerate(DIGITS)]
    options = {"epochs": 2} | {name: value for name, value in change.items() if isinstance(name, str)}
    with pytest.raises(ValueError, match=message):
        sgd_probe(*data, **options)
