"""Barlow Twins: every feature agrees with itself across views and with no other (Zbontar et al. 2021)."""

import torch
from torch import Tensor

from sslmlflow.data.stacks import asymmetric
from sslmlflow.encoders import Encoder
from sslmlflow.methods.base import Batch, Method, Progress
from sslmlflow.methods.heads import Head
from sslmlflow.methods.recipes import small_images_recipe

EPS = 1e-5  # added to variances, as BatchNorm does


def barlow_twins_loss(first: Tensor, second: Tensor, redundancy: float = 0.0051) -> Tensor:
    """Return how far the cross-correlation of two views' features is from the identity matrix, squared and added up.

    Args:
        first, second: (n, d), row i of each from image i; n of 2 or more.
        redundancy: Weight of the places off the diagonal, 0 or more.

    Returns:
        A scalar of 0 or more.

    Source: Zbontar et al. 2021 (arXiv 2103.03230), Eq. 1 and 2.

    >>> a = torch.tensor([[1.0, 1.0], [-1.0, 1.0], [1.0, -1.0], [-1.0, -1.0]])
    >>> print(f"{barlow_twins_loss(a, a):.4f} {barlow_twins_loss(a, a.flip(1), 0.5):.2f}")
    0.0000 3.00
    """
    correlation = _standardised(first).T @ _standardised(second) / len(first)
    diagonal = correlation.diagonal()
    off = correlation.square().sum() - diagonal.square().sum()
    return (1 - diagonal).square().sum() + redundancy * off


def _standardised(features: Tensor) -> Tensor:
    variance, mean = torch.var_mean(features, dim=0, correction=0)
    return (features - mean) / (variance + EPS).sqrt()


class BarlowTwins(Method):
    """Barlow Twins (arXiv 2103.03230) with solo-learn's recipe for CIFAR; the loss is `barlow_twins_loss`, scaled."""

    recipe = small_images_recipe(lr=0.3, weight_decay=1e-4, views=asymmetric)
    heads = ("projector",)
    gathered = ("first", "second")

    def __init__(
        self, encoder: Encoder, *, hidden_width: int, projection_width: int, redundancy: float, loss_scale: float
    ) -> None:
        super().__init__(encoder)
        self.projector = Head(encoder.embedding_width, hidden_width, hidden_width, projection_width)
        self._redundancy, self._scale = redundancy, loss_scale

    def project(self, batch: Batch) -> dict[str, Tensor]:
        first, second = (self.projector(self.encoder(view)) for view in batch.crops[0])
        return {"first": first, "second": second}

    def loss(self, out: dict[str, Tensor], progress: Progress) -> dict[str, Tensor]:
        return {"loss": self._scale * barlow_twins_loss(out["first"].float(), out["second"].float(), self._redundancy)}
