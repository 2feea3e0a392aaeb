"""VICReg: views agree, every feature varies, and no two vary together (Bardes, Ponce and LeCun 2022)."""

import torch
from torch import Tensor
from torch.nn.functional import mse_loss, relu

from sslmlflow.data.augmentation import Augmentation, CropGroup, Views
from sslmlflow.data.stacks import LARGEST_SHARP
from sslmlflow.encoders import Encoder
from sslmlflow.methods.base import Batch, Method, Progress
from sslmlflow.methods.heads import Head
from sslmlflow.methods.recipes import small_images_recipe

EPS = 1e-4  # added to variances


def vicreg_loss(
    first: Tensor, second: Tensor, invariance: float = 25.0, variance: float = 25.0, covariance: float = 1.0
) -> Tensor:
    """Return the weighted sum of VICReg's three terms of two views.

    As the authors' weights want it, invariance is the mean over all numbers, and variance the mean of both views.

    Args:
        first, second: (n, d), or (n, m, d) for m features of every image, row i of each from image i; n of 2 or more.
        invariance, variance, covariance: Weights, 0 or more.

    Returns:
        A scalar of 0 or more.

    Source: Bardes et al. 2022 (arXiv 2105.04906), Eq. 1 to 6.

    >>> a = torch.tensor([[2.0, 2.0], [-2.0, 2.0], [2.0, -2.0], [-2.0, -2.0]])
    >>> vicreg_loss(a, a).item(), vicreg_loss(a, a + 1).item()
    (0.0, 25.0)
    """
    spread = (variance_term(first) + variance_term(second)) / 2
    together = covariance_term(first) + covariance_term(second)
    return invariance * mse_loss(first, second) + variance * spread + covariance * together


def variance_term(features: Tensor) -> Tensor:
    """Return by how much deviations (n, ..., d) over n are below 1, averaged (Eq. 1)."""
    return relu(1 - (features.var(dim=0) + EPS).sqrt()).mean()


def covariance_term(features: Tensor) -> Tensor:
    """Return the squared covariances (n, ..., d) of different features, added up and divided by d (Eq. 4)."""
    centred = features - features.mean(dim=0)
    covariances = torch.einsum("n...c,n...d->...cd", centred, centred) / (len(features) - 1)
    diagonal = covariances.diagonal(dim1=-2, dim2=-1)
    off = covariances.square().sum(dim=(-2, -1)) - diagonal.square().sum(dim=-1)
    return off.mean() / features.shape[-1]


def small_scale(size: int) -> Views:
    """Two views drawn alike, of a fifth of the image or more, solarised now and then."""
    blur = 0.5 if size > LARGEST_SHARP else 0.0
    jitter = 0.4, 0.4, 0.2, 0.1
    return (CropGroup(2, Augmentation(size, scale=(0.2, 1.0), jitter=jitter, blur_p=blur, solarise_p=0.1)),)


class VICReg(Method):
    """VICReg (arXiv 2105.04906) with solo-learn's recipe for CIFAR; the loss is `vicreg_loss`."""

    recipe = small_images_recipe(lr=0.3, weight_decay=1e-4, views=small_scale)
    heads = ("projector",)
    gathered = ("first", "second")

    def __init__(
        self,
        encoder: Encoder,
        *,
        hidden_width: int,
        projection_width: int,
        invariance: float,
        variance: float,
        covariance: float,
    ) -> None:
        super().__init__(encoder)
        self.projector = Head(encoder.embedding_width, hidden_width, hidden_width, projection_width)
        self._weights = invariance, variance, covariance

    def project(self, batch: Batch) -> dict[str, Tensor]:
        first, second = (self.projector(self.encoder(view)) for view in batch.crops[0])
        return {"first": first, "second": second}

    def loss(self, out: dict[str, Tensor], progress: Progress) -> dict[str, Tensor]:
        return {"loss": vicreg_loss(out["first"].float(), out["second"].float(), *self._weights)}
