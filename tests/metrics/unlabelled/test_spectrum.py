import math

import numpy as np
import pytest
import torch
from scipy import stats

from sslmlflow.metrics.unlabelled.spectrum import (
    alpha_req,
    effective_rank,
    rankme,
    singular_value_spectrum,
    stable_rank,
)


def rankme_from_the_paper(Z):
    """Equations 1 and 2 of arXiv 2210.02885, term by term."""
    singular = [math.sqrt(max(e, 0.0)) for e in np.linalg.eigvalsh(Z @ Z.T if len(Z) < Z.shape[1] else Z.T @ Z)]
    entropy = 0.0
    for value in singular:
        p = value / sum(singular) + 1e-7
        entropy -= p * math.log(p)
    return math.exp(entropy)


@pytest.mark.parametrize("shape", [(20, 6), (6, 20), (9, 9), (1, 4), (5, 1)])
def test_rankme_follows_the_paper(shape):
    Z = np.random.default_rng(0).normal(size=shape) + 1
    expected = pytest.approx(rankme_from_the_paper(Z), rel=1e-6)
    assert rankme(Z) == expected
    assert rankme(torch.from_numpy(Z)) == expected
    assert rankme(Z.astype(np.float32)) == pytest.approx(rankme_from_the_paper(Z), rel=1e-4)


def test_rankme_of_a_flat_spectrum_is_the_dimension():
    assert rankme(np.linalg.qr(np.random.default_rng(0).normal(size=(30, 7)))[0]) == pytest.approx(7, rel=1e-4)


def test_rankme_of_a_line_is_one():
    assert rankme(np.outer(np.arange(1.0, 9), [1.0, 2.0, 3.0])) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("scale", [1e-300, 1e-3, 1e300])
def test_scale_does_not_matter(scale):
    Z = np.random.default_rng(0).uniform(-1, 1, size=(12, 5))
    assert rankme(scale * Z) == pytest.approx(rankme(Z))
    assert effective_rank(scale * Z) == pytest.approx(effective_rank(Z))


def test_effective_rank_is_centred():
    Z = np.vstack([np.eye(4), -np.eye(4)])
    assert effective_rank(Z) == pytest.approx(4)
    assert effective_rank(Z + 1000) == pytest.approx(4)


@pytest.mark.parametrize("shape", [(400, 256), (2000, 16), (16, 2000)])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_rounding_adds_no_rank(dtype, shape):
    line = np.outer(np.linspace(-1, 1, shape[0]), np.random.default_rng(0).normal(size=shape[1])) + 1
    assert effective_rank(line.astype(dtype)) == pytest.approx(1, abs=0.01)


def test_rounding_to_bfloat16_adds_no_rank():
    line = np.outer(np.linspace(-1, 1, 400), np.random.default_rng(0).normal(size=256)) + 1
    assert effective_rank(torch.from_numpy(line).bfloat16()) == pytest.approx(1, abs=0.01)


def test_nothing_varies_no_rank():
    assert effective_rank(np.ones((5, 3))) == 0


@pytest.mark.parametrize("Z", [np.zeros((4, 3)), np.full((4, 3), np.nan), np.zeros((0, 3)), np.ones(3)], ids=repr)
def test_undefined_rankme_is_refused(Z):
    with pytest.raises(ValueError, match=r"zero|finite|must be"):
        rankme(Z)


@pytest.mark.parametrize("shape", [(20, 6), (6, 20), (5, 1)])
def test_spectrum_squared_is_that_of_the_covariance(shape):
    Z = np.random.default_rng(0).normal(size=shape) + 3
    covariance = np.atleast_2d(np.cov(Z.T, bias=True))
    eigenvalues = np.sort(np.linalg.eigvalsh(covariance))[::-1][: min(shape)]
    spectrum = singular_value_spectrum(Z)
    assert spectrum.dtype == np.float64
    assert spectrum**2 == pytest.approx(eigenvalues, rel=1e-9, abs=1e-12)
    assert singular_value_spectrum(torch.from_numpy(Z).float()) == pytest.approx(spectrum, rel=1e-4, abs=1e-5)


