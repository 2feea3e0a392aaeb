import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans

from sslmlflow.metrics.unlabelled.clustering import refine, spherical_kmeans, spread_out


def directions(n, d, seed=0):
    x = np.random.default_rng(seed).normal(size=(n, d))
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def around(centres, each, spread, seed=0):
    centres = np.repeat(np.asarray(centres, float), each, axis=0)
    return centres + spread * np.random.default_rng(seed).normal(size=centres.shape)


def loss_from_the_definition(x, assignment, centres):
    return sum(
        1 - sum(a * b for a, b in zip(row, centres[c], strict=True)) for row, c in zip(x, assignment, strict=True)
    )


def same_partition(a, b):
    pairs = set(zip(a.tolist(), b.tolist(), strict=True))
    return len(pairs) == len(set(a.tolist())) == len(set(b.tolist()))


@pytest.mark.parametrize("make", [np.asarray, torch.from_numpy], ids=["numpy", "torch"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_three_directions_are_found_at_any_length(make, dtype):
    Z = around([[1, 0, 0], [0, 1, 0], [-1, -1, 1]], each=40, spread=0.1)
    Z *= np.random.default_rng(1).uniform(0.01, 1000, size=(120, 1))
    found = spherical_kmeans(make(Z.astype(dtype)), k=3, seed=0)
    assert same_partition(found.assignment, np.repeat([0, 1, 2], 40))
    assert found.assignment.dtype == np.int64


@pytest.mark.parametrize(("n", "d", "k"), [(600, 3, 20), (200, 30, 6), (50, 2, 1), (20_000, 3, 20)])
def test_the_result_is_a_fixed_point(n, d, k):
    """With many rows the centres creep: who stops early, or after few iterations, is not there yet."""
    x = directions(n, d)
    found = spherical_kmeans(5 * x, k, seed=0, n_init=3)
    assert sorted(set(found.assignment.tolist())) == list(range(k))
    cosines = np.einsum("nd,kd->nk", x, found.centres)
    assert (cosines[np.arange(n), found.assignment] >= cosines.max(1) - 1e-6).all()
    for cluster, centre in enumerate(found.centres):
        mean = x[found.assignment == cluster].mean(0)
        np.testing.assert_allclose(centre, mean / np.linalg.norm(mean), atol=1e-6)
    assert found.loss == pytest.approx(loss_from_the_definition(x, found.assignment, found.centres))


@pytest.mark.parametrize(("d", "k"), [(3, 10), (3, 20), (16, 5)])
def test_as_good_as_kmeans_of_scikit_learn(d, k):
    """On unit rows both cluster nearly alike: half the squared Euclidean distance is the cosine distance."""
    x = directions(500, d)
    theirs = KMeans(k, n_init=10, random_state=0).fit(x)
    centres = theirs.cluster_centers_ / np.linalg.norm(theirs.cluster_centers_, axis=1, keepdims=True)
    expected = loss_from_the_definition(x, (x @ centres.T).argmax(1), centres)
    assert spherical_kmeans(x, k, seed=0).loss <= 1.02 * expected


def test_more_runs_are_never_worse():
    x = directions(300, 3)
    losses = [spherical_kmeans(x, 12, seed=0, n_init=runs).loss for runs in (1, 3, 10)]
    assert losses == sorted(losses, reverse=True)
    assert losses[0] > losses[-1]


def test_no_run_is_refused():
    with pytest.raises(ValueError, match="n_init, the number of runs, must be at least 1"):
        spherical_kmeans(np.eye(3), 2, seed=0, n_init=0)


def test_equal_seeds_give_equal_clusters():
    x = directions(300, 3)
    first, second = spherical_kmeans(x, 12, seed=5), spherical_kmeans(x, 12, seed=5)
    np.testing.assert_array_equal(first.assignment, second.assignment)
    np.testing.assert_array_equal(first.centres, second.centres)


def test_start_takes_one_row_of_each_far_group():
    x = np.repeat(np.eye(5), 30, axis=0)
    for seed in range(5):
        assert len(np.unique(spread_out(x, 5, np.random.default_rng(seed)), axis=0)) == 5


def test_start_follows_the_cosine_distance():
    """Seen from the first row drawn, the two others are at distances 1 and 2."""
    x = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    second = {True: 0, False: 0}
    for seed in range(3000):
        first, then = spread_out(x, 2, np.random.default_rng(seed))
        if first[0] == 1:
            second[bool(then[0] == -1)] += 1
    assert second[True] / sum(second.values()) == pytest.approx(2 / 3, abs=0.05)


def test_an_empty_cluster_restarts_from_the_worst_fitted_row():
    x = np.vstack([np.repeat([[1.0, 0.0]], 5, axis=0), np.repeat([[0.0, 1.0]], 4, axis=0), [[-1.0, 0.0]]])
    start = np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])  # of two equal centres the second is empty
    found = refine(x, start)
    np.testing.assert_array_equal(found.assignment, [0] * 5 + [1] * 4 + [2])
    assert found.loss == pytest.approx(0, abs=1e-12)


def test_fewer_directions_than_clusters_leave_none_empty():
    x = np.repeat(np.eye(3), 5, axis=0)
    found = spherical_kmeans(x, 7, seed=0)
    assert set(found.assignment.tolist()) == set(range(7))
    assert found.loss == pytest.approx(0, abs=1e-12)


def test_as_many_clusters_as_rows():
    found = spherical_kmeans(directions(8, 3), 8, seed=0)
    assert sorted(found.assignment.tolist()) == list(range(8))
    assert found.loss == pytest.approx(0, abs=1e-12)


def test_opposite_rows_in_one_cluster_have_a_centre_and_a_loss():
    found = spherical_kmeans(np.array([[1.0, 0.0], [-1.0, 0.0]]), 1, seed=0)
    assert found.loss == pytest.approx(2)
    assert np.linalg.norm(found.centres[0]) == pytest.approx(1)


def test_centring_moves_the_point_from_which_directions_are_seen():
    group = np.repeat([0, 1], 30)
    Z = around([[101, 100], [99, 100]], each=30, spread=0.1)
    assert same_partition(spherical_kmeans(Z, 2, seed=0, center=True).assignment, group)
    shifted = spherical_kmeans(Z - Z.mean(0), 2, seed=0)
    assert spherical_kmeans(Z, 2, seed=0, center=True).loss == pytest.approx(shifted.loss)
    assert spherical_kmeans(Z, 2, seed=0).loss < 0.01 * shifted.loss


@pytest.mark.parametrize("scale", [1e-200, 1e200])
def test_squares_stay_in_range(scale):
    x = directions(50, 3)
    assert spherical_kmeans(scale * x, 3, seed=0).loss == pytest.approx(spherical_kmeans(x, 3, seed=0).loss)


@pytest.mark.parametrize(
    ("Z", "k", "center", "message"),
    [
        (np.array([[1.0, 0.0], [0.0, 0.0]]), 1, False, "row 1 is zero"),
        (np.array([[0.1, 0.2], [0.3, 0.6], [0.2, 0.4]]), 1, True, "row 2 equals the mean"),
        (np.ones((5, 2)), 1, True, "equals the mean"),
        (np.eye(4), 5, False, "between 1 and 4"),
        (np.eye(4), 0, False, "between 1 and 4"),
        (np.full((4, 3), np.nan), 2, False, "not finite"),
        (np.ones(4), 2, False, "must be"),
    ],
)
def test_bad_input_is_refused(Z, k, center, message):
    with pytest.raises(ValueError, match=message):
        spherical_kmeans(Z, k, seed=0, center=center)
