"""LiDAR: written out in NumPy, and the paper's claim that what changes with the views does not count."""

import numpy as np
import pytest
import torch

from sslmlflow.metrics.unlabelled.lidar import lidar
from sslmlflow.metrics.unlabelled.spectrum import rankme


def views(n=80, d=6, v=3, seed=0):
    random = np.random.default_rng(seed)
    return random.normal(size=(n, d)) * np.arange(1, d + 1) + 0.3 * random.normal(size=(v, n, d))


def written_out(z, delta):
    v, n, d = z.shape
    mean = z.mean(0)
    between = sum(np.outer(m - mean.mean(0), m - mean.mean(0)) for m in mean) / n
    within = sum(np.outer(z[k, i] - mean[i], z[k, i] - mean[i]) for k in range(v) for i in range(n)) / (n * v)
    values, vectors = np.linalg.eigh(within + delta * np.trace(within) / d * np.eye(d))
    root = vectors @ np.diag(values**-0.5) @ vectors.T
    eigenvalues = np.linalg.eigvalsh(root @ between @ root)
    shares = eigenvalues / eigenvalues.sum() + 1e-7
    return np.exp(-np.sum(shares * np.log(shares)))


@pytest.mark.parametrize("delta", [1e-4, 0.5])
@pytest.mark.parametrize("shape", [(80, 6, 3), (40, 5, 2)])
def test_it_is_the_definition(shape, delta):
    assert lidar(views(*shape), delta) == pytest.approx(written_out(views(*shape), delta))


def test_directions_that_only_views_differ_in_count_for_rankme_and_not_for_lidar():
    random = np.random.default_rng(0)
    informative = np.repeat(random.normal(size=(1, 200, 4)), 2, 0) + 0.01 * random.normal(size=(2, 200, 4))
    noise = random.normal(size=(2, 200, 12))
    both = np.concatenate([informative, noise], -1)
    assert rankme(both[0]) > rankme(informative[0]) + 8
    assert lidar(both) == pytest.approx(lidar(informative), rel=0.05)


def test_views_of_one_image_that_are_equal_leave_the_rank_of_the_images():
    means = np.random.default_rng(0).normal(size=(30, 3)) @ np.eye(3, 10)
    assert lidar(np.stack([means, means])) == pytest.approx(3, abs=0.3)


def test_torch_gives_the_same():
    assert lidar(torch.from_numpy(views()).float()) == pytest.approx(lidar(views()), rel=1e-5)


@pytest.mark.parametrize("scale", [1e-200, 0.01, 100, 1e200])
def test_the_scale_of_the_embeddings_changes_nothing(scale):
    assert lidar(scale * views()) == pytest.approx(lidar(views()))


def test_delta_is_small_beside_what_it_is_added_to():
    """On rows of norm 1 with d = 64, 1e-4 itself was as large as most of the within-image variance."""
    random = np.random.default_rng(0)
    z = random.normal(size=(1, 300, 64)) * np.linspace(1, 0.1, 64) + 0.05 * random.normal(size=(10, 300, 64))
    unit = z / np.linalg.norm(z, axis=-1, keepdims=True)
    for given in (z, unit):
        without = lidar(given, 1e-12)
        assert lidar(given) == pytest.approx(without, rel=1e-3)
        assert lidar(given, 1e-2) == pytest.approx(without, rel=0.05)


@pytest.mark.parametrize(
    ("z", "delta", "message"),
    [
        (np.ones((1, 5, 2)), 1e-4, "two of at least two images"),
        (np.ones((2, 1, 2)), 1e-4, "two of at least two images"),
        (np.ones((2, 5, 2)), 1e-4, "same mean"),
        (views(), 0.0, "delta"),
        (views(), np.inf, "delta"),
        (np.full((2, 5, 2), np.inf), 1e-4, "not finite"),
    ],
)
def test_bad_input_is_refused(z, delta, message):
    with pytest.raises(ValueError, match=message):
        lidar(z, delta)
