"""Every metric on embeddings of every size and kind: a finite value, or one clear error."""

import math
import re
import warnings
from collections.abc import Callable, Iterable
from functools import partial

import numpy as np
import pytest
import torch

from sslmlflow.metrics.catalogue import OF_LAYER, Metric
from sslmlflow.metrics.labelled.clustering_scores import clustering_scores
from sslmlflow.metrics.labelled.coding_rate import coding_rate_reduction_labels
from sslmlflow.metrics.labelled.knn import knn_accuracy, weighted_knn_accuracy
from sslmlflow.metrics.labelled.linear_probe import paper_probe, standardised_probe
from sslmlflow.metrics.labelled.sgd_probe import sgd_probe
from sslmlflow.metrics.partition import agreement, silhouettes
from sslmlflow.metrics.unlabelled.adjusted_halves import adjusted_interval
from sslmlflow.metrics.unlabelled.clid import clid, cluster_learnability, intrinsic_dimension
from sslmlflow.metrics.unlabelled.clustering import spherical_kmeans
from sslmlflow.metrics.unlabelled.coding_rate import (
    coding_rate,
    coding_rate_reduction_adjusted,
    coding_rate_reduction_pairs,
    coding_rate_reduction_pooled,
    coding_rate_reduction_soft,
    directions,
    unit_rows,
)
from sslmlflow.metrics.unlabelled.collapse import collapsed
from sslmlflow.metrics.unlabelled.entropy import far_from_the_rest, histogram_entropy
from sslmlflow.metrics.unlabelled.hypersphere import alignment_loss, infonce, retrieval_accuracy, uniformity_loss
from sslmlflow.metrics.unlabelled.layer import function_of
from sslmlflow.metrics.unlabelled.lidar import lidar
from sslmlflow.metrics.unlabelled.neighbours import nearest_neighbours
from sslmlflow.metrics.unlabelled.spectrum import (
    alpha_req,
    effective_rank,
    rankme,
    singular_value_spectrum,
    stable_rank,
)
from sslmlflow.metrics.unlabelled.umap_embedding import umap_embedding

SIZES = (*range(21), 100)
# What the arguments hold, by which a reason is understood.
ARGUMENTS = re.compile(
    r"\b(Z3?|views?|embeddings?|rows?|images?|labels|(train|test)_[Zy]|epochs?|k|classes|clusters?|partition|samples|topk"
    r"|anchors)\b"
)


def normal(n: int) -> np.ndarray:
    random = np.random.default_rng(0)
    return random.normal(size=(1, n, 6)) + 0.3 * random.normal(size=(2, n, 6))


def with_one(value: float) -> Callable[[int], np.ndarray]:
    def make(n: int) -> np.ndarray:
        views = normal(n)
        views[:, :1, :1] = value
        return views

    return make


