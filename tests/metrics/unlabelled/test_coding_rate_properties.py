"""What the coding rates promise for any embeddings."""

import math

import numpy as np
import pytest
import torch

from sslmlflow.metrics.unlabelled.coding_rate import (
    adjusted_mean_and_resolution,
    coding_rate,
    coding_rate_reduction_adjusted,
    coding_rate_reduction_pairs,
    coding_rate_reduction_pooled,
    unit_rows,
)

SHAPES = [(1, 5, 3), (2, 6, 4), (2, 3, 8), (3, 5, 4), (4, 7, 3), (5, 9, 1)]


def random_views(shape, seed=0):
    return unit_rows(np.random.default_rng(seed).normal(size=shape))


@pytest.mark.parametrize("eps", [0.1, 0.5, 2.0])
@pytest.mark.parametrize("shape", SHAPES)
def test_bounds(shape, eps):
    v, _, d = shape
    rates = coding_rate_reduction_pairs(random_views(shape), eps)
    assert 0 <= rates.R <= rates.R_max * (1 + 1e-12)
    assert 0 <= rates.U <= 1 + 1e-12
    assert -1e-12 <= rates.dR <= rates.R
    smallest = 0.5 * math.log(1 + d / eps**2)
    assert smallest - 1e-12 <= rates.R
    if v > 1 and d > 1:
        assert -1e-9 <= rates.A <= 1 + 1e-9


@pytest.mark.parametrize("v", [2, 3, 4])
def test_alignment_is_one_for_equal_views_and_zero_for_orthogonal_ones(v):
    equal = np.repeat(random_views((1, 6, 4)), v, axis=0)
    alignment = coding_rate_reduction_pairs(equal).A
    assert alignment == pytest.approx(1)
    orthogonal = np.repeat(np.eye(v, 4)[:, None], 6, axis=1)
    alignment = coding_rate_reduction_pairs(orthogonal).A
    assert alignment == pytest.approx(0, abs=1e-12)


def test_alignment_reaches_zero_for_more_views_than_features():
    circle = np.array([[math.cos(t), math.sin(t)] for t in 2 * math.pi * np.arange(3) / 3])
    alignment = coding_rate_reduction_pairs(np.repeat(circle[:, None], 5, axis=1)).A
    assert alignment == pytest.approx(0, abs=1e-12)


def test_orthonormal_rows_reach_the_largest_rate():
    rate, _, _, largest, uniformity, _ = coding_rate_reduction_pairs(np.eye(5)[None])
    assert rate == pytest.approx(largest)
    assert uniformity == pytest.approx(1)


@pytest.mark.parametrize("shape", [(3, 7), (7, 3), (5, 5)])
def test_primal_equals_dual(shape):
    Z = np.random.default_rng(0).normal(size=shape)
    m, d = shape
    for gram in (Z.T @ Z, Z @ Z.T):
        eigenvalues = np.linalg.eigvalsh(gram)
        expected = 0.5 * sum(math.log1p(d / (m * 0.3**2) * max(e, 0)) for e in eigenvalues)
        assert coding_rate(Z, 0.3) == pytest.approx(expected)


def test_scaling_features_equals_scaling_eps():
    Z = np.random.default_rng(0).normal(size=(9, 4))
    assert coding_rate(10 * Z, 5.0) == pytest.approx(coding_rate(Z, 0.5))
    assert coding_rate(10 * Z, 0.5) > coding_rate(Z, 0.5)


@pytest.mark.parametrize("reduction", [coding_rate_reduction_pairs, coding_rate_reduction_pooled])
def test_order_of_images_and_basis_do_not_matter(reduction):
    rng = np.random.default_rng(0)
    views = random_views((3, 8, 5))
    rotation = np.linalg.qr(rng.normal(size=(5, 5)))[0]
    expected = pytest.approx(reduction(views).dR)
    assert reduction(views[:, rng.permutation(8)]).dR == expected
    assert reduction(views[[2, 0, 1]]).dR == expected
    assert reduction(views @ rotation).dR == expected


def test_adjusted_form_does_not_depend_on_the_basis():
    views = random_views((2, 8, 5))
    rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(5, 5)))[0]
    assert adjusted_mean_and_resolution(views @ rotation) == pytest.approx(adjusted_mean_and_resolution(views))


def test_identical_views_have_no_scatter_within():
    views = np.repeat(random_views((1, 9, 4)), 2, axis=0)
    pooled = coding_rate_reduction_pooled(views)
    assert pooled.R_within == pytest.approx(0, abs=1e-12)
    assert pooled.dR == pytest.approx(coding_rate(views.reshape(-1, 4)))


@pytest.mark.parametrize("relu", [False, True])
def test_noise_scores_nothing_in_the_adjusted_form_only(relu):
    noise = np.random.default_rng(0).normal(size=(2, 360, 128))
    views = unit_rows(np.maximum(noise, 0) if relu else noise)
    assert abs(adjusted_mean_and_resolution(views).mean) < 0.4
    assert coding_rate_reduction_pooled(views).dR > 3
    pairs = coding_rate_reduction_pairs(views)
    assert relu or pairs.dR > 0.8 * (pairs.R_max - pairs.Rc)


def test_noise_added_to_views_lowers_the_adjusted_form():
    rng = np.random.default_rng(0)
    signal = np.repeat(rng.normal(size=(1, 200, 16)), 2, axis=0)
    scores = [
        adjusted_mean_and_resolution(unit_rows(signal + level * rng.normal(size=signal.shape))).mean
        for level in (0.1, 0.5, 2.0)
    ]
    assert scores[0] > scores[1] > scores[2] > 0


PARTS = {
    "rate": lambda z: coding_rate(z.flatten(0, 1)),
    "pairs": lambda z: tuple(p for p in coding_rate_reduction_pairs(z) if isinstance(p, torch.Tensor))[:3],
    "unit pairs": lambda z: coding_rate_reduction_pairs(unit_rows(z))[4:],
    "pooled": lambda z: tuple(coding_rate_reduction_pooled(z)),
    "adjusted": lambda z: tuple(coding_rate_reduction_adjusted(z)),
    "mean": lambda z: adjusted_mean_and_resolution(z).mean,
}


@pytest.mark.parametrize("shape", [(2, 4, 3), (2, 4, 7), (3, 5, 2)])
@pytest.mark.parametrize("part", PARTS)
def test_gradient_equals_finite_differences(part, shape):
    z = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    assert torch.autograd.gradcheck(PARTS[part], (z,))


def test_gradient_reaches_float32_embeddings():
    z = torch.randn(2, 30, 8, generator=torch.Generator().manual_seed(0), requires_grad=True)
    coding_rate_reduction_pairs(unit_rows(z)).dR.backward()
    assert z.grad.dtype == torch.float32
    assert bool(torch.isfinite(z.grad).all())
    assert float(z.grad.norm()) > 0


@pytest.mark.parametrize("shape", [(2, 300, 32), (2, 20, 64)])
def test_numpy_torch_float32_and_float64_agree(shape):
    views = random_views(shape)
    reductions = (
        coding_rate_reduction_pairs,
        coding_rate_reduction_pooled,
        coding_rate_reduction_adjusted,
        adjusted_mean_and_resolution,
    )
    for reduction in reductions:
        expected = pytest.approx(reduction(views), rel=1e-5, abs=1e-4)
        assert [float(part) for part in reduction(torch.from_numpy(views))] == pytest.approx(reduction(views))
        assert reduction(views.astype(np.float32)) == expected
        assert reduction([view for view in views]) == reduction(views)  # noqa: C416
