import math

import numpy as np
import pytest
import torch

from sslmlflow.metrics.unlabelled.spectrum import effective_rank, rankme


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


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_rounding_adds_no_rank(dtype):
    line = np.outer(np.linspace(-1, 1, 400), np.random.default_rng(0).normal(size=256)) + 1
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
