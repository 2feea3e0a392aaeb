"""Images that are watched: the same views of them for every encoder, and the loss of a method on these."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import ceil, isfinite

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sslmlflow.data.augmentation import Augmentation
from sslmlflow.data.preprocess import Preprocessing
from sslmlflow.data.source import Images, draw, subset
from sslmlflow.data.views import fixed_crops
from sslmlflow.distributed import in_turns
from sslmlflow.embedding import blocks, embed_views, evaluating
from sslmlflow.encoders import Encoder
from sslmlflow.methods import Batch, Method

LOSS_BATCH = 256  # at most; contrastive losses grow with the batch, so it does not depend on the training's
LEAST = 4  # images: two batches with one negative each


@dataclass(frozen=True)
class Watched:
    """Images and the views of them that are measured; `places` (n,) are their numbers in their data set.

    They are embedded by all processes together: all must ask.
    """

    images: Images
    places: NDArray[np.int64]
    preprocessing: Preprocessing
    augmentation: Augmentation
    seed: int

    def __len__(self) -> int:
        return len(self.images)

    def rows(self, count: int) -> NDArray[np.int64]:
        """`count` of the images, drawn at random and always the same: data sets may be stored class by class."""
        return draw(len(self), count, self.seed, "test")

    def part(self, rows: NDArray[np.int64]) -> "Watched":
        """Some of the images, with the views that they have among all."""
        return replace(self, images=subset(self.images, rows), places=self.places[rows])

    def embed(self, encoder: Encoder, views: int = 2) -> tuple[Tensor, Tensor]:
        """Embeddings (views, n, d) of the early and of the last layer."""
        how = self.preprocessing, self.augmentation, self.seed
        return embed_views(encoder, self.images, *how, views=views, places=self.places)

    def project(self, method: Method) -> dict[str, Tensor]:
        """What a method makes of two global views of each image, in eval mode and float32: projections (n, ...)."""
        device = next(method.parameters()).device
        mean, std = self.preprocessing.tensors(device)
        names: list[str] = []

        @torch.no_grad()
        def projected(part: NDArray[np.int64]) -> list[Tensor]:
            images = torch.from_numpy(self.images.read(part)).to(device)
            crops, boxes = fixed_crops(images, self.augmentation, mean, std, self.places[part], self.seed)
            found = method.project(Batch((crops,), torch.full((len(part),), -1), (boxes,)))
            names[:] = found
            return list(found.values())

        with evaluating(method):
            found = list(in_turns(blocks(len(self), method.encoder.block), projected))
        return {name: torch.cat(tensors) for name, tensors in zip(names, zip(*found, strict=True), strict=True)}


@torch.no_grad()
def batched_loss(
    method: Method, projections: Mapping[str, Tensor], seed: int, rows: NDArray[np.int64] | None = None
) -> float:
    """The mean loss over random batches of the projections (n, ...), or of some rows of them.

    All images are in an even number of batches of nearly one size, at most 256; some rows are in as many as give
    batches of that size. The negatives of an image are in its batch, so losses of equally many images can be compared.
    Raises ValueError for n < 4 and for a loss that is not finite.
    """
    n = len(next(iter(projections.values())))
    if n < LEAST:
        raise ValueError(f"needs at least {LEAST} images, got {n}")
    size = n / (2 * ceil(n / (2 * LOSS_BATCH)))
    drawn = np.random.default_rng(seed).permutation(np.arange(n) if rows is None else rows)
    losses = []
    for batch in np.array_split(drawn, max(round(len(drawn) / size), 1)):
        index = torch.from_numpy(batch)
        losses.append(float(method.held_out_loss({k: v[index.to(v.device)] for k, v in projections.items()})))
    mean = float(np.mean(losses))
    if not isfinite(mean):
        raise ValueError(f"the loss is {mean}")
    return mean
