"""Entry point `score`: measure embeddings that some other program made, as far as what is given allows."""

import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mlflow.entities import Metric
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from sslmlflow.config.evaluate import EvaluationOptions
from sslmlflow.config.score import Score
from sslmlflow.errors import ConfigError, UserError
from sslmlflow.jobs.clusters import map_and_cluster
from sslmlflow.measures import AMI_TRUTH, KNN, MEASURES, SILHOUETTE_TRUTH, STANDARDISED
from sslmlflow.metrics.failures import FAILURES, why
from sslmlflow.metrics.labelled.clustering_scores import clustering_scores
from sslmlflow.metrics.labelled.coding_rate import coding_rate_reduction_labels
from sslmlflow.metrics.labelled.knn import knn_accuracy, weighted_knn_accuracy
from sslmlflow.metrics.labelled.linear_probe import standardised_probe
from sslmlflow.metrics.partition import silhouettes
from sslmlflow.metrics.unlabelled.bootstrap import adjusted_interval
from sslmlflow.metrics.unlabelled.coding_rate import directions
from sslmlflow.metrics.unlabelled.collapse import partly_collapsed
from sslmlflow.metrics.unlabelled.milestone import PARTIAL, layer_metrics
from sslmlflow.tracking.run import tracked_run

NEED_VIEWS: tuple[str, ...] = (
    *("crr", "crr_A", "crr_pooled", "crr_adjusted", "crr_adjusted_resolution"),
    *("lidar", "alignment_loss", "retrieval"),
)
Values = dict[str, float]


def run(config: Score) -> None:
    """Measure from the command line or `mlflow run`."""
    if config.embeddings is None:
        raise ConfigError("embeddings needs to be given. Allowed: a NumPy file: sslmlflow score embeddings.npy")
    views = _views(config)
    labels = None if config.labels is None else _labels(config.labels, views.shape[1])
    values, undefined = _measure(views, labels, config)
    told = _table(values, undefined)
    if labels is not None:
        told += "\n\nThe probe and the neighbours learn from one random half of the images and are tested on the other."
    lost, near = (values.get(f"label_free/{name}", 0.0) for name in PARTIAL)
    for alarm in partly_collapsed(lost, near):
        told += f"\n\nSuspicious: {alarm}."
    if len(views) == 1:
        told += "\n\nGive --views for coding rate reduction, alignment, LiDAR and retrieval."
    print(f"\n{told}")
    if config.log:
        with tracked_run("score", config, f"score {Path(config.embeddings).name}") as tracked:
            now = int(time.time() * 1000)
            metrics = [Metric(key, value, now, 0) for key, value in values.items()]
            tracked.client.log_batch(tracked.run_id, metrics=metrics)
            tracked.client.log_text(tracked.run_id, told + "\n", "score.txt")
            print(f"run {tracked.run_id}")


def _measure(views: Tensor, labels: NDArray[np.int64] | None, config: Score) -> tuple[Values, dict[str, str]]:
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
            _, low, high = adjusted_interval(directions(views), config.eps)
            scores.values.update(crr_adjusted_low=low, crr_adjusted_high=high)
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
        if not clusters:
            return {}, {}
        found = clustering_scores(labels, clusters[0])
        return {
            AMI_TRUTH: found.ami,
            **{f"labelled/{name}_clusters_truth": getattr(found, name) for name in ("ami_max", "nmi", "ari", "acc")},
        }, {}

    one: Mapping[str, Callable[[], float]] = {
        "labelled/crr": lambda: coding_rate_reduction_labels(directions(z), labels, config.eps).dR.item(),
        SILHOUETTE_TRUTH: lambda: silhouettes(z, {"the classes": labels})["the classes"],
        KNN: lambda: knn_accuracy(*halves),
        "labelled/knn_200_cosine": lambda: weighted_knn_accuracy(*halves),
        STANDARDISED: lambda: standardised_probe(*halves),
    }
    steps: dict[str, Step] = {name: lambda name=name, f=f: ({name: f()}, {}) for name, f in one.items()}  # type: ignore[misc]
    return {"clusters and classes": agreement, **steps}


def _table(values: Values, undefined: Mapping[str, str]) -> str:
    """Name, key and value of every metric, those that labels had a part in last, then what has none and why."""
    rows = [(_name(key), key, _told(key, value)) for key, value in values.items()]
    widths = [max(len(row[place]) for row in rows) for place in range(3)]
    lines = [f"{name:<{widths[0]}}  {value:>{widths[2]}}  {key}" for name, key, value in rows]
    return "\n".join([*lines, *(f"{_name(key)} undefined: {why}" for key, why in undefined.items())])


def _name(key: str) -> str:
    return MEASURES[key].name if key in MEASURES else key.partition("/")[2].replace("_", " ")


def _told(key: str, value: float) -> str:
    return MEASURES[key].told(value) if key in MEASURES else f"{value:.3f}"


def _views(config: Score) -> Tensor:
    """The embeddings as (views, images, features)."""
    first = _floats(str(config.embeddings), "embeddings")
    given = [first] if config.views is None else [first, *_split(_floats(config.views, "views"))]
    shapes = {array.shape for array in given}
    if len(shapes) > 1:
        raise UserError(
            f"views={config.views} holds {given[1].shape} and embeddings={config.embeddings} {first.shape}: the same "
            "images in the same order, by the same encoder, are needed."
        )
    if first.ndim != 2 or 0 in first.shape:
        raise UserError(
            f"embeddings={config.embeddings} has the shape {first.shape}. Allowed: (images, features); flatten or "
            "average what else there is."
        )
    return torch.stack([torch.from_numpy(array) for array in given])


def _split(array: NDArray[Any]) -> Iterator[NDArray[Any]]:
    yield from (array if array.ndim == 3 else [array])


def _floats(path: str, name: str) -> NDArray[Any]:
    array = _load(path, name)
    if array.dtype.kind != "f":
        raise UserError(f"{name}={path} holds {array.dtype}. Allowed: floats; write them with .astype('float32').")
    # float16 and others become float32, which all metrics take.
    return np.ascontiguousarray(array, dtype=np.float64 if array.dtype == np.float64 else np.float32)


def _labels(path: str, n: int) -> NDArray[np.int64]:
    """Classes by number, whatever they were called."""
    labels = _load(path, "labels")
    if labels.shape != (n,):
        raise UserError(f"labels={path} has the shape {labels.shape}. Allowed: ({n},), one class an image.")
    return np.unique(labels, return_inverse=True)[1].astype(np.int64)


def _load(path: str, name: str) -> NDArray[Any]:
    """An array from a .npy file; one that holds Python objects is a pickle, and refused."""
    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"{name}={path} cannot be read as a NumPy file (.npy): {error}") from None
    if not isinstance(array, np.ndarray):
        raise UserError(f"{name}={path} holds several arrays (.npz). Give one of them as a .npy file.")
    return array
