"""The metrics of embeddings of any origin, one step after another, as far as what is given allows."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from sslmlflow.config.evaluate import EvaluationOptions
from sslmlflow.config.score import Score
from sslmlflow.evaluation.clusters import map_and_cluster
from sslmlflow.evaluation.embedding_labels import Labels
from sslmlflow.metrics.catalogue import (
    AMI_TRUTH,
    CRR_ADJUSTED,
    KNN,
    KNN_200,
    OF_LAYER,
    SILHOUETTE_TRUTH,
    STANDARDISED,
    SUPERVISED_CRR,
)
from sslmlflow.metrics.failures import FAILURES, why
from sslmlflow.metrics.labelled.clustering_scores import clustering_scores
from sslmlflow.metrics.labelled.coding_rate import coding_rate_reduction_labels
from sslmlflow.metrics.labelled.knn import knn_accuracy, weighted_knn_accuracy
from sslmlflow.metrics.labelled.linear_probe import standardised_probe
from sslmlflow.metrics.partition import silhouettes
from sslmlflow.metrics.results import Results
from sslmlflow.metrics.unlabelled.adjusted_halves import adjusted_interval
from sslmlflow.metrics.unlabelled.coding_rate import directions
from sslmlflow.metrics.unlabelled.layer import COLLAPSED, layer_metrics

NEED_VIEWS = tuple(metric.short_name for metric in OF_LAYER if metric.needs_views)
ALL_WITH_ALL = tuple(metric.short_name for metric in OF_LAYER if metric.all_with_all)
LINEAR = (COLLAPSED, *(metric.short_name for metric in OF_LAYER if not metric.all_with_all))
CLUSTERS_AND_CLASSES = AMI_TRUTH, *(f"labelled/{name}_clusters_truth" for name in ("ami_max", "nmi", "ari", "acc"))
LABELLED = *CLUSTERS_AND_CLASSES, SUPERVISED_CRR, SILHOUETTE_TRUTH, KNN, KNN_200, STANDARDISED
Step = Callable[[], Results]


def measure(views: Tensor, labels: Labels | None, config: Score) -> Results:
    """Everything that can be measured; a bar shows how far it has come.

    What takes time n^2, and the probe, is measured on `max_rows` random images, the rest on all.
    """
    results, clusters, n = Results(), list[NDArray[np.int64]](), views.shape[1]
    rows = _drawn(np.arange(n), config)
    some = views if len(rows) == n else views[:, rows]
    steps = [("rates and ranks", _rates(views, config), False)]
    steps += [(name, step, len(rows) < n) for name, step in _label_free(some, config, clusters).items()]
    if labels is not None and labels.undefined:
        results.fail(LABELLED, labels.undefined)
    elif labels is not None:
        known = labels.known
        drawn = _drawn(known, config)
        steps += [
            ("clusters and classes", _clusters_and_classes(labels.classes[rows], clusters), len(rows) < n),
            (SUPERVISED_CRR, _supervised_rate(views[0], labels, config), False),
        ]
        labelled = _labelled(views[0][drawn], labels.classes[drawn], config)
        steps += [(name, step, len(drawn) < len(known)) for name, step in labelled.items()]
    for name, step, on_sample in (progress := tqdm(steps, unit="step", disable=None)):
        progress.set_postfix_str(name)
        try:
            found = step()
        except FAILURES as error:
            found = Results(undefined={name: why(error)})
        if on_sample:
            found.sampled.update(found.values)
        results.update(found)
    return results


def _drawn(rows: NDArray[np.int64], config: Score) -> NDArray[np.int64]:
    """The rows, or `max_rows` of them in their order."""
    if len(rows) <= config.max_rows:
        return rows
    drawn = np.random.default_rng(config.evaluation_seed).permutation(len(rows))[: config.max_rows]
    return rows[np.sort(drawn)]


def _rates(views: Tensor, config: Score) -> Step:
    """What takes time in proportion to the images."""

    def rates() -> Results:
        results = _of_layer(views, config, LINEAR)
        if CRR_ADJUSTED in results.values:
            kept = config.max_rows // 2 if views.shape[1] > config.max_rows else None
            ends = f"{CRR_ADJUSTED}_low", f"{CRR_ADJUSTED}_high"  # need more images than the value
            results.add(ends, lambda: adjusted_interval(directions(views), config.eps, kept=kept)[1:])
        return results

    return rates


def _label_free(views: Tensor, config: Score, clusters: list[NDArray[np.int64]]) -> dict[str, Step]:
    """What compares all images with all; the step that clusters leaves the clusters behind."""

    def neighbours() -> Results:
        results = _of_layer(views, config, ALL_WITH_ALL)
        results.values.pop(f"label_free/{COLLAPSED}", None)  # of all images it is known by now
        return results

    def clustered() -> Results:
        options = EvaluationOptions(
            clusters=config.clusters, entropy_width=config.entropy_width, evaluation_seed=config.evaluation_seed
        )
        found = map_and_cluster(views[0], options)
        if found.clusters is not None:
            clusters.append(found.clusters)
        return found.results

    return {"neighbours": neighbours, "map and clusters": clustered}


def _of_layer(views: Tensor, config: Score, names: Sequence[str]) -> Results:
    results, found = Results(), layer_metrics(views, config.eps, names)
    for name in NEED_VIEWS if len(views) == 1 else ():
        found.values.pop(name, None)
        found.undefined.pop(name, None)
    results.update(found, "label_free/")
    return results


def _supervised_rate(z: Tensor, labels: Labels, config: Score) -> Step:
    def rate() -> Results:
        known = labels.known
        rates = coding_rate_reduction_labels(directions(z[known]), labels.classes[known], config.eps)
        return Results({SUPERVISED_CRR: rates.dR.item()})

    return rate


def _clusters_and_classes(classes: NDArray[np.int64], clusters: list[NDArray[np.int64]]) -> Step:
    """The clusters, of the images that were clustered, against their classes, -1 where unknown."""

    def agreement() -> Results:
        known, results = classes >= 0, Results()
        if not clusters:
            results.fail(CLUSTERS_AND_CLASSES, "there are no clusters")
        elif len(np.unique(classes[known])) < 2:
            results.fail(CLUSTERS_AND_CLASSES, "of the clustered images, no two have different classes")
        else:
            found = clustering_scores(classes[known], clusters[0][known])
            scores = found.ami, found.ami_max, found.nmi, found.ari, found.acc
            results.values.update(zip(CLUSTERS_AND_CLASSES, scores, strict=True))
        return results

    return agreement


def _labelled(z: Tensor, y: NDArray[np.int64], config: Score) -> dict[str, Step]:
    """Silhouette of the classes, and what learns them from one half of the images and is tested on the other."""
    order = np.random.default_rng(config.evaluation_seed).permutation(len(z))
    train, test = np.split(order, [len(z) // 2])
    halves = z[train], y[train], z[test], y[test]
    one: Mapping[str, Callable[[], float]] = {
        SILHOUETTE_TRUTH: lambda: silhouettes(z, {"the classes": y})["the classes"],
        KNN: lambda: knn_accuracy(*halves),
        KNN_200: lambda: weighted_knn_accuracy(*halves),
        STANDARDISED: lambda: standardised_probe(*halves),
    }
    return {name: lambda name=name, f=f: Results({name: f()}) for name, f in one.items()}  # type: ignore[misc]