def test_spectrum_is_in_the_unit_of_the_embeddings():
    """Deviations known by construction along rotated axes, far from the origin."""
    rng = np.random.default_rng(0)
    axes = np.linalg.qr(rng.normal(size=(4, 4)))[0]
    corners = np.array([[a, b, c, d] for a in (-1, 1) for b in (-1, 1) for c in (-1, 1) for d in (-1, 1)])
    Z = (corners * [0.5, 40.0, 0.0, 3.0]) @ axes + 100
    assert singular_value_spectrum(Z) == pytest.approx([40.0, 3.0, 0.5, 0.0], abs=1e-10)


@pytest.mark.parametrize("Z", [np.ones((5, 3)), np.zeros((5, 3)), np.ones((1, 3))], ids=repr)
def test_spectrum_of_what_does_not_vary_is_zero(Z):
    assert singular_value_spectrum(Z) == pytest.approx(np.zeros(min(Z.shape)))


@pytest.mark.parametrize("Z", [np.full((4, 3), np.nan), np.zeros((0, 3)), np.ones(3)], ids=repr)
def test_undefined_spectrum_is_refused(Z):
    with pytest.raises(ValueError, match=r"finite|must be"):
        singular_value_spectrum(Z)


def test_stable_rank_is_the_frobenius_over_the_spectral_norm():
    Z = np.random.default_rng(0).normal(size=(40, 7))
    expected = np.linalg.norm(Z) ** 2 / np.linalg.norm(Z, 2) ** 2
    assert stable_rank(Z) == pytest.approx(expected)
    assert stable_rank(1e300 * Z) == pytest.approx(expected)
    assert 1 <= expected <= rankme(Z)
    with pytest.raises(ValueError, match="zero"):
        stable_rank(np.zeros((4, 2)))


@pytest.mark.parametrize("alpha", [0.3, 1.0, 3.0])
def test_the_decay_of_a_power_law_is_found_again(alpha):
    random = np.random.default_rng(0)
    left, _ = np.linalg.qr(random.normal(size=(500, 50)) @ np.eye(50))
    left -= left.mean(0)
    left, _ = np.linalg.qr(left)
    right, _ = np.linalg.qr(random.normal(size=(50, 50)))
    Z = left * np.arange(1, 51) ** (-alpha / 2) @ right.T
    assert alpha_req(Z) == pytest.approx(alpha, rel=1e-6)
    assert alpha_req(5 + 100 * Z) == pytest.approx(alpha, rel=1e-6)


def test_the_decay_is_that_of_a_straight_line_through_logs():
    Z = np.random.default_rng(1).normal(size=(200, 20)) * np.linspace(1, 5, 20)
    eigenvalues = np.linalg.eigvalsh(np.cov(Z.T))[::-1]
    fitted = stats.linregress(np.log(np.arange(1, 21)), np.log(eigenvalues))
    assert alpha_req(Z) == pytest.approx(-fitted.slope)


def test_a_flat_spectrum_does_not_rise():
    for seed in range(20):
        axes, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(6, 6)))
        assert 0 <= alpha_req(np.vstack([axes, -axes])) < 1e-9


def test_noise_decays_slowly_and_near_collapse_fast():
    """The paper's two extremes: features that are all spread, and that are all in few directions."""
    random = np.random.default_rng(2)
    noise = random.normal(size=(5000, 30))
    narrow = noise * np.exp(-np.arange(30.0))
    assert alpha_req(noise) < 0.15
    assert alpha_req(narrow) > 3
    with pytest.raises(ValueError, match="3 eigenvalues"):
        alpha_req(np.outer(random.normal(size=50), np.ones(8)))
