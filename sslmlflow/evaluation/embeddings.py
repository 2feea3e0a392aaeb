"""The metrics of embeddings of any origin, one step after another, as far as what is given allows."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from sslmlflow.config.evaluate import EvaluationOptions
from sslmlflow.config.score import Score
from sslmlflow.evaluation.clusters import map_and_cluster
from sslmlflow.evaluation.embedding_labels import Labels
from sslmlflow.metrics.catalogue import AMI_TRUTH, KNN, SILHOUETTE_TRUTH, STANDARDISED
from sslmlflow.metrics.failures import FAILURES, why
from sslmlflow.metrics.labelled.clustering_scores import clustering_scores
from sslmlflow.metrics.labelled.coding_rate import coding_rate_reduction_labels
from sslmlflow.metrics.labelled.knn import knn_accuracy, weighted_knn_accuracy
from sslmlflow.metrics.labelled.linear_probe import standardised_probe
from sslmlflow.metrics.partition import silhouettes
from sslmlflow.metrics.unlabelled.bootstrap import adjusted_interval
from sslmlflow.metrics.unlabelled.coding_rate import directions
from sslmlflow.metrics.unlabelled.milestone import LAST, layer_metrics

NEED_VIEWS: tuple[str, ...] = (
    *("crr", "crr_A", "crr_pooled", "crr_adjusted", "crr_adjusted_resolution"),
    *("lidar", "alignment_loss", "retrieval", "infonce"),
)
ALL_WITH_ALL = "uniformity_loss", "retrieval", "infonce", "near_duplicates"
LINEAR = *(name for name in LAST if name not in ALL_WITH_ALL), "lidar"
SUPERVISED_CRR, KNN_200 = "labelled/crr", "labelled/knn_200_cosine"
CLUSTERS_AND_CLASSES = AMI_TRUTH, *(f"labelled/{name}_clusters_truth" for name in ("ami_max", "nmi", "ari", "acc"))
LABELLED = *CLUSTERS_AND_CLASSES, SUPERVISED_CRR, SILHOUETTE_TRUTH, KNN, KNN_200, STANDARDISED
Values = dict[str, float]
Step = Callable[[], tuple[Values, dict[str, str]]]


@dataclass(frozen=True)
class Measures:
    """Values by name, why the others have none, and the names of those that were measured on a sample."""

    values: Values = field(default_factory=dict)
    undefined: dict[str, str] = field(default_factory=dict)
    sampled: set[str] = field(default_factory=set)

    def add(self, step: Step, name: str, sampled: bool) -> None:
        """Take a step; what it fails of is a reason under its name."""
        try:
            found, failed = step()
        except FAILURES as error:
            found, failed = {}, {name: why(error)}
        self.values.update(found)
        self.undefined.update(failed)
        if sampled:
            self.sampled.update(found)


def measure(views: Tensor, labels: Labels | None, config: Score) -> Measures:
    """Everything that can be measured; a bar shows how far it has come.

    What takes time n^2, and the probe, is measured on `max_rows` random images, the rest on all.
    """
    measures, clusters, n = Measures(), list[NDArray[np.int64]](), views.shape[1]
    rows = _drawn(np.arange(n), config)
    some = views if len(rows) == n else views[:, rows]
    steps = [("rates and ranks", _rates(views, config), False)]
    steps += [(name, step, len(rows) < n) for name, step in _label_free(some, config, clusters).items()]
    if labels is not None and labels.undefined:
        measures.undefined.update(dict.fromkeys(LABELLED, labels.undefined))
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
        measures.add(step, name, on_sample)
    return measures


def _drawn(rows: NDArray[np.int64], config: Score) -> NDArray[np.int64]:
    """The rows, or `max_rows` of them in their order."""
    if len(rows) <= config.max_rows:
        return rows
    drawn = np.random.default_rng(config.evaluation_seed).permutation(len(rows))[: config.max_rows]
    return rows[np.sort(drawn)]


def _rates(views: Tensor, config: Score) -> Step:
    """What takes time in proportion to the images."""

    def rates() -> tuple[Values, dict[str, str]]:
        values, undefined = _of_layer(views, config, LINEAR)
        if "label_free/crr_adjusted" in values:
            low, high = (f"label_free/crr_adjusted_{end}" for end in ("low", "high"))
            kept = config.max_rows // 2 if views.shape[1] > config.max_rows else None
            try:
                found = adjusted_interval(directions(views), config.eps, kept=kept)
                values |= {low: found.low, high: found.high}
            except FAILURES as error:  # it needs more images than the value
                undefined |= dict.fromkeys((low, high), why(error))
        return values, undefined

    return rates


def _label_free(views: Tensor, config: Score, clusters: list[NDArray[np.int64]]) -> dict[str, Step]:
    """What compares all images with all; the step that clusters leaves the clusters behind."""

    def neighbours() -> tuple[Values, dict[str, str]]:
        values, undefined = _of_layer(views, config, ("collapsed", *ALL_WITH_ALL))
        values.pop("label_free/collapsed", None)  # of all images it is known by now
        return values, undefined

    def clustered() -> tuple[Values, dict[str, str]]:
        options = EvaluationOptions(
            clusters=config.clusters, entropy_width=config.entropy_width, evaluation_seed=config.evaluation_seed
        )
        found = map_and_cluster(views[0], options)
        if found.clusters is not None:
            clusters.append(found.clusters)
        values = {key: value for key, value in found.measured.values.items() if not key.startswith("time/")}
        return values, found.measured.undefined

    return {"neighbours": neighbours, "map and clusters": clustered}


def _of_layer(views: Tensor, config: Score, names: tuple[str, ...]) -> tuple[Values, dict[str, str]]:
    scores = layer_metrics(views, config.eps, names)
    skipped = () if len(views) > 1 else NEED_VIEWS
    values = {f"label_free/{name}": value for name, value in scores.values.items() if name not in skipped}
    return values, {f"label_free/{name}": reason for name, reason in scores.undefined.items() if name not in skipped}


def _supervised_rate(z: Tensor, labels: Labels, config: Score) -> Step:
    def rate() -> tuple[Values, dict[str, str]]:
        known = labels.known
        rates = coding_rate_reduction_labels(directions(z[known]), labels.classes[known], config.eps)
        return {SUPERVISED_CRR: rates.dR.item()}, {}

    return rate


def _clusters_and_classes(classes: NDArray[np.int64], clusters: list[NDArray[np.int64]]) -> Step:
    """The clusters, of the images that were clustered, against their classes, -1 where unknown."""

    def agreement() -> tuple[Values, dict[str, str]]:
        known = classes >= 0
        if not clusters:
            return {}, dict.fromkeys(CLUSTERS_AND_CLASSES, "there are no clusters")
        if len(np.unique(classes[known])) < 2:
            return {}, dict.fromkeys(CLUSTERS_AND_CLASSES, "of the clustered images, no two have different classes")
        found = clustering_scores(classes[known], clusters[0][known])
        scores = found.ami, found.ami_max, found.nmi, found.ari, found.acc
        return dict(zip(CLUSTERS_AND_CLASSES, scores, strict=True)), {}

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
    return {name: lambda name=name, f=f: ({name: f()}, {}) for name, f in one.items()}  # type: ignore[misc]
