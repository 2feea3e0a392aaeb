"""Metrics of more rows than are taken at once are those of all rows."""

import numpy as np
import pytest
import torch

from sslmlflow.metrics.unlabelled.coding_rate import coding_rate_reduction_pairs, unit_rows
from sslmlflow.metrics.unlabelled.collapse import collapsed
from sslmlflow.metrics.unlabelled.hypersphere import alignment_loss
from sslmlflow.metrics.unlabelled.lidar import lidar
from sslmlflow.metrics.unlabelled.spectrum import effective_rank, rankme, singular_value_spectrum
from sslmlflow.metrics.unlabelled.triangle import ROWS, triangle

N, D = 2 * ROWS + 100, 6


@pytest.fixture(scope="module")
def views() -> np.ndarray:
    random = np.random.default_rng(0)
    made: np.ndarray = random.normal(size=(1, N, D)) * [9, 4, 2, 1, 0.5, 0.1] + 0.3 * random.normal(size=(2, N, D)) + 2
    return made


@pytest.mark.parametrize("scale", [1e-300, 1.0, 1e300])
@pytest.mark.parametrize("centre", [False, True])
def test_it_has_the_singular_values_of_all_rows(views: np.ndarray, centre: bool, scale: float) -> None:
    found = triangle(scale * views[0], centre)
    assert found.R.shape == (D, D)
    z = views[0] - (views[0].mean(0) if centre else 0)
    expected = np.linalg.svd(z, compute_uv=False)
    ours = torch.linalg.svdvals(found.R).numpy() * (found.scale / scale)
    np.testing.assert_allclose(ours, expected, rtol=1e-12)


def test_few_rows_stay_as_they_are() -> None:
    z = np.random.default_rng(0).normal(size=(5, 9))
    assert torch.equal(triangle(z).R * triangle(z).scale, torch.from_numpy(z))
    assert triangle(np.zeros((4, 2))).scale == 0


def test_ranks_and_spectrum(views: np.ndarray) -> None:
    singular = np.linalg.svd(views[0] - views[0].mean(0), compute_uv=False)
    np.testing.assert_allclose(singular_value_spectrum(views[0]), singular / N**0.5, rtol=1e-12)
    shares = singular / singular.sum()
    assert effective_rank(views[0]) == pytest.approx(np.exp(-(shares * np.log(shares)).sum()))
    raw = np.linalg.svd(views[0], compute_uv=False)
    shares = raw / raw.sum() + 1e-7
    assert rankme(views[0]) == pytest.approx(np.exp(-(shares * np.log(shares)).sum()))
    assert collapsed(views[0]) is None
    assert "on a line" in str(collapsed(views[0] * [1, 0, 0, 0, 0, 0]))
    assert "the same to the precision" in str(collapsed(np.ones((N, D)) + 1e-9 * views[0]))


def test_lidar_pairs_and_alignment(views: np.ndarray) -> None:
    means = views.mean(0)
    within = (views - means).reshape(-1, D)
    scatter = within.T @ within / (2 * N)
    scatter += 1e-4 * np.trace(scatter) / D * np.eye(D)
    between = np.cov(means.T, bias=True)
    eigenvalues = np.linalg.eigvals(np.linalg.solve(scatter, between)).real
    shares = eigenvalues / eigenvalues.sum() + 1e-7
    assert lidar(views) == pytest.approx(np.exp(-(shares * np.log(shares)).sum()))
    unit = unit_rows(views)
    pair = np.einsum("nd,nd->n", unit[0], unit[1])
    c = D / (2 * 0.25)
    expected = np.log((1 + c) ** 2 - (c * pair) ** 2).mean() / 2
    assert coding_rate_reduction_pairs(unit).Rc == pytest.approx(expected)
    assert alignment_loss(views) == pytest.approx((2 - 2 * pair).mean())
