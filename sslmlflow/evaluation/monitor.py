"""The label-free metrics that every milestone gets at once, always from the same held-out images and views."""

import time
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from torch import Tensor

from sslmlflow.data.augmentation import Augmentation
from sslmlflow.data.preprocess import Preprocessing
from sslmlflow.data.source import Images, draw, subset
from sslmlflow.digests import digest
from sslmlflow.encoders import Encoder
from sslmlflow.evaluation.fixed_views import LOSS_BATCH, Watched
from sslmlflow.evaluation.gaps import LOSS, gaps, side
from sslmlflow.methods import Method
from sslmlflow.metrics.catalogue import CATALOGUE, CRR, CRR_ADJUSTED, HELD_OUT_LOSS, LEAST_IMAGES, LIDAR, LIDAR_VIEWS
from sslmlflow.metrics.failures import FAILURES, why
from sslmlflow.metrics.results import Results
from sslmlflow.metrics.unlabelled.adjusted_halves import adjusted_halves
from sslmlflow.metrics.unlabelled.coding_rate import directions
from sslmlflow.metrics.unlabelled.halves import Halves, interval
from sslmlflow.metrics.unlabelled.layer import COLLAPSED, layer_metrics, milestone_metrics
from sslmlflow.rules import versions

LIDAR_IMAGES = 500  # the paper has 1,000


class Monitored(NamedTuple):
    """What was measured, and the deviations of the adjusted coding rate reduction over halves of the images, if any."""

    results: Results
    deviations: tuple[float, ...]


@dataclass(frozen=True)
class Embedded:
    """Embeddings (views, n, d) of held-out images, and what a method makes of them and of as many training images."""

    early: Tensor
    last: Tensor
    of_more_views: Tensor
    seconds: float  # for `early` and `last`
    projections: dict[str, Tensor] = field(default_factory=dict)
    seen: tuple[Tensor, dict[str, Tensor]] | None = None


class Monitor:
    """Measures encoders on fixed views of fixed held-out images.

    `digest` stands for everything that the values depend on besides the encoder: values with different
    digests are not to be compared. `train` are the images that it trains on: as many of them as there are held-out ones
    show what it has memorised.
    """

    def __init__(
        self,
        held_out: Images,
        preprocessing: Preprocessing,
        early_layer: str,
        images: int,
        eps: float,
        seed: int,
        train: Images | None = None,
    ) -> None:
        # The standard one, whatever a training uses: values on the views of two trainings can be compared.
        how = preprocessing, Augmentation(preprocessing.image_size), seed
        places = draw(len(held_out), images, seed, "test")
        self.held_out = Watched(subset(held_out, places), places, *how)
        self.eps = eps
        self.seed = seed
        self._training: Watched | None = None
        if train is not None:
            places = draw(len(train), len(self.held_out), seed, "train")
            self._training = Watched(subset(train, places), places, *how)
        self.settings: dict[str, Any] = {
            "images": len(self.held_out),
            "images_fingerprint": self.held_out.images.fingerprint,
            "early_layer": early_layer,
            "views": 2,
            "lidar_views": LIDAR_VIEWS,
            "lidar_images": LIDAR_IMAGES,
            "loss_batch": LOSS_BATCH,
            "augmentation": self.held_out.augmentation.as_json(),
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
        if (count := len(self.held_out)) < LEAST_IMAGES:
            print(
                f"warning: {count} held-out images are fewer than {LEAST_IMAGES}: intervals are wide, the choice of a "
                "milestone is not reliable, and report registers none. Hold more out: more images, or a larger "
                "max_test_images or monitor_images where these limit them."
            )

    def embed(self, encoder: Encoder, method: Method | None = None) -> Embedded:
        """Embed all that is measured, by all processes together: all must ask."""
        started = time.perf_counter()
        early, last = self.held_out.embed(encoder)
        seconds = time.perf_counter() - started
        of_more_views = self.held_out.part(self.held_out.rows(LIDAR_IMAGES)).embed(encoder, LIDAR_VIEWS)[1]
        if method is None:
            return Embedded(early, last, of_more_views, seconds)
        projections = self.held_out.project(method)
        if self._training is None:
            return Embedded(early, last, of_more_views, seconds, projections)
        seen = self._training.embed(method.measured)[1], self._training.project(method)
        return Embedded(early, last, of_more_views, seconds, projections, seen)

    def measure(self, encoder: Encoder, method: Method | None = None) -> Monitored:
        """The metrics, with the seconds of embedding, of all metrics, and of the last layer's `crr` alone.

        The method's own loss, and the gaps to the training images, are measured where there is a method.
        """
        started = time.perf_counter()
        embedded = self.embed(encoder, method)
        results = milestone_metrics(embedded.early, embedded.last, self.eps)
        self._add_lidar(results, embedded.of_more_views)
        halves = self._add_interval(results, embedded.last)
        if method is not None:
            self._add_loss_and_gaps(results, method, embedded, halves)
        of_crr = {CRR: results.seconds[CRR]} if CRR in results.values else {}
        whole = {"embed_views": embedded.seconds, "label_free": time.perf_counter() - started - embedded.seconds}
        results.seconds = {**whole, **of_crr}
        return Monitored(results, halves.deviations if halves else ())

    def _add_lidar(self, results: Results, of_more_views: Tensor) -> None:
        """LiDAR, for which two views of an image are too few: of more views of fewer images."""
        found = layer_metrics(of_more_views, self.eps, (CATALOGUE[LIDAR].short_name,))
        found.values.pop(COLLAPSED, None)  # of more images it is known by now
        results.update(found, "label_free/")

    def _add_interval(self, results: Results, last: Tensor) -> Halves | None:
        """How far the adjusted coding rate reduction would move with other held-out images."""
        if CRR_ADJUSTED not in results.values:
            return None
        ends = f"{CRR_ADJUSTED}_low", f"{CRR_ADJUSTED}_high"
        try:
            halves = adjusted_halves(directions(last), self.eps)
        except FAILURES as error:
            results.fail(ends, why(error))
            return None
        results.values.update(zip(ends, interval(halves)[1:], strict=True))
        return halves

    def _add_loss_and_gaps(self, results: Results, method: Method, embedded: Embedded, halves: Halves | None) -> None:
        """The method's own loss on the held-out images, and what as many training images have more of."""
        how = self.eps, self.seed
        last, projections = embedded.last, embedded.projections
        whole = side(method, last, projections, *how, halves)
        if LOSS in whole.results.values:
            results.values[HELD_OUT_LOSS] = whole.results.values[LOSS]
        else:
            results.undefined[HELD_OUT_LOSS] = whole.results.undefined[LOSS]
        if embedded.seen is None:
            return
        rows = self.held_out.rows(embedded.seen[0].shape[1])
        unseen = whole
        if len(rows) < len(self.held_out):
            unseen = side(method, last[:, rows], {name: of[rows] for name, of in projections.items()}, *how)
        results.update(gaps(side(method, *embedded.seen, *how), unseen))
