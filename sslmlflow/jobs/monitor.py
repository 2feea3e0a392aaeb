"""The label-free metrics that every milestone gets at once, always from the same held-out images and views."""

import time
from dataclasses import asdict, replace
from typing import Any

import numpy as np
from torch import Tensor

from sslmlflow.data.preprocess import Preprocessing
from sslmlflow.data.source import Images, draw, subset
from sslmlflow.data.views import Augmentation
from sslmlflow.digests import digest
from sslmlflow.embedding import embed_views
from sslmlflow.encoders import Encoder
from sslmlflow.measures import CRR, CRR_ADJUSTED, LEAST_IMAGES, LIDAR
from sslmlflow.metrics.failures import FAILURES, why
from sslmlflow.metrics.unlabelled.bootstrap import adjusted_halves
from sslmlflow.metrics.unlabelled.coding_rate import directions
from sslmlflow.metrics.unlabelled.halves import interval
from sslmlflow.metrics.unlabelled.milestone import Scores, layer_metrics, milestone_metrics
from sslmlflow.rules import versions

LIDAR_VIEWS, LIDAR_IMAGES = 10, 500  # the paper has 50 views of 1,000


class Monitor:
    """Measures encoders on fixed views of fixed held-out images.

    `digest` stands for everything that the values depend on besides the encoder: values with different
    digests are not to be compared. `places` are the images' numbers among all held-out images.
    """

    def __init__(
        self,
        held_out: Images,
        preprocessing: Preprocessing,
        early_layer: str,
        images: int,
        eps: float,
        seed: int,
    ) -> None:
        self.places = draw(len(held_out), images, seed, "test")
        self.images = subset(held_out, self.places)
        self.preprocessing = preprocessing
        # The standard one, whatever a training uses: values on the views of two trainings can be compared.
        self.augmentation = Augmentation(preprocessing.image_size)
        self.eps = eps
        self.seed = seed
        self.settings: dict[str, Any] = {
            "images": len(self.images),
            "images_fingerprint": self.images.fingerprint,
            "early_layer": early_layer,
            "views": 2,
            "lidar_views": LIDAR_VIEWS,
            "lidar_images": LIDAR_IMAGES,
            "augmentation": asdict(self.augmentation),
            "preprocessing": preprocessing.as_json(),
            "seed": self.seed,
            "eps": self.eps,
            "batch_norm": "eval",
            "dtype": "float32",
            "rules": versions(),
        }
        self.digest = digest(self.settings)

    def warn_of_few_images(self) -> None:
        """Print a warning where the choice of a milestone will rest on few images."""
        if (count := len(self.images)) < LEAST_IMAGES:
            print(
                f"warning: {count} held-out images are fewer than {LEAST_IMAGES}: intervals are wide, the choice of a "
                "milestone is not reliable, and report registers none. Hold more out: more images, or a larger "
                "max_test_images or monitor_images where these limit them."
            )

    def measure(self, encoder: Encoder) -> tuple[Scores, dict[str, float]]:
        """The metrics, and the seconds of embedding, of all metrics, and of the last layer's `crr` alone."""
        started = time.perf_counter()
        early, last = self.embed(encoder)
        embedded = time.perf_counter()
        scores = milestone_metrics(early, last, self.eps)
        self._add_lidar(scores, encoder)
        if CRR_ADJUSTED in scores.values:
            scores = self._with_interval(scores, last)
        seconds = {"time/embed_views_s": embedded - started, "time/label_free_s": time.perf_counter() - embedded}
        if CRR in scores.seconds:
            seconds["time/crr_s"] = scores.seconds[CRR]
        return scores, seconds

    def embed(self, encoder: Encoder) -> tuple[Tensor, Tensor]:
        """Embeddings (2, n, d) of two fixed views of each image: of the early and of the last layer."""
        how = self.preprocessing, self.augmentation, self.seed
        return embed_views(encoder, self.images, *how, places=self.places)

    def _add_lidar(self, scores: Scores, encoder: Encoder) -> None:
        """LiDAR, for which two views of an image are too few: of more views of fewer images."""
        images, places = subset(self.images, np.arange(len(self.images))[:LIDAR_IMAGES]), self.places[:LIDAR_IMAGES]
        how = self.preprocessing, self.augmentation, self.seed
        _, last = embed_views(encoder, images, *how, views=LIDAR_VIEWS, places=places)
        found = layer_metrics(last, self.eps, ("collapsed", "lidar"))
        if "lidar" in found.values:
            scores.values[LIDAR] = found.values["lidar"]
        else:
            scores.undefined[LIDAR] = found.undefined["lidar"]

    def _with_interval(self, scores: Scores, last: Tensor) -> Scores:
        """How far the adjusted coding rate reduction would move with other held-out images."""
        bounds = f"{CRR_ADJUSTED}_low", f"{CRR_ADJUSTED}_high"
        try:
            halves = adjusted_halves(directions(last), self.eps)
        except FAILURES as error:
            return replace(scores, undefined={**scores.undefined, **dict.fromkeys(bounds, why(error))})
        _, low, high = interval(halves)
        return replace(scores, values={**scores.values, bounds[0]: low, bounds[1]: high}, deviations=halves.deviations)
