import warnings

import numpy as np
import pytest
import torch

from sslmlflow.metrics.unlabelled import umap_embedding as module
from sslmlflow.metrics.unlabelled.neighbours import Neighbours
from sslmlflow.metrics.unlabelled.umap_embedding import umap_embedding


@pytest.fixture
def noise():
    return np.random.default_rng(0).normal(size=(120, 8)).astype(np.float32)


def separated(embedding, group):
    """Whether every row is nearer to the mean of its own group than to that of any other."""
    means = np.stack([embedding[group == g].mean(0) for g in np.unique(group)])
    return bool((np.linalg.norm(embedding[:, None] - means, axis=2).argmin(1) == group).all())


@pytest.mark.slow
def test_groups_stay_apart(noise):
    group = np.arange(120) % 3
    embedding = umap_embedding(noise + 20 * np.eye(3, 8, dtype=np.float32)[group], seed=0, neighbours=20)
    assert embedding.shape == (120, 3)
    assert embedding.dtype == np.float32
    assert separated(embedding, group)


@pytest.mark.slow
def test_the_papers_settings_are_the_default(noise, monkeypatch):
    import umap

    seen = {}

    class Spy(umap.UMAP):
        def fit_transform(self, *given):
            seen.update(self.get_params())
            return super().fit_transform(*given)

    monkeypatch.setattr(umap, "UMAP", Spy)
    umap_embedding(noise, seed=5)
    expected = {"n_components": 3, "n_neighbors": 50, "min_dist": 0.1, "metric": "euclidean", "random_state": 5}
    assert {name: seen[name] for name in expected} == expected


@pytest.mark.slow
def test_equal_seeds_give_equal_maps(noise):
    first = umap_embedding(noise, seed=3)
    np.testing.assert_array_equal(umap_embedding(noise, seed=3), first)
    assert np.abs(umap_embedding(noise, seed=4) - first).max() > 0.1


@pytest.mark.slow
def test_map_follows_the_neighbours_that_it_is_given(noise, monkeypatch):
    """With few rows, too, where UMAP would find neighbours by itself: here they are of one parity, against Z."""

    def same_parity(Z, k):
        indices = (np.arange(120)[:, None] + 2 * np.arange(1, k + 1)) % 120
        return Neighbours(indices, np.tile(np.linspace(1, 2, k, dtype=np.float32), (120, 1)))

    monkeypatch.setattr(module, "nearest_neighbours", same_parity)
    assert separated(umap_embedding(noise, seed=0, neighbours=20), np.arange(120) % 2)


@pytest.mark.slow
@pytest.mark.parametrize("n", [9, 30])
def test_few_rows_and_duplicates_are_drawn_without_warning(n):
    Z = np.random.default_rng(0).normal(size=(n, 5))
    Z[1] = Z[0]
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        embedding = umap_embedding(Z, seed=0)
    assert embedding.shape == (n, 3)
    assert np.isfinite(embedding).all()


@pytest.mark.parametrize(
    ("Z", "neighbours", "message"),
    [
        (np.eye(8), 50, "at least 9 embeddings"),
        (np.eye(20), 8, "at least 9 embeddings"),
        (np.full((20, 3), np.inf), 50, "not finite"),
        (np.ones(20), 50, "must be"),
    ],
)
def test_bad_input_is_refused(Z, neighbours, message):
    with pytest.raises(ValueError, match=message):
        umap_embedding(Z, seed=0, neighbours=neighbours)


@pytest.mark.slow
@pytest.mark.parametrize("threads", [1, 2])
def test_torch_keeps_its_threads(noise, threads):
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        umap_embedding(noise, seed=0, neighbours=20)
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
