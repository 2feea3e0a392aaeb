"""The labelled side of an evaluation: which images and labels, and what they say of an encoder."""

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sslmlflow.config.evaluate import ProbeOptions
from sslmlflow.data import open_labels
from sslmlflow.data.autoaugment import autoaugment
from sslmlflow.data.source import DatasetSpec, Images, subset
from sslmlflow.embedding import embed_images
from sslmlflow.jobs.datasets import cache_folder, open_and_tell
from sslmlflow.metrics.labelled.knn import knn_accuracy
from sslmlflow.metrics.labelled.linear_probe import paper_probe, standardised_probe
from sslmlflow.tracking.milestones import Milestone
from sslmlflow.training.batches import step_seed

PROBE, STANDARDISED, KNN = "labelled/linear_probe", "labelled/linear_probe_standardised", "labelled/knn"


@dataclass(frozen=True)
class LabelledImages:
    """Images with the class of each; `digest` stands for everything that an accuracy depends on but the encoder."""

    name: str
    train: Images
    test: Images
    train_labels: NDArray[np.int64]
    test_labels: NDArray[np.int64]
    options: ProbeOptions

    @property
    def digest(self) -> str:
        """Values with different digests are not to be compared."""
        labels = hashlib.sha256(self.train_labels.tobytes() + self.test_labels.tobytes()).hexdigest()
        settings = [
            self.train.fingerprint,
            self.test.fingerprint,
            labels,
            self.options.probe,
            str(self.options.probe_seed),
        ]
        return hashlib.sha256(json.dumps(settings).encode()).hexdigest()[:16]

    def measure(self, milestone: Milestone, device: torch.device) -> dict[str, float]:
        """Accuracies on the test images, and the seconds that each took."""
        encoder = milestone.encoder.to(device)
        values: dict[str, float] = {}
        with _timed(values, "embed"):
            early, last = embed_images(encoder, self.train, milestone.preprocessing)
            early_test, last_test = embed_images(encoder, self.test, milestone.preprocessing)
        y, y_test = self.train_labels, self.test_labels
        with _timed(values, "linear_probe"):
            draw = self._augmented(milestone) if self.options.probe == "autoaugment" else lambda epoch: last
            values[PROBE] = paper_probe(draw, y, last_test, y_test, seed=self.options.probe_seed)
        with _timed(values, "linear_probe_standardised"):
            values[STANDARDISED] = standardised_probe(last, y, last_test, y_test)
        with _timed(values, "knn"):
            values[KNN] = knn_accuracy(last, y, last_test, y_test)
        values["early/linear_probe_standardised"] = standardised_probe(early, y, early_test, y_test)
        values["early/knn"] = knn_accuracy(early, y, early_test, y_test)
        return values

    def _augmented(self, milestone: Milestone) -> Callable[[int], Tensor]:
        def draw(epoch: int) -> Tensor:
            generator = torch.Generator().manual_seed(step_seed(self.options.probe_seed, epoch))
            augmented = embed_images(
                milestone.encoder, self.train, milestone.preprocessing, lambda block: autoaugment(block, generator)
            )
            return augmented[1]

        return draw


def open_labelled(spec: DatasetSpec, options: ProbeOptions) -> LabelledImages | None:
    """The labelled images of a data set; None where it has no labels."""
    labels = open_labels(spec, cache_folder())
    if labels is None:
        return None
    images = open_and_tell(spec)
    known, known_test = np.flatnonzero(labels.train >= 0), np.flatnonzero(labels.test >= 0)
    return LabelledImages(
        name=images.name,
        train=subset(images.train, known),
        test=subset(images.test, known_test),
        train_labels=labels.train[known],
        test_labels=labels.test[known_test],
        options=options,
    )


@contextmanager
def _timed(values: dict[str, float], name: str) -> Iterator[None]:
    started = time.perf_counter()
    yield
    values[f"time/{name}_s"] = time.perf_counter() - started
