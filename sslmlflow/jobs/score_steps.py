"""The metrics of embeddings that some other program made, one step after another, as far as what is given allows."""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from sslmlflow.config.evaluate import EvaluationOptions
from sslmlflow.config.score import Score
from sslmlflow.jobs.clusters import map_and_cluster
from sslmlflow.measures import AMI_TRUTH, KNN, SILHOUETTE_TRUTH, STANDARDISED
from sslmlflow.metrics.failures import FAILURES, why
from sslmlflow.metrics.labelled.clustering_scores import clustering_scores
from sslmlflow.metrics.labelled.coding_rate import coding_rate_reduction_labels
from sslmlflow.metrics.labelled.knn import knn_accuracy, weighted_knn_accuracy
from sslmlflow.metrics.labelled.linear_probe import standardised_probe
from sslmlflow.metrics.partition import silhouettes
from sslmlflow.metrics.unlabelled.bootstrap import adjusted_interval
from sslmlflow.metrics.unlabelled.coding_rate import directions
from sslmlflow.metrics.unlabelled.milestone import layer_metrics

NEED_VIEWS: tuple[str, ...] = (
    *("crr", "crr_A", "crr_pooled", "crr_adjusted", "crr_adjusted_resolution"),
    *("lidar", "alignment_loss", "retrieval"),
)
OTHERS = "ami_max", "nmi", "ari", "acc"  # scores of clusters beside the agreement
Values = dict[str, float]


def measure(views: Tensor, labels: NDArray[np.int64] | None, config: Score) -> tuple[Values, dict[str, str]]:
    """Values by name, and why the others have none; a bar shows how far it has come."""
    values: Values = {}
    undefined: dict[str, str] = {}
    clusters: list[NDArray[np.int64]] = []
    steps = _label_free(views, config, clusters)
    if labels is not None:
        steps |= _labelled(views[0], labels, config, clusters)
    progress = tqdm(steps.items(), unit="step", disable=None)
    for name, step in progress:
        progress.set_postfix_str(name)
        try:
            found, failed = step()
        except FAILURES as error:
            found, failed = {}, {name: why(error)}
        values |= found
        undefined |= failed
    return values, undefined


Step = Callable[[], tuple[Values, dict[str, str]]]


def _label_free(views: Tensor, config: Score, clusters: list[NDArray[np.int64]]) -> dict[str, Step]:
    """Steps by name; those that cluster leave the clusters behind."""

    def rates() -> tuple[Values, dict[str, str]]:
        scores = layer_metrics(views, config.eps)
        if "crr_adjusted" in scores.values:
            try:
                _, low, high = adjusted_interval(directions(views), config.eps)
                scores.values.update(crr_adjusted_low=low, crr_adjusted_high=high)
            except FAILURES as error:  # it needs more images than the value
                scores.undefined.update(dict.fromkeys(("crr_adjusted_low", "crr_adjusted_high"), why(error)))
        skipped = () if len(views) > 1 else NEED_VIEWS
        return tuple(
            {f"label_free/{name}": found for name, found in part.items() if name not in skipped}
            for part in (scores.values, scores.undefined)
        )  # type: ignore[return-value]

    def clustered() -> tuple[Values, dict[str, str]]:
        options = EvaluationOptions(
            clusters=config.clusters, entropy_width=config.entropy_width, evaluation_seed=config.evaluation_seed
        )
        found = map_and_cluster(views[0], options)
        if found.clusters is not None:
            clusters.append(found.clusters)
        values = {key: value for key, value in found.measured.values.items() if not key.startswith("time/")}
        return values, found.measured.undefined

    return {"rates and ranks": rates, "map and clusters": clustered}


def _labelled(
    z: Tensor, labels: NDArray[np.int64], config: Score, clusters: list[NDArray[np.int64]]
) -> dict[str, Step]:
    order = np.random.default_rng(config.evaluation_seed).permutation(len(z))
    train, test = np.split(order, [len(z) // 2])
    halves = z[train], labels[train], z[test], labels[test]

    def agreement() -> tuple[Values, dict[str, str]]:
        names = AMI_TRUTH, *(f"labelled/{name}_clusters_truth" for name in OTHERS)
        if not clusters:
            return {}, dict.fromkeys(names, "there are no clusters")
        found = clustering_scores(labels, clusters[0])
        return dict(zip(names, (found.ami, *(getattr(found, name) for name in OTHERS)), strict=True)), {}

    one: Mapping[str, Callable[[], float]] = {
        "labelled/crr": lambda: coding_rate_reduction_labels(directions(z), labels, config.eps).dR.item(),
        SILHOUETTE_TRUTH: lambda: silhouettes(z, {"the classes": labels})["the classes"],
        KNN: lambda: knn_accuracy(*halves),
        "labelled/knn_200_cosine": lambda: weighted_knn_accuracy(*halves),
        STANDARDISED: lambda: standardised_probe(*halves),
    }
    steps: dict[str, Step] = {name: lambda name=name, f=f: ({name: f()}, {}) for name, f in one.items()}  # type: ignore[misc]
    return {"clusters and classes": agreement, **steps}
