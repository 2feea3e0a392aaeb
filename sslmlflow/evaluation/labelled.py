"""The labelled side of an evaluation: which images and labels, and what they say of an encoder."""

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from sslmlflow.config.evaluate import EvaluationOptions
from sslmlflow.data import open_labels
from sslmlflow.data.opening import cache_folder
from sslmlflow.data.source import DatasetSpec, Images, ImageSets, subset
from sslmlflow.digests import digest
from sslmlflow.evaluation.embedder import Embedder, Wanted
from sslmlflow.metrics.catalogue import (
    AMI_TRUTH,
    EARLY_STANDARDISED,
    KNN,
    PROBE,
    SGD_PROBE,
    SGD_TOP5,
    SILHOUETTE_TRUTH,
    STANDARDISED,
)
from sslmlflow.metrics.labelled.knn import knn_accuracy
from sslmlflow.metrics.labelled.linear_probe import paper_probe, standardised_probe
from sslmlflow.metrics.labelled.sgd_probe import sgd_probe
from sslmlflow.metrics.partition import agreement, silhouettes
from sslmlflow.metrics.results import Results
from sslmlflow.rules import versions


@dataclass(frozen=True)
class LabelledImages:
    """Images with the class of each; `digest` stands for everything that an accuracy depends on but the encoder."""

    train: Images
    test: Images
    train_labels: NDArray[np.int64]
    test_labels: NDArray[np.int64]
    train_known: NDArray[np.int64]  # which of all training images `train` holds
    test_known: NDArray[np.int64]  # which of all held-out images `test` holds
    options: EvaluationOptions

    @property
    def digest(self) -> str:
        """Values with different digests are not to be compared."""
        options = self.options
        rules = versions("metrics", "views") if options.probe == "autoaugment" else versions("metrics")
        return digest(
            {
                "train_fingerprint": self.train.fingerprint,
                "train_labels": _labels_digest(self.train_labels),
                "truth": self.truth_digest,
                "probe": options.probe,
                "probe_lr": options.probe_lr,
                "probe_batch_size": options.probe_batch_size,
                "seed": options.evaluation_seed,
                "rules": rules,
            }
        )

    @property
    def _sgd_digest(self) -> str:
        """The same of the SGD probe, which has no recipe in the options."""
        return digest(
            {
                "sgd_probe": True,
                "train_fingerprint": self.train.fingerprint,
                "train_labels": _labels_digest(self.train_labels),
                "truth": self.truth_digest,
                "seed": self.options.evaluation_seed,
                "rules": versions("metrics"),
            }
        )

    @property
    def truth_digest(self) -> str:
        """Stands for the held-out images and their classes."""
        return digest(
            {
                "test_fingerprint": self.test.fingerprint,
                "test_labels": _labels_digest(self.test_labels),
                "rules": versions("metrics"),
            }
        )

    @property
    def _wanted(self) -> Wanted:
        """The training images."""
        return Wanted("train", self.train_known.tolist())

    def measure(self, embedder: Embedder, test_embeddings: tuple[Tensor, Tensor]) -> Results:
        """Accuracies on the test images, given the embeddings of all held-out images."""
        results = Results()
        started = time.perf_counter()
        early, last = embedder.embed(self._wanted)
        results.time("embed_train", started)
        early_test, last_test = (layer[self.test_known] for layer in test_embeddings)
        y, y_test = self.train_labels, self.test_labels
        neighbours = min(5, len(y))
        draw = self._augmented(embedder) if self.options.probe == "autoaugment" else lambda epoch: last
        metrics: dict[str, Callable[[], float]] = {
            PROBE: lambda: paper_probe(draw, y, last_test, y_test, **self._probe_settings()),
            STANDARDISED: lambda: standardised_probe(last, y, last_test, y_test),
            KNN: lambda: knn_accuracy(last, y, last_test, y_test, neighbours),
            EARLY_STANDARDISED: lambda: standardised_probe(early, y, early_test, y_test),
            "early/knn": lambda: knn_accuracy(early, y, early_test, y_test, neighbours),
        }
        for name, metric in metrics.items():
            results.add(name, metric)
        return results

    def probes(self) -> dict[str, Callable[[Embedder, tuple[Tensor, Tensor]], Results]]:
        """What is to be measured, by the digest of each."""
        return {self.digest: self.measure, **({self._sgd_digest: self._sgd} if self.options.sgd_probe else {})}

    def _sgd(self, embedder: Embedder, test_embeddings: tuple[Tensor, Tensor]) -> Results:
        """The SGD probe and its top-5 accuracy, given the embeddings of all held-out images."""
        results, y, y_test = Results(), self.train_labels, self.test_labels
        _, last = embedder.embed(self._wanted)
        test, seed = test_embeddings[1][self.test_known], self.options.evaluation_seed
        results.add((SGD_PROBE, SGD_TOP5), lambda: sgd_probe(last, y, test, y_test, seed=seed))
        if len(np.unique(y)) <= 5 and results.values.pop(SGD_TOP5, 0.0):
            results.undefined[SGD_TOP5] = "with five classes or fewer it is always 1"
        return results

    def _probe_settings(self) -> dict[str, Any]:
        options = self.options
        return {
            "peak_lr": options.probe_lr,
            "batch_size": options.probe_batch_size,
            "seed": options.evaluation_seed,
        }

    def measure_clusters(self, clusters: NDArray[np.int64] | None, last: Tensor) -> Results:
        """How the clusters (n,) of all held-out images, if any, and their embeddings (n, d), agree with the classes."""
        results, truth = Results(), self.test_labels
        if clusters is None:
            results.undefined[AMI_TRUTH] = "there are no clusters"
        else:
            own = clusters[self.test_known]
            results.add(AMI_TRUTH, lambda: agreement(own, truth))
        results.add(SILHOUETTE_TRUTH, lambda: silhouettes(last[self.test_known], {"the classes": truth})["the classes"])
        return results

    def _augmented(self, embedder: Embedder) -> Callable[[int], Tensor]:
        def draw(epoch: int) -> Tensor:
            return embedder.embed(replace(self._wanted, augmented=(self.options.evaluation_seed, epoch)))[1]

        return draw


def open_labelled(spec: DatasetSpec, sets: ImageSets, options: EvaluationOptions) -> LabelledImages | None:
    """The labelled images among `sets`, those of `spec`; None where the data set has no labels."""
    labels = open_labels(spec, cache_folder())
    if labels is None:
        return None
    known, known_test = np.flatnonzero(labels.train >= 0), np.flatnonzero(labels.test >= 0)
    return LabelledImages(
        train=subset(sets.train, known),
        test=subset(sets.test, known_test),
        train_labels=labels.train[known],
        test_labels=labels.test[known_test],
        train_known=known,
        test_known=known_test,
        options=options,
    )


def _labels_digest(labels: NDArray[np.int64]) -> str:
    return hashlib.sha256(labels.astype("<i8").tobytes()).hexdigest()
