"""Alignment, uniformity, retrieval and InfoNCE: written out in NumPy, and what their papers say of them."""

import numpy as np
import pytest
import torch

from sslmlflow.metrics.unlabelled import hypersphere
from sslmlflow.metrics.unlabelled.hypersphere import alignment_loss, infonce, retrieval_accuracy, uniformity_loss


def views_with_noise(noise, n=60, d=8, seed=0):
    """Two views of n images that differ by so much noise."""
    random = np.random.default_rng(seed)
    return random.normal(size=(n, d)) + noise * random.normal(size=(2, n, d))


def unit(z):
    return z / np.linalg.norm(z, axis=-1, keepdims=True)


def test_alignment_is_the_mean_squared_distance():
    one, other = unit(views_with_noise(0.5))
    assert alignment_loss(views_with_noise(0.5)) == pytest.approx(np.mean(np.sum((one - other) ** 2, 1)))


@pytest.mark.parametrize("t", [0.5, 2.0, 500.0])
def test_uniformity_is_the_log_of_the_mean_potential(monkeypatch, t):
    monkeypatch.setattr(hypersphere, "BLOCK", 600)
    z = unit(views_with_noise(0.5)[0])
    squared = [np.sum((a - b) ** 2) for i, a in enumerate(z) for b in z[:i]]
    expected = np.logaddexp.reduce(-t * np.array(squared)) - np.log(len(squared))
    assert uniformity_loss(7 * z, t) == pytest.approx(expected)


def test_retrieval_is_counted_from_either_view(monkeypatch):
    monkeypatch.setattr(hypersphere, "BLOCK", 600)
    one, other = unit(views_with_noise(1.0))
    cosines = one @ other.T
    there, back = (np.mean(c.argmax(1) == np.arange(60)) for c in (cosines, cosines.T))
    assert 0.1 < there < 0.9
    assert there != back
    assert retrieval_accuracy(views_with_noise(1.0)) == pytest.approx((there + back) / 2)


@pytest.mark.parametrize("temperature", [0.05, 0.1, 1.0])
def test_infonce_is_the_mean_log_loss_of_a_softmax_over_all_images(monkeypatch, temperature):
    monkeypatch.setattr(hypersphere, "BLOCK", 600)
    one, other = unit(views_with_noise(1.0))
    losses = []
    for from_, to in ((one, other), (other, one)):
        for i in range(60):
            powers = [np.exp(from_[i] @ to[j] / temperature) for j in range(60)]
            losses.append(-np.log(powers[i] / sum(powers)))
    assert infonce(3 * views_with_noise(1.0), temperature) == pytest.approx(np.mean(losses))


def test_infonce_of_what_cannot_be_told_apart_is_chance_and_of_orthogonal_images_near_zero():
    same = np.ones((2, 50, 4))
    assert infonce(same) == pytest.approx(np.log(50))
    apart = np.stack([np.eye(50)] * 2)
    assert infonce(apart) == pytest.approx(np.log(1 + 49 * np.exp(-10)), rel=1e-6)
    swapped = np.stack([np.eye(50), np.roll(np.eye(50), 1, 0)])
    assert infonce(swapped) > np.log(50)
    noisy = [infonce(views_with_noise(noise)) for noise in (0.1, 0.5, 2.0)]
    assert noisy == sorted(noisy)


@pytest.mark.parametrize("temperature", [0.0, -1.0, np.inf, np.nan])
def test_infonce_refuses_what_is_no_temperature(temperature):
    with pytest.raises(ValueError, match="temperature must be a finite number above 0"):
        infonce(np.ones((2, 3, 2)), temperature)


def test_noise_between_views_worsens_alignment_and_retrieval_alone():
    """Wang and Isola: alignment and uniformity are two things."""
    levels = (0.1, 0.5, 2.0)
    alignments = [alignment_loss(views_with_noise(noise)) for noise in levels]
    found = [retrieval_accuracy(views_with_noise(noise)) for noise in levels]
    assert alignments == sorted(alignments)
    assert found == sorted(found, reverse=True)
    spread = [uniformity_loss(views_with_noise(noise)[0]) for noise in levels]
    assert np.ptp(spread) < 0.1


def test_points_drawn_evenly_are_more_uniform_than_clusters():
    random = np.random.default_rng(0)
    even = random.normal(size=(200, 8))
    clustered = random.normal(size=(4, 8))[random.integers(0, 4, 200)] + 0.1 * even
    assert uniformity_loss(even) < uniformity_loss(clustered) < uniformity_loss(np.ones((200, 8))) + 1e-12


def test_independent_views_are_found_by_chance_and_collapsed_ones_never():
    independent = np.random.default_rng(0).normal(size=(2, 300, 32))
    assert retrieval_accuracy(independent) < 0.02
    assert retrieval_accuracy(np.ones((2, 30, 4))) == 0


@pytest.mark.parametrize("spread", [1e-4, 1e-6])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_an_image_is_found_again_near_collapse_too(dtype, spread, monkeypatch):
    """Embeddings that differ by so much of their norm, of which the views differ by a thousandth."""
    monkeypatch.setattr(hypersphere, "ROWS", 7)
    random = np.random.default_rng(0)
    images = random.normal(size=(200, 16)) + 1e-3 * random.normal(size=(2, 200, 16))
    assert retrieval_accuracy((random.normal(size=16) + spread * images).astype(dtype)) == 1
    lengths = random.uniform(1, 2, size=(2, 200, 1))
    assert retrieval_accuracy((lengths * random.normal(size=16)).astype(dtype)) == 0, (
        "one direction, of different lengths"
    )


def test_uniformity_near_collapse_is_not_rounded_away():
    near = np.random.default_rng(0).normal(size=8) + 1e-3 * np.random.default_rng(1).normal(size=(60, 8))
    assert uniformity_loss(near.astype(np.float32), 500.0) == pytest.approx(uniformity_loss(near, 500.0), rel=1e-3)


@pytest.mark.parametrize("t", [0.0, -1.0, np.inf, np.nan])
def test_a_temperature_that_is_none_is_refused(t):
    with pytest.raises(ValueError, match="t must be a finite number above 0"):
        uniformity_loss(np.eye(3), t)


@pytest.mark.parametrize("function", [alignment_loss, retrieval_accuracy])
@pytest.mark.parametrize("views", [np.ones((3, 5, 2)), np.ones((1, 5, 2)), np.full((2, 5, 2), np.nan), np.ones((5, 2))])
def test_other_than_two_finite_views_are_refused(function, views):
    with pytest.raises(ValueError, match="view"):
        function(views)


def test_one_image_has_nothing_to_be_told_from():
    with pytest.raises(ValueError, match="at least 2"):
        retrieval_accuracy(np.ones((2, 1, 3)))
    with pytest.raises(ValueError, match="at least 2"):
        uniformity_loss(np.ones((1, 3)))


@pytest.mark.parametrize("function", [alignment_loss, retrieval_accuracy, lambda v: uniformity_loss(v[0])])
def test_torch_and_single_precision_give_the_same(function):
    views = views_with_noise(0.5)
    assert function(torch.from_numpy(views).float()) == pytest.approx(function(views), rel=1e-5)
