"""Soft classes: vectors, the definition written out, and what sampling anchors promises."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from sslmlflow.metrics.unlabelled import soft_rate
from sslmlflow.metrics.unlabelled.coding_rate import coding_rate_reduction_soft, unit_rows

CASES = json.loads((Path(__file__).parents[2] / "vectors/soft.json").read_text())["cases"]


def relu_like(m, d, seed=0):
    """Unit rows with negative numbers cut off, as encoders give them."""
    return unit_rows(np.maximum(np.random.default_rng(seed).normal(size=(m, d)), 0) + 1e-3)


def written_out(Z, tau, eps, normalise, topk=None, exclude_self=True):
    """Rate within classes as the definition says it, from the whole matrix of memberships; and their sums."""
    m, d = Z.shape
    Pi = np.exp(Z @ Z.T / tau)
    if exclude_self:
        np.fill_diagonal(Pi, 0)
    if topk:
        for j in range(m):
            Pi[np.argsort(Pi[:, j])[:-topk], j] = 0
    of_rows = np.where(Pi.sum(1) > 0, Pi.sum(1), 1)[:, None]
    Pi = Pi / of_rows if normalise == "sample" else Pi / Pi.sum(0)
    Rc = 0.0
    for t, memberships in zip(Pi.sum(0), Pi.T, strict=True):
        _, logdet = np.linalg.slogdet(np.eye(d) + d / (t * eps**2) * (Z.T * memberships) @ Z)
        Rc += t / (2 * m) * logdet
    return Rc


@pytest.mark.parametrize("make", [np.array, lambda x, dtype: torch.tensor(x, dtype=getattr(torch, dtype))])
@pytest.mark.parametrize(("dtype", "rtol"), [("float64", 1e-9), ("float32", 1e-5)])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_vectors(case, make, dtype, rtol):
    given = {name: case[name] for name in ("tau", "eps", "normalise", "topk", "exclude_self")}
    found = coding_rate_reduction_soft(make(case["Z"], dtype=dtype), **given)
    assert [float(found.R), float(found.Rc)] == pytest.approx([case["R"], case["Rc"]], rel=rtol)
    assert float(found.dR) == pytest.approx(case["dR"], rel=rtol)
    assert float(found.stderr) == 0


@pytest.mark.parametrize("normalise", ["sample", "anchor"])
@pytest.mark.parametrize("shape", [(30, 6), (9, 14)])
@pytest.mark.parametrize("topk", [None, 1, 4])
def test_it_is_the_definition_in_blocks_too(monkeypatch, normalise, shape, topk):
    monkeypatch.setattr(soft_rate, "BLOCK", 70)
    Z = relu_like(*shape)
    found = coding_rate_reduction_soft(Z, 0.05, 0.5, normalise, topk=topk)
    assert found.Rc == pytest.approx(written_out(Z, 0.05, 0.5, normalise, topk), rel=1e-9)


@pytest.mark.parametrize("tau", [0.02, 0.3, 5.0])
def test_memberships_that_sum_to_one_a_row_never_give_a_negative_reduction(tau):
    for seed in range(5):
        found = coding_rate_reduction_soft(relu_like(25, 7, seed), tau)
        assert 0 <= found.dR <= found.R


@pytest.mark.parametrize("anchors", [20, 90])  # of 120: without replacement they vary much less
@pytest.mark.parametrize("normalise", ["sample", "anchor"])
def test_drawn_anchors_estimate_the_sum_over_all_as_well_as_they_say(normalise, anchors):
    Z = relu_like(120, 8)
    exact = coding_rate_reduction_soft(Z, 0.1, normalise=normalise).Rc
    drawn = [coding_rate_reduction_soft(Z, 0.1, normalise=normalise, anchors=anchors, seed=seed) for seed in range(200)]
    errors = np.array([found.Rc - exact for found in drawn])
    claimed = math.sqrt(np.mean([found.stderr**2 for found in drawn]))
    assert abs(errors.mean()) < 4 * errors.std() / math.sqrt(200)
    assert 0.8 < errors.std() / claimed < 1.25
    assert coding_rate_reduction_soft(Z, 0.1, normalise=normalise, anchors=120, seed=3).Rc == pytest.approx(exact)


def test_one_seed_draws_the_same_anchors():
    first, again, other = (coding_rate_reduction_soft(relu_like(50, 6), anchors=9, seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert first.Rc != other.Rc


@pytest.mark.parametrize("more", [{}, {"topk": 3}, {"anchors": 4}])
@pytest.mark.parametrize("normalise", ["sample", "anchor"])
def test_gradients_are_right(normalise, more):
    Z = torch.from_numpy(relu_like(7, 4)).requires_grad_()
    assert torch.autograd.gradcheck(lambda z: coding_rate_reduction_soft(z, 0.2, 0.5, normalise, **more).dR, (Z,))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"tau": 0.0}, "tau"),
        ({"tau": math.nan}, "tau"),
        ({"eps": 0.0}, "eps"),
        ({"topk": 0}, "topk must lie between 1 and 5"),
        ({"topk": 6}, "topk must lie between 1 and 5"),
        ({"anchors": 1}, "anchors must lie between 2 and 6"),
        ({"anchors": 7}, "anchors must lie between 2 and 6"),
        ({"anchors": 3, "topk": 2}, "cannot be given together"),
        ({"normalise": "columns"}, "normalise must be sample or anchor"),
    ],
)
def test_bad_parameters_are_refused(given, message):
    with pytest.raises(ValueError, match=message):
        coding_rate_reduction_soft(relu_like(6, 3), **given)


@pytest.mark.parametrize("Z", [np.ones((1, 3)), np.ones(3), np.full((5, 3), np.nan), np.ones((4, 2), int)])
def test_bad_embeddings_are_refused(Z):
    with pytest.raises(ValueError, match="Z "):
        coding_rate_reduction_soft(Z)


@pytest.mark.parametrize("normalise", ["sample", "anchor"])
def test_memberships_that_vanish_have_a_gradient_and_classes_without_members_weigh_nothing(normalise):
    z = torch.from_numpy(13 * relu_like(40, 16)).requires_grad_()  # 13: the norm of raw ResNet features
    (gradient,) = torch.autograd.grad(coding_rate_reduction_soft(z, 0.1, 0.5, normalise, topk=8).dR, z)
    assert bool(torch.isfinite(gradient).all())
    near = np.eye(7)[0] + 0.01 * np.random.default_rng(0).normal(size=(6, 7))
    lone = np.vstack([near / np.linalg.norm(near, axis=1, keepdims=True), -np.eye(7)[:1]])
    whole = coding_rate_reduction_soft(lone, 0.002, 0.5, normalise)
    assert coding_rate_reduction_soft(lone, 0.002, 0.5, normalise, topk=6).Rc == pytest.approx(whole.Rc)