KINDS: dict[str, Callable[[int], np.ndarray]] = {
    "normal": normal,
    "constant": lambda n: np.ones((2, n, 6)),
    "one row": lambda n: np.repeat(normal(1)[:1, :1], n, axis=1).repeat(2, axis=0),
    "zeros": lambda n: np.zeros((2, n, 6)),
    "duplicates": lambda n: np.repeat(normal((n + 1) // 2), 2, axis=1)[:, :n],
    "NaN": with_one(np.nan),
    "Inf": with_one(np.inf),
    "1e300": lambda n: 1e300 * np.tanh(normal(n)),
    "float16": lambda n: normal(n).astype(np.float16),
}


def classes(n: int) -> np.ndarray:
    return np.arange(n) % 3


def halves(Z: np.ndarray) -> tuple[np.ndarray, ...]:
    y = classes(len(Z))
    return Z[::2], y[::2], Z[1::2], y[1::2]


def _clid_parts(z: np.ndarray) -> tuple[float, float]:
    return intrinsic_dimension(z), cluster_learnability(z, classes(len(z)))


def _drawn_probe(train_Z: np.ndarray, train_y: np.ndarray, test_Z: np.ndarray, test_y: np.ndarray) -> float:
    return paper_probe(lambda epoch: torch.from_numpy(train_Z), train_y, test_Z, test_y, epochs=2)


def _of_row(metric: Metric, views: np.ndarray) -> float:
    """A row of the catalogue, computed as milestones compute it."""
    given = {"views": views, "view": views[0], "eps": 0.5}
    if any(name.startswith("unit_") for name in metric.takes):
        unit = directions(torch.from_numpy(views)) if len(views[0]) else torch.from_numpy(views)
        given |= {"unit_views": unit, "unit_view": unit[0]}
    found = function_of(metric.function)(*(given[name] for name in metric.takes))
    return float(getattr(found, metric.part) if metric.part else found)


# Views (2, n, 6) to a number or several; labelled ones take every third row as a class.
METRICS: dict[str, Callable[[np.ndarray], object]] = {
    # What may have no finite value says so in its row.
    **{metric.key: partial(_of_row, metric) for metric in OF_LAYER if not metric.not_finite},
    "coding_rate": lambda v: coding_rate(v[0]),
    "unit rows, then coding_rate": lambda v: coding_rate(unit_rows(v[0])),
    "pairs": lambda v: coding_rate_reduction_pairs(v)[:4],  # U and A are NaN by definition where rows have other norms
    "pooled": coding_rate_reduction_pooled,
    "adjusted": coding_rate_reduction_adjusted,
    "adjusted interval": lambda v: adjusted_interval(v, resamples=3),
    "soft": lambda v: coding_rate_reduction_soft(unit_rows(v[0])),
    "soft, top 2": lambda v: coding_rate_reduction_soft(unit_rows(v[0]), topk=2),
    "soft, of anchors": lambda v: coding_rate_reduction_soft(unit_rows(v[0]), normalise="anchor", anchors=2),
    "rankme": lambda v: rankme(v[0]),
    "stable rank": lambda v: stable_rank(v[0]),
    "effective rank": lambda v: effective_rank(v[0]),
    "alpha-ReQ": lambda v: alpha_req(v[0]),
    "lidar": lidar,
    "alignment": alignment_loss,
    "uniformity": lambda v: uniformity_loss(v[0]),
    "retrieval": retrieval_accuracy,
    "InfoNCE": infonce,
    "spectrum": lambda v: singular_value_spectrum(v[0]),
    "collapsed": lambda v: float(collapsed(v[0]) is not None),
    "far from the rest": lambda v: far_from_the_rest(v[0]),
    "CLID": lambda v: clid(*zip(*(_clid_parts(z) for z in v), strict=True)),
    "intrinsic dimension": lambda v: intrinsic_dimension(v[0]),
    "learnability": lambda v: cluster_learnability(v[0], classes(v.shape[1])),
    "entropy": lambda v: histogram_entropy(v[0]),
    "robust entropy": lambda v: histogram_entropy(v[0], robust=True),
    "k-means": lambda v: spherical_kmeans(v[0], 3, seed=0, n_init=2).loss,
    "neighbours": lambda v: nearest_neighbours(v[0], 2).distances,
    "silhouette": lambda v: silhouettes(v[0], {"classes": classes(v.shape[1])})["classes"],
    "agreement": lambda v: agreement(classes(v.shape[1]), classes(v.shape[1]) % 2),
    "labels": lambda v: coding_rate_reduction_labels(unit_rows(v[0]), classes(v.shape[1])),
    "clustering scores": lambda v: clustering_scores(classes(v.shape[1]), classes(v.shape[1]) % 2),
    "5-NN": lambda v: knn_accuracy(*halves(v[0])),
    "weighted k-NN": lambda v: weighted_knn_accuracy(*halves(v[0])),
    "standardised probe": lambda v: standardised_probe(*halves(v[0])),
    "probe of the paper": lambda v: _drawn_probe(*halves(v[0])),
    "SGD probe": lambda v: sgd_probe(*halves(v[0]), epochs=2),
}


def numbers(found: object) -> Iterable[float]:
    return np.atleast_1d(np.asarray(found, dtype=float)).ravel().tolist()


def check(metric: Callable[[np.ndarray], object], kind: str, n: int) -> bool:
    """Whether the metric has a value; an error must name an argument, and be the one error that metrics raise."""
    found, reason = None, ""
    try:
        found = metric(KINDS[kind](n))
    except ValueError as error:
        reason = str(error)
    where = f"{kind}, n = {n}: {found} {reason}"
    assert ARGUMENTS.search(reason) if found is None else all(map(math.isfinite, numbers(found))), where
    return found is not None


@pytest.mark.parametrize("name", METRICS)
def test_a_finite_value_or_a_named_reason(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        valued = {(kind, n) for kind in KINDS for n in SIZES if check(METRICS[name], kind, n)}
    assert ("normal", 100) in valued
    assert ("float16", 100) in valued
    of_numbers_alone = name in ("agreement", "clustering scores")
    assert of_numbers_alone or not {(kind, n) for kind, n in valued if kind in ("NaN", "Inf") and n > 0}
    assert ("normal", 0) not in valued


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_map_or_a_named_reason(kind: str) -> None:
    found = {n: check(lambda v: umap_embedding(v[0], seed=0), kind, n) for n in (0, 1, 8, 9, 20, 100)}
    assert not any(found[n] for n in (0, 1, 8))
    assert found[100] == (kind not in ("NaN", "Inf", "1e300"))
