"""Coding rate reduction with given classes: vectors, the pairs as a special case, and what it promises."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from sslmlflow.metrics.labelled.coding_rate import coding_rate_reduction_labels
from sslmlflow.metrics.unlabelled.coding_rate import coding_rate_reduction_pairs, unit_rows

CASES = json.loads((Path(__file__).parents[2] / "vectors/supervised.json").read_text())["cases"]


@pytest.mark.parametrize("make", [np.array, lambda x, dtype: torch.tensor(x, dtype=getattr(torch, dtype))])
@pytest.mark.parametrize(("dtype", "rtol"), [("float64", 1e-9), ("float32", 1e-5)])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_vectors(case, make, dtype, rtol):
    found = coding_rate_reduction_labels(make(case["Z"], dtype=dtype), np.array(case["labels"]), case["eps"])
    assert [float(found.R), float(found.Rc)] == pytest.approx([case["R"], case["Rc"]], rel=rtol)
    assert float(found.dR) == pytest.approx(case["dR"], rel=rtol, abs=rtol / 100)


def test_with_the_image_as_class_it_is_that_of_pairs():
    views = unit_rows(np.random.default_rng(0).normal(size=(3, 11, 5)))
    ours = coding_rate_reduction_labels(views.reshape(33, 5), np.tile(np.arange(11), 3))
    pairs = coding_rate_reduction_pairs(views)
    assert ours == pytest.approx((pairs.R, pairs.Rc, pairs.dR))


def test_names_of_classes_and_the_order_of_rows_have_no_part():
    random = np.random.default_rng(0)
    Z, labels = random.normal(size=(30, 4)), random.integers(0, 3, 30)
    order = random.permutation(30)
    names = np.array(["cat", "dog", "owl"])
    assert coding_rate_reduction_labels(Z[order], names[labels[order]]) == pytest.approx(
        coding_rate_reduction_labels(Z, labels)
    )


def test_gradients_are_right():
    Z = torch.randn(9, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    labels = np.array([0, 1, 2] * 3)
    assert torch.autograd.gradcheck(lambda z: coding_rate_reduction_labels(z, labels).dR, (Z,))


@pytest.mark.parametrize(
    ("Z", "labels", "eps", "message"),
    [
        (np.ones((4, 2)), np.zeros(3), 0.5, "Z holds 4 embeddings and labels 3;"),
        (np.ones((4, 2)), np.zeros((4, 1)), 0.5, "one class label per image"),
        (np.ones((4, 2)), np.zeros(4), 0.0, "eps"),
        (np.full((4, 2), np.inf), np.zeros(4), 0.5, "not finite"),
        (np.ones((0, 2)), np.zeros(0), 0.5, "at least one of each"),
    ],
)
def test_bad_input_is_refused(Z, labels, eps, message):
    with pytest.raises(ValueError, match=message):
        coding_rate_reduction_labels(Z, labels, eps)
