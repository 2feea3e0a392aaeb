import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import silhouette_score

from sslmlflow.metrics import partition
from sslmlflow.metrics.partition import agreement, silhouettes
from sslmlflow.metrics.unlabelled.clid import cluster_learnability
from sslmlflow.metrics.unlabelled.neighbours import nearest_neighbours

CASES = json.loads((Path(__file__).parents[1] / "vectors" / "clustering_scores.json").read_text())["cases"]


def silhouette_from_the_definition(Z, labels):
    """Rousseeuw's a and b, one row at a time."""
    labels, scores = np.asarray(labels), []
    for i, row in enumerate(Z):
        distance = np.array([math.dist(row, other) for other in Z])
        own = (labels == labels[i]) & (np.arange(len(Z)) != i)
        if not own.any():
            scores.append(0.0)
            continue
        a = distance[own].mean()
        b = min(distance[labels == c].mean() for c in set(labels.tolist()) - {int(labels[i])})
        scores.append((b - a) / max(a, b) if max(a, b) > 0 else 0.0)
    return float(np.mean(scores))


@pytest.fixture
def blobs():
    random = np.random.default_rng(0)
    group = random.integers(0, 5, 400)
    return random.normal(size=(5, 32))[group] * 1.5 + random.normal(size=(400, 32)) + 7, group


@pytest.mark.parametrize("make", [np.asarray, torch.from_numpy], ids=["numpy", "torch"])
@pytest.mark.parametrize(("dtype", "rel"), [(np.float32, 1e-5), (np.float64, 1e-9)])
def test_silhouettes_are_those_of_scikit_learn(blobs, make, dtype, rel):
    Z, group = blobs
    given = {"truth": group, "chance": np.random.default_rng(1).integers(0, 9, 400), "coarse": group // 2 * 100}
    found = silhouettes(make(Z.astype(dtype)), given)
    assert list(found) == list(given)
    for name, labels in given.items():
        assert found[name] == pytest.approx(silhouette_score(Z.astype(dtype).astype(np.float64), labels), rel=rel)


def test_a_far_origin_changes_no_silhouette(blobs):
    Z, group = blobs
    assert silhouettes(Z + 1e8, {"truth": group})["truth"] == pytest.approx(silhouette_score(Z, group), rel=1e-6)


def test_blocks_of_rows_join_up(blobs, monkeypatch):
    Z, group = blobs
    monkeypatch.setattr(partition, "BLOCK", 400 * 33)
    assert silhouettes(Z, {"truth": group})["truth"] == pytest.approx(silhouette_score(Z, group), rel=1e-9)


def test_singletons_count_as_zero():
    Z = np.random.default_rng(0).normal(size=(12, 3))
    labels = [0, 0, 0, 0, 1, 2, 2, 2, 5, 5, 5, 9]
    assert silhouettes(Z, {"p": labels})["p"] == pytest.approx(silhouette_from_the_definition(Z, labels))
    assert silhouettes(Z[:3], {"p": [0, 1, 1]})["p"] == pytest.approx(silhouette_from_the_definition(Z[:3], [0, 1, 1]))


@pytest.mark.parametrize("shift", [0, 1000])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_duplicates_have_distance_zero(shift, dtype):
    points = np.random.default_rng(0).normal(size=(6, 40))
    Z = (np.repeat(points, 5, axis=0) + shift).astype(dtype)
    each, halves = np.repeat(np.arange(6), 5), np.arange(30) % 2
    found = silhouettes(Z, {"each": each, "halves": halves, "alike": np.minimum(np.arange(30), 3)})
    assert found["each"] == 1
    exact = Z.astype(np.float64)
    assert found["halves"] == pytest.approx(silhouette_from_the_definition(exact, halves), rel=1e-6)
    assert found["alike"] == pytest.approx(
        silhouette_from_the_definition(exact, np.minimum(np.arange(30), 3)), rel=1e-6, abs=1e-9
    )


@pytest.mark.parametrize("value", [0.0, 0.1, 5.3])
def test_rows_that_are_all_the_same_score_zero(value):
    assert silhouettes(np.full((10, 7), value), {"p": np.arange(10) % 3}) == {"p": 0}


@pytest.mark.parametrize("scale", [1e-200, 1e200])
def test_scale_does_not_matter(blobs, scale):
    Z, group = blobs
    assert silhouettes(scale * Z, {"p": group})["p"] == pytest.approx(silhouettes(Z, {"p": group})["p"])


def test_no_partition_no_score():
    assert silhouettes(np.eye(3), {}) == {}


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 0, 0, 0], "'mine' has 1 clusters"),
        ([0, 1, 2, 3], "'mine' has 4 clusters"),
        ([0, 1, 1], "'mine' is of 3 rows"),
        ([0, 1, 1, -1], "'mine' holds negative"),
        ([0.0, 1.0, 1.0, 0.0], "'mine' must be one whole number"),
        ([[0], [1], [1], [0]], "'mine' must be one whole number"),
    ],
)
def test_silhouette_names_the_partition_that_it_refuses(labels, message):
    with pytest.raises(ValueError, match=message):
        silhouettes(np.eye(4), {"good": [0, 0, 1, 1], "mine": labels})


@pytest.mark.parametrize("make", [list, np.array, torch.tensor], ids=["list", "numpy", "torch"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_agreement_against_reference_values(case, make):
    expected = pytest.approx(case["AMI_arithmetic"], rel=1e-9)
    assert agreement(make(case["y"]), make(case["pred"])) == expected
    assert agreement(make(case["pred"]), make(case["y"])) == expected


@pytest.mark.parametrize("k", [2, 10])
def test_ceiling_of_a_partition_against_itself_cut_in_two(k):
    fine = np.arange(20_000) % (2 * k)
    assert agreement(fine // 2, fine) == pytest.approx(math.log(k) / (math.log(k) + math.log(2) / 2), abs=0.002)


def test_one_cluster_agrees_with_one_cluster_only():
    assert agreement([3, 3, 3, 3], [0, 0, 0, 0]) == 1
    assert agreement([3, 3, 3, 3], [0, 0, 1, 1]) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        ([0, 1], [0, 1, 1], "got 2 and 3 rows"),
        ([], [], "got 0 and 0 rows"),
        ([0, 1], [0, -1], "the second partition holds negative"),
        ([0.5, 1.0], [0, 1], "the first partition must be"),
    ],
)
def test_agreement_refuses(a, b, message):
    with pytest.raises(ValueError, match=message):
        agreement(a, b)


def test_embeddings_given_in_float64_stay_as_they_are() -> None:
    given = 3 + np.random.default_rng(0).normal(size=(30, 4))
    before = given.copy()
    silhouettes(given, {"halves": [0, 1] * 15})
    nearest_neighbours(given, 2)
    cluster_learnability(given, np.arange(30) % 2)
    assert np.array_equal(given, before)
