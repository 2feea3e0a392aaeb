"""The labelled side of an evaluation: which images and labels, and what they say of an encoder."""

import hashlib
import json
import time
from collections.abc import Callable
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
class Measured:
    """Accuracies in 0..1 and seconds by metric name, and for every accuracy that has no value the reason why."""

    values: dict[str, float]
    undefined: dict[str, str]

    def add(self, name: str, metric: Callable[[], float]) -> None:
        """Measure one accuracy; embeddings that it cannot be measured on are told, not raised."""
        started = time.perf_counter()
        try:
            self.values[name] = metric()
        except ValueError as error:
            self.undefined[name] = str(error)
        self.values[f"time/{name.replace('labelled/', '')}_s"] = time.perf_counter() - started

    def told(self, name: str) -> str:
        """An accuracy in words."""
        return f"{self.values[name]:.1%}" if name in self.values else f"undefined ({self.undefined[name]})"


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

    def measure(self, milestone: Milestone, device: torch.device) -> Measured:
        """Accuracies on the test images, and the seconds that each took."""
        encoder = milestone.encoder.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        started = time.perf_counter()
        early, last = embed_images(encoder, self.train, milestone.preprocessing)
        early_test, last_test = embed_images(encoder, self.test, milestone.preprocessing)
        measured = Measured({"time/embed_s": time.perf_counter() - started}, {})
        y, y_test = self.train_labels, self.test_labels
        neighbours = min(5, len(y))
        draw = self._augmented(milestone) if self.options.probe == "autoaugment" else lambda epoch: last
        metrics: dict[str, Callable[[], float]] = {
            PROBE: lambda: paper_probe(draw, y, last_test, y_test, seed=self.options.probe_seed),
            STANDARDISED: lambda: standardised_probe(last, y, last_test, y_test),
            KNN: lambda: knn_accuracy(last, y, last_test, y_test, neighbours),
            "early/linear_probe_standardised": lambda: standardised_probe(early, y, early_test, y_test),
            "early/knn": lambda: knn_accuracy(early, y, early_test, y_test, neighbours),
        }
        for name, metric in metrics.items():
            measured.add(name, metric)
        return measured

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
